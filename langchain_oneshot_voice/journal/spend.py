"""What was spent in the last seconds, without adding up every call.

The costs of the calls are kept as sums by account, tenant and minute. A window ends within a
minute: of that minute alone the calls are looked at one by one, so that the window is exact.
"""

from __future__ import annotations

import math
from decimal import Decimal

from sqlalchemy import Connection, bindparam, func, select, text

from langchain_oneshot_voice.journal.records import CallRecord
from langchain_oneshot_voice.journal.schema import Money, calls, committed_at, spend_minutes

_MINUTE = 60

_cost = func.coalesce(calls.c.charged, calls.c.reserved)
_ITS_CALLS = (
    calls.c.account == bindparam("account"),
    calls.c.tenant == bindparam("tenant"),
    committed_at > bindparam("since"),
    committed_at < bindparam("until"),
)
_COSTS = select(committed_at, _cost).where(*_ITS_CALLS).order_by(committed_at)
_ITS_MINUTES = (
    spend_minutes.c.account == bindparam("account"),
    spend_minutes.c.tenant == bindparam("tenant"),
    spend_minutes.c.minute > bindparam("minute"),
)
_TOTAL = select(
    select(func.sum(_cost)).where(*_ITS_CALLS).scalar_subquery(),
    select(func.sum(spend_minutes.c.amount)).where(*_ITS_MINUTES).scalar_subquery(),
)
_SUMS = (
    select(spend_minutes.c.minute, spend_minutes.c.amount)
    .where(*_ITS_MINUTES)
    .order_by(spend_minutes.c.minute)
)
# SQLAlchemy has no upsert that works for both databases.
_ADD = text(
    "INSERT INTO spend_minutes (account, tenant, minute, amount)"
    " VALUES (:account, :tenant, :minute, :amount)"
    " ON CONFLICT (account, tenant, minute)"
    " DO UPDATE SET amount = spend_minutes.amount + excluded.amount"
).bindparams(bindparam("amount", type_=Money()))


def cost(call: CallRecord) -> Decimal:
    """Return what the call cost, or may still cost."""
    return call.reserved if call.charged is None else call.charged


def commitment(call: CallRecord) -> float | None:
    """Return when money was first committed to the call."""
    return call.placed_at if call.signed_at is None else call.signed_at


def count(connection: Connection, before: CallRecord, after: CallRecord) -> None:
    """Bring the sum of the call's minute up to date after a step."""
    difference, when = cost(after) - cost(before), commitment(after)
    if difference and when is not None:
        where = {"account": after.account, "tenant": after.tenant, "minute": int(when // _MINUTE)}
        connection.execute(_ADD, {**where, "amount": difference})


def total(connection: Connection, account: str, tenant: str, since: float) -> Decimal:
    """Return the US dollars charged or reserved since then."""
    sums = connection.execute(_TOTAL, _window(account, tenant, since)).one()
    return sum((found for found in sums if found is not None), Decimal(0))


def falls_by(
    connection: Connection, account: str, tenant: str, since: float, amount: Decimal
) -> float | None:
    """Find the call with which the total since then has lost this amount; return its time."""
    window = _window(account, tenant, since)
    left = amount
    for when, its_cost in connection.execute(_COSTS, window).all():
        left -= its_cost
        if left <= 0:
            return float(when)
    for later, its_sum in connection.execute(_SUMS, window).all():
        if its_sum < left:
            left -= its_sum
            continue
        # The first moment of a minute belongs to it.
        just_before = math.nextafter(later * _MINUTE, 0)
        bounds = {"since": just_before, "until": (later + 1) * _MINUTE}
        for when, its_cost in connection.execute(_COSTS, {**window, **bounds}).all():
            left -= its_cost
            if left <= 0:
                return float(when)
    return None


def _window(account: str, tenant: str, since: float) -> dict[str, str | float]:
    """Return the minute in which a window begins, and the part of it that the window has."""
    minute = int(since // _MINUTE)
    until = (minute + 1) * _MINUTE
    return {"account": account, "tenant": tenant, "since": since, "until": until, "minute": minute}
