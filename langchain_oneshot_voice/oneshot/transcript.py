"""Converts the service's transcript into turns: who said what, in order.

A transcript can be lines with labels, with or without times, a list of messages, JSON in a string,
or plain text. The conversion loses no words and never fails. It names a speaker only for a known
label: a line that starts with an unknown word and a colon belongs to the speaker before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from langchain_oneshot_voice.oneshot.reading import fields, read_json, text
from langchain_oneshot_voice.schemas import TranscriptTurn

_CALLER = re.compile(
    r"(?:ai|assistant|agent|bot|caller|model)"
    r"|(?:ai|virtual|voice|phone) (?:assistant|agent|caller|bot)",
    re.IGNORECASE,
)
_CALLEE = re.compile(
    r"(?:user|callee|customer|human|person|party|participant|speaker|guest|client|recipient"
    r"|contact|representative|receptionist|operator|voicemail|phone menu|ivr)[ _#-]*(\d{0,3})",
    re.IGNORECASE,
)

_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?|\d{1,5}(?:\.\d{1,3})? ?s"
_TIMES = rf"(?:{_CLOCK})(?:\s*(?:-->|->|[-\u2013])\s*(?:{_CLOCK}))?"
_STAMP = re.compile(rf"\s*(?:\[{_TIMES}\]|\({_TIMES}\)|{_TIMES}(?=\s|$))\s*[-\u2013|]?\s*")
"""The time before a turn: `[00:12]`, `(0:12 - 0:15)`, `00:01:02.500`, `12.5s`."""

_LABELLED = re.compile(
    r"\s*[*_]{0,2}\[?(?P<label>\+?[A-Za-z0-9][A-Za-z0-9 _#+-]{0,24}?)\]?"  # the name
    rf"(?:\s*\([^()\n]{{1,40}}\))?(?:\s*[\[(]{_TIMES}[\])])?"  # (Maria), [00:12]
    r"[*_]{0,2}\s*:[*_]{0,2}\s*(?P<said>.*)",
    re.DOTALL,
)
_BLANKS = re.compile(r"\s{2,}")
_NUMBER = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)

_LONGEST_LABEL = 200
"""Characters at the start of a line that may hold a time and a label."""

_MOST_LINES = 20_000
"""Limit for the lines or messages that become turns. The rest becomes one turn."""

_SPEECH_KEYS = ("text", "content", "message", "transcript", "utterance")
_LABEL_KEYS = ("speaker", "role", "participant", "name")

_CUE = re.compile(rf"\s*(?:{_CLOCK})\s*-->\s*(?:{_CLOCK})\s*")
"""A line of a subtitle file with only times."""


def read_transcript(transcript: object, numbers: Sequence[str] = ()) -> list[TranscriptTurn]:
    """Return the turns of a transcript.

    Args:
        transcript: the service's value, of any type.
        numbers: the called numbers, in E.164: several callees may have their numbers as labels.
    """
    spoken: Iterator[tuple[str, str]] = iter(())
    if isinstance(transcript, list):
        spoken = _messages(transcript, numbers)
    elif isinstance(transcript, str):
        spoken = _from_json(transcript, numbers) or _lines(transcript, numbers)
    return [TranscriptTurn(speaker=who, text=said) for who, said in spoken if said.strip()]


def _lines(transcript: str, numbers: Sequence[str]) -> Iterator[tuple[str, str]]:
    who, said = "unknown", list[str]()
    lines = transcript.splitlines()
    for line in lines[:_MOST_LINES]:
        head = _BLANKS.sub(" ", line[:_LONGEST_LABEL])
        stamp = _STAMP.match(head)
        labelled = _LABELLED.fullmatch(head[stamp.end() :] if stamp else head)
        speaker = _speaker(labelled["label"], numbers) if labelled else None
        if labelled and speaker:
            yield who, " ".join(filter(None, said))
            who, said = speaker, [(labelled["said"] + line[_LONGEST_LABEL:]).strip()]
        elif not _CUE.fullmatch(line):  # keep a time without a label: it may be speech
            said += filter(None, [line.strip()])
    yield who, " ".join(filter(None, said))
    yield "unknown", "\n".join(lines[_MOST_LINES:])


def _from_json(transcript: str, numbers: Sequence[str]) -> Iterator[tuple[str, str]] | None:
    """Return the messages in a JSON list of objects; `None` for any other string."""
    if not transcript.lstrip().startswith("["):
        return None
    try:
        entries = read_json(transcript)
    except ValueError:
        return None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    return _messages(entries, numbers) if entries else None


def _messages(entries: list[object], numbers: Sequence[str]) -> Iterator[tuple[str, str]]:
    for entry in entries[:_MOST_LINES]:
        labels = filter(None, (text(fields(entry).get(key)) for key in _LABEL_KEYS))
        named = (_speaker(label, numbers) for label in labels)
        yield next(filter(None, named), "unknown"), _speech(entry)
    yield "unknown", "\n".join(filter(None, map(_speech, entries[_MOST_LINES:])))


def _speech(entry: object) -> str:
    """Return the words of a message."""
    if isinstance(entry, str):
        return entry
    said = (text(fields(entry).get(key)) for key in _SPEECH_KEYS)
    return next(filter(None, said), "")


def _speaker(label: str, numbers: Sequence[str]) -> str | None:
    """Return `caller`, `callee` or `callee 2`; `None` if the label names neither side."""
    name = " ".join(label.split())
    if _NUMBER.fullmatch(name):
        if name not in numbers:
            return None
        return "callee" if len(numbers) == 1 else f"callee {list(numbers).index(name) + 1}"
    if _CALLER.fullmatch(name):
        return "caller"
    callee = _CALLEE.fullmatch(name)
    return f"callee {callee[1]}".strip() if callee else None
