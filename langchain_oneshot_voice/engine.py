"""One background event loop for all I/O of the package.

Calls come from everywhere: plain threads, a notebook's running loop, a graph, a server with a loop
per worker thread. All of them are carried to one loop in one daemon thread, so that there is one
implementation (async), one pool of connections, one socket and one journal writer per process.

Promises: it starts on first use, never at import; a forked child starts its own; the caller's
context variables travel with the call; cancelling the caller cancels the call; everything shared
is closed when the interpreter exits. It knows nothing of calls or of the provider.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")


class Engine:
    """A lazily started event loop in a daemon thread, and what is shared on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack: ExitStack | None = None
        self._portal: BlockingPortal | None = None
        self._thread_id: int | None = None
        self._shared: dict[Hashable, Any] = {}
        self._closing: AsyncExitStack | None = None

    def call(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and block until it is done.

        Works in a thread whose own event loop is running, such as a notebook's. An interrupt of
        the waiting thread (Ctrl-C) cancels the flow.

        Raises:
            RuntimeError: when called on the engine's own thread, which would wait for itself.
        """
        future = self._start().start_task_soon(flow, *args)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acall(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and await it from any other loop.

        Cancelling the awaiting task cancels the flow and waits until it has stopped.
        """
        portal = self._start()
        if threading.get_ident() == self._thread_id:
            return await flow(*args)
        return await portal.call_async(flow, *args)

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
            stack, portal, closing = self._stack, self._portal, self._closing
            self._stack = self._portal = self._closing = None
        if stack is not None and portal is not None and closing is not None:
            portal.call(closing.aclose)
            portal.call(portal.stop, True)  # noqa: FBT003 - anyio's cancel_remaining
            stack.close()

    def _start(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                self._stack = ExitStack()
                portal = self._stack.enter_context(
                    start_blocking_portal("asyncio", name="oneshot-voice-engine")
                )
                self._shared = {}
                self._closing = AsyncExitStack()
                self._thread_id = portal.call(threading.get_ident)
                self._portal = portal
            return self._portal

    def _forget(self) -> None:
        """In a forked child: the thread did not come along, and what it held is the parent's."""
        self.__init__()  # type: ignore[misc]


ENGINE = Engine()
"""The process's engine."""

atexit.register(ENGINE.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ENGINE._forget)  # noqa: SLF001 - the module's own object
