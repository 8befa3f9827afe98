"""One background event loop for all I/O of the package.

Callers run in plain threads, in a notebook's running loop, in a graph, or in a server with a loop
per worker thread. All of them use one loop in one daemon thread, so that the package has one async
implementation, and each process has one connection pool, one socket and one journal writer.

Guarantees:

- The loop starts on first use, never at import. A forked child process starts its own.
- The caller's context variables are set in the flow.
- Cancelling the caller cancels its flow. An error in one flow does not end the others.
- A program that is interrupted does not wait for flows in its other threads.
- When the interpreter exits, running flows are cancelled, and they end before any shared object
  is closed.

The module does not depend on phone calls or on the provider. `docs/decisions/interrupts.md` gives
the reasons.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import math
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from anyio.from_thread import BlockingPortal

from langchain_oneshot_voice.main_thread import MainThreadExit, main_thread_leaving

T = TypeVar("T")

_POLL_SECONDS = 0.1
"""Polling interval for the main thread's state while another thread waits, in seconds."""

_POLLS_UNTIL_BLOCKED = 2
"""Further polls that must show the main thread at the same place before it counts as blocked."""

_STOP_TIMEOUT = 10.0
"""Time limit for cancelled flows to end when the interpreter exits, in seconds."""


@dataclass(frozen=True, slots=True)
class _ExitRaised:
    """Carries an exception that would stop the event loop, such as `SystemExit`."""

    error: BaseException


@dataclass(eq=False, slots=True)
class _Waiter:
    """A thread other than the main one that waits for a flow.

    Attributes:
        end: ends the wait and cancels the flow.
        known_error: id of an exception that the main thread was handling before the wait began.
            It does not end the wait.
        ended_by: the exit of the main thread that ended the wait, if one did.
    """

    end: Callable[[], object]
    known_error: int | None = None
    ended_by: MainThreadExit | None = None


class Engine:
    """A lazily started event loop in a daemon thread, and the objects that its flows share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None
        self._shared: dict[Hashable, Any] = {}
        self._closing = AsyncExitStack()
        self._waiters: set[_Waiter] = set()
        self._watching = False
        self._exiting = False

    def call(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and block until it ends.

        Works in a thread that has a running event loop of its own, such as a notebook's. An
        interrupt of the waiting thread (Ctrl-C) cancels the flow and does not wait for its end.

        Raises:
            RuntimeError: in the engine's own thread, which would wait for itself, or when the
                interpreter is exiting.
            KeyboardInterrupt: the program was interrupted. Also raised in a thread other than the
                main one if the main thread was interrupted and waits for threads; otherwise both
                would wait for each other.
            SystemExit: the same, if the main thread is exiting.
        """
        portal, answer = self._start(), Future[T]()
        with self._watched(portal, answer.cancel) as wait:
            try:
                portal.start_task_soon(_run_into, answer, flow, *args)
                return answer.result()
            except CancelledError:
                if wait.ended_by is None and not self._exiting:
                    raise
                interrupted = wait.ended_by is not None and wait.ended_by.interrupted
                raise (KeyboardInterrupt if interrupted else SystemExit) from None
            except BaseException:
                answer.cancel()
                raise

    def start(self, flow: Callable[..., Awaitable[T]], *args: object) -> Future[T]:
        """Start `flow(*args)` on the loop. Cancelling the returned future cancels the flow."""
        answer = Future[T]()
        self._start().start_task_soon(_run_into, answer, flow, *args)
        return answer

    async def acall(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and await it from any other loop.

        Cancelling the awaiting task cancels the flow and waits for its end. The task is also
        cancelled in the cases in which `call` raises `KeyboardInterrupt` or `SystemExit`.
        """
        if threading.current_thread() is self._thread:
            return await flow(*args)
        portal, task = self._start(), asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine always runs in a task
            raise AssertionError
        loop = asyncio.get_running_loop()
        end = partial(loop.call_soon_threadsafe, task.cancel)
        with self._watched(portal, end), _keep_loop_awake(loop):
            try:
                ended: T | _ExitRaised = await portal.call_async(_catch_exit, flow, *args)
            except CancelledError:
                raise asyncio.CancelledError from None
            return _raise_exit(ended)

    async def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the process-wide object for `key`; create it on first use.

        When the engine stops, it calls each object's `aclose` method, if there is one, and
        starts with the newest object. Call this on the engine's loop only.
        """
        if key not in self._shared:
            created = make()
            self._shared[key] = created
            close = getattr(created, "aclose", None)
            if close is not None:
                self._closing.push_async_callback(close)
        return cast("T", self._shared[key])

    def stop(self) -> None:
        """Cancel and await all flows, and close shared objects. The next call starts a new loop."""
        with self._lock:
            thread, portal, self._portal = self._thread, self._portal, None
        atexit.unregister(self._exit)
        if thread is not None and portal is not None:
            portal.call(portal.stop, True)  # noqa: FBT003 - anyio's cancel_remaining
            thread.join(_STOP_TIMEOUT)

    def _exit(self) -> None:
        """Stop and refuse new flows, because the interpreter exits."""
        self._exiting = True
        self.stop()

    def _start(self) -> BlockingPortal:
        with self._lock:
            if self._exiting:
                raise RuntimeError("the interpreter is exiting: no new call can start")
            if self._portal is None:
                ready: Future[tuple[BlockingPortal, AsyncExitStack]] = Future()
                self._thread = threading.Thread(
                    target=_run_loop, args=(ready,), name="oneshot-voice-engine", daemon=True
                )
                self._thread.start()
                self._shared = {}
                self._portal, self._closing = ready.result()
                # Exit handlers run in reverse order of registration. This one is registered on
                # first use, so it runs before those registered at import: cancelled flows can
                # still write to an open journal.
                atexit.register(self._exit)
            return self._portal

    @contextmanager
    def _watched(self, portal: BlockingPortal, end: Callable[[], object]) -> Iterator[_Waiter]:
        """Register a waiting thread, so that its wait ends when the main thread exits."""
        if threading.current_thread() is threading.main_thread():
            yield _Waiter(end)
            return
        leaving = main_thread_leaving()
        wait = _Waiter(end, known_error=leaving.error if leaving is not None else None)
        with self._lock:
            self._waiters.add(wait)
            start_watch, self._watching = not self._watching, True
        try:
            if start_watch:
                portal.start_task_soon(self._watch_main_thread)
            yield wait
        finally:
            with self._lock:
                self._waiters.discard(wait)

    async def _watch_main_thread(self) -> None:
        """Poll the main thread while other threads wait, and end their waits when it exits."""
        last_seen, same_polls = None, 0
        try:
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                with self._lock:
                    waits = list(self._waiters)
                    if not waits:
                        self._watching = False
                        return
                leaving = None
                # In a thread, because a look can block in rare cases (see `MainThreadExit`).
                # A thread that blocks is abandoned.
                with anyio.move_on_after(_POLL_SECONDS):
                    leaving = await anyio.to_thread.run_sync(
                        main_thread_leaving, abandon_on_cancel=True
                    )
                same_polls = same_polls + 1 if leaving == last_seen else 0
                last_seen = leaving
                blocked = leaving is not None and (
                    leaving.has_ended or (leaving.is_waiting and same_polls >= _POLLS_UNTIL_BLOCKED)
                )
                for wait in waits:
                    if leaving is None or leaving.error != wait.known_error:
                        wait.known_error = None
                        if blocked:
                            wait.ended_by = leaving
                            with suppress(RuntimeError):  # its loop has been closed meanwhile
                                wait.end()
        finally:
            self._watching = False

    def _reset_after_fork(self) -> None:
        """Start from scratch in a forked child: the thread does not exist there."""
        _PARENT_STATE.append(self.__dict__.copy())
        self.__init__()  # type: ignore[misc]


class ListenerLoop:
    """An event loop in a separate daemon thread, for user code that may block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        name = "oneshot-voice-listeners"
        threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()

    async def run(self, work: Awaitable[T]) -> T:
        """Await `work` on that loop, and raise its errors here."""
        working = asyncio.run_coroutine_threadsafe(_catch_exit(lambda: work), self._loop)
        return _raise_exit(await asyncio.wrap_future(working))


async def call_user_function(
    function: Callable[..., Any], *args: object, loop: ListenerLoop | None = None
) -> Any:  # noqa: ANN401 - theirs
    """Call a user's function, sync or async. A sync function runs in a thread.

    These threads have no limit, because a function may wait a long time for a person; the package's
    own work uses other threads. A thread can't be cancelled: if the call is cancelled, the function
    runs on and its result is ignored.

    Args:
        function: the user's function.
        args: its arguments.
        loop: runs the function's coroutine; by default the current loop does.
    """
    if inspect.iscoroutinefunction(function):
        answer: Any = function(*args)
    else:
        threads = await ENGINE.shared("threads of users", lambda: CapacityLimiter(math.inf))
        answer = await anyio.to_thread.run_sync(
            function, *args, limiter=threads, abandon_on_cancel=True
        )
    if not inspect.isawaitable(answer):
        return answer
    return await (answer if loop is None else loop.run(answer))


@contextmanager
def _keep_loop_awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake a notebook's event loop regularly, so that a cell that awaits can be interrupted.

    ipykernel's handler for SIGINT queues a callback and does not wake the loop, so the callback
    runs only at the loop's next event. Without ticks, not even `await asyncio.sleep(60)` can be
    interrupted (ipykernel 7.4).
    """
    if "ipykernel" not in sys.modules:
        yield
        return

    async def tick() -> None:
        while True:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(_POLL_SECONDS)

    ticking = loop.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()


def _run_loop(ready: Future[tuple[BlockingPortal, AsyncExitStack]]) -> None:
    """Run a loop until its portal is stopped. Close shared objects after every flow has ended."""

    async def until_stopped() -> None:
        async with AsyncExitStack() as closing, BlockingPortal() as portal:
            ready.set_result((portal, closing))
            await portal.sleep_until_stopped()

    try:
        anyio.run(until_stopped, backend="asyncio")
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)  # the thread that called `_start` waits for it


async def _run_into(answer: Future[T], flow: Callable[..., Awaitable[T]], *args: object) -> None:
    """Run a flow and set its outcome on the future. Cancelling the future cancels the flow."""
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def cancel_flow(answer: Future[T]) -> None:
            if answer.cancelled():
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(scope.cancel)

        if answer.cancelled():
            return
        answer.add_done_callback(cancel_flow)
        try:
            ended = await flow(*args)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)
        else:
            if answer.set_running_or_notify_cancel():
                answer.set_result(ended)


async def _catch_exit(flow: Callable[..., Awaitable[T]], *args: object) -> T | _ExitRaised:
    """Run a flow. Return an exception that would stop the loop, and every other flow with it."""
    try:
        return await flow(*args)
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:  # noqa: BLE001 - `_raise_exit` raises it in the caller
        return _ExitRaised(error)


def _raise_exit(ended: T | _ExitRaised) -> T:
    if isinstance(ended, _ExitRaised):
        raise ended.error
    return ended


_PARENT_STATE: list[dict[str, Any]] = []
"""State that a forked child has from its parent: its loop and connections. The references are kept,
because dropping the last one closes the object, which would disturb the parent."""

ENGINE = Engine()
"""The process's engine."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ENGINE._reset_after_fork)  # noqa: SLF001 - the module's own object
