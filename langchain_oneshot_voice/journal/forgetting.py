"""Erases personal data from old calls; states, times and amounts stay.

Runs on request, or once an hour for calls with a retention. One transaction erases a few calls, so
that no other writer waits long.
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
"""Maximum number of calls that one transaction forgets."""

_ROUND_SECONDS = 3600.0
_PAUSE_SECONDS = 0.1
"""Pause between two transactions of a round, so that other processes can write."""

_ERASED: Mapping[str, Any] = {
    "numbers": (),
    "request": {},
    "offer": None,
    "approval_id": None,
    "payment": None,
    "placement": None,
    "job": None,
}


class Scope(NamedTuple):
    """The calls of one account and one tenant."""

    account: str
    tenant: str


class ForgetResult(NamedTuple):
    """The result of one transaction.

    Attributes:
        calls: the number of calls that were forgotten.
        more: whether there may be more to forget.
    """

    calls: int
    more: bool


_KEYS: BindParameter[str] = bindparam("keys", expanding=True)
_IN_SCOPE = (calls.c.account == bindparam("account"), calls.c.tenant == bindparam("tenant"))
_SCOPES = union(
    select(calls.c.account, calls.c.tenant).where(to_forget),
    select(calls.c.account, calls.c.tenant).where(half_forgotten),
)
_OLD = (
    select(calls.c.call_key)
    .where(*_IN_SCOPE, to_forget, calls.c.updated_at < bindparam("before"))
    .order_by(calls.c.updated_at)
    .limit(BATCH)
)
_COUNTED = exists().where(
    call_numbers.c.call_key == calls.c.call_key,
    call_numbers.c.committed_at > bindparam("day_began"),
)
_NOT_COUNTED = select(calls.c.call_key).where(*_IN_SCOPE, half_forgotten, ~_COUNTED).limit(BATCH)
_SCRUB = calls.update().where(calls.c.call_key.in_(_KEYS)).values(**_ERASED)
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


def scopes(connection: Connection, _now: float) -> list[Scope]:
    """Return every scope with calls that are not completely forgotten."""
    return [Scope(*row) for row in connection.execute(_SCOPES)]


def forget(connection: Connection, now: float, scope: Scope, older_than: float) -> ForgetResult:
    """Erase some calls that ended long enough ago; what a daily limit needs stays for a day."""
    suppressions.suppress_opt_outs(connection, now)  # needs the numbers, which are erased next
    terms = {**scope._asdict(), "before": now - older_than, "day_began": now - guards.DAY_SECONDS}
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
    # A full batch means that the query may have left some rows out.
    return ForgetResult(len(old), more=BATCH in (len(old), len(over)))


class Retention:
    """A periodic task that forgets calls: soon after `set`, and then about once an hour.

    The writer thread runs it while the process has the journal open.
    """

    def __init__(self) -> None:
        self._seconds: dict[Scope, float] = {}
        self._left: deque[Scope] = deque()
        """The scopes that this round has not finished."""
        self._round_at = 0.0
        self._next_at = 0.0

    def set(self, scope: Scope, seconds: float) -> None:
        """Forget the calls of a scope this long after their end; the shortest time applies."""
        known = self._seconds.get(scope)
        if known is None or seconds < known:
            self._seconds[scope] = seconds
            self._left.append(scope)

    def due_in(self) -> float | None:
        """Return the seconds until the next transaction; `None` if no retention is set."""
        if not self._seconds:
            return None
        due_at = self._next_at if self._left else self._round_at + _ROUND_SECONDS
        return max(0.0, due_at - time.monotonic())

    def run(self, connection: Connection, now: float) -> ForgetResult:
        """Forget some calls of the first unfinished scope."""
        if not self._left:
            self._left.extend(self._seconds)
            self._round_at = time.monotonic()
        scope = self._left[0]
        return forget(connection, now, scope, self._seconds[scope])

    def on_done(self, future: Future[ForgetResult]) -> None:
        """Choose what the next transaction does: the same scope, or the next one."""
        self._next_at = time.monotonic() + _PAUSE_SECONDS
        error = future.exception()
        if error is not None:
            log.warning("old calls were not forgotten: %s", error)
        if error is not None or not future.result().more:
            if self._left:
                self._left.popleft()
            if not self._left:
                self._round_at = time.monotonic()
