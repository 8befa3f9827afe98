"""Format amounts, times, phone numbers and quotations for every text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from langchain_oneshot_voice.schemas import mask_number
from langchain_oneshot_voice.visible_text import bounded, plain

_LONGEST_CODE = 60
_LONGEST_WORDS = 400
"""Longest quotation of the service's message in an error, in characters."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)

_NUMBER = re.compile(r"\+?\d[\d\s().-]{5,}\d")

_CENT, _MICRODOLLAR = Decimal("0.01"), Decimal("0.000001")


def dollars(amount: Decimal) -> str:
    """Format US dollars with two decimals, or up to six: `$6.75`, `$8.50`, `$0.123456`."""
    cents = amount.quantize(_CENT)
    return f"${cents}" if cents == amount else f"${amount.quantize(_MICRODOLLAR).normalize():f}"


def unnumbered(text: str) -> str:
    """Mask every phone number in a text, in any format."""
    return _NUMBER.sub(lambda match: mask_number(match[0]), text)


def masked(numbers: Iterable[str]) -> str:
    """Mask phone numbers and join them; `a number` if there are none."""
    return ", ".join(map(mask_number, numbers)) or "a number"


def moment(epoch_seconds: float) -> str:
    """Format a time in UTC, to the minute."""
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat(timespec="minutes")


def count(number: int, unit: str) -> str:
    """Format a count: `1 minute`, `3 minutes`."""
    return f"{number} {unit}{'' if number == 1 else 's'}"


def code(word: str) -> str:
    """Format a code of the service: a single word unchanged, any other text in quotation marks."""
    shown = plain(word)[:_LONGEST_CODE].replace('"', "'")
    return shown if _WORD.fullmatch(shown) else f'"{shown}"'


def service_says(said: str | None) -> str:
    """Quote the service's message, with a leading space; empty if there is no message."""
    quotation = words(said or "")
    return f" The service says: {quotation}" if quotation else ""


def words(said: str) -> str:
    """Quote a text on one bounded line that ends like a sentence; empty for an empty text."""
    shown = bounded(plain(said), _LONGEST_WORDS).replace('"', "'")
    end = "" if shown.endswith((".", "!", "?")) else "."
    return f'"{shown}"{end}' if shown else ""
