"""The do-not-call list, as rows: add a number, remove it, look it up.

The list belongs to the journal, not to a wallet or a tenant: a person who opts out with one of them
opts out with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.journal.records import Suppression
from langchain_oneshot_voice.journal.schema import calls, suppressions

_FIND = select(suppressions.c.number).where(suppressions.c.number == bindparam("listed"))
_ALL = select(suppressions).order_by(suppressions.c.since.desc(), suppressions.c.number)
_INSERT = suppressions.insert()
_NOTED = (
    select(calls.c.call_key, calls.c.numbers, calls.c.opt_out)
    .where(calls.c.opt_out.is_not(None))
    .order_by(calls.c.updated_at)
)
_SET_OPT_OUT = calls.update().where(calls.c.call_key == bindparam("key"))
_DELETE = suppressions.delete().where(suppressions.c.number == bindparam("listed"))


def suppress(connection: Connection, now: float, numbers: Iterable[str], reason: str) -> None:
    """Add numbers to the list; a number that is on it keeps its first reason."""
    wanted = tuple(dict.fromkeys(numbers))
    known = set(suppressed(connection, now, wanted))
    new = [{"number": n, "reason": reason, "since": now} for n in wanted if n not in known]
    if new:
        connection.execute(_INSERT, new)


def note_opt_out(connection: Connection, _now: float, call_key: str, words: str) -> None:
    """Note in a call's row that a person on it opted out; `suppress_opt_outs` does the rest."""
    connection.execute(_SET_OPT_OUT, {"key": call_key, "opt_out": words})


def suppress_opt_outs(
    connection: Connection, now: float, words: str = "", numbers: Sequence[str] = ()
) -> None:
    """Add the numbers of every call with a noted opt-out, and `numbers`, which go with `words`."""
    for call_key, called, noted in connection.execute(_NOTED).all():
        suppress(connection, now, called, _reason(noted))
        connection.execute(_SET_OPT_OUT, {"key": call_key, "opt_out": None})
    suppress(connection, now, numbers, _reason(words))


def _reason(words: str) -> str:
    return f"said on the phone: {words}"


def unsuppress(connection: Connection, _now: float, number: str) -> bool:
    """Remove a number from the list; return whether it was on it."""
    return connection.execute(_DELETE, {"listed": number}).rowcount == 1


def suppressed(connection: Connection, _now: float, numbers: Sequence[str]) -> tuple[str, ...]:
    """Return those of the numbers that are on the list."""
    # One query a number: for SQLAlchemy, expanding an IN list takes as long as a lookup.
    found = (connection.scalar(_FIND, {"listed": number}) for number in sorted(set(numbers)))
    return tuple(number for number in found if number is not None)


def listed(connection: Connection, _now: float) -> list[Suppression]:
    """Return the whole list, newest first."""
    return [Suppression(**row._mapping) for row in connection.execute(_ALL)]  # noqa: SLF001
