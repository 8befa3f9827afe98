"""Steps that run in the caller's own thread or on its own event loop.

Calls run on the package's background loop. But objects of the caller's graph, above all its
checkpointer, must be used where the caller is. The few steps that do so are written once, as async
functions that take a `Side`: `AsyncSide` awaits on the caller's loop. `SyncSide` blocks the
caller's thread and never suspends, so `run_sync` can run the step without a loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Sequence,
)
from typing import Any, Protocol, TypeVar

from langchain_oneshot_voice.engine import ENGINE

T = TypeVar("T")


class Side(Protocol):
    """The caller's thread or event loop."""

    async def run(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a flow on the package's loop and return its result."""

    async def sleep(self, seconds: float) -> None:
        """Sleep in the caller's thread or on its loop."""

    async def read_checkpoint(self, saver: Any, config: Any) -> Any:  # noqa: ANN401 - LangGraph's
        """Read a checkpoint tuple with the caller's checkpointer."""

    async def write_checkpoint(
        self,
        saver: Any,  # noqa: ANN401 - LangGraph's
        config: Any,  # noqa: ANN401
        writes: Sequence[tuple[str, Any]],
        task_id: str,
    ) -> None:
        """Add pending writes to a checkpoint."""


class SyncSide:
    """A caller in a thread. Its methods block and never suspend."""

    async def run(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a flow on the package's loop and block until it ends."""
        return ENGINE.call(flow, *args)

    async def sleep(self, seconds: float) -> None:
        """Sleep and block the thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - this side has no loop

    async def read_checkpoint(self, saver: Any, config: Any) -> Any:  # noqa: ANN401 - LangGraph's
        """Read with the sync method."""
        return saver.get_tuple(config)

    async def write_checkpoint(
        self,
        saver: Any,  # noqa: ANN401 - LangGraph's
        config: Any,  # noqa: ANN401
        writes: Sequence[tuple[str, Any]],
        task_id: str,
    ) -> None:
        """Write with the sync method."""
        saver.put_writes(config, writes, task_id)


class AsyncSide:
    """A caller on an event loop."""

    async def run(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a flow on the package's loop and await it."""
        return await ENGINE.acall(flow, *args)

    async def sleep(self, seconds: float) -> None:
        """Sleep without blocking the caller's loop."""
        await asyncio.sleep(seconds)

    async def read_checkpoint(self, saver: Any, config: Any) -> Any:  # noqa: ANN401 - LangGraph's
        """Read with the async method."""
        return await saver.aget_tuple(config)

    async def write_checkpoint(
        self,
        saver: Any,  # noqa: ANN401 - LangGraph's
        config: Any,  # noqa: ANN401
        writes: Sequence[tuple[str, Any]],
        task_id: str,
    ) -> None:
        """Write with the async method."""
        await saver.aput_writes(config, writes, task_id)


def run_sync(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that uses a `SyncSide`, in this thread, without an event loop."""
    try:
        steps.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    steps.close()
    raise RuntimeError("a sync caller's steps must not suspend")


def iterate_sync(steps: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Iterate over an async generator that uses a `SyncSide`, in this thread."""
    try:
        while True:
            try:
                item = run_sync(steps.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run_sync(steps.aclose())
