"""What was spent in the last seconds, without adding up every call.

The costs of the calls are kept as sums by account and tenant, for each minute and for each hour. A
window begins within a minute: of that minute alone the calls are looked at one by one, so that the
window is exact. Then come the other minutes of its hour, then the hours.
"""

from __future__ import annotations

import math
from decimal import Decimal

from sqlalchemy import Connection, bindparam, case, func, select, text

from langchain_oneshot_voice.journal.records import CallRecord
from langchain_oneshot_voice.journal.schema import Money, calls, committed_at, spend_sums

_MINUTE, _HOUR = 60, 3600

_cost = case((calls.c.charged > calls.c.reserved, calls.c.charged), else_=calls.c.reserved)
_ITS_CALLS = (
    calls.c.account == bindparam("account"),
    calls.c.tenant == bindparam("tenant"),
    committed_at > bindparam("since"),
    committed_at < bindparam("until"),
)
_COSTS = select(committed_at, _cost).where(*_ITS_CALLS).order_by(committed_at)
_ITS_SUMS = (
    spend_sums.c.account == bindparam("account"),
    spend_sums.c.tenant == bindparam("tenant"),
)
_MINUTES = (
    *_ITS_SUMS,
    spend_sums.c.seconds == _MINUTE,
    spend_sums.c.slot > bindparam("minute"),
)
_HOURS = (*_ITS_SUMS, spend_sums.c.seconds == _HOUR, spend_sums.c.slot > bindparam("hour"))
_SUM = select(func.sum(spend_sums.c.amount))
_TOTAL = select(
    select(func.sum(_cost)).where(*_ITS_CALLS).scalar_subquery(),
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
    """Return what the call cost, or may still cost: what was signed counts, whatever is said.

    The service may tell of a lower charge. That is its word against a signature: it frees nothing.
    """
    return max(call.reserved, call.charged or Decimal(0))


def commitment(call: CallRecord) -> float | None:
    """Return when money was first committed to the call."""
    return call.placed_at if call.signed_at is None else call.signed_at


def count(connection: Connection, before: CallRecord, after: CallRecord) -> None:
    """Bring the sums that the call is in up to date after a step."""
    difference, when = cost(after) - cost(before), commitment(after)
    if difference and when is not None:
        row = {"account": after.account, "tenant": after.tenant, "amount": difference}
        slots = [{"seconds": unit, "slot": int(when // unit)} for unit in (_MINUTE, _HOUR)]
        connection.execute(_ADD, [{**row, **slot} for slot in slots])


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
    for minute, its_sum in connection.execute(_EACH_MINUTE, window).all():
        if its_sum < left:
            left -= its_sum
            continue
        # The first moment of a minute belongs to it.
        just_before = math.nextafter(minute * _MINUTE, 0)
        bounds = {"since": just_before, "until": (minute + 1) * _MINUTE}
        for when, its_cost in connection.execute(_COSTS, {**window, **bounds}).all():
            left -= its_cost
            if left <= 0:
                return float(when)
    return None


def _window(account: str, tenant: str, since: float) -> dict[str, str | float]:
    """Return where a window begins: the moment, and its minute and hour."""
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
