"""Makes text safe to show to a model or a person.

The words of a call come from a stranger, and a service can send any text. `plain` turns a text into
one line of visible characters. `quoted` marks each line with a bar, so that a model can't mistake
it for anything else. `bounded` and `head_and_tail` limit the length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

_BAR = "| "

_CUT = " [...]"

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Invisible letters and marks. They can hide text that only a model reads."""

_WEB_LINK = re.compile(r"https?://[!-~]+", re.ASCII)

_UNSHOWN = {"Cc", "Cf", "Co", "Cs"}
"""Unicode categories of control, format, private-use and surrogate characters."""


def plain(text: str) -> str:
    """Return one line of visible text, without control, format or direction characters."""
    spaced = " ".join(_BLANK.sub("", text).split())
    if spaced.isprintable():  # the usual case, in which no character has to be removed
        return spaced
    return "".join(c for c in spaced if unicodedata.category(c) not in _UNSHOWN)


def visible(text: str) -> str:
    """Return the text without invisible characters. Line breaks and tabs stay."""
    shown = _BLANK.sub("", text)
    if shown.isprintable():
        return shown
    return "".join(c for c in shown if c in "\n\t" or unicodedata.category(c) not in _UNSHOWN)


def web_link(value: object, longest: int = 2_000) -> str | None:
    """Return the value if it is an HTTP or HTTPS link of visible ASCII, else `None`.

    Args:
        value: what a service or a program gave as a link.
        longest: the limit, in characters.
    """
    if not isinstance(value, str) or len(value) > longest:
        return None
    return value if _WEB_LINK.fullmatch(value) else None


def words_pattern(words: str) -> re.Pattern[str] | None:
    """Return a pattern for these words in visible text; `None` if there are no words.

    The pattern ignores case, the amount of white space, and quotation marks around the words.
    """
    parts = plain(words).strip("\"'\u201c\u201d\u2018\u2019 ").split()
    if not parts:
        return None
    spelled = r"\s+".join(map(re.escape, parts))
    return re.compile(rf"(?<!\w){spelled}(?!\w)", re.IGNORECASE)


def quoted(title: str, lines: Iterable[str]) -> str:
    """Return a title, and below it the lines of a stranger, each marked with a bar.

    Args:
        title: the package's own words.
        lines: the stranger's words.
    """
    return "\n".join([title, *(_BAR + plain(line) for line in lines)])


def bounded(text: str, longest: int) -> str:
    """Return the text, cut to `longest` characters and marked as cut if it is longer."""
    return text if len(text) <= longest else text[:longest] + _CUT


def head_and_tail(
    lines: Sequence[str], head: int, tail: int, left_out: Callable[[int], str]
) -> list[str]:
    """Return all lines if they are short enough, else the first and the last ones.

    Args:
        lines: the turns of a transcript.
        head: limit for the first lines, in characters.
        tail: limit for the last lines, in characters.
        left_out: a function that returns the note between them, given the number of lines left out.
    """
    if sum(map(len, lines)) <= head + tail:
        return list(lines)
    first = _fitting(lines, head)
    last = _fitting(lines[len(first) :][::-1], tail)[::-1]
    return [*first, left_out(len(lines) - len(first) - len(last)), *last]


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    fitting: list[str] = []
    for line in lines:
        if len(line) > room:
            return fitting or [line[:room] + _CUT]
        fitting.append(line)
        room -= len(line)
    return fitting
