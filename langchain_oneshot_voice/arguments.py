"""Checks of constructor arguments: a misspelt argument raises and is not ignored."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from typing import ParamSpec

from langchain_oneshot_voice import wording

P = ParamSpec("P")


def require_known(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise if an argument is not known.

    Args:
        what: the class's name, for the message.
        given: the names of the arguments that were passed.
        known: all names that the class accepts.

    Raises:
        TypeError: names each unknown argument and a known one with a similar name.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        meant = {name: difflib.get_close_matches(name, known, 1) for name in unknown}
        raise TypeError(wording.unknown_arguments(what, meant))


LONGEST_SECONDS = 1e9
"""About 30 years. Python's thread waits raise `OverflowError` for a much longer timeout."""


def is_seconds(value: object) -> bool:
    """True if the value is a usable number of seconds: above 0, at most `LONGEST_SECONDS`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value <= LONGEST_SECONDS


def reject_unknown_arguments(init: Callable[P, None]) -> Callable[P, None]:
    """Decorate an `__init__` to raise for unknown arguments, with a suggestion."""
    known = list(inspect.signature(init).parameters)[1:]
    what = init.__qualname__.partition(".")[0]

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        require_known(what, kwargs, known)
        init(*args, **kwargs)

    return checked
