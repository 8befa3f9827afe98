"""What stands in a call's way: a wish not to be called, a twin, a busy line, the day's limits.

Each guard looks at other rows only and is asked inside a writing transaction, where nothing can
change between the question and what follows from it. What a limit *is* belongs to the policy; here
it is only held.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from langchain_oneshot_voice.journal.records import (
    CallRecord,
    DuplicateCall,
    NewCall,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    SpendLimitReached,
    SpendLimits,
)
from langchain_oneshot_voice.journal.schema import (
    call_numbers,
    calls,
    committed_at,
    journal_meta,
    to_dollars,
    to_record,
)
from langchain_oneshot_voice.journal.suppressions import suppressed

LINE_BUSY_SECONDS = 45 * 60.0
"""How long a signed call may still ring or talk: ten minutes in which its authorization can be
taken, thirty of talk, and a margin. After that no phone can be on it."""

DAY_SECONDS = 24 * 60 * 60.0

UNSETTLED = ("signed", "placed", "unknown")
"""States in which money may move and the phone may ring."""

SPENDING = (*UNSETTLED, "done")
"""States whose money counts against the day's."""

# A late acceptance starts the clock of the line again, not that of the spend.
_line_since = func.coalesce(calls.c.placed_at, calls.c.signed_at)
_cost = func.coalesce(calls.c.charged, calls.c.reserved)

# Statements are built once: building one costs as much as running it.
_UNDER_WAY = and_(calls.c.state.in_(UNSETTLED), _line_since > bindparam("line_since"))
_JUST_ANSWERED = and_(
    calls.c.state == "done",
    calls.c.answered.is_(True),
    calls.c.updated_at > bindparam("answered_since"),
)
_OTHERS = (
    select(calls)
    .where(
        calls.c.account == bindparam("account"),
        calls.c.base_url == bindparam("base_url"),
        calls.c.call_key != bindparam("call_key"),
    )
    .order_by(calls.c.updated_at.desc())
    .limit(1)
)
_DUPLICATE = _OTHERS.where(
    calls.c.fingerprint == bindparam("fingerprint"),
    calls.c.tenant == bindparam("tenant"),
    or_(_UNDER_WAY, _JUST_ANSWERED),
)
_BUSY = _OTHERS.join(call_numbers, call_numbers.c.call_key == calls.c.call_key).where(
    call_numbers.c.number.in_(bindparam("numbers", expanding=True)), _UNDER_WAY
)
_SPENDING = and_(
    calls.c.account == bindparam("account"),
    calls.c.tenant == bindparam("tenant"),
    calls.c.state.in_(SPENDING),
    committed_at > bindparam("since"),
    calls.c.call_key != bindparam("call_key"),
)
_TOTAL = select(func.sum(_cost)).where(_SPENDING)
_COSTS = select(committed_at, _cost).where(_SPENDING).order_by(committed_at)
_CALLED = (
    select(call_numbers.c.number, committed_at)
    .join(call_numbers, call_numbers.c.call_key == calls.c.call_key)
    .where(_SPENDING, call_numbers.c.number.in_(bindparam("numbers", expanding=True)))
    .order_by(committed_at)
)
_NUMBER_KEY = select(journal_meta.c.value).where(journal_meta.c.name == "number_key")


def find_duplicate(
    connection: Connection, now: float, call: NewCall | CallRecord, window: float
) -> CallRecord | None:
    """Find another call that is the same in substance and under way, unknown, or just answered."""
    if window <= 0:
        return None
    terms = {
        "account": call.account,
        "tenant": call.tenant,
        "base_url": call.base_url,
        "call_key": call.call_key,
        "fingerprint": call.fingerprint,
        "line_since": now - LINE_BUSY_SECONDS,
        "answered_since": now - window,
    }
    row = connection.execute(_DUPLICATE, terms).first()
    return None if row is None else to_record(row)


def find_busy(connection: Connection, now: float, call: NewCall | CallRecord) -> CallRecord | None:
    """Find another call of the account, of any tenant, that may be on one of the numbers."""
    terms = {
        "account": call.account,
        "base_url": call.base_url,
        "call_key": call.call_key,
        "numbers": call.numbers,
        "line_since": now - LINE_BUSY_SECONDS,
    }
    row = connection.execute(_BUSY, terms).first()
    return None if row is None else to_record(row)


def check(
    connection: Connection, now: float, call: CallRecord, reserving: int, limits: SpendLimits
) -> None:
    """Ask every guard whether the call may be signed for this many micro-dollars.

    Raises:
        JournalRefusal: the first guard that says no.
    """
    unwelcome = suppressed(connection, call.numbers)
    if unwelcome:
        raise NumberSuppressed(unwelcome)
    duplicate = find_duplicate(connection, now, call, limits.duplicate_window)
    if duplicate is not None:
        raise DuplicateCall(duplicate)
    busy = find_busy(connection, now, call)
    if busy is not None:
        raise NumberBusy(busy)
    if limits.max_cost_per_day is not None:
        _check_spend(connection, now, call, reserving, limits.max_cost_per_day)
    if limits.max_calls_per_number_per_day is not None:
        _check_numbers(connection, now, call, limits.max_calls_per_number_per_day)


def total_spent(connection: Connection, account: str, tenant: str, since: float) -> int:
    """Add up the micro-dollars charged or reserved since then."""
    terms = {"account": account, "tenant": tenant, "since": since, "call_key": ""}
    return int(connection.scalar(_TOTAL, terms) or 0)


def number_tag(connection: Connection, number: str) -> str:
    """Name a forgotten number by a hash that only this journal can make."""
    key = str(connection.scalar(_NUMBER_KEY))
    return "#" + hmac.new(key.encode(), number.encode(), hashlib.sha256).hexdigest()


def _check_spend(
    connection: Connection, now: float, call: CallRecord, reserving: int, limit: Decimal
) -> None:
    cap = int(limit * 1_000_000)  # rounds down, as an amount rounds up
    terms = _day_of(call, now)
    spent = int(connection.scalar(_TOTAL, terms) or 0)
    if spent + reserving <= cap:
        return
    resets_at: float | None = None
    if reserving <= cap:
        left = spent
        for committed, cost in connection.execute(_COSTS, terms).all():
            left -= cost
            if left + reserving <= cap:
                resets_at = committed + DAY_SECONDS
                break
    raise SpendLimitReached(
        "max_cost_per_day", limit, to_dollars(spent), to_dollars(reserving), resets_at
    )


def _check_numbers(connection: Connection, now: float, call: CallRecord, cap: int) -> None:
    names = {number: number for number in call.numbers}
    names |= {number_tag(connection, number): number for number in call.numbers}
    called = connection.execute(_CALLED, {**_day_of(call, now), "numbers": tuple(names)})
    times: defaultdict[str, list[float]] = defaultdict(list)
    for name, committed in called:
        times[names[name]].append(committed)
    for number in call.numbers:
        if len(times[number]) >= cap:
            # So many have to leave the window that one less than the cap is left in it.
            resets_at = times[number][-cap] + DAY_SECONDS if cap > 0 else None
            raise NumberLimitReached(number, cap, resets_at)


def _day_of(call: CallRecord, now: float) -> dict[str, Any]:
    return {
        "account": call.account,
        "tenant": call.tenant,
        "since": now - DAY_SECONDS,
        "call_key": call.call_key,
    }
