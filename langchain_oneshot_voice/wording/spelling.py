"""How every text spells amounts, times, phone numbers and the service's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from langchain_oneshot_voice.schemas import mask_number
from langchain_oneshot_voice.visible_text import bounded, plain

_LONGEST_CODE = 60
_LONGEST_WORDS = 400
"""Characters of the service's own words that an error repeats."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)

_NUMBER = re.compile(r"\+?\d[\d\s().-]{5,}\d")

_CENT, _MICRODOLLAR = Decimal("0.01"), Decimal("0.000001")


def dollars(amount: Decimal) -> str:
    """An amount with two decimals, or up to six if it has more: `$6.75`, `$8.50`, `$0.123456`."""
    cents = amount.quantize(_CENT)
    return f"${cents}" if cents == amount else f"${amount.quantize(_MICRODOLLAR).normalize():f}"


def unnumbered(text: str) -> str:
    """A text with every phone number in it masked, however it is written."""
    return _NUMBER.sub(lambda found: mask_number(found[0]), text)


def masked(numbers: Iterable[str]) -> str:
    """Phone numbers with most of their digits hidden."""
    return ", ".join(map(mask_number, numbers)) or "a number"


def moment(epoch_seconds: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat(timespec="minutes")


def count(number: int, unit: str) -> str:
    """`1 minute`, `3 minutes`."""
    return f"{number} {unit}{'' if number == 1 else 's'}"


def code(word: str) -> str:
    """A code of the service's, which may be any text: a word as it is, anything else quoted."""
    shown = plain(word)[:_LONGEST_CODE].replace('"', "'")
    return shown if _WORD.fullmatch(shown) else f'"{shown}"'


def service_says(said: str | None) -> str:
    """The service's own words as a quotation with a space before it; empty if there are none."""
    quotation = words(said or "")
    return f" The service says: {quotation}" if quotation else ""


def words(said: str) -> str:
    """Somebody's words in quotation marks, on one bounded line that ends a sentence."""
    shown = bounded(plain(said), _LONGEST_WORDS).replace('"', "'")
    end = "" if shown.endswith((".", "!", "?")) else "."
    return f'"{shown}"{end}' if shown else ""
