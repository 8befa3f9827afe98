"""The question that a person sees before a call is paid, and the id that binds an answer to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice.journal.records import AskedQuestion
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote
from langchain_oneshot_voice.visible_text import plain

_LONGEST_WORDS = 2000
"""Limit on the characters of one text from the provider that a person sees."""


def question_id(
    *,
    thread: str,
    namespace: str,
    call_key: str,
    number: int,
    request: dict[str, Any],
    price: Decimal,
) -> str:
    """Return an id of 32 hexadecimal digits, the format that LangGraph needs for answers by id.

    Two ids are equal only for the same question about exactly the same request and price.
    """
    parts = [thread, namespace, call_key, number, request, str(price)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person, as it is shown.

    Attributes:
        question_id: the id of the question; the answer refers to it.
        request: the call as the model requested it, with numbers in E.164.
        quote: the price and the plan of the call.
        worst_case: the highest possible cost in US dollars.
        added: texts that the package and the policy add to the request, by field.
        tool_name: the tool's name.
        tool_call_id: id of the tool call that requested the call; `None` if there is none.
        agreed_before: the price in US dollars that was approved before, if the call costs more now.
        note: what was wrong with the last answer, or how to answer.
    """

    question_id: str
    request: VoiceCallInput
    quote: VoiceCallQuote
    worst_case: Decimal
    added: dict[str, str] = field(default_factory=dict)
    tool_name: str = "voice_call"
    tool_call_id: str | None = None
    agreed_before: Decimal | None = None
    note: str | None = None

    def description(self) -> str:
        """Return the question as one line of text."""
        what = "Conference call" if self.quote.conference else "Phone call"
        price = f"{what} to {', '.join(self.request.numbers)} for ${_amount(self.quote.total)}"
        fee = self.quote.phone_registration_fee
        notes = [
            f"at the most ${_amount(self.worst_case)}"
            if self.worst_case > self.quote.total
            else "",
            f"${_amount(fee)} of it once, for the number to call from" if fee else "",
        ]
        aside = "; ".join(note for note in notes if note)
        price += f" ({aside})" if aside else ""
        again = (
            f" You agreed to ${_amount(self.agreed_before)}; it costs more now."
            if self.agreed_before is not None
            else ""
        )
        note = f" {self.note}" if self.note else ""
        return f"{price}.{again} Objective: {plain(self.request.objective)}{note}"

    def value(self) -> dict[str, Any]:
        """Return the interrupt's value as JSON: a `ToolApprovalRequest`, with the quote added."""
        plan = self.quote.model_dump(mode="json", exclude={"raw"}, exclude_none=True)
        shown: dict[str, Any] = {
            "type": "tool_approval",
            "tool_call_id": self.tool_call_id or "",
            "name": self.tool_name,
            "args": _visible(self.request.model_dump(mode="json", exclude_none=True)),
            "description": self.description(),
            "quote": _visible(plan, _LONGEST_WORDS) | {"worst_case": _amount(self.worst_case)},
            "question": self.question_id,
            "added": dict(self.added),
        }
        return shown | {"note": self.note} if self.note else shown


@dataclass(frozen=True, slots=True)
class Pending:
    """A question that pauses the graph: its record in the journal, and what the person sees."""

    asked: AskedQuestion
    question: Question


def _visible(words: Any, longest: int | None = None) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the same JSON with every text on one line and without invisible characters."""
    if isinstance(words, str):
        return plain(words)[:longest]
    if isinstance(words, dict):
        return {plain(name): _visible(value, longest) for name, value in words.items()}
    if isinstance(words, list | tuple):
        return [_visible(value, longest) for value in words]
    return words


def _amount(dollars: Decimal) -> str:
    """Format an exact amount with at least two decimals: `6.75`, `8.50`, `0.123456`."""
    cents = dollars.quantize(Decimal("0.01"))
    return str(cents) if cents == dollars else f"{dollars.normalize():f}"
