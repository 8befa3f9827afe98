"""Ctrl-C, SIGTERM and the end of the interpreter, with a call in flight.

Real signals and real graphs. The programs are in `interrupted.py`; each runs in a process of its
own, and the sandbox in this one.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeCaller
from full import FULL
from placing import NUMBER, legs

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallResult
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallRecord
from langchain_oneshot_voice.sandbox import CallScript, Fault

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")

HERE = Path(__file__).parent
AT_ONCE, IN_A_THREAD = (0.5, 1.5) if FULL else (3.0, 4.0)
"""Seconds until the program has left. Usually 0.05 and 0.4; the machine may be slow, most of all
beside other tests."""


_LONGEST = 5.0 if FULL else 20.0
"""Seconds until a program that hangs is killed."""


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
    answers: Path
    sent: float = 0.0
    has_ended: bool = False

    def send(self, number: int) -> None:
        """Send a signal."""
        self.sent = time.time()
        os.kill(self.pid, number)

    def ended(self, within: float) -> int:
        """Wait for the end; the exit status. The program has to leave in time."""
        status = self.end()
        took = self.said("left") - self.sent
        assert took < within, f"took {took:.2f} s\n{self.log.read_text()}"
        return status

    def end(self) -> int:
        """Wait for the end, and kill what does not end; the exit status."""
        killing = threading.Timer(_LONGEST, os.kill, (self.pid, signal.SIGKILL))
        killing.start()
        status = self.programs.end()
        killing.cancel()
        self.has_ended = True
        return status

    def kill(self) -> None:
        """End it, if it has not ended."""
        if not self.has_ended:
            os.kill(self.pid, signal.SIGKILL)
            self.end()

    def answer(self) -> None:
        """Answer what it waits for at its terminal."""
        self.answers.write_text("go on\n")

    def said(self, what: str) -> float:
        """When it said something, in epoch seconds; waits for it."""
        until = time.monotonic() + _LONGEST
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
def journal(journal_file: CallJournal) -> CallJournal:
    """The journal that the program writes to."""
    return journal_file


@pytest.fixture
def start(programs: Programs, sandbox: Sandbox, tmp_path: Path) -> Iterator[Start]:
    """Begins a program with the sandbox's wallet and the test's journal."""
    begun: list[Running] = []

    def begin(name: str, **more: Any) -> Running:
        task = {
            "program": name,
            "journal": str(tmp_path / "calls.sqlite"),
            "base_url": sandbox.base_url,
            "private_key": sandbox.private_key,
            "log": str(tmp_path / "log"),
            "answers": str(tmp_path / "answers"),
        }
        os.mkfifo(tmp_path / "answers")
        pid = programs.order(task | more)
        begun.append(Running(programs, pid, tmp_path / "log", tmp_path / "answers"))
        return begun[-1]

    yield begin
    for running in begun:
        running.kill()


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


IN_MAIN_THREAD = ["main_thread", "event_loop", "agent_async", "many_calls"]
IN_OTHER_THREADS = ["agent", "agent_stream", "pool_plain", "loop_in_thread", "batch"]
if FULL:
    IN_MAIN_THREAD += ["user_journal", "tool_node_async", "many_calls_in_a_loop"]
    IN_OTHER_THREADS += ["tool_node", "pool_block", "sync_node_of_async_graph"]
    IN_OTHER_THREADS += ["many_calls_in_a_thread"]


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


PAYING = (
    list(
        itertools.product(
            ["main_thread", "user_journal", "event_loop", "agent"], [signal.SIGINT, signal.SIGTERM]
        )
    )
    if FULL
    else [("user_journal", signal.SIGINT), ("event_loop", signal.SIGTERM)]
)
"""Programs that are interrupted while they pay, and the signals."""


@dataclass
class SlowAnswer:
    """Holds back the service's answer to a payment."""

    seconds: float
    begun: threading.Event

    def __call__(
        self, status: int, headers: dict[str, str], body: dict[str, Any] | None
    ) -> tuple[int, dict[str, str], dict[str, Any] | None]:
        """Answer late."""
        self.begun.set()
        time.sleep(self.seconds)
        return status, headers, body


@pytest.mark.parametrize(("name", "number"), PAYING)
def test_payment_on_its_way_is_recorded_before_the_journal_closes(
    name: str,
    number: signal.Signals,
    start: Start,
    sandbox: Sandbox,
    journal: CallJournal,
    make_caller: MakeCaller,
) -> None:
    """The answer comes within the grace, after the interrupt: its request id is on record."""
    slow = SlowAnswer(0.3, threading.Event())
    sandbox.tamper("paid", slow)
    running = start(name, sigterm="exit")
    assert slow.begun.wait(10)
    running.send(number)
    running.ended(IN_A_THREAD)
    sandbox.tamper("paid", None)
    require_recoverable(journal, sandbox, make_caller)


@pytest.mark.parametrize("name", ["main_thread", "event_loop", "tool_node"] if FULL else ["agent"])
def test_payment_without_an_answer_in_its_grace_stays_signed_and_is_found(
    name: str, start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """Exit does not wait for ever: recovery finds the call, which was paid, and pays nothing."""
    sandbox.inject(Fault("paid", "hang_after"))
    running = start(name, timing={"payment_cancelled": 0.1})
    sandbox.wait_until(lambda: bool(sandbox.rings), 10)
    running.send(signal.SIGINT)
    running.ended(IN_A_THREAD)
    assert on_record(journal).state == "signed"
    [outcome] = make_caller().recover(0.5)
    assert isinstance(outcome, VoiceCallResult)
    assert outcome.request_id == sandbox.calls[0].request_id
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


@pytest.mark.parametrize("is_down", [False, True], ids=["not tried yet", "nobody listens"])
def test_payment_that_was_not_sent_yet_is_never_sent(
    start: Start,
    sandbox: Sandbox,
    journal: CallJournal,
    make_caller: MakeCaller,
    is_down: bool,
) -> None:
    """Signed, on record, interrupted: neither this process nor recovery pays."""
    running = start("stops_at_paying", timing={"payment_unsent": 30.0})
    running.said("paying")
    if is_down:
        sandbox.stop()
        running.answer()
    running.send(signal.SIGINT)
    running.ended(IN_A_THREAD)
    if is_down:
        sandbox.start()
    record = on_record(journal)
    assert (record.state, record.error_code) == ("refused", "interrupted")
    assert make_caller().recover(0.5) == []
    assert (sandbox.payments, sandbox.rings) == ((), ())


def test_killed_process_is_recovered(
    start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """SIGTERM as Python leaves it ends the process at once: the record is enough."""
    running = start("main_thread")
    sandbox.wait_until(lambda: bool(legs(sandbox, "socket")), 10)
    running.send(signal.SIGTERM)
    assert running.end() == -signal.SIGTERM
    sandbox.wait_until(lambda: bool(make_caller().recover(0.0)), 10)
    assert on_record(journal).request_id == sandbox.calls[0].request_id
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


@pytest.mark.parametrize("name", ["cell", "agent_cell"])
def test_interrupted_cell_gives_the_prompt_back_and_the_process_notes_the_call(
    name: str, start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """As in a notebook: the process lives on, and says in one line what is left to do."""
    slow = SlowAnswer(0.4, threading.Event())
    sandbox.tamper("paid", slow)
    running = start(name)
    assert slow.begun.wait(10)
    running.send(signal.SIGINT)
    assert running.said("prompt") - running.sent < (AT_ONCE if name == "cell" else IN_A_THREAD)
    sandbox.tamper("paid", None)
    sandbox.wait_until(lambda: "oneshot-voice recover" in running.log.read_text())
    require_recoverable(journal, sandbox, make_caller)


@pytest.mark.parametrize(
    "name", ["main_thread", "agent", "tool_node", "event_loop"] if FULL else ["tool_node"]
)
def test_second_ctrl_c_does_no_harm(
    name: str, start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """An impatient person ends the program at least as soon, and the call is on record."""
    running = start(name)
    sandbox.wait_until(lambda: bool(legs(sandbox, "socket")), 10)
    running.send(signal.SIGINT)
    os.kill(running.pid, signal.SIGINT)
    running.ended(IN_A_THREAD)
    require_recoverable(journal, sandbox, make_caller)


@pytest.mark.parametrize("name", ["ends_by_exception", "exits_beside_daemon"])
def test_program_that_ends_notes_the_call(
    name: str, start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """An unhandled exception, or an exit beside a daemon thread, does not wait for the call."""
    slow = SlowAnswer(0.3, threading.Event())
    sandbox.tamper("paid", slow)
    running = start(name)
    assert slow.begun.wait(10)
    running.send(signal.SIGUSR1)
    assert running.ended(IN_A_THREAD) in {1, 3}
    sandbox.tamper("paid", None)
    require_recoverable(journal, sandbox, make_caller)


@pytest.mark.parametrize("name", ["main_ends", "begins_again"])
def test_thread_whose_program_was_not_interrupted_finishes_its_call(
    name: str, start: Start, sandbox: Sandbox
) -> None:
    """Python waits for threads when the main one has ended, and so does the tool."""
    sandbox.expect(NUMBER, CallScript(seconds=0.5))
    running = start(name)
    running.said("completed")
    running.end()


def test_program_that_goes_on_in_its_handler_keeps_its_calls(
    start: Start, sandbox: Sandbox
) -> None:
    """It asks whether to stop, or does its own work: it waits for no thread, and may go on."""
    sandbox.expect(NUMBER, CallScript(seconds=1.0))
    running = start("asks_whether_to_stop")
    running.said("completed")
    running.answer()
    assert running.end() == 0


def test_exit_in_a_thread_ends_that_thread_alone(
    start: Start, sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller
) -> None:
    """Calls of other threads go on; an interrupt of the program then ends them as ever."""
    running = start("exit_in_thread")
    sandbox.wait_until(lambda: bool(legs(sandbox, "socket")), 10)
    running.send(signal.SIGINT)
    running.ended(AT_ONCE)
    require_recoverable(journal, sandbox, make_caller)


def test_program_that_tries_again_on_any_exception_ends(start: Start, sandbox: Sandbox) -> None:
    """What ends the wait is no `Exception`: a loop that retries places no further call."""
    running = start("stubborn")
    sandbox.wait_until(lambda: bool(legs(sandbox, "socket")), 10)
    running.send(signal.SIGINT)
    running.ended(IN_A_THREAD)
    assert len(sandbox.rings) == 1


def test_question_to_a_person_does_not_hold_up_the_exit(start: Start, sandbox: Sandbox) -> None:
    """A function of the user's that waits at the terminal is left alone."""
    running = start("asks")
    running.said("asked")
    running.send(signal.SIGINT)
    running.ended(AT_ONCE)
    assert sandbox.payments == ()


def test_forked_child_that_exits_disturbs_no_call_of_its_parent(
    start: Start, sandbox: Sandbox
) -> None:
    """Its exit closes neither the parent's journal nor its connections."""
    sandbox.expect(NUMBER, CallScript(seconds=0.8))
    running = start("forked")
    sandbox.wait_until(lambda: bool(legs(sandbox, "socket")), 10)
    running.send(signal.SIGUSR1)
    running.said("completed")
    assert running.end() == 0
    assert len(sandbox.rings) == 1
