"""The day's money, kept as sums by minute and hour, against a plain sum over the calls."""

import asyncio
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import test_journal
from full import FULL
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from test_journal import DAY, bring, claim, known, new, quoted, sign, wait

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    SpendLimitReached,
    SpendLimits,
    spend,
)
from langchain_oneshot_voice.journal.schema import calls, record_columns

_journal_url = test_journal._journal_url
journal = test_journal.journal

COUNTED = ("signed", "placed", "done", "unknown")
PAUSES = st.sampled_from([0, 0.5, 20, 59, 61, 3000, DAY / 3])
CENTS = st.integers(0, 300)
ENDS = st.sampled_from(["signed", "placed", "done", "charged", "unknown", "refused", "unpaid"])
HISTORIES = st.lists(st.tuples(PAUSES, CENTS, ENDS, st.sampled_from(["a", "b"])), max_size=12)


async def live(journal: CallJournal, key: str, cents: int, end: str, tenant: str) -> None:
    """One call with a number of its own, as far as it gets."""
    call = new(key, f"+1415555{int(key):04}", tenant=tenant)
    amount = str(Decimal(cents) / 100)
    if end == "unpaid":
        await claim(journal, call)
        await journal.move(key, owner="w1", to="placed", request_id=key)
        await journal.move(key, owner="w1", to="done", charged=Decimal(cents) / 300)
    elif end == "refused":
        await quoted(journal, call)
        await sign(journal, key, amount=amount)
        await journal.move(key, owner="w1", to="refused", error_code="no")
    elif end == "charged":
        await bring(journal, call, "placed", amount=amount)
        await journal.move(key, owner="w1", to="done", charged=Decimal(cents) / 200)
    else:
        await bring(journal, call, end, amount=amount)


def committed(call: CallRecord) -> tuple[float, Decimal]:
    """When a call began to cost money, and how much."""
    when = call.signed_at or call.placed_at
    assert when is not None
    return when, max(call.reserved, call.charged or Decimal(0))


def plain(made: list[CallRecord], tenant: str, since: float) -> list[tuple[float, Decimal]]:
    """What the calls of a tenant cost since then, one by one, oldest first."""
    costs = [committed(c) for c in made if c.tenant == tenant and c.state in COUNTED]
    return sorted(cost for cost in costs if cost[0] > since)


@settings(max_examples=25 if FULL else 10)
@given(HISTORIES, st.floats(0, 130), CENTS, st.integers(1, 600))
def test_kept_sums_are_the_plain_sum(
    history: list[tuple[float, int, str, str]], late: float, cents: int, cap_cents: int
) -> None:
    """The total, and the time at which there is room, are those of the calls one by one."""

    async def run() -> None:
        journal = CallJournal("memory")
        for number, (pause, cost, end, tenant) in enumerate(history):
            wait(pause, journal)
            await live(journal, str(number), cost, end, tenant)
        wait(late, journal)
        made = await journal.recent(limit=100)
        await quoted(journal, new("new", "+14155559999", tenant="a"))
        amount, cap = Decimal(cents) / 100, Decimal(cap_cents) / 100
        limits = SpendLimits(
            max_cost_per_day=cap, max_calls_per_number_per_day=None, duplicate_window=0
        )
        for seconds in (1, 60, 3600, DAY):
            before = await clock(journal)
            spent = await journal.spent(account="0xwallet", tenant="b", seconds=seconds)
            # A call may leave the window while it is asked.
            leaving = [when for when, _ in plain(made, "b", before - seconds)]
            ends = [when for when in leaving if when <= await clock(journal) - seconds]
            assert spent in [total(plain(made, "b", e)) for e in (before - seconds, *ends)]
        signed = await sign(journal, "new", amount=str(amount), limits=limits)
        costs = plain(made, "a", await clock(journal) - DAY)
        spent = total(costs)
        if isinstance(signed, SpendLimitReached):
            assert (signed.spent, signed.amount) == (spent, amount)
            assert signed.resets_at == room_at(costs, spent + amount - cap, amount > cap)
        else:
            assert isinstance(signed, CallRecord)
            assert spent + amount <= cap
        await journal.aclose()

    asyncio.run(run())


async def clock(journal: CallJournal) -> float:
    """The journal's time."""
    return await journal._read(lambda _connection, now: now)


def total(costs: list[tuple[float, Decimal]]) -> Decimal:
    """The sum of the costs."""
    return sum((cost for _, cost in costs), Decimal(0))


def room_at(costs: list[tuple[float, Decimal]], excess: Decimal, never: bool) -> float | None:
    """When enough of the costs are a day old."""
    if never:
        return None
    for when, cost in costs:
        excess -= cost
        if excess <= 0:
            return when + DAY
    raise AssertionError


HOUR = 1_700_002_800.0
MOMENTS = st.builds(
    lambda hours, minutes, seconds: HOUR + 3600 * hours + 60 * minutes + seconds,
    st.integers(0, 2),
    st.sampled_from([0, 1, 2, 30, 58, 59]),
    st.sampled_from([0, 0.25, 30, 59.75]),
)


def recorded(connection: Connection, key: str, when: float, cost: Decimal) -> None:
    """Put a call on record that was signed at a moment, and count its cost."""
    values: dict[str, Any] = {
        **dict.fromkeys(column.name for column in record_columns),
        **asdict(new(key, account="a")),
        "state": "signed",
        "attempt": 1,
        "reserved": cost,
        "created_at": when,
        "signed_at": when,
        "updated_at": when,
    }
    call = CallRecord(**values)
    connection.execute(calls.insert(), asdict(call))
    spend.count(connection, replace(call, reserved=Decimal(0), signed_at=None), call)


@settings(max_examples=150 if FULL else 40)
@given(st.lists(st.tuples(MOMENTS, CENTS), max_size=8), MOMENTS, st.integers(1, 900))
def test_sums_are_exact_at_every_boundary(
    made: list[tuple[float, int]], since: float, cents: int
) -> None:
    """A window may begin at the first moment of a minute or an hour, and a call may be there."""
    costs = sorted((when, Decimal(cost) / 100) for when, cost in made)
    left = [(when, cost) for when, cost in costs if when > since]
    amounts = [Decimal(cents) / 100, *(total(left[:n]) for n in range(1, len(left) + 1))]

    def count(connection: Connection, _now: float) -> tuple[Decimal, list[float | None]]:
        for number, (when, cost) in enumerate(costs):
            recorded(connection, str(number), when, cost)
        return (
            spend.total(connection, "a", "", since),
            [spend.falls_by(connection, "a", "", since, a) for a in amounts if a > 0],
        )

    async def run() -> None:
        journal = CallJournal("memory")
        spent, falls = await journal._write(count)
        await journal.aclose()
        assert spent == total(left)
        never = [total(left) < amount for amount in amounts]
        rooms = [room_at(left, a, n) for a, n in zip(amounts, never, strict=True) if a > 0]
        assert [None if at is None else at + DAY for at in falls] == rooms

    asyncio.run(run())


async def test_the_window_is_exact_within_a_minute(journal: CallJournal) -> None:
    """Of two calls in the same minute, the one that is older than the window does not count."""
    wait(70 - await clock(journal) % 60, journal)  # ten seconds into a minute
    await bring(journal, new("k1", "+14155550111"), "done", amount="1.00")
    wait(20, journal)
    await bring(journal, new("k2", "+14155550112"), "done", amount="2.00")
    first = await known(journal, "k1")
    wait(DAY - 10, journal)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("2.00")
    await quoted(journal, new("k3", "+14155550113"))
    limits = SpendLimits(
        max_cost_per_day=Decimal(2), max_calls_per_number_per_day=None, duplicate_window=0
    )
    reached = await sign(journal, "k3", amount="0.01", limits=limits)
    second = await known(journal, "k2")
    assert isinstance(reached, SpendLimitReached)
    assert reached.resets_at == (second.signed_at or 0) + DAY
    assert (first.signed_at or 0) // 60 == (second.signed_at or 0) // 60
