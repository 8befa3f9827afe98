"""Virtual time: an event loop that never waits, and clocks that a test can set."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_BEGINNING = 1_800_000_000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        super().__init__(_NoWaiting(self))
        self.set_exception_handler(lambda *_: None)  # nobody asks after the tasks of the dead

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self.elapsed


class _NoWaiting(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and nothing will happen")
        if not ready and timeout:
            self._loop.elapsed += timeout
        return ready


class VirtualClock:
    """A machine's clock on virtual time.

    Attributes:
        ahead: seconds by which its wall clock is wrong.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead = 0.0

    def time(self) -> float:
        """Epoch seconds."""
        return _BEGINNING + self._loop.elapsed + self.ahead

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._loop.elapsed

    async def sleep(self, seconds: float) -> None:
        """Rest."""
        await asyncio.sleep(seconds)


async def at_once(function: Callable[..., T], *args: object, **_: object) -> T:
    """Stand in for `anyio.to_thread.run_sync`: a thread does not know of the virtual time."""
    return function(*args)
