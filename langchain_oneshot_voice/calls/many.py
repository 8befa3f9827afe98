"""Many calls, a few at a time, and each handed out as it ends.

`Many` runs the calls on the engine's loop. `hand_out` is the caller's side: it reads a request when
a place is free, and waits for what comes next. A place is free again when its outcome was taken, so
nothing is placed for somebody who has gone.
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
from langchain_oneshot_voice.caller_side import Side
from langchain_oneshot_voice.calls.driver import Pending
from langchain_oneshot_voice.calls.withdrawal import Withdrawal
from langchain_oneshot_voice.engine import ENGINE, call_user
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

R = TypeVar("R", bound="VoiceCallInput | Mapping[str, Any]")


@dataclass(frozen=True, slots=True)
class CallEnded(Generic[R]):
    """How one of many calls ended: it has a result or an error.

    Attributes:
        index: the request's place among the requests, from 0.
        request: the request, as it was given.
        result: what became of the call.
        error: why there is no result. Of a call that was not needed any more, a `VoiceCallError`
            with the code `withdrawn`: nothing was charged.
    """

    index: int
    request: R
    result: VoiceCallResult | None = None
    error: Exception | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the call reached its objective, by the service's verdict."""
        return self.result is not None and self.result.call_successful == "success"


StopWhen = Callable[[CallEnded[R]], Awaitable[bool] | bool]
Flow = Callable[[], Awaitable[VoiceCallResult | Pending]]


@dataclass(frozen=True, slots=True)
class _Asks(Generic[R]):
    """A call that waits for a person, and what is said of it if nobody is to be asked."""

    pending: Pending
    withdrawn: CallEnded[R]


@dataclass(frozen=True, slots=True)
class _Read(Generic[R]):
    """A request, or none if there are no more."""

    requests: tuple[R, ...]


class Many(Generic[R]):
    """Calls that run side by side. Lives on the engine's loop.

    Attributes:
        withdrawal: takes back those that are not paid yet.
        trouble: an exception of the requests, or of `stop_when`, which is raised at the end.
    """

    def __init__(self, stop_when: StopWhen[R] | None) -> None:
        self.withdrawal = Withdrawal()
        self.trouble: Exception | None = None
        self._stop_when = stop_when
        self._judging = asyncio.Lock()
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._running = 0
        self._idle = asyncio.Event()
        self._came: asyncio.Queue[CallEnded[R] | _Asks[R] | _Read[R] | BaseException] = (
            asyncio.Queue()
        )

    async def run(self, index: int, request: R, call_key: str, flow: Flow) -> None:
        """Make one call and keep how it ended, whatever that is."""
        self._running += 1
        self._idle.clear()
        try:
            # Of equal requests the later ones hear what the first one came to.
            async with self._turns.setdefault(call_key, asyncio.Lock()):
                came = await self._outcome(index, request, flow)
            if isinstance(came, CallEnded):
                await self._judge(came)
        except BaseException as error:
            self._came.put_nowait(error)
            raise
        else:
            self._came.put_nowait(came)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def tell(self, read: _Read[R]) -> None:
        """Say what was read, to whoever waits for what comes next."""
        self._came.put_nowait(read)

    async def next(self) -> CallEnded[R] | _Asks[R] | _Read[R]:
        """Wait for what comes next: mostly a call that has ended.

        Raises:
            BaseException: what is no outcome of a call: it leaves the program, or pauses a graph.
        """
        came = await self._came.get()
        if isinstance(came, BaseException):
            raise came
        return came

    async def ended(self) -> None:
        """Wait until nothing runs."""
        if self._running:
            await self._idle.wait()

    async def _outcome(self, index: int, request: R, flow: Flow) -> CallEnded[R] | _Asks[R]:
        try:
            result = await flow()
        except Exception as error:
            if _pauses_a_graph(error):
                raise
            return CallEnded(index, request, error=error)
        if isinstance(result, Pending):
            return _Asks(result, CallEnded(index, request, error=wording.withdrawn()))
        return CallEnded(index, request, result)

    async def _judge(self, ended: CallEnded[R]) -> None:
        """Ask whether this was enough: about one call at a time, as soon as it has ended."""
        if self._stop_when is None:
            return
        async with self._judging:
            if self.withdrawal.is_called:
                return
            try:
                enough = await call_user(self._stop_when, ended)
            except Exception as trouble:  # noqa: BLE001 - the user's own, raised at the end
                self.trouble, enough = trouble, True
            if enough:
                self.withdrawal.call()


async def hand_out(
    calls: Placing[R],
    listen: Callable[[], Awaitable[GraphPause | None]],
    *,
    tell_rest: bool,
) -> AsyncGenerator[CallEnded[R], None]:
    """Hand out each call that has ended, and at the end say what else there is to say.

    Args:
        calls: what places them.
        listen: hears the answers of the graph around the caller, which may be paused.
        tell_rest: whether to read on after a withdrawal, to tell what else was withdrawn.
    """
    many, waits = calls.many, True
    try:
        pause = await listen()
        while (ended := await calls.next()) is not None:
            yield ended
        if many.withdrawal.is_called:
            for ask in calls.asks:
                yield ask.withdrawn
            while tell_rest and (rest := (await calls.read()).requests):
                yield CallEnded(calls.index, rest[0], error=wording.withdrawn())
                calls.index += 1
        if many.trouble is not None:
            raise many.trouble
        if pause is not None and calls.asks and not many.withdrawal.is_called:
            asked = [(ask.pending.asked, ask.pending.question) for ask in calls.asks]
            # Equal requests are one call, with one question.
            await pause.ask(*{one.question_id: (one, shown) for one, shown in asked}.values())
    except (KeyboardInterrupt, SystemExit):
        waits = False
        raise
    finally:
        await calls.close(waits=waits)


class Placing(Generic[R]):
    """The caller's side of many calls: reads requests and places them, a few at a time.

    Args:
        side: where the caller is.
        many: runs the calls.
        requests: read one by one, as places become free.
        prepare: gives a request's call key, and what makes the call.
        concurrency: how many places there are.

    Attributes:
        index: how many requests were read.
        asks: the calls that wait for a person. Each keeps its place.
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
        self.asks: list[_Asks[R]] = []
        self._side = side
        self._requests = requests
        self._prepare = prepare
        self._free = concurrency
        self._open = 0
        self._more = True
        self._reading: asyncio.Task[None] | None = None
        self._runs: set[Future[None]] = set()

    async def next(self) -> CallEnded[R] | None:
        """Wait for the next call that ends; `None` if nothing runs and nothing is to be placed."""
        while True:
            came = await self._next_event()
            match came:
                case CallEnded():
                    self._open, self._free = self._open - 1, self._free + 1
                    return came
                case _Asks():
                    self._open -= 1
                    self.asks.append(came)
                case _Read(requests=(request,)):
                    self._reading = None
                    self._place(request)
                case _Read():
                    self._reading, self._more = None, False
                case None:
                    return None

    async def read(self) -> _Read[R]:
        """Read one request. An exception of the user's own ends them, and is kept."""
        try:
            if isinstance(self._requests, AsyncIterator):
                return _Read((await anext(self._requests),))
            return _Read((next(self._requests),))
        except (StopIteration, StopAsyncIteration):
            return _Read(())
        except Exception as trouble:  # noqa: BLE001 - raised when what runs has ended
            self.many.trouble = trouble
            return _Read(())

    async def close(self, *, waits: bool) -> None:
        """Withdraw what is not paid, and leave what is to the record."""
        if self._reading is not None:
            self._reading.cancel()
        runs = tuple(self._runs)
        for run in runs:
            run.cancel()
        if waits and runs:
            with suppress(RuntimeError):  # the engine has ended, or this is its own thread
                await self._side.run(self.many.ended)

    async def _next_event(self) -> CallEnded[R] | _Asks[R] | _Read[R] | None:
        reads = self._more and self._free > 0 and not self.many.withdrawal.is_called
        if reads and self._reading is None:
            if not isinstance(self._requests, AsyncIterator):
                return await self.read()
            # Who waits for a request must not hold up what ends meanwhile.
            self._reading = asyncio.create_task(self._read_beside())
        if reads or self._open:
            return await self._side.run(self.many.next)
        return None

    async def _read_beside(self) -> None:
        await self._side.run(self.many.tell, await self.read())

    def _place(self, request: R) -> None:
        try:
            call_key, flow = self._prepare(request)
        except Exception as error:  # noqa: BLE001 - it is this call's, and no other's
            call_key, flow = "", partial(_fail, error)
        run = ENGINE.start(self.many.run, self.index, request, call_key, flow)
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        self.index, self._free, self._open = self.index + 1, self._free - 1, self._open + 1


async def _fail(error: Exception) -> NoReturn:
    raise error


def _pauses_a_graph(error: Exception) -> bool:
    """Whether it belongs to LangGraph, such as an interrupt in a function of the user's."""
    errors = sys.modules.get("langgraph.errors")
    return errors is not None and isinstance(error, errors.GraphBubbleUp)
