"""The writer thread of a journal: it commits queued operations in groups.

A commit takes a disk a few milliseconds, however much it contains. So the thread takes everything
that is queued, runs it in one transaction, commits once, and then answers. If an operation fails,
the transaction is rolled back and each operation runs again in its own transaction. If the commit
fails, every operation in it fails. Between batches the thread runs periodic tasks.

Promises: it never blocks an event loop; it reports nothing as done before it is on disk; if the
connection drops, it reconnects once, and runs nothing again that was committed. It knows no tables.
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
"""A function that runs inside a transaction: it gets the connection and the journal's time."""

_BATCH = 128
"""Maximum size of a batch. It limits how long the writers of other processes wait."""


class PeriodicTask(Protocol):
    """An operation that the thread runs from time to time."""

    def due_in(self) -> float | None:
        """Return the seconds until the next run; `None` if none is needed."""

    def run(self, connection: Connection, now: float) -> Any:  # noqa: ANN401 - only `on_done` reads it
        """Run inside a writing transaction."""

    def on_done(self, future: Future[Any]) -> None:
        """Receive the result or the error of a run."""


@dataclass(slots=True)
class _Queued:
    operation: Operation[Any]
    writing: bool
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


class _CommitUnanswered(Exception):  # noqa: N818 - no error yet: the commit may have succeeded
    """The connection dropped during the commit."""

    def __init__(self, transaction_id: str | None, outcomes: list[_Outcome]) -> None:
        super().__init__("the connection dropped while committing, twice")
        self.transaction_id = transaction_id
        self.outcomes = outcomes


class _BatchUndone(Exception):  # noqa: N818 - no error: each operation runs again by itself
    """One operation failed, so the transaction of the batch was rolled back."""


class JournalWriter:
    """The queue and its thread, which starts with the first operation.

    Args:
        store: the database.
        tasks: what to run from time to time.
    """

    def __init__(self, store: Store, *tasks: PeriodicTask) -> None:
        self._store = store
        self._tasks = tasks
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped: Future[None] | None = None
        self._connection: Connection | None = None
        self._process = os.getpid()

    @property
    def closed(self) -> bool:
        """True after `stop`."""
        return self._stopped is not None

    def submit(
        self,
        operation: Operation[T],
        *,
        writing: bool,
        then: Callable[[Future[T]], None] | None = None,
    ) -> Future[T]:
        """Queue an operation. If the future is cancelled before its turn, the operation never runs.

        Args:
            operation: the operation.
            writing: whether it writes.
            then: called by the writer thread when the operation has ended.

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
        """Run what is queued, then close the connection and complete the future."""
        with self._lock:
            if self._stopped is None:
                self._stopped = Future()
                self._stopped.set_running_or_notify_cancel()  # so that no waiter can cancel it
                if self._thread is None:
                    self._stopped.set_result(None)
                else:
                    self._queue.put(None)
            return self._stopped

    def stop_at_exit(self) -> None:
        """Stop, and wait up to five seconds for the last commit; do nothing in a forked child."""
        if os.getpid() != self._process or threading.current_thread() is self._thread:
            return
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._next_batch()
            # Drops the operations that were cancelled while they were queued.
            batch = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)
            for task in self._tasks:
                if task.due_in() == 0:
                    item = _Queued(task.run, writing=True)
                    item.future.add_done_callback(task.on_done)
                    self._answer([item])
        self._disconnect()
        if self._stopped is not None:
            self._stopped.set_result(None)

    def _next_batch(self) -> tuple[list[_Queued], bool]:
        """Wait until an operation is queued or a task is due; return `False` after `stop`."""
        due = (task.due_in() for task in self._tasks)
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
        except Exception as error:  # noqa: BLE001 - every waiter must receive it
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
                # The next transaction first asks the database whether the lost commit succeeded.
                return self._transaction(batch, after=unanswered)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The connection dropped before the commit, so nothing was stored: try once more.
                return self._transaction(batch)
        except _BatchUndone:
            return [self._commit_alone(item) for item in batch]
        except DBAPIError as error:
            failure = self._store.failed(error)
        except _CommitUnanswered as unanswered:
            failure = self._store.failed(unanswered, doing="commit to")
            failure.maybe_recorded = True
        raise failure

    def _commit_alone(self, item: _Queued) -> _Outcome:
        try:
            return self._commit_together([item])[0]
        except Exception as error:  # noqa: BLE001 - the waiter receives it
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
            outcomes = self._run_batch(batch, connection, started.now)
            try:
                connection.commit()
            except DBAPIError as error:
                if writing and error.connection_invalidated:
                    raise _CommitUnanswered(started.transaction_id, outcomes) from error
                raise
            if writing:
                self._require_same_file()
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _require_same_file(self) -> None:
        """Raise if the commit went into a file that was removed or replaced meanwhile."""
        try:
            self._store.check(writing=False)
        except JournalUnavailableError as lost:
            lost.maybe_recorded = True  # the file, with the commit, may be put back
            raise

    def _run_batch(
        self, batch: Sequence[_Queued], connection: Connection, now: float
    ) -> list[_Outcome]:
        """Run every operation, without a savepoint for each: failures are rare."""
        try:
            return [_Outcome(value=item.operation(connection, now)) for item in batch]
        except Exception as error:
            dropped = isinstance(error, DBAPIError) and error.connection_invalidated
            if dropped or len(batch) == 1:
                raise
            raise _BatchUndone from error

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._store.connect()
        return self._connection

    def _roll_back(self) -> None:
        """Roll the transaction back, or disconnect if that is not possible."""
        connection = self._connection
        if connection is None:
            return
        if connection.invalidated:
            self._disconnect()
            return
        try:
            connection.rollback()
        except DBAPIError:
            # The callers receive the first error; this second one tells them nothing new.
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
