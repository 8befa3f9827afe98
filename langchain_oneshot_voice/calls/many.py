"""Run many calls with limited concurrency, and yield each one when it ends.

`Many` runs the calls on the engine's event loop. `CallPlacer` and `yield_results` run where the
caller is: they read a request when a slot is free, start its call, and wait for the next event. A
slot becomes free when the caller takes the outcome, so no call is placed for a caller that stopped
reading.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.pause import GraphPause
from langchain_oneshot_voice.approval.questions import Pending
from langchain_oneshot_voice.caller_side import Side
from langchain_oneshot_voice.calls.withdrawal import Withdrawal
from langchain_oneshot_voice.engine import ENGINE, call_user_function
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

R = TypeVar("R", bound="VoiceCallInput | Mapping[str, Any]")


@dataclass(frozen=True, slots=True)
class CallEnded(Generic[R]):
    """The end of one of many calls: either a result or an error.

    Attributes:
        index: zero-based index of the request.
        request: the request, unchanged.
        result: the result of the call; `None` if it raised an error.
        error: why there is no result. A call that was no longer needed has a `VoiceCallError`
            with the code `withdrawn`: nothing was charged.
    """

    index: int
    request: R
    result: VoiceCallResult | None = None
    error: Exception | None = None

    @property
    def succeeded(self) -> bool:
        """True if the service says that the call reached its objective."""
        return self.result is not None and self.result.call_successful == "success"


StopWhen = Callable[[CallEnded[R]], Awaitable[bool] | bool]
Flow = Callable[[], Awaitable[VoiceCallResult | Pending]]


@dataclass(frozen=True, slots=True)
class _NeedsApproval(Generic[R]):
    """A call that waits for a person, and the outcome it gets if nobody is asked any more."""

    pending: Pending
    withdrawn: CallEnded[R]


@dataclass(frozen=True, slots=True)
class _RequestRead(Generic[R]):
    """The next request; empty if there are no more."""

    requests: tuple[R, ...]


class Many(Generic[R]):
    """Runs calls concurrently. Use it on the engine's event loop only.

    Attributes:
        withdrawal: cancels the calls that are not paid yet.
        failure: an exception from the requests or from `stop_when`; it is raised at the end.
    """

    def __init__(self, stop_when: StopWhen[R] | None) -> None:
        self.withdrawal = Withdrawal()
        self.failure: Exception | None = None
        self._stop_when = stop_when
        self._stop_lock = asyncio.Lock()
        self._key_locks: weakref.WeakValueDictionary[str, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._running = 0
        self._idle = asyncio.Event()
        self._events: asyncio.Queue[
            CallEnded[R] | _NeedsApproval[R] | _RequestRead[R] | BaseException
        ] = asyncio.Queue()

    async def run(self, index: int, request: R, call_key: str, flow: Flow) -> None:
        """Make one call and queue its end, or its exception."""
        self._running += 1
        self._idle.clear()
        try:
            # Equal requests run one after the other, so that later ones reuse the first result.
            async with self._key_locks.setdefault(call_key, asyncio.Lock()):
                event = await self._outcome(index, request, flow)
            if isinstance(event, CallEnded):
                await self._check_stop(event)
        except BaseException as error:
            self._events.put_nowait(error)
            raise
        else:
            self._events.put_nowait(event)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def add_read(self, read: _RequestRead[R]) -> None:
        """Queue a request that was read in the background."""
        self._events.put_nowait(read)

    async def next(self) -> CallEnded[R] | _NeedsApproval[R] | _RequestRead[R]:
        """Wait for the next event, usually a call that ended.

        Raises:
            BaseException: an exception that is not a call's outcome: it ends the program or
                pauses a graph.
        """
        event = await self._events.get()
        if isinstance(event, BaseException):
            raise event
        return event

    async def ended(self) -> None:
        """Wait until no call is running."""
        if self._running:
            await self._idle.wait()

    async def _outcome(
        self, index: int, request: R, flow: Flow
    ) -> CallEnded[R] | _NeedsApproval[R]:
        try:
            result = await flow()
        except Exception as error:
            if _is_graph_control(error):
                raise
            return CallEnded(index, request, error=error)
        if isinstance(result, Pending):
            return _NeedsApproval(result, CallEnded(index, request, error=wording.withdrawn()))
        return CallEnded(index, request, result)

    async def _check_stop(self, ended: CallEnded[R]) -> None:
        """Ask `stop_when` about a call that ended, one call at a time."""
        if self._stop_when is None:
            return
        async with self._stop_lock:
            if self.withdrawal.is_called:
                return
            try:
                enough = await call_user_function(self._stop_when, ended)
            except Exception as failure:  # noqa: BLE001 - from the user's code, raised at the end
                self.failure, enough = failure, True
            if enough:
                self.withdrawal.call()


async def yield_results(
    calls: CallPlacer[R],
    record_answers: Callable[[], Awaitable[GraphPause | None]],
    *,
    yield_rest: bool,
) -> AsyncGenerator[CallEnded[R], None]:
    """Yield each call when it ends; at the end, yield withdrawn calls or pause the graph.

    Args:
        calls: places the calls.
        record_answers: records the answers that the caller's graph was resumed with.
        yield_rest: after a withdrawal, also read the remaining requests and yield each as
            withdrawn.
    """
    many, wait_for_calls = calls.many, True
    try:
        pause = await record_answers()
        while (ended := await calls.next()) is not None:
            yield ended
        if many.withdrawal.is_called:
            for ask in calls.unanswered:
                yield ask.withdrawn
            while yield_rest and (rest := (await calls.read()).requests):
                yield CallEnded(calls.index, rest[0], error=wording.withdrawn())
                calls.index += 1
        if many.failure is not None:
            raise many.failure
        if pause is not None and calls.unanswered and not many.withdrawal.is_called:
            asked = {ask.pending.asked.question_id: ask.pending for ask in calls.unanswered}
            # Equal requests are one call, and LangGraph must see its question only once.
            await pause.ask(*asked.values())
    except (KeyboardInterrupt, SystemExit):
        # Waiting here would delay the exit of the program.
        wait_for_calls = False
        raise
    finally:
        await calls.close(wait_for_calls=wait_for_calls)


class CallPlacer(Generic[R]):
    """Reads requests and starts their calls, up to `concurrency` at once. Runs at the caller.

    Args:
        side: the caller's thread or event loop.
        many: runs the calls.
        requests: read one by one, when a slot is free.
        prepare: returns a request's call key, and a function that makes the call.
        concurrency: number of slots.

    Attributes:
        index: number of requests read so far.
        unanswered: the calls that wait for a person. Each of them keeps its slot.
    """

    def __init__(
        self,
        side: Side,
        many: Many[R],
        requests: Iterator[R] | AsyncIterator[R],
        prepare: Callable[[R], tuple[str, Flow]],
        concurrency: int,
    ) -> None:
        self.many = many
        self.index = 0
        self.unanswered: list[_NeedsApproval[R]] = []
        self._side = side
        self._requests = requests
        self._prepare = prepare
        self._free_slots = concurrency
        self._running_calls = 0
        self._has_more = True
        self._read_task: asyncio.Task[None] | None = None
        self._futures: set[Future[None]] = set()

    async def next(self) -> CallEnded[R] | None:
        """Return the next call that ends; `None` if no call runs and none is left to start."""
        while True:
            event = await self._next_event()
            match event:
                case CallEnded():
                    self._running_calls, self._free_slots = (
                        self._running_calls - 1,
                        self._free_slots + 1,
                    )
                    return event
                case _NeedsApproval():
                    self._running_calls -= 1
                    self.unanswered.append(event)
                case _RequestRead(requests=(request,)):
                    self._read_task = None
                    self._place(request)
                case _RequestRead():
                    self._read_task, self._has_more = None, False
                case None:
                    return None

    async def read(self) -> _RequestRead[R]:
        """Read one request. An exception from the user's iterator ends the reading and is kept."""
        try:
            if isinstance(self._requests, AsyncIterator):
                return _RequestRead((await anext(self._requests),))
            return _RequestRead((next(self._requests),))
        except (StopIteration, StopAsyncIteration):
            return _RequestRead(())
        except Exception as failure:  # noqa: BLE001 - raised when the running calls have ended
            self.many.failure = failure
            return _RequestRead(())

    async def close(self, *, wait_for_calls: bool) -> None:
        """Cancel every call that still runs. A paid call stays in the journal for recovery."""
        if self._read_task is not None:
            self._read_task.cancel()
        runs = tuple(self._futures)
        for run in runs:
            run.cancel()
        if wait_for_calls and runs:
            with suppress(RuntimeError):  # the engine has stopped, or this is its own thread
                await self._side.run(self.many.ended)

    async def _next_event(self) -> CallEnded[R] | _NeedsApproval[R] | _RequestRead[R] | None:
        may_read = self._has_more and self._free_slots > 0 and not self.many.withdrawal.is_called
        if may_read and self._read_task is None:
            if not isinstance(self._requests, AsyncIterator):
                return await self.read()
            reading = asyncio.create_task(self.read())
            await asyncio.sleep(0)
            if reading.done():  # the usual case, without a round trip to the engine's loop
                return reading.result()
            # An async iterator may wait for a long time; calls that end meanwhile are yielded.
            self._read_task = asyncio.create_task(self._queue_read(reading))
        if may_read or self._running_calls:
            return await self._side.run(self.many.next)
        return None

    async def _queue_read(self, reading: asyncio.Task[_RequestRead[R]]) -> None:
        await self._side.run(self.many.add_read, await reading)

    def _place(self, request: R) -> None:
        try:
            call_key, flow = self._prepare(request)
        except Exception as error:  # noqa: BLE001 - it belongs to this call only
            call_key, flow = "", partial(_raise_error, error)
        run = ENGINE.start(self.many.run, self.index, request, call_key, flow)
        self._futures.add(run)
        run.add_done_callback(self._futures.discard)
        self.index, self._free_slots, self._running_calls = (
            self.index + 1,
            self._free_slots - 1,
            self._running_calls + 1,
        )


async def _raise_error(error: Exception) -> NoReturn:
    raise error


def _is_graph_control(error: Exception) -> bool:
    """True for an exception of LangGraph's, such as an interrupt in the user's function."""
    errors = sys.modules.get("langgraph.errors")
    return errors is not None and isinstance(error, errors.GraphBubbleUp)
