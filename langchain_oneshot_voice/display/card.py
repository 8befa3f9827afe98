"""What a card of a quote or a result says, whatever it is drawn with.

Words, amounts and marks; the drawing is left to `terminal.py`, `html.py` and `markdown.py`.
Whatever a stranger said or a service sent comes out of here as one line of visible text, in which
markup still means something: the drawing has to escape it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, assert_never

from pydantic import BaseModel

from langchain_oneshot_voice.schemas import VoiceCallQuote, VoiceCallResult
from langchain_oneshot_voice.visible_text import plain, words_pattern

Tone = Literal["good", "bad", "unsure"]
"""How a verdict sounds: `good` for success, `bad` for failure, `unsure` for all else."""

MARKS: dict[Tone, str] = {"good": "\u2713", "bad": "\u2717", "unsure": "?"}


@dataclass(frozen=True)
class Criterion:
    """One thing that the service takes success to be."""

    words: str
    state: Tone
    """The service judges the whole call: what a failed call met of it is not known."""


@dataclass(frozen=True)
class Filled:
    """One field of the user's schema."""

    name: str
    value: str | None
    evidence: str | None


@dataclass(frozen=True)
class Said:
    """A piece of a turn; `field` is the one that it is evidence for."""

    words: str
    field: str | None = None


def verdict(result: VoiceCallResult) -> tuple[str, Tone]:
    """What came of it, in a few words."""
    match result.call_status:
        case "completed" if result.contradiction:
            return "Reports differ on whether it achieved its objective", "unsure"
        case "completed":
            return {
                "success": ("Achieved its objective", "good"),
                "failure": ("Did not achieve its objective", "bad"),
                "unknown": ("Not clear whether it achieved its objective", "unsure"),
            }[result.call_successful]  # type: ignore[return-value]  # a literal in each of them
        case "failed":
            return "The service could not carry it out", "bad"
        case "in_progress":
            return "In progress, outcome not known yet", "unsure"
        case "quoted":
            return "Quoted, not placed", "unsure"
        case "awaiting_approval":
            return "Waits for approval", "unsure"
        case "rejected":
            return "Rejected, not placed", "bad"
        case "unknown":
            return "Not known whether it was placed", "unsure"
    assert_never(result.call_status)


def facts(result: VoiceCallResult) -> list[str]:
    """Who answered, how long it took and what it cost, as far as that is known."""
    cost, seconds = result.cost, result.duration_seconds
    who = {
        "person": "a person answered",
        "voicemail": "voicemail answered",
        "phone_menu": "a phone menu answered",
        "nobody": "nobody answered",
        "unknown": "",
    }[result.answered_by]
    paid = f"{dollars(cost.charged)} paid" if cost.charged is not None else ""
    if not paid and cost.quoted is not None:
        paid = f"{dollars(cost.quoted)} quoted"
    all_facts = [
        who,
        f"{int(seconds) // 60}:{int(seconds) % 60:02d} min" if seconds is not None else "",
        paid,
        f"{dollars(cost.credit_issued)} credited back" if cost.credit_issued else "",
        "an earlier call's outcome" if result.reused else "",
    ]
    return [fact for fact in all_facts if fact]


def reservations(result: VoiceCallResult) -> list[str]:
    """What stands against the verdict, or explains it."""
    said = f"The person said: {result.approval_message}" if result.approval_message else ""
    return [
        plain(words) for words in (result.contradiction, result.extraction_error, said) if words
    ]


def prices(quote: VoiceCallQuote) -> list[tuple[str, str]]:
    """What the price is made of, line by line, without the total."""
    minutes = (
        f", about {quote.estimated_minutes.normalize():f} min" if quote.estimated_minutes else ""
    )
    lines = [
        (f"The call{minutes}", quote.call_cost),
        ("Handling", quote.pipeline_fee),
        ("A number to call from, once", quote.phone_registration_fee),
    ]
    return [(label, dollars(amount)) for label, amount in lines if amount]


def whom(quote: VoiceCallQuote) -> str:
    """Whom a quote is for."""
    what = "Conference with" if quote.conference else "Call to"
    return f"{what} {', '.join(map(plain, quote.numbers)) or 'an unnamed number'}"


def criteria(result: VoiceCallResult) -> list[Criterion]:
    """What the call was to achieve, and what is known of that."""
    met = result.call_status == "completed" and result.call_successful == "success"
    state: Tone = "good" if met and not result.contradiction else "unsure"
    quoted = result.quote.success_criteria if result.quote else ()
    return [Criterion(plain(words), state) for words in quoted]


def filled(result: VoiceCallResult) -> list[Filled]:
    """The user's schema, field by field; else what the service noted."""
    values = result.extracted
    if isinstance(values, BaseModel):
        values = values.model_dump(mode="json")
    if not isinstance(values, dict):
        values = {} if result.missing_fields else result.structured_data
    known = {name: value for name, value in values.items() if name not in result.missing_fields}
    quotes = {name: plain(words) for name, words in result.evidence.items()}
    rows = [Filled(plain(str(n)), _spelled(v), quotes.get(n)) for n, v in known.items()]
    return rows + [Filled(plain(name), None, None) for name in result.missing_fields]


def pieces(said: str, evidence: dict[str, str]) -> Iterator[Said]:
    """A turn, cut where words of it are evidence for something. Nothing of it is lost."""
    shown = plain(said)
    marks = []
    for name, words in evidence.items():
        pattern = words_pattern(words)
        marks += [(*m.span(), name) for m in (pattern.finditer(shown) if pattern else ())]
    at = 0
    for begin, end, name in sorted(marks):
        if begin >= at:
            yield Said(shown[at:begin])
            yield Said(shown[begin:end], plain(name))
            at = end
    yield Said(shown[at:])


def dollars(amount: Decimal) -> str:
    """An amount of US dollars, to the cent."""
    return f"${amount:,.2f}"


def _spelled(value: object) -> str:
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return plain(words)
