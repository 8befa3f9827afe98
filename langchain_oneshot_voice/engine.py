"""One background event loop for all I/O of the package.

Calls come from everywhere: plain threads, a notebook's running loop, a graph, a server with a loop
per worker thread. All of them are carried to one loop in one daemon thread, so that there is one
implementation (async), one pool of connections, one socket and one journal writer per process.

Promises: it starts on first use, never at import; a forked child starts its own; the caller's
context variables travel with the call; cancelling the caller cancels the call; whatever one call
ends in, the others go on; a program that is interrupted does not wait for calls in its other
threads; when the interpreter exits, what runs is cancelled and has ended before anything shared is
closed. It knows nothing of calls or of the provider. `docs/decisions/interrupts.md` has the why.
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

from langchain_oneshot_voice.main_thread import Leaving, main_thread_leaving

T = TypeVar("T")

_LOOK_SECONDS = 0.1
"""Between looks at the main thread, while another thread waits for a flow."""

_STILL_LOOKS = 2
"""After so many more looks at the same place, the main thread is taken to wait there."""

_LONGEST_STOP = 10.0
"""Seconds that the exit of the interpreter waits for flows that do not end when cancelled."""


@dataclass(frozen=True, slots=True)
class _Escaped:
    """What a flow raised that an event loop takes for its own end, such as `SystemExit`."""

    error: BaseException


@dataclass(eq=False, slots=True)
class _Wait:
    """Somebody outside the main thread who waits for a flow.

    Attributes:
        end: ends the wait, and cancels the flow.
        known: the exception that the main thread has been handling since before the wait.
        ended_by: what the main thread left with, if that ended the wait.
    """

    end: Callable[[], object]
    known: int | None = None
    ended_by: Leaving | None = None


class Engine:
    """A lazily started event loop in a daemon thread, and what is shared on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None
        self._shared: dict[Hashable, Any] = {}
        self._closing = AsyncExitStack()
        self._waits: set[_Wait] = set()
        self._watching = False
        self._exiting = False

    def call(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and block until it is done.

        Works in a thread whose own event loop is running, such as a notebook's. An interrupt of
        the waiting thread (Ctrl-C) cancels the flow, and does not wait until it has stopped.

        Raises:
            RuntimeError: when called on the engine's own thread, which would wait for itself, or
                when the interpreter is exiting.
            KeyboardInterrupt: also in another thread than the main one, when the main thread was
                interrupted and waits for threads: it would wait for this one.
            SystemExit: likewise when the main thread is on its way out.
        """
        portal, answer = self._start(), Future[T]()
        with self._watched(portal, answer.cancel) as wait:
            try:
                portal.start_task_soon(_answer, answer, flow, *args)
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
        """Begin `flow(*args)` on the loop. Cancelling what is returned cancels the flow."""
        answer = Future[T]()
        self._start().start_task_soon(_answer, answer, flow, *args)
        return answer

    async def acall(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run `flow(*args)` on the loop and await it from any other loop.

        Cancelling the awaiting task cancels the flow and waits until it has stopped. The task is
        cancelled, too, where `call` would raise `KeyboardInterrupt` or `SystemExit`.
        """
        if threading.current_thread() is self._thread:
            return await flow(*args)
        portal, task = self._start(), asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine that awaits runs in a task
            raise AssertionError
        loop = asyncio.get_running_loop()
        end = partial(loop.call_soon_threadsafe, task.cancel)
        with self._watched(portal, end), _awake(loop):
            try:
                ended: T | _Escaped = await portal.call_async(_contained, flow, *args)
            except CancelledError:
                raise asyncio.CancelledError from None
            return _released(ended)

    async def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """The one object of the process under `key`, made on the loop by the first to ask.

        An object with an `aclose` method has it called when the engine stops, the latest first.
        Call on the loop.
        """
        if key not in self._shared:
            made = make()
            self._shared[key] = made
            close = getattr(made, "aclose", None)
            if close is not None:
                self._closing.push_async_callback(close)
        return cast("T", self._shared[key])

    def stop(self) -> None:
        """Cancel what runs, wait for its end, close what is shared; the next call starts anew."""
        with self._lock:
            thread, portal, self._portal = self._thread, self._portal, None
        atexit.unregister(self._exit)
        if thread is not None and portal is not None:
            portal.call(portal.stop, True)  # noqa: FBT003 - anyio's cancel_remaining
            thread.join(_LONGEST_STOP)

    def _exit(self) -> None:
        """Stop for good: the interpreter exits."""
        self._exiting = True
        self.stop()

    def _start(self) -> BlockingPortal:
        with self._lock:
            if self._exiting:
                raise RuntimeError("the interpreter is exiting: no call is begun any more")
            if self._portal is None:
                ready: Future[tuple[BlockingPortal, AsyncExitStack]] = Future()
                self._thread = threading.Thread(
                    target=_serve, args=(ready,), name="oneshot-voice-engine", daemon=True
                )
                self._thread.start()
                self._shared = {}
                self._portal, self._closing = ready.result()
                # Registered on first use, so that it runs before what was registered by imports:
                # a flow's last words are written to a journal that is still open.
                atexit.register(self._exit)
            return self._portal

    @contextmanager
    def _watched(self, portal: BlockingPortal, end: Callable[[], object]) -> Iterator[_Wait]:
        """End a wait of another thread than the main one when the main thread leaves."""
        if threading.current_thread() is threading.main_thread():
            yield _Wait(end)
            return
        leaving = main_thread_leaving()
        wait = _Wait(end, known=leaving.error if leaving is not None else None)
        with self._lock:
            self._waits.add(wait)
            begin, self._watching = not self._watching, True
        try:
            if begin:
                portal.start_task_soon(self._watch)
            yield wait
        finally:
            with self._lock:
                self._waits.discard(wait)

    async def _watch(self) -> None:
        """Look at the main thread again and again, for as long as another thread waits."""
        before, looks = None, 0
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                with self._lock:
                    waits = list(self._waits)
                    if not waits:
                        self._watching = False
                        return
                leaving = None
                # In a thread: see `Leaving`. If that happens all the same, it is left to itself.
                with anyio.move_on_after(_LOOK_SECONDS):
                    leaving = await anyio.to_thread.run_sync(
                        main_thread_leaving, abandon_on_cancel=True
                    )
                looks = looks + 1 if leaving == before else 0
                before = leaving
                blocked = leaving is not None and (
                    leaving.has_ended or (leaving.is_waiting and looks >= _STILL_LOOKS)
                )
                for wait in waits:
                    if leaving is None or leaving.error != wait.known:
                        wait.known = None
                        if blocked:
                            wait.ended_by = leaving
                            with suppress(RuntimeError):  # its loop has ended meanwhile
                                wait.end()
        finally:
            self._watching = False

    def _forget(self) -> None:
        """In a forked child: the thread did not come along, and what it held is the parent's."""
        _INHERITED.append(self.__dict__.copy())
        self.__init__()  # type: ignore[misc]


class Aside:
    """A loop of its own, in a thread that nobody waits for: what blocks it holds up no call."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        name = "oneshot-voice-listeners"
        threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()

    async def run(self, work: Awaitable[T]) -> T:
        """Await something there. What would end the loop comes out here."""
        working = asyncio.run_coroutine_threadsafe(_contained(lambda: work), self._loop)
        return _released(await asyncio.wrap_future(working))


async def call_user(function: Callable[..., Any], *args: object, aside: Aside | None = None) -> Any:  # noqa: ANN401 - theirs
    """Call a function of the user's, sync or async; a sync one in a thread, off the loop.

    People think for as long as they like: there are as many of these threads as calls that wait
    for one, and the package's own work has others. A thread can't be cancelled: when its call is,
    it goes on, and nobody waits for it.

    Args:
        function: theirs.
        args: what it is given.
        aside: where a coroutine of it runs; by default on this loop.
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
    return await (answer if aside is None else aside.run(answer))


@contextmanager
def _awake(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let a notebook's interrupt reach a cell that awaits.

    ipykernel's handler of SIGINT queues a callback and does not wake the loop, so that it runs when
    something else happens: `await asyncio.sleep(60)` can't be interrupted either (ipykernel 7.4).
    """
    if "ipykernel" not in sys.modules:
        yield
        return

    async def tick() -> None:
        while True:  # noqa: ASYNC110 - nobody can say when
            await asyncio.sleep(_LOOK_SECONDS)

    ticking = loop.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()


def _serve(ready: Future[tuple[BlockingPortal, AsyncExitStack]]) -> None:
    """Run a loop until its portal is stopped; close what is shared when every flow has ended."""

    async def until_stopped() -> None:
        async with AsyncExitStack() as closing, BlockingPortal() as portal:
            ready.set_result((portal, closing))
            await portal.sleep_until_stopped()

    try:
        anyio.run(until_stopped, backend="asyncio")
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)  # whoever started the thread waits for it


async def _answer(answer: Future[T], flow: Callable[..., Awaitable[T]], *args: object) -> None:
    """Run a flow, and hand over what it ends in; stop it when nobody wants the answer any more."""
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def unwanted(answer: Future[T]) -> None:
            if answer.cancelled():
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(scope.cancel)

        if answer.cancelled():
            return
        answer.add_done_callback(unwanted)
        try:
            ended = await flow(*args)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the flow was asked for
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)
        else:
            if answer.set_running_or_notify_cancel():
                answer.set_result(ended)


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

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ENGINE._forget)  # noqa: SLF001 - the module's own object
