"""Which worker has a call: live workers and their heartbeats.

A worker is one `CallJournal` in one process. It writes a heartbeat while its runs have calls. A
call is held while the heartbeats of its worker are recent. A worker keeps its own calls in memory,
so it needs no heartbeat to know that it holds them.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from langchain_oneshot_voice.journal.records import CallRecord
from langchain_oneshot_voice.journal.schema import calls, workers

log = logging.getLogger(__name__)

_DAY_SECONDS = 24 * 60 * 60.0

# SQLAlchemy has no upsert that works for both databases.
_BEAT = text(
    "INSERT INTO workers (worker, beat_at, lease) VALUES (:worker, :beat_at, :lease)"
    " ON CONFLICT (worker)"
    " DO UPDATE SET beat_at = excluded.beat_at, lease = excluded.lease"
)
_LAST_BEAT = select(workers.c.beat_at, workers.c.lease).where(
    workers.c.worker == bindparam("worker_id")
)
_REMOVE_OLD = workers.delete().where(workers.c.beat_at < bindparam("before"))
_RELEASE = calls.update().where(
    calls.c.call_key == bindparam("key"), calls.c.owner == bindparam("run")
)

HeldCall = tuple[str, str]
"""The key of a call, and the owner that holds it."""


class Worker:
    """This process as other workers see it, and the calls that its runs hold.

    Only the writer thread may use it.

    Args:
        heartbeat: seconds between heartbeats.
        lease: seconds without a heartbeat after which other workers may take its calls.
    """

    def __init__(self, heartbeat: float, lease: float) -> None:
        self.name = secrets.token_hex(16)
        self.held: set[HeldCall] = set()
        """The calls that its runs hold."""
        self.unreleased: set[HeldCall] = set()
        """The calls that its runs released, where the release is not recorded yet."""
        self._heartbeat = heartbeat
        self._lease = lease
        self._old_workers_removed = False
        self._last_attempt = float("-inf")
        """The monotonic time of the last heartbeat, written or not."""
        self._last_commit = float("-inf")
        """The monotonic time of the last heartbeat that is known to be on disk."""
        self._last_error = ""

    def due_in(self) -> float | None:
        """Return the seconds until the next heartbeat; `None` if it holds no call."""
        if not self.held and not self.unreleased:
            return None
        return max(0.0, self._last_attempt + self._heartbeat - time.monotonic())

    def run(self, connection: Connection, now: float) -> Iterable[HeldCall]:
        """Write a heartbeat and the releases that are not recorded yet; return those releases."""
        if self.held:
            self.beat(connection, now)
        late = tuple(self.unreleased)
        for call_key, owner in late:
            release(connection, now, call_key, owner)
        return late

    def on_done(self, future: Future[Iterable[HeldCall]]) -> None:
        """Update the state after a `run`."""
        self._last_attempt = time.monotonic()
        error = future.exception()
        if error is None:
            self._last_commit = self._last_attempt if self.held else float("-inf")
            self.unreleased.difference_update(future.result())
        elif str(error) != self._last_error:  # one warning for each error, not one each second
            log.warning("the heartbeat was not written: %s", error)
        self._last_error = str(error or "")

    def beat(self, connection: Connection, now: float) -> None:
        """Write a heartbeat."""
        terms = {"worker": self.name, "beat_at": now, "lease": self._lease}
        connection.execute(_BEAT, terms)
        if not self._old_workers_removed:
            connection.execute(_REMOVE_OLD, {"before": now - _DAY_SECONDS})
            self._old_workers_removed = True
        self._last_attempt = time.monotonic()

    def beat_if_due(self, connection: Connection, now: float) -> None:
        """Write a heartbeat, unless one was committed within the last interval."""
        if time.monotonic() - self._last_commit > self._heartbeat:
            self.beat(connection, now)

    def holds(self, connection: Connection, now: float, call: CallRecord) -> bool:
        """Return whether a live worker, this one or another, holds the call."""
        if call.owner is None or call.worker is None:
            return False
        if call.worker == self.name:
            return (call.call_key, call.owner) in self.held
        last = connection.execute(_LAST_BEAT, {"worker_id": call.worker}).first()
        # The absolute difference: a heartbeat in the future means that the clock was set back.
        return last is not None and abs(now - last.beat_at) < last.lease

    def on_step(self, held: HeldCall, future: Future[Any]) -> None:
        """Forget a held call after a step that removed its owner."""
        if not future.cancelled() and future.exception() is None:
            result = future.result()
            if result is None or (isinstance(result, CallRecord) and result.owner is None):
                self.held.discard(held)

    def on_released(self, held: HeldCall, future: Future[None]) -> None:
        """Forget a released call; remember the release if it was not recorded."""
        self.held.discard(held)
        if future.cancelled() or future.exception() is not None:
            self.unreleased.add(held)
        else:
            self.unreleased.discard(held)


def release(connection: Connection, _now: float, call_key: str, owner: str) -> None:
    """Remove the owner of a call, if it is this owner; the state stays."""
    connection.execute(_RELEASE, {"key": call_key, "run": owner, "owner": None, "worker": None})
