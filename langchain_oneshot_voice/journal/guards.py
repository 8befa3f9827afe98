"""Guards: reasons not to sign a call now.

They are the stop switch, the do-not-call list, a duplicate call, a busy number, the fee for the
wallet's number, and the limits of a day. Each guard reads the rows of other calls inside a writing
transaction, so nothing can change between the check and the signature. The policy sets the limits.
"""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from langchain_oneshot_voice.journal import spend
from langchain_oneshot_voice.journal.records import (
    CallRecord,
    DuplicateCall,
    Guard,
    NewCall,
    NumberBusy,
    NumberFeePaid,
    NumberLimitReached,
    NumberSuppressed,
    Paused,
    SpendLimitReached,
    SpendLimits,
)
from langchain_oneshot_voice.journal.schema import (
    call_numbers,
    calls,
    committed,
    journal_meta,
    record_columns,
    unsettled,
)
from langchain_oneshot_voice.journal.stop_switch import paused
from langchain_oneshot_voice.journal.suppressions import suppressed

LINE_BUSY_SECONDS = 45 * 60.0
"""How long a signed call may keep a phone busy, in seconds.

Ten minutes until its authorization ends, thirty minutes of talk, and a margin.
"""

_FEE_SECONDS = 60 * 60.0
"""How long after a payment of the number's fee a quote may still contain the fee, in seconds."""

_FEE_IN_FLIGHT_SECONDS = 120.0
"""How long other calls wait for a payment of the fee that is in flight, in seconds."""

DAY_SECONDS = 24 * 60 * 60.0

# Statements are built once, because building one costs as much as running it.
_DUPLICATE = (
    select(*record_columns)
    .where(
        calls.c.fingerprint == bindparam("fingerprint"),
        calls.c.account == bindparam("account"),
        calls.c.tenant == bindparam("tenant"),
        calls.c.base_url == bindparam("base_url"),
        # Lets the index skip old rows: a duplicate changed its state after this time.
        calls.c.updated_at > bindparam("changed_since"),
        calls.c.call_key != bindparam("call_key"),
        committed,
        or_(
            and_(
                unsettled,
                func.coalesce(calls.c.placed_at, calls.c.signed_at) > bindparam("line_since"),
            ),
            and_(
                calls.c.state == "done",
                calls.c.answered.is_(True),
                calls.c.updated_at > bindparam("answered_since"),
            ),
        ),
    )
    .order_by(calls.c.updated_at.desc())
    .limit(1)
)
_BUSY = (
    select(*record_columns)
    .join(call_numbers, call_numbers.c.call_key == calls.c.call_key)
    .where(
        call_numbers.c.number == bindparam("number"),
        call_numbers.c.line_since > bindparam("line_since"),
        call_numbers.c.account == bindparam("account"),
        calls.c.base_url == bindparam("base_url"),
        calls.c.call_key != bindparam("call_key"),
    )
    .order_by(call_numbers.c.line_since.desc())
    .limit(1)
)
_FEE_PAID = (
    select(calls.c.placed_at)
    .where(
        calls.c.account == bindparam("account"),
        calls.c.base_url == bindparam("base_url"),
        calls.c.call_key != bindparam("call_key"),
        calls.c.number_fee.is_not(None),
        committed,
        calls.c.signed_at > bindparam("since"),
        or_(calls.c.placed_at.is_not(None), calls.c.signed_at > bindparam("in_flight_since")),
    )
    .order_by(calls.c.placed_at.desc().nulls_first())
    .limit(1)
)
_CALLED = (
    select(call_numbers.c.committed_at)
    .where(
        call_numbers.c.number.in_([bindparam("number"), bindparam("tag")]),
        call_numbers.c.committed_at > bindparam("since"),
        call_numbers.c.account == bindparam("account"),
        call_numbers.c.tenant == bindparam("tenant"),
    )
    .order_by(call_numbers.c.committed_at.desc())
    .limit(bindparam("cap"))
)
_NUMBER_KEY = select(journal_meta.c.value).where(journal_meta.c.name == "number_key")


def find_duplicate(
    connection: Connection, now: float, call: NewCall | CallRecord, window: float
) -> CallRecord | None:
    """Find an equal call with another key that is in progress, unknown, or recently answered."""
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
        "changed_since": now - max(LINE_BUSY_SECONDS, window),
    }
    row = connection.execute(_DUPLICATE, terms).first()
    return None if row is None else CallRecord(**row._mapping)  # noqa: SLF001 - its public name


def find_busy(connection: Connection, now: float, call: NewCall | CallRecord) -> CallRecord | None:
    """Find another call of the account, of any tenant, that may keep one of the numbers busy."""
    terms = {
        "account": call.account,
        "base_url": call.base_url,
        "call_key": call.call_key,
        "line_since": now - LINE_BUSY_SECONDS,
    }
    for number in call.numbers:
        row = connection.execute(_BUSY, {**terms, "number": number}).first()
        if row is not None:
            return CallRecord(**row._mapping)  # noqa: SLF001 - its public name
    return None


def check(
    connection: Connection,
    now: float,
    call: CallRecord,
    amount: Decimal,
    number_fee: Decimal | None,
    limits: SpendLimits,
) -> Guard | None:
    """Return the first guard that forbids signing the call for this amount."""
    if bar := barred(connection, now, call.numbers):
        return bar
    if duplicate := find_duplicate(connection, now, call, limits.duplicate_window):
        return DuplicateCall(duplicate)
    if busy := find_busy(connection, now, call):
        return NumberBusy(busy)
    if number_fee and limits.one_number_fee and (paid := _find_number_fee(connection, now, call)):
        return paid
    return _check_spend(connection, now, call, amount, limits.max_cost_per_day) or _check_numbers(
        connection, now, call, limits.max_calls_per_number_per_day
    )


def barred(
    connection: Connection, now: float, numbers: tuple[str, ...]
) -> Paused | NumberSuppressed | None:
    """Return the stop switch or the do-not-call entry that forbids calls to these numbers."""
    if stopped := paused(connection, now):
        return stopped
    listed = suppressed(connection, now, numbers)
    return NumberSuppressed(listed) if listed else None


def number_tag(connection: Connection, number: str) -> str:
    """Return the keyed hash that stands for a forgotten number; only this journal has the key."""
    key = connection.info.get("number key")
    if key is None:  # it never changes, so each connection reads it once
        key = connection.info["number key"] = str(connection.scalar(_NUMBER_KEY))
    return "#" + hmac.new(key.encode(), number.encode(), hashlib.sha256).hexdigest()


def _find_number_fee(connection: Connection, now: float, call: CallRecord) -> NumberFeePaid | None:
    """Find another call of the account that pays, or has just paid, the same number fee."""
    terms = {
        "account": call.account,
        "base_url": call.base_url,
        "call_key": call.call_key,
        "since": now - _FEE_SECONDS,
        "in_flight_since": now - _FEE_IN_FLIGHT_SECONDS,
    }
    row = connection.execute(_FEE_PAID, terms).first()
    return None if row is None else NumberFeePaid(settled=row.placed_at is not None)


def _check_spend(
    connection: Connection, now: float, call: CallRecord, amount: Decimal, cap: Decimal | None
) -> SpendLimitReached | None:
    if cap is None:
        return None
    since = now - DAY_SECONDS
    spent = spend.total(connection, call.account, call.tenant, since)
    if (excess := spent + amount - cap) <= 0:
        return None
    resets_at = None
    if amount <= cap:
        committed = spend.falls_by(connection, call.account, call.tenant, since, excess)
        resets_at = None if committed is None else committed + DAY_SECONDS
    return SpendLimitReached("max_cost_per_day", cap, spent, amount, resets_at)


def _check_numbers(
    connection: Connection, now: float, call: CallRecord, cap: int | None
) -> NumberLimitReached | None:
    if cap is None:
        return None
    terms = {
        "account": call.account,
        "tenant": call.tenant,
        "since": now - DAY_SECONDS,
        "cap": cap,
    }
    for number in call.numbers:
        # Calls that were forgotten today are counted by the tag of the number.
        names = {"number": number, "tag": number_tag(connection, number)}
        called = connection.scalars(_CALLED, {**terms, **names}).all()
        if len(called) >= cap:
            # There is room again when the oldest of the latest `cap` calls leaves the window.
            return NumberLimitReached(number, cap, called[-1] + DAY_SECONDS if called else None)
    return None
