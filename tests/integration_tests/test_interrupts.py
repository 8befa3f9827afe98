"""Ctrl-C, SIGTERM and the end of the interpreter, with a call in flight: real signals, real graphs.

The programs are in `interrupted.py`; each runs in a process of its own, and the sandbox in this one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeCaller
from placing import legs

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallResult
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallRecord
from langchain_oneshot_voice.sandbox import Fault

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")

HERE = Path(__file__).parent
AT_ONCE = 0.5
IN_A_THREAD = 1.5
"""Seconds until the program has left. Usually 0.05 and 0.4; the machine may be slow."""


class Programs:
    """The warm process that forks a child for each program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, str(HERE / "interrupted.py")],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, task: dict[str, Any]) -> int:
        """Begin a program, and return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._hear()["forked"])

    def end(self) -> int:
        """Wait for the program's end, and return its exit status, negative for a signal."""
        return int(self._hear()["status"])

    def close(self) -> None:
        """End the warm process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        heard: dict[str, Any] = json.loads(self._process.stdout.readline())
        return heard


@dataclass
class Running:
    """A program that runs."""

    programs: Programs
    pid: int
    log: Path

    def send(self, number: int) -> None:
        """Send a signal."""
        self.sent = time.time()
        os.kill(self.pid, number)

    def ended(self, within: float) -> int:
        """Wait for the end; the exit status. The program has to leave in time."""
        status = self.programs.end()
        took = self.said("left") - self.sent
        assert took < within, f"took {took:.2f} s\n{self.log.read_text()}"
        return status

    def said(self, what: str) -> float:
        """When it said something, in epoch seconds; waits for it."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for line in self.log.read_text().splitlines() if self.log.exists() else ():
                if line.startswith(f"{what} "):
                    return float(line.split()[-1])
            time.sleep(0.002)
        raise AssertionError(f"it never said {what!r}:\n{self.log.read_text()}")


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    """The process that has everything imported."""
    made = Programs()
    yield made
    made.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service whose calls take longer than any test."""
    with Sandbox(call_seconds=60) as running:
        yield running


@pytest.fixture
def start(programs: Programs, sandbox: Sandbox, tmp_path: Path) -> Start:
    """Begins a program with the sandbox's wallet and the test's journal."""

    def begin(name: str, **more: Any) -> Running:
        task = {
            "program": name,
            "journal": str(tmp_path / "calls.sqlite"),
            "base_url": sandbox.base_url,
            "private_key": sandbox.private_key,
            "log": str(tmp_path / "log"),
        }
        return Running(programs, programs.order(task | more), tmp_path / "log")

    return begin


def on_record(journal: CallJournal) -> CallRecord:
    """The one call."""
    [record] = ENGINE.call(journal.recent)
    return record


def require_recoverable(journal: CallJournal, sandbox: Sandbox, make_caller: MakeCaller) -> None:
    """The call is on record as placed, and another process goes on with it: one payment, one ring.

    It was let go of, so that nobody waits for a heartbeat to fail.
    """
    record = on_record(journal)
    assert (record.state, record.request_id) == ("placed", sandbox.calls[0].request_id)
    [outcome] = make_caller().recover(0.0)
    assert isinstance(outcome, VoiceCallResult)
    assert (outcome.call_status, outcome.request_id) == ("in_progress", record.request_id)
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


IN_MAIN_THREAD = ["main_thread", "user_journal", "event_loop", "agent_async", "tool_node_async"]
IN_OTHER_THREADS = [
    "agent",
    "agent_stream",
    "tool_node",
    "pool_block",
    "pool_plain",
    "loop_in_thread",
    "sync_node_of_async_graph",
]


@pytest.mark.parametrize("name", IN_MAIN_THREAD + IN_OTHER_THREADS)
def test_ctrl_c_ends_the_program_and_the_call_is_recovered(
    name: str, start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """While the phone rings: the program ends in a moment, by the signal, and nothing is lost."""
    running = start(name)
    sandbox.wait_until(lambda: bool(legs(sandbox, "socket") or legs(sandbox, "poll")), 10)
    running.send(signal.SIGINT)
    assert running.ended(AT_ONCE if name in IN_MAIN_THREAD else IN_A_THREAD) in {-signal.SIGINT, 1}
    require_recoverable(journal, sandbox, make_caller)
