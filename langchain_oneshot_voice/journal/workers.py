"""Who has a call: the runs of live workers.

A worker is one `CallJournal` in one process. While its runs have calls it writes a heartbeat, and a
call is held as long as the heartbeats of its worker are fresh. Of its own runs a worker knows
without asking: they are listed in memory.
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

Hold = tuple[str, str]
"""A call's key and the owner of the call."""


class Worker:
    """This process as other workers see it, and the calls that its runs have.

    The thread that writes the journal is the only one to use it.

    Args:
        heartbeat: seconds between heartbeats.
        lease: seconds without a heartbeat after which others may take its calls.
    """

    def __init__(self, heartbeat: float, lease: float) -> None:
        self.name = secrets.token_hex(16)
        self.held: set[Hold] = set()
        """What its runs have."""
        self.unreleased: set[Hold] = set()
        """What its runs gave back and is not recorded yet."""
        self._heartbeat = heartbeat
        self._lease = lease
        self._known = False
        self._tried_at = float("-inf")
        self._alive_at = float("-inf")
        self._warned = ""

    def due_in(self) -> float | None:
        """Return the seconds until the next heartbeat; `None` while there is no reason for one."""
        if not self.held and not self.unreleased:
            return None
        return max(0.0, self._tried_at + self._heartbeat - time.monotonic())

    def keep(self, connection: Connection, now: float) -> Iterable[Hold]:
        """Record a heartbeat, and what is still to be released; return the latter."""
        if self.held:
            self.beat(connection, now)
        late = tuple(self.unreleased)
        for call_key, owner in late:
            release(connection, now, call_key, owner)
        return late

    def kept(self, written: Future[Iterable[Hold]]) -> None:
        """Note how the last `keep` ended."""
        self._tried_at = time.monotonic()
        error = written.exception()
        if error is None:
            self._alive_at = self._tried_at if self.held else float("-inf")
            self.unreleased.difference_update(written.result())
        elif str(error) != self._warned:  # once, not each second for as long as it lasts
            log.warning("the heartbeat was not written: %s", error)
        self._warned = str(error or "")

    def beat(self, connection: Connection, now: float) -> None:
        """Record that the worker is alive."""
        terms = {"worker": self.name, "beat_at": now, "lease": self._lease}
        connection.execute(_BEAT, terms)
        if not self._known:
            connection.execute(_REMOVE_OLD, {"before": now - _DAY_SECONDS})
            self._known = True
        self._tried_at = time.monotonic()

    def show_alive(self, connection: Connection, now: float) -> None:
        """Record a heartbeat, unless one was committed within the last interval."""
        if time.monotonic() - self._alive_at > self._heartbeat:
            self.beat(connection, now)

    def holds(self, connection: Connection, now: float, call: CallRecord) -> bool:
        """Tell whether a live worker, this one or another, has the call."""
        if call.owner is None or call.worker is None:
            return False
        if call.worker == self.name:
            return (call.call_key, call.owner) in self.held
        last = connection.execute(_LAST_BEAT, {"worker_id": call.worker}).first()
        # A heartbeat from the future was written before the clock was set back.
        return last is not None and abs(now - last.beat_at) < last.lease

    def stepped(self, hold: Hold, written: Future[Any]) -> None:
        """Note a step after which its run does not have the call any more."""
        if not written.cancelled() and written.exception() is None:
            moved = written.result()
            if moved is None or (isinstance(moved, CallRecord) and moved.owner is None):
                self.held.discard(hold)

    def released(self, hold: Hold, written: Future[None]) -> None:
        """Note that a run gave a call back, and whether that is on record."""
        self.held.discard(hold)
        if written.cancelled() or written.exception() is not None:
            self.unreleased.add(hold)
        else:
            self.unreleased.discard(hold)


def release(connection: Connection, now: float, call_key: str, owner: str) -> None:
    """Let go of a call, if it is the owner's; its state stays."""
    del now
    connection.execute(_RELEASE, {"key": call_key, "run": owner, "owner": None, "worker": None})
