"""Seeing from another thread that the main thread is interrupted, or on its way out.

A graph runs its tools in threads. When the program is interrupted, the graph waits for them, and so
they have to find out. `docs/decisions/interrupts.md` has the ways that were tried.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from dataclasses import dataclass
from types import FrameType

_WAITING = {"threading", "concurrent", "asyncio", "selectors"}
"""Where the main thread stands while it waits for threads: in one of these of Python's packages."""

_LONGEST_CHAIN = 20
"""Exceptions that were raised while another was handled, of which the first is looked for."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The main thread leaves what it was doing: with which exception, and where it stands.

    It holds neither the exception nor a frame: whoever drops the last reference to them closes the
    generators in them, and that of a graph's stream waits for the graph's threads.
    """

    error: int
    interrupted: bool
    code: int
    instruction: int
    is_waiting: bool
    has_ended: bool


def main_thread_leaving() -> Leaving | None:
    """See whether the main thread is being interrupted, exits, or has ended with an exception.

    While a `with` or `finally` cleans up after an exception, it is the one that is being handled,
    or the context of that one.
    """
    frame, error = _main_thread()
    if frame is None:
        return None
    code, instruction = id(frame.f_code), frame.f_lasti
    is_waiting = str(frame.f_globals.get("__name__")).partition(".")[0] in _WAITING
    while frame.f_back is not None:
        frame = frame.f_back
    # When the program has ended, the interpreter waits for its threads in this module.
    has_ended = frame.f_globals.get("__name__") == threading.__name__
    if has_ended:
        error = getattr(sys, "last_value", None)
    else:
        for _ in range(_LONGEST_CHAIN):
            if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
                break
            error = error.__context__
        else:
            return None
    if error is None:
        return None
    interrupted = isinstance(error, KeyboardInterrupt)
    return Leaving(id(error), interrupted, code, instruction, is_waiting, has_ended)


def _main_thread() -> tuple[FrameType | None, BaseException | None]:
    """Where the main thread stands, and which exception it is handling.

    A garbage collection inside the two functions locks up Python 3.11 (CPython issue 106883): there
    is none meanwhile. Without a global interpreter lock another thread's frame can't be read safely
    (CPython issue 152355): then nothing is seen.
    """
    global _collects  # noqa: PLW0603 - for a forked child, see below
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None, None
    ident = threading.main_thread().ident or 0
    with _LOOKING:
        _collects = gc.isenabled()
        gc.disable()
        try:
            frame = sys._current_frames().get(ident)  # noqa: SLF001 - public, for debuggers
            error = sys._current_exceptions().get(ident)  # noqa: SLF001 - likewise
        finally:
            if _collects:
                gc.enable()
            _collects = False
    return frame, error[1] if isinstance(error, tuple) else error  # a tuple in Python 3.11


_LOOKING = threading.Lock()
_collects = False
"""Whether garbage is collected again after a look that is under way."""


def _after_fork_in_child() -> None:
    """Another thread may have been looking when the process forked."""
    global _LOOKING, _collects  # noqa: PLW0603 - it is the parent's, held by a thread that is not here
    _LOOKING = threading.Lock()
    if _collects:
        gc.enable()
    _collects = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
