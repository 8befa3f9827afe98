from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from plain_client import PlainClient

COMMAND = [sys.executable, "-m", "langchain_oneshot_voice.cli"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_the_command_serves_says_how_and_stops_cleanly() -> None:
    """What it prints is enough to place a call, which it logs without the number, until Ctrl-C."""
    with subprocess.Popen(  # noqa: S603 - this interpreter
        [*COMMAND, "sandbox", "--port", "0", "--call-seconds", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = ""
        while "any other" not in told:
            line = process.stdout.readline()
            assert line, told
            told += line
        url = re.search(r"export ONESHOT_BASE_URL=(\S+)", told)
        key = re.search(r"export ONESHOT_WALLET_PRIVATE_KEY=(\S+)", told)
        token = re.search(r"export ONESHOT_ACCESS_TOKEN=(\S+)", told)
        assert url
        assert key
        assert token
        for client in (PlainClient(url[1], key[1]), PlainClient(url[1], token=token[1])):
            assert client.result(client.call())["status"] == "completed"
        process.send_signal(signal.SIGINT)
        logged, _ = process.communicate(timeout=20)
    assert process.returncode == 0, logged
    assert "ringing …1234" in logged
    assert "completed" in logged
    assert "+14155551234" not in logged


def test_an_unknown_chain_is_a_usage_error() -> None:
    """The message names the chains there are."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [*COMMAND, "sandbox", "--chain", "dogecoin"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "base or base-sepolia" in done.stdout


def test_without_its_extra_the_program_says_what_to_install() -> None:
    """With typer missing it exits with 2 and the command that helps."""
    program = (
        "import importlib.util as util, sys\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'typer' else found(name, *rest)\n"
        "from langchain_oneshot_voice.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'langchain-oneshot-voice[cli]'" in done.stderr
