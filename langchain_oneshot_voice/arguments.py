"""Refusing arguments that can't be meant: one that is misspelt would otherwise be ignored."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from typing import ParamSpec

from langchain_oneshot_voice import wording

P = ParamSpec("P")


def require_known(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that are not known.

    Raises:
        TypeError: names each, and the argument that may have been meant.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        meant = {name: difflib.get_close_matches(name, known, 1) for name in unknown}
        raise TypeError(wording.unknown_arguments(what, meant))


LONGEST_SECONDS = 1e9
"""Thirty years. A thread can't wait for centuries: it would end instead, with all that it does."""


def is_seconds(value: object) -> bool:
    """Whether it is a time that can be waited for: a number above zero, and not too large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value <= LONGEST_SECONDS


def knowing_its_arguments(init: Callable[P, None]) -> Callable[P, None]:
    """Decorate an `__init__`, so that it refuses other arguments with a suggestion."""
    known = list(inspect.signature(init).parameters)[1:]
    what = init.__qualname__.partition(".")[0]

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        require_known(what, kwargs, known)
        init(*args, **kwargs)

    return checked
