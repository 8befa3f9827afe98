"""Validates a call request before it gets a price."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .refusals import Refusal

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_MAX_NUMBERS: Final = 5
_MIN_OBJECTIVE: Final = 10
_MAX_MINUTES: Final = 30
_LONGEST: Final = {
    "objective": 5_000,
    "caller_persona": 1_000,
    "caller_name": 100,
    "context": 10_000,
    "memo": 1_000,
}
_EMERGENCY: Final = frozenset({"911", "112", "999", "000", "110", "119", "933", "988"})
_BLOCKED_WORDS: Final = {"bomb": "violence", "ransom": "extortion", "swatting": "harassment"}


@dataclass(frozen=True)
class CallRequest:
    """A valid request: the body as received, and the numbers to ring."""

    body: Mapping[str, Any]
    numbers: tuple[str, ...]

    @property
    def conference(self) -> bool:
        """True if the call has several numbers."""
        return len(self.numbers) > 1

    @property
    def fingerprint(self) -> str:
        """A hash of the body, equal for any order and spacing of its JSON."""
        return hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()


def read_call_request(body: object) -> CallRequest:
    """Validate the decoded body of a call request.

    Raises:
        Refusal: 400 `emergency_number_blocked`, `invalid_request` (its message lists every
            problem) or `content_blocked`.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_request", "The body must be a JSON object.")
    numbers = _numbers(body.get("target_number"))
    for number in numbers:
        if _is_emergency(number):
            raise Refusal(
                400,
                "emergency_number_blocked",
                "Emergency numbers cannot be called.",
                blocked_number=number,
            )
    problems = list(_problems(body))
    if problems:
        raise Refusal(400, "invalid_request", "; ".join(problems), details=problems)
    categories = sorted(_blocked_categories(body))
    if categories:
        raise Refusal(400, "content_blocked", "This call cannot be placed.", categories=categories)
    return CallRequest(body, numbers)


def _numbers(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(number for number in listed if isinstance(number, str))


def _is_emergency(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    return digits in _EMERGENCY or (digits[:1] == "1" and digits[1:] in _EMERGENCY)


def _problems(body: Mapping[str, Any]) -> Iterator[str]:
    yield from _text_problems(body)
    yield from _number_problems(body.get("target_number"))
    minutes = body.get("max_duration_minutes")
    if minutes is not None and not (
        type(minutes) is int and 1 <= minutes <= _MAX_MINUTES  # a bool is not a number of minutes
    ):
        yield f"max_duration_minutes must be an integer from 1 to {_MAX_MINUTES}"
    yield from _decision_problems(body.get("decisionContext"))


def _text_problems(body: Mapping[str, Any]) -> Iterator[str]:
    if body.get("objective") is None:
        yield "objective is required"
    for name, longest in _LONGEST.items():
        text = body.get(name)
        if text is None:
            continue
        if not isinstance(text, str):
            yield f"{name} must be a string"
        elif len(text) > longest:
            yield f"{name} must be at most {longest} characters"
        elif name == "objective" and len(text) < _MIN_OBJECTIVE:
            yield f"objective must be at least {_MIN_OBJECTIVE} characters"


def _number_problems(value: object) -> Iterator[str]:
    if value is None:
        yield "target_number is required"
        return
    listed = value if isinstance(value, list) else [value]
    if not 1 <= len(listed) <= _MAX_NUMBERS:
        yield f"target_number must hold 1 to {_MAX_NUMBERS} numbers"
    if any(not isinstance(number, str) or not _E164.fullmatch(number) for number in listed):
        yield "target_number must be in E.164 format, such as +14155550100"


def _decision_problems(value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield "decisionContext must be an object"
        return
    confidence = value.get("confidence")
    if confidence is not None and not (
        isinstance(confidence, int | float) and 0 <= confidence <= 1
    ):
        yield "decisionContext.confidence must be a number from 0 to 1"


def _blocked_categories(body: Mapping[str, Any]) -> set[str]:
    text = " ".join(str(body.get(name) or "") for name in _LONGEST).lower()
    words = set(re.findall(r"[a-z]+", text))
    return {category for word, category in _BLOCKED_WORDS.items() if word in words}
