"""Parses the service's answers: quotes, placements, jobs, receipts and refusals.

Pure functions over parsed JSON. They accept what the service may change: unknown fields are kept,
and optional ones may be missing. They are strict about money: without a plain amount as the price
there is no quote. Messages of the service are reduced to one line of limited length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.oneshot.reading import (
    LONGEST_NAME,
    excerpt,
    fields,
    items,
    line,
    lines,
    moment,
    money,
    name,
    read_json,
    seconds,
)
from langchain_oneshot_voice.oneshot.transport import Reply
from langchain_oneshot_voice.schemas import VoiceCallQuote

_FINAL = {"completed", "failed"}
"""An unknown status is never final."""


_SHORTEST, _LONGEST = Decimal("0.01"), Decimal(10_000)
"""Limits for the expected minutes of a call."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `body` is `None` unless it is a JSON object."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any] | None

    @classmethod
    def of(cls, reply: Reply) -> Answer:
        """Parse a reply."""
        try:
            body = read_json(reply.body)
        except ValueError:
            body = None
        return cls(reply.status, reply.headers, body if isinstance(body, dict) else None)

    @property
    def code(self) -> str | None:
        """The error code, such as `budget_exceeded`; `None` for a text with spaces."""
        return name(fields(self.body).get("error"))

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait; `None` if it did not say."""
        return seconds(self.headers.get("retry-after"))

    @property
    def service_time(self) -> float | None:
        """The service's clock at the answer, in epoch seconds; `None` if it did not say."""
        date = moment(self.headers.get("date"))
        return None if date is None else date.timestamp()


@dataclass(frozen=True, slots=True)
class Placement:
    """A call that the service accepted: the phone will ring."""

    request_id: str
    receipt_id: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """The state of a placed call, as the service sent it."""

    status: str
    raw: dict[str, Any] = field(repr=False)

    @property
    def is_final(self) -> bool:
        """True if the call has ended."""
        return self.status in _FINAL

    @property
    def has_outcome(self) -> bool:
        """True if the call has ended and its outcome is known."""
        return self.status == "failed" or (
            self.is_final and isinstance(self.raw.get("result"), dict)
        )


def read_job(body: object) -> Job | None:
    """Return the job in an answer; `None` if there is none."""
    status = fields(body).get("status")
    return Job(status, dict(fields(body))) if isinstance(status, str) else None


def read_quote(body: Mapping[str, Any] | None) -> VoiceCallQuote:
    """Parse the quote in the body of a 402 answer.

    Raises:
        PaymentTermsError: the quote has no id or no readable price.
    """
    context = fields(fields(body).get("context"))
    quote_id, total = name(context.get("quote_id")), money(context.get("total"))
    if quote_id is None or total is None:
        raise wording.quote_unreadable("id" if quote_id is None else "readable price")
    return VoiceCallQuote(
        quote_id=quote_id,
        total=total,
        call_cost=money(context.get("estimated_call_cost")),
        pipeline_fee=money(context.get("pipeline_fee")),
        phone_registration_fee=money(context.get("phone_registration_fee")),
        estimated_minutes=_minutes(context.get("estimated_duration_minutes")),
        complexity=money(context.get("complexity_score")),
        numbers=lines(context.get("target_numbers")),
        conference=context.get("conference_mode") is True,
        objective_summary=line(context.get("objective_summary")),
        talking_points=lines(context.get("talking_points")),
        success_criteria=lines(context.get("success_criteria")),
        expires_at=moment(context.get("expires_at")),
        raw=dict(context),
    )


def _minutes(value: object) -> Decimal | None:
    """Return the expected minutes, or `None` outside the limits."""
    minutes = money(value)
    # The package divides prices by the minutes, so they must not be close to zero.
    return minutes if minutes is not None and _SHORTEST <= minutes <= _LONGEST else None


def quote_in(offer: Mapping[str, Any]) -> VoiceCallQuote | None:
    """Return the quote in the source of an offer (see `Offer.source`), if it is readable."""
    try:
        return read_quote(fields(offer.get("body")))
    except VoiceCallError:
        return None


def read_placement(answer: Answer) -> Placement | None:
    """Return the placement in a 2xx answer; `None` if it names no call."""
    body = fields(answer.body)
    inner = body.get("data")
    source = inner if isinstance(inner, dict) and "request_id" not in body else body
    request_id = name(source.get("request_id"))
    if not 200 <= answer.status < 300 or request_id is None:  # noqa: PLR2004
        return None
    return Placement(request_id, name(source.get("receipt_id")), dict(source))


def receipt_for(body: Mapping[str, Any], call_key: str) -> Placement | None:
    """Return the call with this key from a page of receipts; `None` if it is not there."""
    for receipt in map(fields, items(body.get("receipts"))):
        # The service may keep the key in any field of the receipt's metadata.
        if call_key not in json.dumps(receipt):
            continue
        request_id = name(receipt.get("job_id")) or name(receipt.get("request_id"))
        if request_id is not None:
            return Placement(request_id, name(receipt.get("receipt_id")), dict(receipt))
    return None


def is_whole_list(body: Mapping[str, Any], page: int) -> bool:
    """Return True if a list of receipts certainly has no more pages.

    Args:
        body: the answer.
        page: the number of receipts on a full page.
    """
    more = body.get("has_more")
    return more is False or (more is None and len(items(body.get("receipts"))) < page)


def refusal(answer: Answer) -> VoiceCallError:
    """Convert an answer into an error. Nothing was charged for the request.

    Args:
        answer: a refusal of a request before the payment, or of the payment itself.
    """
    code = answer.code or f"http_{answer.status}"
    body = fields(answer.body)
    message = line(body.get("message"))
    make = _REFUSALS.get(code)
    if make is not None:
        return make(body, code, message)
    if answer.status == 429:  # noqa: PLR2004
        return wording.rate_limited(answer.retry_after)
    if answer.status >= 500 or answer.body is None:  # noqa: PLR2004
        return wording.service_failed(answer.status)
    if answer.status == 401:  # noqa: PLR2004
        return wording.credential_not_accepted(code, message, None)
    return wording.refused_by_service(code, message)


def _invalid(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    return wording.request_not_accepted(code, message, excerpt(body.get("details")))


def _blocked(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    return wording.content_blocked(code, message, lines(body.get("categories")))


def _emergency(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    return wording.emergency_number_blocked(code, message, line(body.get("blocked_number")))


def _dearer(_: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    return wording.exceeds_caller_budget(code, message)


def _credential(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    return wording.credential_not_accepted(code, message, line(body.get("reason"), LONGEST_NAME))


def _payment(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    keys = ("reason", "expected", "received", "payment_attempt_id")
    details = {key: excerpt(body.get(key)) for key in keys}
    return wording.payment_not_taken(code, message, line(body.get("reason"), LONGEST_NAME), details)


def _credits(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    keys = ("required_usdc", "credits_balance", "shortfall_usdc")
    required, balance = money(body.get("required_usdc")), money(body.get("credits_balance"))
    details = {key: excerpt(body.get(key)) for key in keys}
    return wording.credits_too_low(code, message, required, balance, details)


def _budget(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    budget = fields(body.get("budget"))
    return wording.account_budget_exceeded(
        code,
        message,
        excerpt(budget),
        which=line(budget.get("reason")),
        cap=money(budget.get("cap")),
        spent=money(budget.get("spent")),
        resets_at=moment(budget.get("resets_at")),
    )


def _approval(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    # A later request sends the id in a header, so only a safe name is accepted.
    details = {"approval_id": name(body.get("approval_id"))}
    details["approval"] = excerpt(body.get("approval"))
    return wording.held_by_account(code, message, details)


def _denied(body: Mapping[str, Any], code: str, message: str | None) -> VoiceCallError:
    return wording.denied_by_account(code, message, excerpt(body.get("rule")))


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
