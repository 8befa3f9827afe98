"""What the service's answers mean: quotes, placements, receipts and refusals.

Pure functions over parsed JSON. Lenient about what the service may change (unknown fields are
kept, optional ones may be missing), strict about what money hangs on (a price is a finite,
non-negative number or there is no quote).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.schemas import VoiceCallQuote

_DEEPEST = 100
"""Levels of nesting in an answer; more than any has, fewer than anything breaks at."""

_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{}]', re.DOTALL)
"""A string, which may have brackets in it, or a bracket."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `body` is `None` unless it is a JSON object."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any] | None

    @property
    def code(self) -> str | None:
        """The word of a refusal, such as `budget_exceeded`."""
        word = (self.body or {}).get("error")
        return word if isinstance(word, str) and word else None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait, where it does."""
        try:
            seconds = float(self.headers.get("retry-after", ""))
        except ValueError:
            return None
        return seconds if 0 <= seconds < float("inf") else None


@dataclass(frozen=True, slots=True)
class Placement:
    """The service accepted the call; the phone is about to ring."""

    request_id: str
    receipt_id: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


def read_quote(body: Mapping[str, Any] | None) -> VoiceCallQuote:
    """The quote in a 402 answer's body.

    Raises:
        PaymentTermsError: when it has no id or no readable price.
    """
    context = (body or {}).get("context")
    context = context if isinstance(context, dict) else {}
    quote_id, total = text(context.get("quote_id")), money(context.get("total"))
    if quote_id is None or total is None:
        raise wording.quote_unreadable("id" if quote_id is None else "readable price")
    return VoiceCallQuote(
        quote_id=quote_id,
        total=total,
        call_cost=money(context.get("estimated_call_cost")),
        pipeline_fee=money(context.get("pipeline_fee")),
        phone_registration_fee=money(context.get("phone_registration_fee")),
        estimated_minutes=money(context.get("estimated_duration_minutes")),
        complexity=money(context.get("complexity_score")),
        numbers=texts(context.get("target_numbers")),
        conference=context.get("conference_mode") is True,
        objective_summary=text(context.get("objective_summary")),
        talking_points=texts(context.get("talking_points")),
        success_criteria=texts(context.get("success_criteria")),
        expires_at=moment(context.get("expires_at")),
        raw=dict(context),
    )


def read_placement(answer: Answer) -> Placement | None:
    """The placement in a 2xx answer, or `None` when it names no call."""
    body = answer.body or {}
    inner = body.get("data")
    source = inner if isinstance(inner, dict) and "request_id" not in body else body
    request_id = text(source.get("request_id"))
    if not 200 <= answer.status < 300 or request_id is None:  # noqa: PLR2004
        return None
    return Placement(request_id, text(source.get("receipt_id")), dict(source))


def receipt_for(body: Mapping[str, Any], call_key: str) -> Placement | None:
    """The call that carries our key among a page of receipts, wherever its metadata keeps it."""
    receipts = body.get("receipts")
    for receipt in receipts if isinstance(receipts, list) else []:
        if not isinstance(receipt, dict) or call_key not in json.dumps(receipt):
            continue
        request_id = text(receipt.get("job_id")) or text(receipt.get("request_id"))
        if request_id is not None:
            return Placement(request_id, text(receipt.get("receipt_id")), receipt)
    return None


def refusal(answer: Answer) -> VoiceCallError:
    """The error that an answer is. It is for answers before payment, and for refused payments."""
    code = answer.code or f"http_{answer.status}"
    said = text((answer.body or {}).get("message"))
    make = _REFUSALS.get(code)
    if make is not None:
        return make(answer.body or {}, code, said)
    if answer.status == 429:  # noqa: PLR2004
        return wording.rate_limited(answer.retry_after)
    if answer.status >= 500 or answer.body is None:  # noqa: PLR2004
        return wording.service_failed(answer.status)
    if answer.status == 401:  # noqa: PLR2004
        return wording.credential_not_accepted(code, said, None)
    return wording.refused_by_service(code, said)


def read_json(raw: str | bytes) -> object:
    """Parse what came over the wire, however hostile.

    The depth is checked here because Python's own check is not to be relied on: a library that
    raises the recursion limit (signing libraries do) turns deep nesting into a crash.

    Raises:
        ValueError: when it is not JSON, or nested too deeply to be an answer.
    """
    written = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
    depth = 0
    for token in _JSON_TOKEN.finditer(written):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
    return json.loads(written)


def money(value: object) -> Decimal | None:
    """A finite, non-negative amount from a string or a number, else `None`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        amount = Decimal(str(value).strip().removeprefix("$"))
    except (InvalidOperation, ValueError):  # no number, or an int too long to be spelled out
        return None
    return amount if amount.is_finite() and 0 <= amount < Decimal(10**9) else None


def text(value: object) -> str | None:
    """A non-empty string, else `None`."""
    return value if isinstance(value, str) and value.strip() else None


def texts(value: object) -> tuple[str, ...]:
    """The strings of a list, or a lone string; anything else is none at all."""
    if isinstance(value, str):
        return (value,) if value.strip() else ()
    return tuple(v for v in value if text(v)) if isinstance(value, list) else ()


def moment(value: object) -> datetime | None:
    """An aware time from ISO 8601 or epoch seconds, else `None`."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _invalid(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.request_not_accepted(code, said, body.get("details"))


def _blocked(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    categories = body.get("categories")
    return wording.content_blocked(code, said, texts(categories), categories)


def _emergency(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.emergency_number_blocked(code, said, body.get("blocked_number"))


def _dearer(_: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.exceeds_caller_budget(code, said)


def _credential(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.credential_not_accepted(code, said, text(body.get("reason")))


def _payment(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    names = ("reason", "expected", "received", "payment_attempt_id")
    details = {name: body.get(name) for name in names}
    return wording.payment_not_taken(code, said, text(body.get("reason")), details)


def _credits(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    names = ("required_usdc", "credits_balance", "shortfall_usdc")
    required, balance = money(body.get("required_usdc")), money(body.get("credits_balance"))
    details = {name: body.get(name) for name in names}
    return wording.credits_too_low(code, said, required, balance, details)


def _budget(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    budget = body.get("budget")
    budget = budget if isinstance(budget, dict) else {}
    return wording.account_budget_exceeded(
        code,
        said,
        budget,
        cap=money(budget.get("cap")),
        spent=money(budget.get("spent")),
        resets_at=moment(budget.get("resets_at")),
    )


def _approval(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    details = {"approval_id": body.get("approval_id"), "approval": body.get("approval")}
    return wording.held_by_account(code, said, details)


def _denied(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.denied_by_account(code, said, body.get("rule"))


_REFUSALS = {
    "invalid_request": _invalid,
    "content_blocked": _blocked,
    "emergency_number_blocked": _emergency,
    "exceeds_caller_budget": _dearer,
    "proof_required": _credential,
    "invalid_proof": _credential,
    "access_token_revoked": _credential,
    "payment_verification_failed": _payment,
    "insufficient_credits": _credits,
    "budget_exceeded": _budget,
    "approval_required": _approval,
    "action_denied_by_policy": _denied,
}
