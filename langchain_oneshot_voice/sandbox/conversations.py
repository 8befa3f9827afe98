"""Invented conversations between an AI caller and a polite person who can help.

They depend on the request only: the same request always gets the same conversation.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final

from .call_request import CallRequest

_DAY: Final = r"today|tonight|tomorrow|(?:on )?(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_TIME: Final = re.compile(
    rf"\b(\d{{1,2}}(?::\d{{2}})? ?(?:am|pm)(?: (?:{_DAY}))?|noon)\b", re.IGNORECASE
)
_INSTRUCTION: Final = re.compile(
    r"(?:please )?(?:call|phone|ring)\b[^.,;]*? (?:to|and) ", re.IGNORECASE
)
_VERB: Final = re.compile(
    r"(?:arrange|ask|book|cancel|check|confirm|connect|find|get|inform|invite|make|negotiate|order"
    r"|remind|request|reschedule|reserve|schedule|tell|verify)\b",
    re.IGNORECASE,
)
_NAME: Final = re.compile(r"\bname(?: is| of|:|,)? ([A-Z][\w'-]+(?: [A-Z][\w'-]+)?)")
_PARTY: Final = re.compile(r"\b(?:for|party of) (\d{1,2})\b(?! ?(?:am|pm|:))", re.IGNORECASE)


@dataclass(frozen=True)
class Conversation:
    """A successful conversation and its results."""

    kind: str
    criteria: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    summary: str
    facts: dict[str, Any] = field(default_factory=dict)


def success_criteria(request: CallRequest) -> list[str]:
    """Return the criteria for a successful call."""
    return list(converse(request).criteria)


def opening(request: CallRequest) -> str:
    """Return the caller's first sentences: that it is an AI, its principal and its errand."""
    caller = request.body.get("caller_name")
    behalf = f" calling on behalf of {caller}" if caller else ""
    return f"Hello, this is an AI assistant{behalf}. I'm calling {_errand(request)}"


def purpose(request: CallRequest) -> str:
    """Return the objective, ending like a sentence."""
    text = " ".join(str(request.body["objective"]).split())
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _errand(request: CallRequest) -> str:
    text = re.split(r"(?<=[.;!?]) ", purpose(request))[0].rstrip(";.") + "."
    instructed = _INSTRUCTION.match(text)
    if instructed:
        return f"to {text[instructed.end() :]}"
    if _VERB.match(text):
        return f"to {text[0].lower()}{text[1:]}"
    return f"about this: {text}"


def converse(request: CallRequest) -> Conversation:
    """Return the conversation for an objective, chosen by its words."""
    words = set(re.findall(r"[a-z]+", str(request.body["objective"]).lower()))
    if request.conference:
        return _conference(request)
    if words & {"reservation", "table", "dinner", "lunch", "restaurant"}:
        return _reservation(request)
    if words & {"appointment", "schedule", "reschedule", "checkup", "haircut"}:
        return _appointment(request)
    if words & {"hours", "open", "opening", "close", "closing"}:
        return _hours()
    if words & {"price", "prices", "cost", "costs", "quote", "rate"}:
        return _price(request)
    return _generic(request)


def transcript(request: CallRequest, lines: tuple[tuple[str, str], ...]) -> str:
    """Return the opening and these lines as text: one line for each turn, with its speaker."""
    turns = (("AI", opening(request)), *lines)
    return "\n".join(f"{speaker}: {text}" for speaker, text in turns)


def _reservation(request: CallRequest) -> Conversation:
    time, code = _time(request, "7pm"), _code(request, "R")
    party = _PARTY.search(str(request.body["objective"]))
    people = int(party.group(1)) if party else 2
    return Conversation(
        kind="reservation",
        criteria=(
            f"A table for {people} is confirmed",
            f"The time is {time}, or an acceptable alternative",
            "The name for the reservation is given",
        ),
        lines=(
            ("User", f"Of course. A table for {people} at {time}, let me look."),
            ("AI", "Thank you, I'll hold."),
            ("User", "Yes, we have one. Under which name?"),
            ("AI", f"Please put it under {_name(request)}."),
            ("User", f"All set. Your confirmation number is {code}. See you then."),
            ("AI", f"Thank you, that is {code}. Goodbye."),
        ),
        summary=f"The table for {people} at {time} is booked, confirmation number {code}.",
        facts={
            "reservation_confirmed": True,
            "party_size": people,
            "time": time,
            "name": _name(request),
            "confirmation_number": code,
        },
    )


def _appointment(request: CallRequest) -> Conversation:
    time, code = _time(request, "10:30 am"), _code(request, "A")
    return Conversation(
        kind="appointment",
        criteria=("A date and time are agreed", "The name for the appointment is given"),
        lines=(
            ("User", f"Sure. I have {time} free. Would that do?"),
            ("AI", f"{time} works well. The name is {_name(request)}."),
            ("User", f"You are booked for {time}. The reference is {code}."),
            ("AI", f"Thank you, {code}. Goodbye."),
        ),
        summary=f"The appointment is booked for {time}, reference {code}.",
        facts={
            "appointment_confirmed": True,
            "time": time,
            "name": _name(request),
            "confirmation_number": code,
        },
    )


def _hours() -> Conversation:
    return Conversation(
        kind="opening hours",
        criteria=("The opening hours are stated",),
        lines=(
            ("User", "We are open from 9 am to 6 pm, Monday to Saturday, and closed on Sunday."),
            ("AI", "9 am to 6 pm, Monday to Saturday, closed on Sunday. Is that right?"),
            ("User", "That's right."),
            ("AI", "Thank you very much. Goodbye."),
        ),
        summary="They are open from 9 am to 6 pm, Monday to Saturday, and closed on Sunday.",
        facts={"opens": "09:00", "closes": "18:00", "days": "Monday to Saturday"},
    )


def _price(request: CallRequest) -> Conversation:
    price = 40 + int(_digest(request)[:2], 16) % 60
    return Conversation(
        kind="price",
        criteria=("A price is stated", "What the price includes is stated"),
        lines=(
            ("User", f"That would be ${price}, tax included."),
            ("AI", f"${price} with tax. Does that include everything?"),
            ("User", "Yes, there is nothing on top."),
            ("AI", "Thank you for your help. Goodbye."),
        ),
        summary=f"The price is ${price}, tax and everything else included.",
        facts={"price_usd": price, "tax_included": True},
    )


def _generic(request: CallRequest) -> Conversation:
    return Conversation(
        kind="request",
        criteria=(f"The objective is met: {purpose(request)}",),
        lines=(
            ("User", "Sure, I can help with that. Give me a moment."),
            ("AI", "Thank you, take your time."),
            ("User", "All right, that is taken care of. Is there anything else?"),
            ("AI", "No, that was all. Thank you, and goodbye."),
        ),
        summary="The person agreed to help and said that it is taken care of.",
        facts={"objective_met": True},
    )


def _conference(request: CallRequest) -> Conversation:
    callees = [f"Callee {n}" for n in range(1, len(request.numbers) + 1)]
    joined = tuple((callee, "Hello, yes, I am on the line.") for callee in callees)
    agreed = tuple((callee, "That works for me.") for callee in callees)
    return Conversation(
        kind="conference",
        criteria=("Everyone is on the line", "Everyone has stated a position", "They agree"),
        lines=(
            *joined,
            ("AI", "Thank you all. Let me hear each of you, then I will sum up."),
            (callees[0], "I would be happy with the middle of the two figures."),
            ("AI", "The proposal is the middle of the two figures. Does everyone agree?"),
            *agreed,
            ("AI", "Then it is agreed. Thank you, and goodbye."),
        ),
        summary=f"All {len(callees)} people joined and agreed on the middle of the two figures.",
        facts={"agreement_reached": True, "participants": len(callees)},
    )


def _time(request: CallRequest, otherwise: str) -> str:
    found = _TIME.search(str(request.body["objective"]))
    return found.group(1) if found else otherwise


def _name(request: CallRequest) -> str:
    named = _NAME.search(str(request.body["objective"]))
    return named[1] if named else str(request.body.get("caller_name") or "Taylor")


def _code(request: CallRequest, letter: str) -> str:
    return f"{letter}-{1000 + int(_digest(request)[:6], 16) % 9000}"


def _digest(request: CallRequest) -> str:
    return hashlib.sha256(str(request.body["objective"]).encode()).hexdigest()
