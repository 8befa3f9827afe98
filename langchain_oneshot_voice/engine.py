"""One background event loop for all I/O of the package.

Calls come from everywhere: plain threads, a notebook's running loop, a graph, a server with a loop
per worker thread. All of them are carried to one loop in one daemon thread, so that there is one
implementation (async), one pool of connections, one socket and one journal writer per process.

Promises: it starts on first use, never at import; a forked child starts its own; the caller's
context variables travel with the call; cancelling the caller cancels the call; whatever one call
ends in, the others go on; everything shared is closed when the interpreter exits. It knows nothing
of calls or of the provider.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import math
import os
import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from anyio.from_thread import BlockingPortal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Escaped:
    """What a flow raised that an event loop takes for its own end, such as `SystemExit`."""

    error: BaseException


class Engine:
    """A lazily started event loop in a daemon thread, and what is shared on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None
        self._shared: dict[Hashable, Any] = {}
        self._closing: AsyncExitStack | None = None

    def call(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and block until it is done.

        Works in a thread whose own event loop is running, such as a notebook's. An interrupt of
        the waiting thread (Ctrl-C) cancels the flow.

        Raises:
            RuntimeError: when called on the engine's own thread, which would wait for itself.
        """
        future: Future[T | _Escaped] = self._start().start_task_soon(_contained, flow, *args)
        try:
            return _released(future.result())
        except BaseException:
            future.cancel()
            raise

    async def acall(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and await it from any other loop.

        Cancelling the awaiting task cancels the flow and waits until it has stopped.
        """
        portal = self._start()
        if threading.current_thread() is self._thread:
            return await flow(*args)
        ended: T | _Escaped = await portal.call_async(_contained, flow, *args)
        return _released(ended)

    async def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """The one object of the process under `key`, made on the loop by the first to ask.

        An object with an `aclose` method has it called when the engine stops. Call on the loop.
        """
        if key not in self._shared:
            made = make()
            self._shared[key] = made
            close = getattr(made, "aclose", None)
            if close is not None and self._closing is not None:
                self._closing.push_async_callback(close)
        return cast("T", self._shared[key])

    def stop(self) -> None:
        """Cancel what runs, close what is shared, end the thread; the next call starts anew."""
        with self._lock:
            thread, portal, closing = self._thread, self._portal, self._closing
            self._thread = self._portal = self._closing = None
        if thread is not None and portal is not None and closing is not None:
            portal.call(closing.aclose)
            portal.call(portal.stop, True)  # noqa: FBT003 - anyio's cancel_remaining
            thread.join()

    def _start(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                ready: Future[BlockingPortal] = Future()
                self._thread = threading.Thread(
                    target=_serve, args=(ready,), name="oneshot-voice-engine", daemon=True
                )
                self._thread.start()
                self._shared = {}
                self._closing = AsyncExitStack()
                self._portal = ready.result()
            return self._portal

    def _forget(self) -> None:
        """In a forked child: the thread did not come along, and what it held is the parent's."""
        _INHERITED.append(self.__dict__.copy())
        self.__init__()  # type: ignore[misc]


async def call_user(function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - theirs
    """Call a function of the user's, sync or async; a sync one in a thread, off the loop.

    People think for as long as they like: there are as many of these threads as calls that wait
    for one, and the package's own work has others.
    """
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    threads = await ENGINE.shared("threads of users", lambda: CapacityLimiter(math.inf))
    answer = await anyio.to_thread.run_sync(function, *args, limiter=threads)
    return await answer if inspect.isawaitable(answer) else answer


def _serve(ready: Future[BlockingPortal]) -> None:
    """Run a loop until its portal is stopped."""

    async def until_stopped() -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    anyio.run(until_stopped, backend="asyncio")


async def _contained(flow: Callable[..., Awaitable[T]], *args: object) -> T | _Escaped:
    """Run a flow; hand over what would end the loop, and everybody's calls with it."""
    try:
        return await flow(*args)
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:  # noqa: BLE001 - raised again where the flow was asked for
        return _Escaped(error)


def _released(ended: T | _Escaped) -> T:
    if isinstance(ended, _Escaped):
        raise ended.error
    return ended


_INHERITED: list[dict[str, Any]] = []
"""What a forked child got of its parent's loop and connections. They are the parent's: closing one
here, even by dropping the last reference, would disturb it."""

ENGINE = Engine()
"""The process's engine."""

atexit.register(ENGINE.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ENGINE._forget)  # noqa: SLF001 - the module's own object
