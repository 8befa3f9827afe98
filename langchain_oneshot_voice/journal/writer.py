"""One thread that writes a journal: what waits together is committed together.

A commit costs a disk a few milliseconds whatever it holds, so the thread takes everything that is
queued, runs it inside one transaction, commits once, and only then answers. If an operation fails,
all are undone and each is run again by itself; a commit that fails fails everyone in it. Between
batches, and while nothing is queued, it does what has to be done from time to time.

Promises: an event loop is never blocked; nothing is reported done before it is on disk; a dropped
connection is opened again once, and nothing that was committed is done twice. It knows no tables.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.journal.records import JournalUnavailableError
from langchain_oneshot_voice.journal.store import Store, display

T = TypeVar("T")
Operation = Callable[[Connection, float], T]
"""What to do inside a transaction, given the connection and the journal's clock."""

_BATCH = 128
"""Bounds how long the writers of other processes wait for their turn."""


class Upkeep(Protocol):
    """Something that is written from time to time, as long as there is a reason."""

    def due_in(self) -> float | None:
        """Return the seconds until it is due; `None` for no reason."""

    def keep(self, connection: Connection, now: float) -> Any:  # noqa: ANN401 - for `kept` alone
        """Write it, as an operation."""

    def kept(self, written: Future[Any]) -> None:
        """Note how that ended."""


@dataclass(slots=True)
class _Queued:
    operation: Operation[Any]
    writing: bool
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


class _CommitUnanswered(Exception):  # noqa: N818 - not a fault yet: the database may know
    """The connection dropped while committing."""

    def __init__(self, transaction_id: str | None, outcomes: list[_Outcome]) -> None:
        super().__init__("the connection dropped while committing, twice")
        self.transaction_id = transaction_id
        self.outcomes = outcomes


class _BatchUndone(Exception):  # noqa: N818 - not a fault of the others
    """One operation failed, and all of them were undone."""


class JournalWriter:
    """The queue and its thread, which starts with the first operation."""

    def __init__(self, store: Store, *upkeeps: Upkeep) -> None:
        self._store = store
        self._upkeeps = upkeeps
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped: Future[None] | None = None
        self._connection: Connection | None = None
        self._process = os.getpid()

    @property
    def closed(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped is not None

    def submit(
        self,
        operation: Operation[T],
        *,
        writing: bool,
        then: Callable[[Future[T]], None] | None = None,
    ) -> Future[T]:
        """Queue an operation. Cancelling the future before its turn comes leaves it undone.

        Args:
            operation: what to do.
            writing: whether it writes.
            then: called when it has ended, by the thread that ran it.

        Raises:
            JournalUnavailableError: the journal was closed.
        """
        item = _Queued(operation, writing)
        if then is not None:
            item.future.add_done_callback(then)
        with self._lock:
            if self._stopped is not None:
                raise JournalUnavailableError(wording.journal_closed(display(self._store.url)))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="oneshot-voice-journal", daemon=True
                )
                self._thread.start()
            self._queue.put(item)
        return item.future

    def stop(self) -> Future[None]:
        """Finish what is queued, then close the connection; done when the future is."""
        with self._lock:
            if self._stopped is None:
                self._stopped = Future()
                self._stopped.set_running_or_notify_cancel()  # whoever waits can't cancel it
                if self._thread is None:
                    self._stopped.set_result(None)
                else:
                    self._queue.put(None)
            return self._stopped

    def stop_at_exit(self) -> None:
        """Stop, and wait a moment for the last commit; in a forked child, leave all alone."""
        if os.getpid() != self._process or threading.current_thread() is self._thread:
            return
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._gather()
            # A future that was cancelled while it waited is dropped here.
            batch = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)
            for upkeep in self._upkeeps:
                if upkeep.due_in() == 0:
                    item = _Queued(upkeep.keep, writing=True)
                    item.future.add_done_callback(upkeep.kept)
                    self._answer([item])
        self._disconnect()
        if self._stopped is not None:
            self._stopped.set_result(None)

    def _gather(self) -> tuple[list[_Queued], bool]:
        """Wait for operations, until something else is due; whether there may be more."""
        due = (upkeep.due_in() for upkeep in self._upkeeps)
        seconds = min((wait for wait in due if wait is not None), default=None)
        batch: list[_Queued] = []
        try:
            item = self._queue.get(timeout=seconds)
            while item is not None:
                batch.append(item)
                if len(batch) == _BATCH:
                    return batch, True
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _answer(self, batch: Sequence[_Queued]) -> None:
        try:
            outcomes = self._commit_together(batch)
        except Exception as error:  # noqa: BLE001 - every waiter has to hear of it
            outcomes = [_Outcome(error=error)] * len(batch)
        for item, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is not None:
                item.future.set_exception(outcome.error)
            else:
                item.future.set_result(outcome.value)

    def _commit_together(self, batch: Sequence[_Queued]) -> list[_Outcome]:
        try:
            try:
                return self._transaction(batch)
            except _CommitUnanswered as unanswered:
                return self._transaction(batch, after=unanswered)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._transaction(batch)
        except _BatchUndone:
            return [self._alone(item) for item in batch]
        except DBAPIError as error:
            failure = self._store.failed(error)
        except _CommitUnanswered as unanswered:
            failure = self._store.failed(unanswered, doing="commit to")
            failure.maybe_recorded = True
        raise failure

    def _alone(self, item: _Queued) -> _Outcome:
        try:
            return self._commit_together([item])[0]
        except Exception as error:  # noqa: BLE001 - it is the waiter's
            return _Outcome(error=error)

    def _transaction(
        self, batch: Sequence[_Queued], *, after: _CommitUnanswered | None = None
    ) -> list[_Outcome]:
        writing = any(item.writing for item in batch)
        try:
            connection = self._connect()
            started = self._store.begin(connection, writing=writing)
            if after is not None and self._store.committed(connection, after.transaction_id):
                connection.rollback()
                return after.outcomes
            outcomes = self._outcomes(batch, connection, started.now)
            try:
                connection.commit()
            except DBAPIError as error:
                if writing and error.connection_invalidated:
                    raise _CommitUnanswered(started.transaction_id, outcomes) from error
                raise
            if writing:
                self._require_kept()
        except BaseException:
            self._recover()
            raise
        return outcomes

    def _require_kept(self) -> None:
        """Answer nobody whose commit went into a file that was taken away meanwhile."""
        try:
            self._store.check(writing=False)
        except JournalUnavailableError as lost:
            lost.maybe_recorded = True  # whoever took the file away may put it back
            raise

    def _outcomes(
        self, batch: Sequence[_Queued], connection: Connection, now: float
    ) -> list[_Outcome]:
        """Carry out every operation, without a savepoint for each: few ever fail."""
        try:
            return [_Outcome(value=item.operation(connection, now)) for item in batch]
        except Exception as error:
            gone = isinstance(error, DBAPIError) and error.connection_invalidated
            if gone or len(batch) == 1:
                raise
            raise _BatchUndone from error

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._store.connect()
        return self._connection

    def _recover(self) -> None:
        """Leave the connection as if nothing had begun, or without one."""
        connection = self._connection
        if connection is None:
            return
        if connection.invalidated:
            self._disconnect()
            return
        try:
            connection.rollback()
        except DBAPIError:
            # The failure that led here is on its way to the callers; this one adds nothing.
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
