"""Old calls lose what was said and to whom; states, times and amounts stay.

By hand, or by itself once an hour where a retention is set. Always a few calls at a time, so that
no writer waits long.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, exists, or_, select, union

from langchain_oneshot_voice.journal import guards, suppressions
from langchain_oneshot_voice.journal.schema import (
    call_numbers,
    calls,
    half_forgotten,
    questions,
    to_forget,
)

log = logging.getLogger(__name__)

BATCH = 100
"""Calls that are forgotten in one transaction."""

_ROUND_SECONDS = 3600.0
_PAUSE_SECONDS = 0.1
"""Between two transactions of a round, in which other processes have their turn."""

_WORDS: Mapping[str, Any] = {
    "numbers": (),
    "request": {},
    "offer": None,
    "approval_id": None,
    "payment": None,
    "placement": None,
    "job": None,
}


class Whose(NamedTuple):
    """Whose calls are meant: those of one account and one tenant."""

    account: str
    tenant: str


class Forgotten(NamedTuple):
    """What one transaction came to.

    Attributes:
        calls: how many calls were forgotten.
        more: whether there may be more to do.
    """

    calls: int
    more: bool


_KEYS: BindParameter[str] = bindparam("keys", expanding=True)
_WHOSE = (calls.c.account == bindparam("account"), calls.c.tenant == bindparam("tenant"))
_EACH = union(
    select(calls.c.account, calls.c.tenant).where(to_forget),
    select(calls.c.account, calls.c.tenant).where(half_forgotten),
)
_OLD = (
    select(calls.c.call_key)
    .where(*_WHOSE, to_forget, calls.c.updated_at < bindparam("before"))
    .order_by(calls.c.updated_at)
    .limit(BATCH)
)
_COUNTED = exists().where(
    call_numbers.c.call_key == calls.c.call_key,
    call_numbers.c.committed_at > bindparam("day_began"),
)
_NOT_COUNTED = select(calls.c.call_key).where(*_WHOSE, half_forgotten, ~_COUNTED).limit(BATCH)
_SCRUB = calls.update().where(calls.c.call_key.in_(_KEYS)).values(**_WORDS)
_DROP_QUESTIONS = questions.delete().where(questions.c.call_key.in_(_KEYS))
_NUMBERS = select(call_numbers.c.number).distinct().where(call_numbers.c.call_key.in_(_KEYS))
_HIDE_NUMBER = call_numbers.update().where(
    call_numbers.c.call_key.in_(_KEYS), call_numbers.c.number == bindparam("whole")
)
_DROP_PAST = call_numbers.delete().where(
    call_numbers.c.call_key.in_(_KEYS),
    or_(
        call_numbers.c.committed_at.is_(None),
        call_numbers.c.committed_at <= bindparam("day_began"),
    ),
)
_DROP_NUMBERS = call_numbers.delete().where(call_numbers.c.call_key.in_(_KEYS))
_DROP_FINGERPRINT = calls.update().where(calls.c.call_key.in_(_KEYS)).values(fingerprint="")


def each(connection: Connection, _now: float) -> list[Whose]:
    """Return whose calls there are to forget, some day."""
    return [Whose(*row) for row in connection.execute(_EACH)]


def forget(connection: Connection, now: float, whose: Whose, older_than: float) -> Forgotten:
    """Scrub some calls that ended long enough ago; what a daily limit needs stays for the day."""
    suppressions.list_opt_outs(connection, now)  # before their numbers are gone
    terms = {**whose._asdict(), "before": now - older_than, "day_began": now - guards.DAY_SECONDS}
    old = connection.scalars(_OLD, terms).all()
    if old:
        connection.execute(_SCRUB, {"keys": old, "forgotten_at": now})
        connection.execute(_DROP_QUESTIONS, {"keys": old})
        connection.execute(_DROP_PAST, {**terms, "keys": old})
        for number in connection.scalars(_NUMBERS, {"keys": old}).all():
            tag = guards.number_tag(connection, number)
            connection.execute(_HIDE_NUMBER, {"keys": old, "whole": number, "number": tag})
    over = connection.scalars(_NOT_COUNTED, terms).all()
    if over:
        connection.execute(_DROP_NUMBERS, {"keys": over})
        connection.execute(_DROP_FINGERPRINT, {"keys": over})
    return Forgotten(len(old), more=BATCH in (len(old), len(over)))


class Retention:
    """Forgets by itself: at once when it is set, and then about once an hour.

    Done by the thread that writes the journal, as long as the process uses it.
    """

    def __init__(self) -> None:
        self._seconds: dict[Whose, float] = {}
        self._left: deque[Whose] = deque()
        """Whose calls are still to be looked at in this round."""
        self._round_at = 0.0
        self._next_at = 0.0

    def set(self, whose: Whose, seconds: float) -> None:
        """Forget these calls that long after their end; of several times the shortest holds."""
        known = self._seconds.get(whose)
        if known is None or seconds < known:
            self._seconds[whose] = seconds
            self._left.append(whose)

    def due_in(self) -> float | None:
        """Return the seconds until the next transaction; `None` if nothing was set."""
        if not self._seconds:
            return None
        due_at = self._next_at if self._left else self._round_at + _ROUND_SECONDS
        return max(0.0, due_at - time.monotonic())

    def keep(self, connection: Connection, now: float) -> Forgotten:
        """Forget some calls, of the next one whose calls are to be looked at."""
        if not self._left:
            self._left.extend(self._seconds)
            self._round_at = time.monotonic()
        whose = self._left[0]
        return forget(connection, now, whose, self._seconds[whose])

    def kept(self, written: Future[Forgotten]) -> None:
        """Go on with the same calls, or with the next ones."""
        self._next_at = time.monotonic() + _PAUSE_SECONDS
        error = written.exception()
        if error is not None:
            log.warning("old calls were not forgotten: %s", error)
        if error is not None or not written.result().more:
            if self._left:
                self._left.popleft()
            if not self._left:
                self._round_at = time.monotonic()
