"""A process that may die at any step, and what it writes with."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from storm.plan import Seam, Trouble

SAVER_WRITES = ("put", "put_writes", "aput", "aput_writes")


class Crash(BaseException):
    """The process has died here. Nothing that it does after this reaches the world."""


class NodeError(Exception):
    """The user's own node fails."""


class Process:
    """Counts the steps of one process, and ends it where the plan says so.

    A dead process reads and writes nothing any more: each of its steps raises `Crash`.
    """

    def __init__(self) -> None:
        self.alive = True
        self.cancel: Callable[[], None] | None = None
        """How the run of this turn is cancelled, where it can be."""
        self.cancelled = False
        self.failed = False
        """Whether the user's own node has raised an error in this turn."""
        self._lock = threading.Lock()
        self._trouble: Trouble | None = None
        self._uses = 0

    def arm(self, trouble: Trouble | None) -> None:
        """Say what ends the turn that begins now."""
        with self._lock:
            self._trouble, self._uses, self.cancelled, self.failed = trouble, 0, False, False

    def step(self, seam: Seam) -> None:
        """Pass a seam.

        Raises:
            Crash: the process dies here, or is dead.
            NodeError: the user's own node fails here.
        """
        fails = self.note(seam)
        if not self.alive:
            raise Crash
        if fails:
            raise NodeError

    def note(self, seam: Seam) -> bool:
        """Pass a seam in a thread that is not the process's own: it dies without an exception.

        Returns:
            Whether an ordinary error is to be raised here.
        """
        with self._lock:
            trouble = self._trouble
            if trouble is None or trouble.seam != seam or not self.alive:
                return False
            self._uses += 1
            if self._uses != trouble.nth:
                return False
            if trouble.kind == "error":
                self.failed = True
                return True
            if trouble.kind == "crash" or self.cancel is None:
                self.alive = False
                return False
            self.cancelled, cancel = True, self.cancel
        cancel()
        return False


def mortal(kind: type[Any], process: Process, seam: Seam, names: tuple[str, ...]) -> type[Any]:
    """A subclass whose operations are steps of a process: one before, one after each."""
    stepped = {name: _stepped(getattr(kind, name), process, seam) for name in names}
    return type(f"Mortal{kind.__name__}", (kind,), stepped)


def operations(kind: type[Any]) -> tuple[str, ...]:
    """The names of a class's public coroutine functions, except the one that closes it."""
    found = inspect.getmembers(kind, inspect.iscoroutinefunction)
    return tuple(name for name, _ in found if not name.startswith("_") and name != "aclose")


def _stepped(operation: Callable[..., Any], process: Process, seam: Seam) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(operation):

        @functools.wraps(operation)
        async def later(*args: Any, **named: Any) -> Any:
            process.step(seam)
            result = await operation(*args, **named)
            process.step(seam)
            return result

        return later

    @functools.wraps(operation)
    def now(*args: Any, **named: Any) -> Any:
        process.step(seam)
        result = operation(*args, **named)
        process.step(seam)
        return result

    return now
