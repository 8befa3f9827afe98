"""Reading what came over the wire: JSON, text, names, money and time.

Each function here takes whatever the service may send, in time that grows no faster than the input,
and raises nothing but what it says. What can't be read is `None`: the caller decides what a missing
value means. Money is strict: what is no plain amount is no amount.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import anyio.to_thread

from langchain_oneshot_voice.visible_text import plain

T = TypeVar("T")
R = TypeVar("R")

LARGEST_ANSWER = 4 * 2**20
"""Bytes of one answer, after decompression."""

_LARGE = 64 * 1024
"""Bytes that are read while the other calls wait."""

LONGEST_NAME = 200
"""Characters of an id, a code or another name that the service gives to something."""

LONGEST_LINE = 2_000
"""Characters of one message of the service's."""

_DEEPEST = 64
"""Levels of nesting in an answer."""

_MOST_CONTAINERS = 100_000
"""Lists and objects in one answer."""

_LONGEST_NUMBER = 100
"""Digits of a number in JSON."""

_MOST_LINES = 50
"""Messages of one list."""

_MOST_ENTRIES = 20
"""Entries of a list or an object that an error repeats."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
"""A string, or one that never ends: either way it is passed over once."""

_BRACKET = re.compile(r"[\[\]{}]")

_UNSTORABLE = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
"""An escape for half a character, or for the NUL that databases can't store; or what looks so."""

_UNSTORED = re.compile("[\x00\ud800-\udfff]")

_NAME = re.compile(r"[!-~]{1,200}", re.ASCII)
_AMOUNT = re.compile(r"\$?(\d{1,9}(?:\.\d{1,18})?)", re.ASCII)
_LARGEST_AMOUNT = Decimal(10**9)
_FINEST_AMOUNT = Decimal("1e-18")

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def read_json(raw: str | bytes) -> object:
    """Parse an answer, however hostile.

    The depth is looked at first: Python's own limit is not to be relied on, since a library that
    raises it (signing libraries do) turns deep nesting into a crash. The words `NaN` and
    `Infinity`, which are not JSON, and fractions that are too large for a float or too long become
    `None`. Half characters and NULs in strings become the replacement character.

    Raises:
        ValueError: it is not JSON in UTF-8, or larger or deeper than any answer, or it has a
            whole number of more than 100 digits.
    """
    if len(raw) > LARGEST_ANSWER:
        raise ValueError("larger than any answer")
    written = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
    _require_shallow(written)
    read = json.loads(
        written, parse_int=_whole, parse_float=_fraction, parse_constant=lambda _: None
    )
    return _storable(read) if _UNSTORABLE.search(written) or _UNSTORED.search(written) else read


async def beside_others(read: Callable[[T], R], given: T, size: int) -> R:
    """Read on the loop what is short, and in a thread, beside the other calls, what is not."""
    if size > _LARGE:
        return await anyio.to_thread.run_sync(read, given)
    return read(given)


def fields(value: object) -> Mapping[str, Any]:
    """The object itself; an empty one if it is none."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The list itself; an empty one if it is none."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """What somebody said or wrote; `None` if there is nothing."""
    return value if isinstance(value, str) and value.strip() else None


def line(value: object, longest: int = LONGEST_LINE) -> str | None:
    """A message on one line of visible characters, of bounded length; `None` if there is none."""
    # Twice the length, in case that much of it shows nothing: no more is looked at.
    return (plain(value[: 2 * longest])[:longest] or None) if isinstance(value, str) else None


def lines(value: object) -> tuple[str, ...]:
    """The first messages of a list, or a lone message; what is no message is left out."""
    given = [value] if isinstance(value, str) else items(value)[:_MOST_LINES]
    return tuple(read for read in map(line, given) if read)


def excerpt(value: object, depth: int = 3) -> Any:  # noqa: ANN401 - JSON of any shape
    """As much of a value as fits into an error: its first entries, each text on one line."""
    if isinstance(value, dict):
        kept = list(value.items())[:_MOST_ENTRIES] if depth else []
        return {line(key, LONGEST_NAME) or "": excerpt(item, depth - 1) for key, item in kept}
    if isinstance(value, list):
        return [excerpt(item, depth - 1) for item in value[:_MOST_ENTRIES]] if depth else []
    return line(value) if isinstance(value, str) else value


def name(value: object) -> str | None:
    """An id or a code that may go into a header, an address or a log: visible ASCII, no spaces.

    `None` for anything else, and for dots alone, which an address takes for its parent: an id that
    had to be changed would be the id of something else.
    """
    known = isinstance(value, str) and _NAME.fullmatch(value) and value.strip(".")
    return str(value) if known else None


def money(value: object) -> Decimal | None:
    """An amount that is not negative, below a billion; `None` for anything else.

    Taken are a number, and a string of ASCII digits, perhaps with a point in it or `$` before it.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if not 0 <= value < _LARGEST_AMOUNT:  # NaN is neither
            return None
        amount = Decimal(repr(value))
        return abs(amount) if amount == 0 or amount >= _FINEST_AMOUNT else None
    spelled = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    return Decimal(spelled[1]) if spelled else None


def moment(value: object) -> datetime | None:
    """A time of this century with its zone; else `None`.

    Taken are ISO 8601, epoch seconds, and the dates of HTTP (`Tue, 24 Nov 2026 12:00:00 GMT`).
    """
    try:
        read = _time(value)
        known = read is not None and _EARLIEST <= read < _LATEST
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return read if known else None


def seconds(value: object) -> float | None:
    """A number of seconds that is finite and not negative, from a number or its digits."""
    amount = money(value)
    return None if amount is None else float(amount)


def _time(value: object) -> datetime | None:
    if isinstance(value, str):
        written = value[:LONGEST_NAME]
        of_http = written.endswith(" GMT")
        read = parsedate_to_datetime(written) if of_http else datetime.fromisoformat(written)
        return read if read.tzinfo else read.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    return None


def _require_shallow(written: str) -> None:
    opened = written.count("[") + written.count("{")
    if opened <= _DEEPEST:
        return
    if opened > _MOST_CONTAINERS:
        raise ValueError("more lists and objects than any answer has")
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", written)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _LONGEST_NUMBER:
        raise ValueError("a longer number than any answer has")
    return int(digits)


def _fraction(digits: str) -> float | None:
    read = float(digits) if len(digits) <= _LONGEST_NUMBER else math.inf
    return read if math.isfinite(read) else None


def _storable(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape, no deeper than allowed
    if isinstance(value, str):
        return _UNSTORED.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
