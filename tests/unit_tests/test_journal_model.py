"""The journal against a model of it that fits in the head: any sequence of workers and waits."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_journal import age, claim, new, sign

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    IllegalMoveError,
    LeaseLost,
    NumberBusy,
    SpendLimitReached,
    SpendLimits,
)

KEYS = st.sampled_from(["k1", "k2", "k3"])
# The first two calls are to one number, so that they stand in each other's way.
NUMBERS = {"k1": "+14155550101", "k2": "+14155550101", "k3": "+14155550102"}
WORKERS = st.sampled_from(["w1", "w2"])
LEASE, LINE, DAY = 100, 45 * 60, 86400
CAP = Decimal(3)
LIMITS = SpendLimits(max_cost_per_day=CAP, max_calls_per_number_per_day=None, duplicate_window=0)
UNSETTLED = {"signed", "placed", "unknown"}
LEGAL = {
    "quoted": {"claimed", "quoted"},
    "signed": {"claimed", "quoted"},
    "placed": {"claimed", "quoted", "signed", "unknown"},
    "done": {"placed"},
    "refused": {"claimed", "quoted", "signed", "unknown"},
    "unknown": {"signed", "unknown"},
}


class Call:
    """What the model knows of one call."""

    def __init__(self) -> None:
        self.state = "claimed"
        self.attempt = 1
        self.owner: str | None = None
        self.lease_until = 0.0
        self.line_since = 0.0
        self.spent_at = 0.0
        self.reserved = Decimal(0)


class JournalMachine(RuleBasedStateMachine):
    """Two workers, three keys, and a clock that the machine turns."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.journal = CallJournal("memory")
        self.now = 0.0
        self.calls: dict[str, Call] = {}

    def teardown(self) -> None:
        """Leave nothing open."""
        self.runner.run(self.journal.aclose())
        self.runner.close()

    def held(self, call: Call, worker: str) -> bool:
        """Whether someone else's lease is alive."""
        return call.owner not in (None, worker) and call.lease_until > self.now

    def on_the_line(self, key: str) -> bool:
        """Whether another call may be on the number."""
        return any(
            other != key
            and NUMBERS[other] == NUMBERS[key]
            and call.state in UNSETTLED
            and call.line_since > self.now - LINE
            for other, call in self.calls.items()
        )

    def spent(self, *, but: str | None = None) -> Decimal:
        """The day's money."""
        counted = [
            call.reserved
            for key, call in self.calls.items()
            if key != but and call.state in UNSETTLED | {"done"} and call.spent_at > self.now - DAY
        ]
        return sum(counted, Decimal(0))

    # Waits are never near a limit, so that the moments the test itself takes don't matter.
    @rule(seconds=st.sampled_from([30, 130, LINE + 70, DAY + 500]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds
        self.runner.run(age(self.journal, seconds))

    @rule(key=KEYS, worker=WORKERS)
    def claim(self, key: str, worker: str) -> None:
        """A worker asks for a call."""
        asked = claim(self.journal, new(key, NUMBERS[key]), worker, lease=LEASE)
        kind = self.runner.run(asked).kind
        call = self.calls.get(key)
        if call is not None and call.state == "done":
            assert kind == "finished"
        elif call is not None and self.held(call, worker):
            assert kind == "held"
        elif (call is None or call.state == "refused") and self.on_the_line(key):
            assert kind == "number_busy"
        else:
            assert kind == "mine"
            if call is None or call.state == "refused":
                attempt = 1 if call is None else call.attempt + 1
                call = self.calls[key] = Call()
                call.attempt = attempt
            call.owner, call.lease_until = worker, self.now + LEASE

    @rule(key=KEYS, worker=WORKERS)
    def take(self, key: str, worker: str) -> None:
        """A worker looks for what others left behind."""
        taken = self.runner.run(self.journal.take(key, owner=worker, lease=LEASE))
        call = self.calls.get(key)
        alive = call is not None and call.owner is not None and call.lease_until > self.now
        if call is None or alive or call.state in ("done", "refused"):
            assert taken is None
        else:
            assert taken is not None
            call.owner, call.lease_until = worker, self.now + LEASE

    @rule(key=KEYS, worker=WORKERS)
    def release(self, key: str, worker: str) -> None:
        """A worker gives a call back."""
        self.runner.run(self.journal.release(key, owner=worker))
        call = self.calls.get(key)
        if call is not None and call.owner == worker:
            call.owner = None

    @rule(key=KEYS, worker=WORKERS, state=st.sampled_from(sorted(LEGAL)), cents=st.integers(0, 350))
    def step(self, key: str, worker: str, state: str, cents: int) -> None:
        """A worker takes a step, whether or not it may."""
        amount = Decimal(cents) / 100
        call = self.calls.get(key)
        error = self.expected(key, worker, state, amount)
        if error is not None:
            with pytest.raises(error):
                self.runner.run(self.attempt(key, worker, state, amount))
            return
        self.runner.run(self.attempt(key, worker, state, amount))
        assert call is not None
        if call.state == state == "placed":
            return
        call.state = state
        if state == "signed":
            call.reserved = amount
            call.spent_at = call.line_since = self.now
        if state == "placed":
            call.line_since = self.now
            call.spent_at = call.spent_at or self.now
        if state == "refused":
            call.reserved = Decimal(0)
        if state in ("done", "refused", "unknown"):
            call.owner = None

    def expected(
        self, key: str, worker: str, state: str, amount: Decimal
    ) -> type[Exception] | None:
        """What should stand in the way of a step."""
        call = self.calls.get(key)
        if call is None or call.owner != worker:
            return LeaseLost
        if state == "placed" and call.state == "placed":
            return None
        if call.state not in LEGAL[state]:
            return IllegalMoveError
        if state == "signed" and self.on_the_line(key):
            return NumberBusy
        if state == "signed" and self.spent(but=key) + amount > CAP:
            return SpendLimitReached
        return None

    async def attempt(self, key: str, worker: str, state: str, amount: Decimal) -> CallRecord:
        """Take the step in the journal."""
        whose: dict[str, Any] = {"owner": worker}
        match state:
            case "quoted":
                return await self.journal.quoted(
                    key, **whose, quote={}, quote_id=None, quote_expires_at=None
                )
            case "signed":
                return await sign(self.journal, key, **whose, amount=str(amount), limits=LIMITS)
            case "placed":
                return await self.journal.placed(key, **whose, request_id=f"request of {key}")
            case "done":
                return await self.journal.done(key, **whose, job={}, answered=True)
            case "refused":
                return await self.journal.refused(key, **whose, error_code="no")
            case _:
                return await self.journal.unknown(key, **whose, error_code="no answer")

    @invariant()
    def agrees(self) -> None:
        """The journal and the model say the same of every call, and the cap holds."""
        records = {r.call_key: r for r in self.runner.run(self.journal.recent())}
        assert records.keys() == self.calls.keys()
        for key, call in self.calls.items():
            record = records[key]
            assert (record.state, record.attempt) == (call.state, call.attempt)
            assert (record.lease_owner, record.reserved) == (call.owner, call.reserved)
            assert (record.payment is not None) <= (record.signed_at is not None)
        spent = self.runner.run(self.journal.spent(account="0xwallet", tenant=""))
        assert spent == self.spent() <= CAP


TestJournalAgainstItsModel = JournalMachine.TestCase
TestJournalAgainstItsModel.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
