"""The journal against a model of it that fits in the head: any sequence of workers and waits."""

import asyncio
import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from full import FULL
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import event
from test_journal import new, sign, wait

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    Guard,
    IllegalMoveError,
    NumberBusy,
    SpendLimitReached,
    SpendLimits,
)

KEYS = st.sampled_from(["k1", "k2", "k3"])
# The first two calls are to one number, so that they stand in each other's way.
NUMBERS = {"k1": "+14155550101", "k2": "+14155550101", "k3": "+14155550102"}
WORKERS = st.integers(0, 1)
RUNS = st.sampled_from(["r1", "r2"])
LINE, DAY, ANSWERS_FOR = 45 * 60, 86400, 1000
DEAD_AFTER = 10
CAP = Decimal(3)
LIMITS = SpendLimits(max_cost_per_day=CAP, max_calls_per_number_per_day=None, duplicate_window=0)
UNSETTLED = {"signed", "placed", "unknown"}
ENDED = {"done", "declined", "edited"}
LEGAL = {
    "quoted": {"claimed", "quoted", "asking"},
    "asking": {"quoted", "asking"},
    "signed": {"quoted", "asking"},
    "placed": {"claimed", "quoted", "asking", "signed", "unknown"},
    "done": {"placed"},
    "declined": {"claimed", "quoted", "asking"},
    "edited": {"claimed", "quoted", "asking"},
    "refused": {"claimed", "quoted", "asking", "signed", "unknown"},
    "unknown": {"signed", "unknown"},
}
COLUMNS: dict[str, dict[str, Any]] = {
    "placed": {"request_id": "r"},
    "done": {"job": {}, "answered": True},
    "edited": {"edited_to": "another"},
    "refused": {"error_code": "no"},
    "unknown": {"error_code": "no answer"},
}
Holder = tuple[int, str]
"""A worker, and one of its runs."""


def do_not_wait_for_the_disk(connection: sqlite3.Connection, _record: object) -> None:
    """Commit faster: the machine does not crash here."""
    connection.execute("PRAGMA synchronous = OFF")


async def keep(journal: CallJournal) -> None:
    """Write what a journal writes from time to time."""
    await journal._write(journal._worker.run)


class Call:
    """What the model knows of one call."""

    def __init__(self) -> None:
        self.state = "claimed"
        self.attempt = 1
        self.holder: Holder | None = None
        self.line_since = 0.0
        self.spent_at = 0.0
        self.changed_at = 0.0
        self.reserved = Decimal(0)


class JournalMachine(RuleBasedStateMachine):
    """Two workers with two runs each, three keys, and a clock that the machine turns."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "calls.sqlite"
        # Heartbeats are written when the machine says so, and not from time to time.
        self.journals = [CallJournal(path, heartbeat=1e6, lease=DEAD_AFTER) for _ in "12"]
        for journal in self.journals:
            event.listen(journal._store.engine, "connect", do_not_wait_for_the_disk)
        self.now = 0.0
        self.beats = [float("-inf")] * 2
        self.calls: dict[str, Call] = {}
        self.retired: list[Call] = []

    def teardown(self) -> None:
        """Leave nothing open."""
        for journal in self.journals:
            self.runner.run(journal.aclose())
        self.runner.close()
        self.folder.cleanup()

    def read(self, key: str) -> CallRecord | None:
        """What is on disk of a call."""
        return self.runner.run(self.journals[0].read(key))

    def held(self, call: Call, worker: int) -> bool:
        """Whether the worker sees that a live worker has the call."""
        if call.holder is None:
            return False
        return call.holder[0] == worker or self.now - self.beats[call.holder[0]] < DEAD_AFTER

    def on_the_line(self, key: str) -> bool:
        """Whether another call may be on the number."""
        return any(
            other != key
            and NUMBERS[other] == NUMBERS[key]
            and call.state in UNSETTLED
            and call.line_since > self.now - LINE
            for other, call in self.calls.items()
        )

    def spent(self) -> Decimal:
        """The day's money."""
        counted = [
            call.reserved
            for call in [*self.calls.values(), *self.retired]
            if call.state in UNSETTLED | {"done"} and call.spent_at > self.now - DAY
        ]
        return sum(counted, Decimal(0))

    # Waits are never near a limit, so that the moments the test itself takes don't matter.
    @rule(seconds=st.sampled_from([5, 30, 130, LINE + 70, DAY + 500]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds
        wait(seconds, *self.journals)

    @rule(worker=WORKERS)
    def beat(self, worker: int) -> None:
        """A worker says that it is alive, if it has a reason."""
        journal = self.journals[worker]
        self.runner.run(keep(journal))
        if any(call.holder and call.holder[0] == worker for call in self.calls.values()):
            self.beats[worker] = self.now

    @rule(key=KEYS, worker=WORKERS, run=RUNS, forever=st.booleans())
    def claim(self, key: str, worker: int, run: str, forever: bool) -> None:
        """A run asks for a call."""
        call = self.calls.get(key)
        owner = f"{worker}{run}"
        answer = self.runner.run(
            self.journals[worker].claim(
                new(key, NUMBERS[key]),
                owner=owner,
                duplicate_window=0,
                answers_for=None if forever else ANSWERS_FOR,
            )
        )
        kind = answer.kind
        assert answer.record == self.read(answer.record.call_key)
        if call is not None and call.state in ENDED:
            if forever or call.changed_at > self.now - ANSWERS_FOR:
                assert kind == "finished"
                return
            self.retired.append(self.calls.pop(key))
            call = None
        if call is not None and call.holder != (worker, run) and self.held(call, worker):
            assert kind == "held"
        elif (call is None or call.state == "refused") and self.on_the_line(key):
            assert kind == "number_busy"
        else:
            assert kind == "mine"
            if call is None or call.state == "refused":
                attempt = 1 if call is None else call.attempt + 1
                call = self.calls[key] = Call()
                call.attempt = attempt
            call.holder, self.beats[worker] = (worker, run), self.now

    @rule(key=KEYS, worker=WORKERS, run=RUNS)
    def take(self, key: str, worker: int, run: str) -> None:
        """A run looks for what others left behind."""
        taken = self.runner.run(self.journals[worker].take(key, owner=f"{worker}{run}"))
        call = self.calls.get(key)
        if call is None or call.state in ENDED | {"refused"} or self.held(call, worker):
            assert taken is None
        else:
            assert taken is not None
            assert taken == self.read(key)
            call.holder, self.beats[worker] = (worker, run), self.now

    @rule(key=KEYS, worker=WORKERS, run=RUNS)
    def release(self, key: str, worker: int, run: str) -> None:
        """A run gives a call back."""
        self.runner.run(self.journals[worker].release(key, owner=f"{worker}{run}"))
        call = self.calls.get(key)
        if call is not None and call.holder == (worker, run):
            call.holder = None

    @rule(
        key=KEYS,
        worker=WORKERS,
        run=RUNS,
        state=st.sampled_from(sorted(LEGAL)),
        cents=st.integers(0, 350),
    )
    def step(self, key: str, worker: int, run: str, state: str, cents: int) -> None:
        """A run takes a step, whether or not it may."""
        amount = Decimal(cents) / 100
        call = self.calls.get(key)
        taking = self.attempt(key, worker, run, state, amount)
        if call is None or call.holder != (worker, run):
            assert self.runner.run(taking) is None
            return
        if state == call.state == "placed":
            assert self.runner.run(taking) is not None
            return
        if call.state not in LEGAL[state]:
            with pytest.raises(IllegalMoveError):
                self.runner.run(taking)
            return
        told = self.runner.run(taking)
        if state == "signed" and self.on_the_line(key):
            assert isinstance(told, NumberBusy)
            return
        if state == "signed" and self.spent() + amount > CAP:
            assert isinstance(told, SpendLimitReached)
            return
        assert isinstance(told, CallRecord)
        assert told == self.read(key)
        self.changed(call, state, amount)

    def changed(self, call: Call, state: str, amount: Decimal) -> None:
        """What a step does to a call."""
        call.state, call.changed_at = state, self.now
        if state == "signed":
            call.reserved = amount
            call.spent_at = call.line_since = self.now
        if state == "placed":
            call.line_since = self.now
            call.spent_at = call.spent_at or self.now
        if state == "refused":
            call.reserved = Decimal(0)
        if state in ENDED | {"refused", "unknown"}:
            call.holder = None

    async def attempt(
        self, key: str, worker: int, run: str, state: Any, amount: Decimal
    ) -> CallRecord | Guard | None:
        """Take the step in the journal."""
        journal, owner = self.journals[worker], f"{worker}{run}"
        if state == "signed":
            return await sign(journal, key, owner=owner, amount=str(amount), limits=LIMITS)
        return await journal.move(key, owner=owner, to=state, **COLUMNS.get(state, {}))

    @invariant()
    def agrees(self) -> None:
        """The journal and the model say the same of every call, and the cap holds."""
        recent = self.runner.run(self.journals[0].recent())
        records = {r.call_key: r for r in recent if "~" not in r.call_key}
        assert records.keys() == self.calls.keys()
        for key, call in self.calls.items():
            record = records[key]
            assert (record.state, record.attempt) == (call.state, call.attempt)
            owner = None if call.holder is None else f"{call.holder[0]}{call.holder[1]}"
            assert (record.owner, record.reserved) == (owner, call.reserved)
            assert (record.payment is not None) <= (record.signed_at is not None)
        unfinished = self.runner.run(self.journals[1].unfinished())
        assert {r.call_key for r in unfinished} == {
            key
            for key, call in self.calls.items()
            if call.state in UNSETTLED and not self.held(call, 1)
        }
        spent = self.runner.run(self.journals[1].spent(account="0xwallet", tenant=""))
        assert spent == self.spent() <= CAP


TestJournalAgainstItsModel = JournalMachine.TestCase
TestJournalAgainstItsModel.settings = settings(
    max_examples=40 if FULL else 12, stateful_step_count=40, deadline=None
)
