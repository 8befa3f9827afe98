"""Parses values that came over the wire: JSON, text, names, money and time.

Each function accepts any value that the service may send. It runs in linear time and raises only
the errors that it documents. A value that is not readable becomes `None`, and the caller decides
what a missing value means. Money is strict: only a plain amount is accepted.
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
"""Limit for an answer after decompression, in bytes."""

_LARGE = 64 * 1024
"""Largest answer that is parsed on the event loop, in bytes."""

LONGEST_NAME = 200
"""Limit for an id, a code or another name, in characters."""

LONGEST_LINE = 2_000
"""Limit for a message of the service, in characters."""

_DEEPEST = 64
"""Limit for the nesting of an answer, in levels."""

_MOST_CONTAINERS = 100_000
"""Limit for the lists and objects in an answer."""

_LONGEST_NUMBER = 100
"""Limit for a number in JSON, in digits."""

_MOST_LINES = 50
"""Limit for a list of messages."""

_MOST_ENTRIES = 20
"""Limit for the entries of a list or an object that an error repeats."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
"""A string, closed or not. Matching one without an end keeps the search linear."""

_BRACKET = re.compile(r"[\[\]{}]")

_UNSTORABLE = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
"""An escape for a surrogate or for NUL, which databases can't store. May also match `\\\\u0000`."""

_UNSTORED = re.compile("[\x00\ud800-\udfff]")

_NAME = re.compile(r"[!-~]{1,200}", re.ASCII)
_AMOUNT = re.compile(r"\$?(\d{1,9}(?:\.\d{1,18})?)", re.ASCII)
_LARGEST_AMOUNT = Decimal(10**9)
_FINEST_AMOUNT = Decimal("1e-18")

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def read_json(raw: str | bytes) -> object:
    """Parse an answer, even a hostile one.

    `NaN` and `Infinity`, which are not JSON, become `None`, and so do fractions that are too long
    or too large for a float. Surrogates and NULs in strings become the replacement character.

    Raises:
        ValueError: the answer is not JSON in UTF-8, exceeds a limit of size or depth, or contains
            an integer of more than 100 digits.
    """
    if len(raw) > LARGEST_ANSWER:
        raise ValueError("larger than any answer")
    decoded = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
    # Python's recursion limit is no protection: signing libraries raise it, and then deep nesting
    # crashes the process.
    _require_shallow(decoded)
    parsed = json.loads(
        decoded, parse_int=_integer, parse_float=_fraction, parse_constant=lambda _: None
    )
    # Most answers have no such character: only those that do are copied.
    needs_copy = _UNSTORABLE.search(decoded) or _UNSTORED.search(decoded)
    return _storable(parsed) if needs_copy else parsed


async def parse_in_background(parse: Callable[[T], R], given: T, size: int) -> R:
    """Parse a large value in a thread, so that the event loop stays free for other calls.

    Args:
        parse: the function that parses.
        given: its argument.
        size: bytes of the argument; a small one is parsed at once, on the event loop.
    """
    if size > _LARGE:
        return await anyio.to_thread.run_sync(parse, given)
    return parse(given)


def fields(value: object) -> Mapping[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """Return the value if it is a string that is not blank, else `None`."""
    return value if isinstance(value, str) and value.strip() else None


def line(value: object, longest: int = LONGEST_LINE) -> str | None:
    """Return a message as one line of visible characters; `None` if it is empty or no string."""
    # Invisible characters are dropped first, so look at twice the length, but at no more.
    return (plain(value[: 2 * longest])[:longest] or None) if isinstance(value, str) else None


def lines(value: object) -> tuple[str, ...]:
    """Return the first messages of a list, or a single message. Skip everything else."""
    given = [value] if isinstance(value, str) else items(value)[:_MOST_LINES]
    return tuple(message for message in map(line, given) if message)


def excerpt(value: object, depth: int = 3) -> Any:  # noqa: ANN401 - JSON of any shape
    """Shorten a value for an error: keep its first entries, and each text on one line."""
    if isinstance(value, dict):
        kept = list(value.items())[:_MOST_ENTRIES] if depth else []
        return {line(key, LONGEST_NAME) or "": excerpt(item, depth - 1) for key, item in kept}
    if isinstance(value, list):
        return [excerpt(item, depth - 1) for item in value[:_MOST_ENTRIES]] if depth else []
    return line(value) if isinstance(value, str) else value


def name(value: object) -> str | None:
    """Return an id or a code that is safe in a header, a URL or a log, else `None`.

    A safe name is visible ASCII without spaces. It is not only dots, which a URL resolves to a
    parent path. An unsafe name is never repaired: that would be the id of something else.
    """
    is_safe = isinstance(value, str) and _NAME.fullmatch(value) and value.strip(".")
    return str(value) if is_safe else None


def money(value: object) -> Decimal | None:
    """Return an amount from zero to below a billion, else `None`.

    Accepts a number, or a string of ASCII digits with an optional point and an optional `$`.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if not 0 <= value < _LARGEST_AMOUNT:  # also rejects NaN
            return None
        amount = Decimal(repr(value))
        return abs(amount) if amount == 0 or amount >= _FINEST_AMOUNT else None
    spelled = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    return Decimal(spelled[1]) if spelled else None


def moment(value: object) -> datetime | None:
    """Return a time of this century with its zone, else `None`.

    Accepts ISO 8601, epoch seconds and HTTP dates (`Tue, 24 Nov 2026 12:00:00 GMT`).
    """
    try:
        parsed = _time(value)
        is_plausible = parsed is not None and _EARLIEST <= parsed < _LATEST
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return parsed if is_plausible else None


def seconds(value: object) -> float | None:
    """Return a finite number of seconds that is not negative, else `None`."""
    amount = money(value)
    return None if amount is None else float(amount)


def _time(value: object) -> datetime | None:
    if isinstance(value, str):
        spelled = value[:LONGEST_NAME]
        is_http = spelled.endswith(" GMT")
        parsed = parsedate_to_datetime(spelled) if is_http else datetime.fromisoformat(spelled)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    return None


def _require_shallow(text: str) -> None:
    opened = text.count("[") + text.count("{")
    if opened <= _DEEPEST:
        return
    if opened > _MOST_CONTAINERS:
        raise ValueError("more lists and objects than any answer has")
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _LONGEST_NUMBER:
        raise ValueError("a longer number than any answer has")
    return int(digits)


def _fraction(digits: str) -> float | None:
    number = float(digits) if len(digits) <= _LONGEST_NUMBER else math.inf
    return number if math.isfinite(number) else None


def _storable(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape, no deeper than allowed
    if isinstance(value, str):
        return _UNSTORED.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
