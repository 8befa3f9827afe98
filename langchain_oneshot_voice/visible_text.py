"""Text made safe to show: to a model, to a person, and in every kind of display.

What was said on the phone is a stranger's speech, and a service can send any text. `plain` turns it
into one line of visible characters, `quoted` puts a bar before each line so that it can't pass for
anything else, and `bounded` and `head_and_tail` limit its length.
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
"""Letters and marks that show nothing, and can carry words that only a model reads."""

_WEB_LINK = re.compile(r"https?://[!-~]+", re.ASCII)

_UNSHOWN = {"Cc", "Cf", "Co", "Cs"}
"""Unicode categories of control, format, private-use and surrogate characters."""


def plain(said: str) -> str:
    """One line of visible text: no line breaks, control, format or direction characters."""
    spaced = " ".join(_BLANK.sub("", said).split())
    if spaced.isprintable():  # almost every text is, and then no character is left out
        return spaced
    return "".join(c for c in spaced if unicodedata.category(c) not in _UNSHOWN)


def visible(said: str) -> str:
    """The same text without characters that show nothing; line breaks and tabs stay."""
    shown = _BLANK.sub("", said)
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
    """Finds these words in visible text, in any case and with any spaces; `None` for no words."""
    parts = plain(words).strip("\"'\u201c\u201d\u2018\u2019 ").split()
    if not parts:
        return None
    spelled = r"\s+".join(map(re.escape, parts))
    return re.compile(rf"(?<!\w){spelled}(?!\w)", re.IGNORECASE)


def quoted(title: str, lines: Iterable[str]) -> str:
    """A title of ours, and under it each line of a stranger's words behind a bar."""
    return "\n".join([title, *(_BAR + plain(line) for line in lines)])


def bounded(said: str, longest: int) -> str:
    """The text itself, or its first `longest` characters and a mark that some are left out."""
    return said if len(said) <= longest else said[:longest] + _CUT


def head_and_tail(
    lines: Sequence[str], head: int, tail: int, left_out: Callable[[int], str]
) -> list[str]:
    """All lines if they are short enough; else the first and the last ones, with a note between.

    Args:
        lines: what was said, turn by turn.
        head: characters to show of the beginning.
        tail: characters to show of the end.
        left_out: the note, given how many lines are left out.
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
