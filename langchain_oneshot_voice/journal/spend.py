"""The money that was spent in a window of time, without adding up every call.

The table `spend_sums` has the cost of the calls of each minute and each hour, by account and
tenant. The sum of a window is exact: for the minute in which the window begins it adds up single
calls, then the sums of the other minutes of that hour, then the sums of the later hours.
"""

from __future__ import annotations

import math
from decimal import Decimal

from sqlalchemy import Connection, bindparam, case, func, select, text

from langchain_oneshot_voice.journal.records import CallRecord
from langchain_oneshot_voice.journal.schema import Money, calls, committed_at, spend_sums

_MINUTE, _HOUR = 60, 3600

_cost = case((calls.c.charged > calls.c.reserved, calls.c.charged), else_=calls.c.reserved)
_CALLS_IN_WINDOW = (
    calls.c.account == bindparam("account"),
    calls.c.tenant == bindparam("tenant"),
    committed_at > bindparam("since"),
    committed_at < bindparam("until"),
)
_COSTS = select(committed_at, _cost).where(*_CALLS_IN_WINDOW).order_by(committed_at)
_SUMS_IN_SCOPE = (
    spend_sums.c.account == bindparam("account"),
    spend_sums.c.tenant == bindparam("tenant"),
)
_MINUTES = (
    *_SUMS_IN_SCOPE,
    spend_sums.c.seconds == _MINUTE,
    spend_sums.c.slot > bindparam("minute"),
)
_HOURS = (*_SUMS_IN_SCOPE, spend_sums.c.seconds == _HOUR, spend_sums.c.slot > bindparam("hour"))
_SUM = select(func.sum(spend_sums.c.amount))
_TOTAL = select(
    select(func.sum(_cost)).where(*_CALLS_IN_WINDOW).scalar_subquery(),
    _SUM.where(*_MINUTES, spend_sums.c.slot < bindparam("next_hour")).scalar_subquery(),
    _SUM.where(*_HOURS).scalar_subquery(),
)
_EACH_MINUTE = (
    select(spend_sums.c.slot, spend_sums.c.amount).where(*_MINUTES).order_by(spend_sums.c.slot)
)
# SQLAlchemy has no upsert that works for both databases.
_ADD = text(
    "INSERT INTO spend_sums (account, tenant, seconds, slot, amount)"
    " VALUES (:account, :tenant, :seconds, :slot, :amount)"
    " ON CONFLICT (account, tenant, seconds, slot)"
    " DO UPDATE SET amount = spend_sums.amount + excluded.amount"
).bindparams(bindparam("amount", type_=Money()))


def cost(call: CallRecord) -> Decimal:
    """Return what the call cost or may still cost, in US dollars: at least the signed amount.

    If the service reports a lower charge, the signed amount still counts, because the signature
    allows the service to collect it.
    """
    return max(call.reserved, call.charged or Decimal(0))


def commitment(call: CallRecord) -> float | None:
    """Return when money was first committed to the call; `None` if that has not happened."""
    return call.placed_at if call.signed_at is None else call.signed_at


def count(connection: Connection, before: CallRecord, after: CallRecord) -> None:
    """Update the sums that contain the call after a step."""
    difference, when = cost(after) - cost(before), commitment(after)
    if difference and when is not None:
        row = {"account": after.account, "tenant": after.tenant, "amount": difference}
        slots = [{"seconds": unit, "slot": int(when // unit)} for unit in (_MINUTE, _HOUR)]
        connection.execute(_ADD, [{**row, **slot} for slot in slots])


def total(connection: Connection, account: str, tenant: str, since: float) -> Decimal:
    """Return the US dollars charged or reserved after `since`."""
    sums = connection.execute(_TOTAL, _window(account, tenant, since)).one()
    return sum((found for found in sums if found is not None), Decimal(0))


def falls_by(
    connection: Connection, account: str, tenant: str, since: float, amount: Decimal
) -> float | None:
    """Return the commitment time of the call with which the total falls by `amount`.

    Calls leave the window from the oldest on. `None` if the total is smaller than `amount`.
    """
    window = _window(account, tenant, since)
    left = amount
    for when, call_cost in connection.execute(_COSTS, window).all():
        left -= call_cost
        if left <= 0:
            return float(when)
    for minute, minute_sum in connection.execute(_EACH_MINUTE, window).all():
        if minute_sum < left:
            left -= minute_sum
            continue
        # `since` is exclusive, and the first moment of a minute belongs to the minute.
        just_before = math.nextafter(minute * _MINUTE, 0)
        bounds = {"since": just_before, "until": (minute + 1) * _MINUTE}
        for when, call_cost in connection.execute(_COSTS, {**window, **bounds}).all():
            left -= call_cost
            if left <= 0:
                return float(when)
    return None


def _window(account: str, tenant: str, since: float) -> dict[str, str | float]:
    """Return the bounds of a window: its start, and the minute and hour that contain it."""
    minute, hour = int(since // _MINUTE), int(since // _HOUR)
    return {
        "account": account,
        "tenant": tenant,
        "since": since,
        "until": (minute + 1) * _MINUTE,
        "minute": minute,
        "hour": hour,
        "next_hour": (hour + 1) * _HOUR // _MINUTE,
    }
