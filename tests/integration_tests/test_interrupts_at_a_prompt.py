"""Ctrl-C in the command line and in a notebook: the prompt is back in a moment.

Real processes, a real kernel and real signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from chaos.workers import Workers, workers
from conftest import MakeCaller, MakeTool
from full import FULL
from jupyter_client.manager import AsyncKernelManager, start_new_async_kernel
from placing import legs, tool_call

from langchain_oneshot_voice import CallJournal, Sandbox, wording
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallRecord

__all__ = ["workers"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals differ")

SOON = 1.0 if FULL else 4.0
"""Seconds until the prompt is back. Usually under 0.5; the machine may be slow, most of all beside
other tests: what does not stop at once waits for a minute.

A notebook may take twice as long, since IPython takes half a second to print a long traceback.
"""

_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
from langchain_oneshot_voice.cli import main
main()
"""


class Command:
    """A command of `oneshot-voice` that runs."""

    def __init__(self, workers: Workers, *words: str) -> None:
        configured = {name: os.environ[name] for name in os.environ if name.startswith("ONESHOT_")}
        self._program = workers.begin(_PROGRAM, *words, **configured)

    def shows(self, what: str) -> None:
        """Wait until it has shown something."""
        until = time.monotonic() + 30
        output = self._program.output
        while not output.exists() or what not in output.read_text():
            assert time.monotonic() < until, self._program.errors.read_text()
            time.sleep(0.01)

    def wait_for_threads(self, count: int) -> None:
        """Wait until it has so many threads."""
        threads = Path(f"/proc/{self._program.pid}/task")
        if not threads.exists():
            self._program.workers.kill(self._program.pid)
            pytest.skip("needs /proc")
        until = time.monotonic() + 20
        while len(list(threads.iterdir())) < count:
            assert time.monotonic() < until
            time.sleep(0.01)

    def interrupt(self) -> tuple[int, list[str]]:
        """Press Ctrl-C; the exit status, and what it says at the end. It has to be quick."""
        began = time.monotonic()
        os.kill(self._program.pid, signal.SIGINT)
        killing = threading.Timer(20, os.kill, (self._program.pid, signal.SIGKILL))
        killing.start()
        ran = self._program.end()
        killing.cancel()
        took = time.monotonic() - began
        assert took < SOON, f"took {took:.2f} s: {ran.stderr}"
        return ran.returncode, ran.stderr.strip().splitlines()


@pytest.fixture
def journal(journal_file: CallJournal) -> CallJournal:
    """The journal that the programs write to."""
    return journal_file


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service whose calls take longer than any test."""
    with Sandbox(call_seconds=60) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's journal, which is in the environment, with the sandbox's wallet."""
    path = tmp_path / "calls.sqlite"
    monkeypatch.setenv("ONESHOT_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("ONESHOT_WALLET_PRIVATE_KEY", sandbox.private_key)
    monkeypatch.setenv("ONESHOT_VOICE_JOURNAL", str(path))
    return path


@pytest.mark.parametrize("moment", ["Model:", "Paying", "Placed"] if FULL else ["Paying"])
def test_demo_stops_at_once(workers: Workers, moment: str) -> None:
    """Whatever it is at: one line, no traceback, status 130."""
    demo = Command(workers, "demo", "--call-seconds", "60")
    demo.shows(moment)
    assert demo.interrupt() == (130, [wording.demo_interrupted()])


def test_recover_stops_at_once_and_another_one_goes_on(
    workers: Workers, make_tool: MakeTool, make_caller: MakeCaller, sandbox: Sandbox, path: Path
) -> None:
    """The call that it waits for is let go of, and the next command takes it up at once."""
    assert path.parent.exists()
    make_tool(max_wait=0.01).invoke(tool_call())
    before = len(legs(sandbox, "socket"))
    recover = Command(workers, "recover")
    sandbox.wait_until(lambda: len(legs(sandbox, "socket")) > before, 20)
    assert recover.interrupt() == (130, [wording.interrupted()])
    [outcome] = make_caller().recover(0.0)
    assert outcome.request_id == sandbox.calls[0].request_id
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


@pytest.mark.parametrize("command", ["calls", "pause"] if FULL else ["pause"])
def test_command_that_waits_for_the_database_stops_at_once(
    workers: Workers, command: str, make_tool: MakeTool, path: Path
) -> None:
    """Somebody else has locked the journal: a command that waits for it can be stopped."""
    make_tool(max_wait=0.01).invoke(tool_call())
    locking = sqlite3.connect(path, isolation_level=None)
    locking.execute("BEGIN EXCLUSIVE")
    waiting = Command(workers, command)
    waiting.wait_for_threads(3)  # the main one, the engine's and the journal's
    assert waiting.interrupt() == (130, [wording.interrupted()])
    locking.close()


def test_ctrl_c_while_the_program_is_loaded() -> None:
    """Before a command has begun there is no traceback either. This program starts cold."""
    with subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _PROGRAM, "calls"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as loading:
        time.sleep(0.3)  # anywhere in a second of imports will do
        loading.send_signal(signal.SIGINT)
        _, said = loading.communicate(timeout=20)
    assert loading.returncode == 130
    assert said.strip().startswith("Stopped")
    assert len(said.strip().splitlines()) == 1


_FIRST_CELL = """
import logging
from langchain.agents import create_agent
from scripted_model import calls_then_says
from placing import arguments, at_any_hour, tool_call
from langchain_oneshot_voice import VoiceCallTool
tool = VoiceCallTool(policy=at_any_hour())
def agent(n):
    call = tool_call(f"call-{n}", **arguments(f"+1415555011{n}"))
    return create_agent(calls_then_says(call), [tool])
asked = {"messages": [{"role": "user", "content": "Call them."}]}
"""


async def test_interrupted_cells_give_the_prompt_back_and_say_what_is_left(
    path: Path, sandbox: Sandbox, journal: CallJournal
) -> None:
    """However the call was made. The kernel lives on, and each call is on record as placed."""
    assert path.parent.exists()
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    manager, client = await start_new_async_kernel(env=env)
    try:
        await client.execute_interactive(_FIRST_CELL, timeout=60, allow_stdin=False)
        cells = [
            "tool.invoke(tool_call('call-0', **arguments('+14155550110')))",
            "await tool.ainvoke(tool_call('call-1', **arguments('+14155550111')))",
            "agent(2).invoke(asked)",
            "await agent(3).ainvoke(asked)",
        ]
        for count, cell in enumerate(cells, 1):
            printed: list[str] = []
            pressing = asyncio.create_task(press(manager, journal, count))
            reply = await client.execute_interactive(
                cell,
                timeout=30,
                allow_stdin=False,
                output_hook=lambda said, into=printed: into.append(str(said["content"])),
            )
            took = time.monotonic() - await pressing
            assert took < 2 * SOON, f"{cell} took {took:.2f} s"
            assert reply["content"]["status"] == "error"
            assert "oneshot-voice recover" in "".join(printed), cell
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
    assert [record.state for record in await records(journal)] == ["placed"] * len(cells)
    assert len(sandbox.payments) == len(sandbox.rings) == len(cells)


async def press(manager: AsyncKernelManager, journal: CallJournal, count: int) -> float:
    """Interrupt the kernel when its last call is placed; when that was."""
    while [record.state for record in await records(journal)] != ["placed"] * count:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    await manager.interrupt_kernel()
    return time.monotonic()


async def records(journal: CallJournal) -> Sequence[CallRecord]:
    """What is on record."""
    return await ENGINE.acall(journal.recent)
