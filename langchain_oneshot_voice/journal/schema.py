"""The journal's tables.

The columns of `calls` and `questions` come from the fields of `CallRecord` and `AskedQuestion`.
Money is integer micro-dollars, time is epoch seconds and structured values are JSON text: the same
in both databases. `migrations.py` creates these tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from decimal import ROUND_CEILING, Decimal
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    func,
    literal_column,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from langchain_oneshot_voice.call_states import ENDED, UNSETTLED, CallState
from langchain_oneshot_voice.journal.records import AskedQuestion, CallRecord

_MICRO = Decimal(1_000_000)


def whole_micros(amount: Decimal) -> Decimal:
    """Round US dollars up to whole micro-dollars.

    Raises:
        ValueError: the amount is negative or not a number.
    """
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount} is not an amount of money")
    return (amount * _MICRO).to_integral_value(ROUND_CEILING) / _MICRO


class Money(TypeDecorator[Decimal]):
    """US dollars, stored as whole micro-dollars."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Convert dollars, which must be whole micro-dollars already."""
        del dialect
        return None if value is None else int(value * _MICRO)

    def process_result_value(self, value: int | Decimal | None, dialect: Dialect) -> Decimal | None:
        """Convert to dollars; in PostgreSQL the sum of a column is a decimal."""
        del dialect
        return None if value is None else Decimal(value) / _MICRO


class Json(TypeDecorator[Any]):
    """A JSON value, stored as ASCII text, because PostgreSQL can't store every character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Write JSON."""
        del dialect
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401 - any JSON
        """Read JSON."""
        del dialect
        return None if value is None else json.loads(value)


class Names(Json):
    """A tuple of strings, stored as a JSON list."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        """Read a tuple."""
        names = super().process_result_value(value, dialect)
        return None if names is None else tuple(names)


_TYPES: dict[type, type[TypeEngine[Any]]] = {
    str: Text,
    int: Integer,
    float: Double,
    bool: Boolean,
    Decimal: Money,
    dict: Json,
    tuple: Names,
}


def _columns(values: type, *, key: str, **references: ForeignKey) -> Iterator[Column[Any]]:
    """Create one column for each field of a dataclass."""
    for name, hint in get_type_hints(values).items():
        nullable = NoneType in get_args(hint)
        inner = next(o for o in get_args(hint) if o is not NoneType) if nullable else hint
        origin = get_origin(inner) or inner
        kind = _TYPES[str if origin is Literal else origin]
        reference = (references[name],) if name in references else ()
        yield Column(name, kind(), *reference, primary_key=name == key, nullable=nullable)


def _call_reference() -> ForeignKey:
    # Retiring a call renames its key. The cascade renames it in the rows that refer to it.
    return ForeignKey("calls.call_key", onupdate="CASCADE", ondelete="CASCADE")


metadata = MetaData()

calls = Table(
    "calls",
    metadata,
    *_columns(CallRecord, key="call_key"),
    Column("forgotten_at", Double),
)
record_columns = [calls.c[field.name] for field in fields(CallRecord)]
"""The columns of a `CallRecord`."""

committed_at = func.coalesce(calls.c.signed_at, calls.c.placed_at)
"""When money was first committed to a call; a call without a payment is placed but never signed."""

call_numbers = Table(
    "call_numbers",
    metadata,
    Column("call_key", Text, _call_reference(), primary_key=True),
    Column("number", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("line_since", Double),
    Column("committed_at", Double),
)
"""The numbers of each call.

`line_since` is set while the call may keep the number busy. `committed_at` is set while the call
counts against the number's daily limit. The account and the tenant are copied from the call, so
that each guard needs only one index, even if the planner has no statistics.
"""

questions = Table(
    "questions", metadata, *_columns(AskedQuestion, key="question_id", call_key=_call_reference())
)

workers = Table(
    "workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("beat_at", Double, nullable=False),
    Column("lease", Double, nullable=False),
)
"""The processes that work on calls, with the time of their last heartbeat."""

spend_sums = Table(
    "spend_sums",
    metadata,
    Column("account", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("seconds", Integer, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("amount", Money, nullable=False),
)
"""The total cost of the calls that were committed in a minute or an hour.

`seconds` is the length of the slot, 60 or 3600; `slot` is the number of slots since the epoch.
"""

suppressions = Table(
    "suppressions",
    metadata,
    Column("number", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Double, nullable=False),
)
"""The do-not-call list of everyone who shares the journal. Entries never expire."""

journal_meta = Table(
    "journal_meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


def _in_state(states: Iterable[CallState]) -> ColumnElement[bool]:
    # Constants, not parameters: a planner uses a partial index only if it can see the condition.
    return calls.c.state.in_([literal_column(f"'{state}'") for state in sorted(states)])


unsettled = _in_state(UNSETTLED)
"""True if money may move and the phone may ring."""

committed = _in_state({*UNSETTLED, "done"})
"""True if another call can be a duplicate of this one."""

to_forget = and_(_in_state({*ENDED, "refused"}), calls.c.forgotten_at.is_(None))
"""True if a call has ended and its personal data is not erased."""

half_forgotten = and_(
    calls.c.forgotten_at.is_not(None), calls.c.fingerprint != literal_column("''")
)
"""True if a call is forgotten except for what a daily limit needs."""


def _index(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool]) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


# Without statistics, a planner prefers the index that covers the most columns of the query, so the
# index of a guard has all columns of the guard's query. It is a partial index, with only the rows
# that the guard can need, so that most steps of a call don't change it.
_index(
    "calls_by_fingerprint",
    calls.c.fingerprint,
    calls.c.account,
    calls.c.tenant,
    calls.c.base_url,
    calls.c.updated_at,
    where=committed,
)
_index("calls_unsettled", calls.c.updated_at, where=unsettled)
_index(
    "numbers_by_line",
    call_numbers.c.number,
    call_numbers.c.account,
    call_numbers.c.line_since,
    where=call_numbers.c.line_since.is_not(None),
)
_index(
    "numbers_by_day",
    call_numbers.c.number,
    call_numbers.c.account,
    call_numbers.c.tenant,
    call_numbers.c.committed_at,
    where=call_numbers.c.committed_at.is_not(None),
)
_index(
    "calls_by_number_fee",
    calls.c.account,
    calls.c.base_url,
    calls.c.signed_at,
    where=calls.c.number_fee.is_not(None),
)
_index("calls_by_opt_out", calls.c.updated_at, where=calls.c.opt_out.is_not(None))
_index("calls_to_forget", calls.c.account, calls.c.tenant, calls.c.updated_at, where=to_forget)
_index("calls_half_forgotten", calls.c.account, calls.c.tenant, where=half_forgotten)
Index("calls_by_spend", calls.c.account, calls.c.tenant, committed_at)
Index("calls_by_request_id", calls.c.request_id)
Index("calls_by_age", calls.c.created_at)
Index("questions_by_call", questions.c.call_key)
