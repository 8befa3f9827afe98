"""The real journal on virtual time: each process has its own, all of them have one database."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Any, Literal

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from chaos.virtual_time import VirtualClock
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    Claim,
    JournalUnavailableError,
    calls,
)
from langchain_oneshot_voice.journal.store import SQLiteStore, Started
from langchain_oneshot_voice.journal.workers import Worker
from langchain_oneshot_voice.journal.writer import JournalWriter, _Queued

Failure = Literal["lost", "acted"]
"""How an operation fails: before it is done, or after."""


class Database:
    """A database in memory, its clock, and what was written to it in which order.

    Args:
        clock: its clock.
        anew: whether a key that has ended may be asked for anew.
        paid: how many payments there were by now.

    Attributes:
        dones: how many outcomes were recorded, by call key.
        keys: the call key of each `goalId`.
        ended: the service's ids of the calls that have an outcome.
        paid_anew: keys whose call began again though a run should have been answered.
        refused: how many payments there were when a run recorded that its call was refused, and
            when that was; by owner.
        written: who wrote what about a call, and when.
    """

    def __init__(self, clock: VirtualClock, *, anew: bool, paid: Callable[[], int]) -> None:
        self.clock = clock
        self._anew = anew
        self._paid = paid
        self.store = _Store(clock)
        self.connection = self.store.connect()
        self.dones: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self.ended: set[str] = set()
        self.paid_anew: list[str] = []
        self.refused: dict[str, tuple[int, float]] = {}
        self.written: list[tuple[VirtualJournal, str, float]] = []
        self._at_first_claim: dict[tuple[str, str], int] = {}

    def note(
        self, who: VirtualJournal, operation: Callable[..., Any], args: tuple[Any, ...], named: Any
    ) -> None:
        """Hear of an operation, inside its transaction; the last of `args` is its result."""
        result = args[-1]
        if isinstance(result, CallRecord) or (isinstance(result, Claim) and result.kind == "mine"):
            self.written.append((who, operation.__name__, self.clock.monotonic()))
        if operation is calls.move and args[2] == "done" and result is not None:
            self.dones[args[0]] += 1
            self.ended.add(result.request_id)
        if operation is calls.move and args[2] == "refused" and result is not None:
            self.refused[args[1]] = self._paid(), self.clock.monotonic()
        if operation is calls.claim and isinstance(result, Claim):
            key = args[1].call_key
            goal_id = result.record.request["decisionContext"]["goalId"]
            self.keys[goal_id] = result.record.call_key.partition("~")[0]
            seen = self._at_first_claim.setdefault((key, named["owner"]), self.dones[key])
            answered = seen if self._anew else 0
            begins = result.kind == "mine" and result.record.state == "claimed"
            if begins and result.record.created_at == result.now and self.dones[key] > answered:
                self.paid_anew.append(key)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class VirtualJournal(CallJournal):
    """A process's journal. No thread: an operation is done when it is asked for.

    Attributes:
        failure: what goes wrong with the next operation.
    """

    def __init__(self, database: Database, *, heartbeat: float, lease: float) -> None:
        self._database = database
        super().__init__("memory", heartbeat=heartbeat, lease=lease)

    @property
    def beats_every(self) -> float:
        """Seconds between heartbeats."""
        return self._heartbeat

    def beat(self) -> None:
        """Do what the journal's thread does from time to time."""
        self._quick.beat()

    def fail_next(self, failure: Failure) -> None:
        """Let the next operation fail."""
        self._quick.failure = failure

    def _start(self) -> None:
        self._store = self._database.store
        self._worker = Worker(self._heartbeat, self._lease)
        self._writer = self._quick = _Writer(self._database, self._worker)
        self._finalizer = weakref.finalize(self, lambda: None)  # there is no thread to stop

    def _submit(
        self,
        then: Callable[[Future[Any]], None] | None,
        operation: Callable[..., Any],
        *args: Any,
        **named: Any,
    ) -> Future[Any]:
        def noted(connection: Connection, now: float, *args: Any, **named: Any) -> Any:
            result = operation(connection, now, *args, **named)
            self._database.note(self, operation, (*args, result), named)
            return result

        return super()._submit(then, noted, *args, **named)


_MEMORY = SQLiteStore(URL.create("sqlite", database=":memory:"))


@cache
def _new_database() -> Connection:
    """An empty journal, made once: migrations take longer than a whole virtual call."""
    return _MEMORY.connect()


class _Store(SQLiteStore):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_MEMORY.url)
        # An engine keeps the statements that it has prepared; each connection is a database.
        self.engine = _MEMORY.engine
        self._clock = clock

    def connect(self) -> Connection:
        connection = self.engine.connect()
        new: Any = _new_database().connection.driver_connection
        new.backup(connection.connection.driver_connection)
        return connection

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        super().begin(connection, writing=writing)
        return Started(now=self._clock.time())


class _Writer(JournalWriter):
    """Does at once, in the calling thread, what the real one queues."""

    def __init__(self, database: Database, worker: Worker) -> None:
        super().__init__(database.store, worker)
        self._connection = database.connection
        self._worker = worker
        self.failure: Failure | None = None

    def submit(
        self,
        operation: Any,
        *,
        writing: bool,
        then: Callable[[Future[Any]], None] | None = None,
    ) -> Future[Any]:
        failure, self.failure = self.failure, None
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()
        if then is not None:
            answer.add_done_callback(then)
        done = None if failure == "lost" else self._do(operation, writing=writing)
        if failure is not None:
            answer.set_exception(JournalUnavailableError("The disk is full."))
        elif done is not None:
            _copy(done, answer)
        return answer

    def beat(self) -> None:
        if self._worker.held or self._worker.unreleased:
            self._worker.on_done(self._do(self._worker.run, writing=True))

    def _do(self, operation: Any, *, writing: bool) -> Future[Any]:
        item = _Queued(operation, writing)
        item.future.set_running_or_notify_cancel()
        self._answer([item])
        return item.future


def _copy(done: Future[Any], answer: Future[Any]) -> None:
    error = done.exception()
    if error is None:
        answer.set_result(done.result())
    else:
        answer.set_exception(error)
