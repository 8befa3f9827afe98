"""Detect from another thread that the main thread was interrupted or is exiting.

A graph runs its tools in threads. When the program is interrupted, the graph waits for these
threads, so they have to detect the interrupt themselves. `docs/decisions/interrupts.md` lists the
alternatives that were tried.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from dataclasses import dataclass
from types import FrameType

_WAITING_PACKAGES = {"threading", "concurrent", "asyncio", "selectors"}
"""Standard library packages in which the main thread stays while it waits for threads."""

_CONTEXT_LIMIT = 20
"""Limit on the chain of `__context__` exceptions that is searched for an interrupt."""


@dataclass(frozen=True, slots=True)
class MainThreadExit:
    """The exception that the main thread exits with, and the position of the main thread.

    It stores ids, not the exception or the frame. Dropping the last reference to those closes the
    generators in them, and closing a graph's stream waits for the graph's threads.

    Attributes:
        error: id of the exception.
        interrupted: true for `KeyboardInterrupt`.
        code: id of the code object that the thread executes.
        instruction: index of the instruction in this code.
        is_waiting: true if the thread is inside a package that waits for threads.
        has_ended: true if the program has ended and the interpreter waits for its threads.
    """

    error: int
    interrupted: bool
    code: int
    instruction: int
    is_waiting: bool
    has_ended: bool


def main_thread_leaving() -> MainThreadExit | None:
    """Return how the main thread exits; `None` if it does not.

    It exits if it is handling `KeyboardInterrupt` or `SystemExit`, or if it has ended with any
    exception. While a `with` or `finally` cleans up, the interrupt is the exception that is being
    handled, or is in its `__context__` chain.
    """
    frame, error = _main_thread()
    if frame is None:
        return None
    code, instruction = id(frame.f_code), frame.f_lasti
    is_waiting = str(frame.f_globals.get("__name__")).partition(".")[0] in _WAITING_PACKAGES
    while frame.f_back is not None:
        frame = frame.f_back
    # When the program has ended, the interpreter waits for its threads in `threading`.
    has_ended = frame.f_globals.get("__name__") == threading.__name__
    if has_ended:
        error = getattr(sys, "last_value", None)
    else:
        for _ in range(_CONTEXT_LIMIT):
            if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
                break
            error = error.__context__
        else:
            return None
    if error is None:
        return None
    interrupted = isinstance(error, KeyboardInterrupt)
    return MainThreadExit(id(error), interrupted, code, instruction, is_waiting, has_ended)


def _main_thread() -> tuple[FrameType | None, BaseException | None]:
    """Return the main thread's current frame, and the exception that it is handling.

    A garbage collection inside the two functions called here can deadlock Python 3.11 (CPython
    issue 106883), so collection is disabled meanwhile. Without a global interpreter lock, reading
    another thread's frame is not safe (CPython issue 152355), so nothing is returned.
    """
    global _gc_was_enabled  # noqa: PLW0603 - `_after_fork_in_child` reads it
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, None
    ident = threading.main_thread().ident or 0
    with _GC_LOCK:
        _gc_was_enabled = gc.isenabled()
        gc.disable()
        try:
            frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for debuggers
            error = sys._current_exceptions().get(ident)  # noqa: SLF001 - the same
        finally:
            if _gc_was_enabled:
                gc.enable()
            _gc_was_enabled = False
    return frame, error[1] if isinstance(error, tuple) else error  # a tuple in Python 3.11


_GC_LOCK = threading.Lock()
_gc_was_enabled = False
"""True while garbage collection is disabled here and has to be enabled again."""


def _after_fork_in_child() -> None:
    """Reset the lock and garbage collection; another thread may have held them at the fork."""
    global _GC_LOCK, _gc_was_enabled  # noqa: PLW0603 - its holder does not exist here
    _GC_LOCK = threading.Lock()
    if _gc_was_enabled:
        gc.enable()
    _gc_was_enabled = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
