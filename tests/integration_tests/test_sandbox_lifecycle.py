from __future__ import annotations

import ast
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from plain_client import BODY, PlainClient

import langchain_oneshot_voice.sandbox
from langchain_oneshot_voice.sandbox import CallScript, Fault, Sandbox

PACKAGE = Path(langchain_oneshot_voice.sandbox.__file__).parent


def open_sockets() -> set[str]:
    """The sockets that this process has open, by their names in the kernel."""
    found: set[str] = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            found.add(str(link.readlink()))
    return {name for name in found if name.startswith("socket:")}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_nothing_is_left_behind() -> None:
    """After stopping there is no thread and no socket more than before, even with open requests."""
    gc.collect()
    threads, sockets = set(threading.enumerate()), open_sockets()
    with Sandbox(call_seconds=0.01) as sandbox:
        client = PlainClient(sandbox.base_url, sandbox.private_key)
        client.call()
        sandbox.inject(Fault(leg="quote", kind="hang_before"))
        with pytest.raises(httpx.TimeoutException):
            httpx.post(
                f"{sandbox.base_url}/v1/tools/voice/call",
                json=BODY,
                headers=client.headers(),
                timeout=0.2,
            )
        with httpx.Client(base_url=sandbox.base_url) as kept_alive:
            kept_alive.get("/")
            sandbox.stop()
    gc.collect()
    assert (set(threading.enumerate()) - threads, open_sockets() - sockets) == (set(), set())


def test_a_stopped_sandbox_refuses_and_comes_back_as_it_was() -> None:
    """Started again it is the same service on the same port, and its calls go on."""
    with Sandbox() as sandbox:
        client = PlainClient(sandbox.base_url, sandbox.private_key)
        sandbox.expect("+14155551234", CallScript(seconds=0.3))
        request_id = client.call()
        sandbox.stop()
        with pytest.raises(httpx.ConnectError):
            client.quote()
        sandbox.start()
        assert client.result(request_id)["status"] == "completed"
        assert len(sandbox.rings) == 1


def test_starting_and_stopping_twice_is_harmless() -> None:
    """A second `start` or `stop` changes nothing."""
    sandbox = Sandbox()
    sandbox.start()
    url = sandbox.base_url
    sandbox.start()
    assert sandbox.base_url == url
    sandbox.stop()
    sandbox.stop()


def test_a_taken_port_is_an_error_where_it_was_asked_for() -> None:
    """The second sandbox on a port fails in `start`, not in its thread."""
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port).start()


def test_secrets_stay_out_of_every_repr() -> None:
    """Neither the key, nor the token, nor a signed header is shown."""
    with Sandbox(call_seconds=0) as sandbox:
        client = PlainClient(sandbox.base_url, sandbox.private_key)
        client.call()
        shown = repr(sandbox) + repr(sandbox.requests) + repr(sandbox.calls)
        secrets = [sandbox.private_key[2:], sandbox.access_token, "x-agent-proof", "signature"]
        assert not [secret for secret in secrets if secret in shown]
        assert "x-agent-proof" in sandbox.requests[0].headers


def test_many_calls_at_once_each_ring_once() -> None:
    """Calls from eight threads: every one is paid, rung and answered once."""
    with Sandbox(call_seconds=0.05) as sandbox:

        def one(number: int) -> str:
            client = PlainClient(sandbox.base_url)
            request_id = client.call({**BODY, "target_number": f"+1415555{1000 + number}"})
            return str(client.result(request_id, seconds=20)["status"])

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(one, range(24))) == {"completed"}
        assert len({ring.number for ring in sandbox.rings}) == len(sandbox.rings) == 24
        assert len(sandbox.payments) == 24


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    """All stands apart but `Sandbox.tool`, and the check of the arguments."""
    of_the_tool = {"arguments", "journal", "policy", "tool"}
    imports = [
        (file.name, node)
        for file in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    assert imports
    of_the_package = {
        (file, (node.module or "").removeprefix("langchain_oneshot_voice."))
        for file, node in imports
        if node.level > 1 or (node.module or "").startswith("langchain_oneshot_voice")
    }
    assert of_the_package == {("server.py", module) for module in of_the_tool}


def test_a_missing_extra_is_named() -> None:
    """Without starlette or uvicorn the error says what to install."""
    program = (
        "import sys; sys.modules['starlette'] = None\n"
        "from langchain_oneshot_voice.sandbox import Sandbox\n"
        "try: Sandbox()\n"
        "except ImportError as error: print(error)\n"
    )
    output = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "pip install 'langchain-oneshot-voice[sandbox]'" in output
