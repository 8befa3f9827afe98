"""People who do not want to be called: put on the list, taken off it, looked up.

The list belongs to the journal, not to a wallet or a tenant: whoever asked one of them to stop
calling has asked all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.journal.records import Suppression
from langchain_oneshot_voice.journal.schema import calls, suppressions

_LISTED = select(suppressions.c.number).where(suppressions.c.number == bindparam("listed"))
_ALL = select(suppressions).order_by(suppressions.c.since.desc(), suppressions.c.number)
_INSERT = suppressions.insert()
_HEARD = (
    select(calls.c.call_key, calls.c.numbers, calls.c.opt_out)
    .where(calls.c.opt_out.is_not(None))
    .order_by(calls.c.updated_at)
)
_HEAR = calls.update().where(calls.c.call_key == bindparam("key"))
_DELETE = suppressions.delete().where(suppressions.c.number == bindparam("listed"))


def suppress(connection: Connection, now: float, numbers: Iterable[str], reason: str) -> None:
    """Put numbers on the list; one that is there keeps its first reason."""
    wanted = tuple(dict.fromkeys(numbers))
    known = set(suppressed(connection, now, wanted))
    new = [{"number": n, "reason": reason, "since": now} for n in wanted if n not in known]
    if new:
        connection.execute(_INSERT, new)


def hear(connection: Connection, _now: float, call_key: str, words: str) -> None:
    """Note of a call that somebody asked not to be called again."""
    connection.execute(_HEAR, {"key": call_key, "opt_out": words})


def list_opt_outs(connection: Connection, now: float) -> None:
    """Put the numbers of calls on which somebody asked for it on the list."""
    for call_key, numbers, words in connection.execute(_HEARD).all():
        suppress(connection, now, numbers, f"said on the phone: {words}")
        connection.execute(_HEAR, {"key": call_key, "opt_out": None})


def unsuppress(connection: Connection, _now: float, number: str) -> bool:
    """Take a number off the list; whether it was on it."""
    return connection.execute(_DELETE, {"listed": number}).rowcount == 1


def suppressed(connection: Connection, _now: float, numbers: Sequence[str]) -> tuple[str, ...]:
    """Those of the numbers that are on the list."""
    # One by one: SQLAlchemy takes as long to write out a list as to look up a number.
    found = (connection.scalar(_LISTED, {"listed": number}) for number in sorted(set(numbers)))
    return tuple(number for number in found if number is not None)


def listed(connection: Connection, _now: float) -> list[Suppression]:
    """The whole list, newest first."""
    return [Suppression(**row._mapping) for row in connection.execute(_ALL)]  # noqa: SLF001
