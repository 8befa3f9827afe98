"""`DatabaseAccess`: how a journal runs its operations in this process.

It owns the worker, the thread that writes, and what happens to them when the process forks or
exits. It contains no operation: `CallJournal` adds one method for each.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from langchain_oneshot_voice.arguments import is_seconds
from langchain_oneshot_voice.journal import workers
from langchain_oneshot_voice.journal.forgetting import Retention
from langchain_oneshot_voice.journal.records import JournalUnavailableError
from langchain_oneshot_voice.journal.store import Store
from langchain_oneshot_voice.journal.workers import Worker
from langchain_oneshot_voice.journal.writer import JournalWriter

T = TypeVar("T")
P = ParamSpec("P")
Operation = Callable[Concatenate[Connection, float, P], T]
"""A function that runs inside a transaction: it gets the connection and the journal's time."""


class DatabaseAccess:
    """Runs operations on a journal's database, each inside a transaction of the writer thread.

    Args:
        store: the database.
        heartbeat: seconds between the heartbeats of this process.
        lease: seconds without a heartbeat after which other processes may take its calls.

    Raises:
        ValueError: a time is not a number of seconds above zero, or is more than 1e9.
    """

    def __init__(self, store: Store, *, heartbeat: float, lease: float) -> None:
        if not (is_seconds(heartbeat) and is_seconds(lease)):
            raise ValueError("heartbeat and lease must be greater than zero, and at most 1e9")
        self._store = store
        self._retention = Retention()
        self._heartbeat = heartbeat
        self._lease = lease
        self._start()
        _OPEN.add(self)

    def _start(self) -> None:
        self._worker = Worker(self._heartbeat, self._lease)
        self._writer = JournalWriter(self._store, self._worker, self._retention)
        self._finalizer = weakref.finalize(self, self._writer.stop_at_exit)
        self._finalizer.atexit = False  # `_stop_all` calls it, at a known moment

    def _restart_in_child(self) -> None:
        self._finalizer.detach()
        _INHERITED.append(self._writer)
        closed = self._writer.closed
        self._start()
        if closed:
            self._writer.stop()

    def _read(
        self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        reading = self._writer.submit(
            lambda connection, now: operation(connection, now, *args, **kwargs), writing=False
        )
        return asyncio.wrap_future(reading)

    def _write(
        self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        return asyncio.wrap_future(self._submit(None, operation, *args, **kwargs))

    def _submit(
        self,
        then: Callable[[Future[T]], None] | None,
        operation: Operation[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        return self._writer.submit(
            lambda connection, now: operation(connection, now, *args, **kwargs),
            writing=True,
            then=then,
        )

    async def _claim_or_release(
        self, keys: list[str], owner: str, claiming: asyncio.Future[T]
    ) -> T:
        try:
            return await claiming
        except BaseException:
            # The claim may be granted, and the caller never learns it: give the call back.
            with suppress(JournalUnavailableError):
                for key in keys:
                    self._release(key, owner)
            raise

    def _release(self, call_key: str, owner: str) -> Future[None]:
        then = partial(self._worker.on_released, (call_key, owner))
        return self._submit(then, workers.release, call_key, owner)


_OPEN: weakref.WeakSet[DatabaseAccess] = weakref.WeakSet()

_INHERITED: list[JournalWriter] = []
"""The writers that a forked child inherited. Their connections belong to the parent: closing one in
the child, even by dropping the last reference to it, would close it for both processes."""


@atexit.register
def _stop_all() -> None:
    """Stop the journals that are still open at exit.

    Exit functions run in the reverse order of their registration. This one is registered at import,
    before any call is placed, so it runs after the functions that calls in flight registered, and
    those can still write.
    """
    for journal in list(_OPEN):
        journal._finalizer()  # noqa: SLF001 - the module's own class


def _restart_all_in_child() -> None:
    for journal in list(_OPEN):
        journal._restart_in_child()  # noqa: SLF001 - the module's own class


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_restart_all_in_child)
