"""The content of a card for a quote or a result, in all formats.

This module returns words, amounts and marks; `terminal.py`, `html.py` and `markdown.py` format
them. The words of a stranger or a service are reduced to one line of visible text. They may still
contain markup, so the formats have to escape them.
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
"""The kind of a verdict: `good` for success, `bad` for failure, `unsure` for the rest."""

MARKS: dict[Tone, str] = {"good": "\u2713", "bad": "\u2717", "unsure": "?"}


@dataclass(frozen=True)
class Criterion:
    """One of the service's criteria for success."""

    words: str
    state: Tone
    """Never `bad`: a failed call may have met some criteria, and the service does not say which."""


@dataclass(frozen=True)
class FilledField:
    """One field of the user's schema. `value` is `None` if the call did not state it."""

    name: str
    value: str | None
    evidence: str | None


@dataclass(frozen=True)
class Piece:
    """A part of a turn. `field` names the field that it is evidence for, if any."""

    words: str
    field: str | None = None


def verdict(result: VoiceCallResult) -> tuple[str, Tone]:
    """Return the outcome in a few words, and its kind."""
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
    """Return who answered, the duration and the cost, as far as they are known."""
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
    """Return what contradicts or explains the verdict."""
    message = f"The person said: {result.approval_message}" if result.approval_message else ""
    return [
        plain(words) for words in (result.contradiction, result.extraction_error, message) if words
    ]


def prices(quote: VoiceCallQuote) -> list[tuple[str, str]]:
    """Return the parts of the price as labels and amounts, without the total."""
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
    """Return the numbers that a quote is for."""
    what = "Conference with" if quote.conference else "Call to"
    return f"{what} {', '.join(map(plain, quote.numbers)) or 'an unnamed number'}"


def criteria(result: VoiceCallResult) -> list[Criterion]:
    """Return the service's criteria for success, and whether the call met them."""
    met = result.call_status == "completed" and result.call_successful == "success"
    state: Tone = "good" if met and not result.contradiction else "unsure"
    quoted = result.quote.success_criteria if result.quote else ()
    return [Criterion(plain(words), state) for words in quoted]


def filled(result: VoiceCallResult) -> list[FilledField]:
    """Return the fields of the user's schema, or the service's facts if there is no schema."""
    values = result.extracted
    if isinstance(values, BaseModel):
        values = values.model_dump(mode="json")
    if not isinstance(values, dict):
        values = {} if result.missing_fields else result.structured_data
    known = {name: value for name, value in values.items() if name not in result.missing_fields}
    quotes = {name: plain(words) for name, words in result.evidence.items()}
    rows = [FilledField(plain(str(n)), _as_text(v), quotes.get(n)) for n, v in known.items()]
    return rows + [FilledField(plain(name), None, None) for name in result.missing_fields]


def pieces(text: str, evidence: dict[str, str]) -> Iterator[Piece]:
    """Split a turn around the words that are evidence for a field. No word is lost."""
    shown = plain(text)
    marks = []
    for name, words in evidence.items():
        pattern = words_pattern(words)
        marks += [(*m.span(), name) for m in (pattern.finditer(shown) if pattern else ())]
    at = 0
    for begin, end, name in sorted(marks):
        if begin >= at:  # skip evidence that overlaps an earlier one
            yield Piece(shown[at:begin])
            yield Piece(shown[begin:end], plain(name))
            at = end
    yield Piece(shown[at:])


def dollars(amount: Decimal) -> str:
    """Return an amount in US dollars, to the cent."""
    return f"${amount:,.2f}"


def _as_text(value: object) -> str:
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return plain(words)
