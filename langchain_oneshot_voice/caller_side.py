"""The caller's side of a call: its own thread, or its own event loop.

The life of a call runs on the package's background loop. What belongs to the caller's graph, above
all its checkpointer, has to be used where the caller is. The few steps that do so are written once,
as async functions over a `Side`: `AsyncSide` awaits on the caller's loop; `SyncSide` blocks the
caller's thread, never suspends, and is driven by `run_sync`.
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
    """Where the caller is."""

    async def run(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a flow on the package's loop, and wait for it."""

    async def sleep(self, seconds: float) -> None:
        """Rest where the caller is."""

    async def read_checkpoint(self, saver: Any, config: Any) -> Any:  # noqa: ANN401 - LangGraph's
        """Read a checkpoint tuple with the caller's checkpointer."""

    async def write_checkpoint(
        self,
        saver: Any,  # noqa: ANN401 - LangGraph's
        config: Any,  # noqa: ANN401
        writes: Sequence[tuple[str, Any]],
        task_id: str,
    ) -> None:
        """Put writes beside a checkpoint."""


class SyncSide:
    """A caller in a thread. Its methods block and never suspend."""

    async def run(self, flow: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a flow on the package's loop, and block until it is done."""
        return ENGINE.call(flow, *args)

    async def sleep(self, seconds: float) -> None:
        """Block the thread."""
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
        """Run a flow on the package's loop, and await it."""
        return await ENGINE.acall(flow, *args)

    async def sleep(self, seconds: float) -> None:
        """Let the caller's loop go on."""
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
    """Run a coroutine over a `SyncSide` to its end, in this thread."""
    try:
        steps.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    steps.close()
    raise RuntimeError("a sync caller's steps must not suspend")


def iterate_sync(steps: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Iterate over what a `SyncSide`'s steps yield, in this thread."""
    try:
        while True:
            try:
                item = run_sync(steps.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run_sync(steps.aclose())
