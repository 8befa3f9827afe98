"""What the service's answers mean: quotes, placements, jobs, receipts and refusals.

Pure functions over parsed JSON. Lenient about what the service may change (unknown fields are
kept, optional ones may be missing), strict about what money hangs on (a price is a plain amount or
there is no quote). Whatever the service says comes out on one line and of bounded length.
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
"""Minutes that a call may be expected to take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `body` is `None` unless it is a JSON object."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any] | None

    @classmethod
    def of(cls, reply: Reply) -> Answer:
        """What a reply says."""
        try:
            body = read_json(reply.body)
        except ValueError:
            body = None
        return cls(reply.status, reply.headers, body if isinstance(body, dict) else None)

    @property
    def code(self) -> str | None:
        """The word of a refusal, such as `budget_exceeded`; no word is one with spaces in it."""
        return name(fields(self.body).get("error"))

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait, where it does."""
        return seconds(self.headers.get("retry-after"))

    @property
    def told_at(self) -> float | None:
        """The service's clock when it answered, in epoch seconds, where it says it."""
        date = moment(self.headers.get("date"))
        return None if date is None else date.timestamp()


@dataclass(frozen=True, slots=True)
class Placement:
    """The service accepted the call; the phone is about to ring."""

    request_id: str
    receipt_id: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """A placed call, as the service tells how far it is."""

    status: str
    raw: dict[str, Any] = field(repr=False)

    @property
    def is_final(self) -> bool:
        """Whether the call has ended."""
        return self.status in _FINAL

    @property
    def is_whole(self) -> bool:
        """Whether the call has ended, and its outcome is told as well."""
        return self.status == "failed" or (
            self.is_final and isinstance(self.raw.get("result"), dict)
        )


def read_job(body: object) -> Job | None:
    """The job in an answer; `None` if there is none."""
    status = fields(body).get("status")
    return Job(status, dict(fields(body))) if isinstance(status, str) else None


def read_quote(body: Mapping[str, Any] | None) -> VoiceCallQuote:
    """The quote in a 402 answer's body.

    Raises:
        PaymentTermsError: when it has no id or no readable price.
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
    """Minutes that a call may take. Prices are divided by them, so they are no near nothing."""
    read = money(value)
    return read if read is not None and _SHORTEST <= read <= _LONGEST else None


def quote_in(offer: Mapping[str, Any]) -> VoiceCallQuote | None:
    """The quote in an offer that was received before; see `Offer.source`."""
    try:
        return read_quote(fields(offer.get("body")))
    except VoiceCallError:
        return None


def read_placement(answer: Answer) -> Placement | None:
    """The placement in a 2xx answer, or `None` when it names no call."""
    body = fields(answer.body)
    inner = body.get("data")
    source = inner if isinstance(inner, dict) and "request_id" not in body else body
    request_id = name(source.get("request_id"))
    if not 200 <= answer.status < 300 or request_id is None:  # noqa: PLR2004
        return None
    return Placement(request_id, name(source.get("receipt_id")), dict(source))


def receipt_for(body: Mapping[str, Any], call_key: str) -> Placement | None:
    """The call that carries our key among a page of receipts, wherever its metadata keeps it."""
    for receipt in map(fields, items(body.get("receipts"))):
        if call_key not in json.dumps(receipt):
            continue
        request_id = name(receipt.get("job_id")) or name(receipt.get("request_id"))
        if request_id is not None:
            return Placement(request_id, name(receipt.get("receipt_id")), dict(receipt))
    return None


def is_whole_list(body: Mapping[str, Any], page: int) -> bool:
    """Whether a list of receipts surely has no more pages; `page` is how long one can be."""
    more = body.get("has_more")
    return more is False or (more is None and len(items(body.get("receipts"))) < page)


def refusal(answer: Answer) -> VoiceCallError:
    """The error that an answer is. It is for answers before payment, and for refused payments."""
    code = answer.code or f"http_{answer.status}"
    body = fields(answer.body)
    said = line(body.get("message"))
    make = _REFUSALS.get(code)
    if make is not None:
        return make(body, code, said)
    if answer.status == 429:  # noqa: PLR2004
        return wording.rate_limited(answer.retry_after)
    if answer.status >= 500 or answer.body is None:  # noqa: PLR2004
        return wording.service_failed(answer.status)
    if answer.status == 401:  # noqa: PLR2004
        return wording.credential_not_accepted(code, said, None)
    return wording.refused_by_service(code, said)


def _invalid(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.request_not_accepted(code, said, excerpt(body.get("details")))


def _blocked(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.content_blocked(code, said, lines(body.get("categories")))


def _emergency(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.emergency_number_blocked(code, said, line(body.get("blocked_number")))


def _dearer(_: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.exceeds_caller_budget(code, said)


def _credential(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.credential_not_accepted(code, said, line(body.get("reason"), LONGEST_NAME))


def _payment(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    keys = ("reason", "expected", "received", "payment_attempt_id")
    details = {key: excerpt(body.get(key)) for key in keys}
    return wording.payment_not_taken(code, said, line(body.get("reason"), LONGEST_NAME), details)


def _credits(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    keys = ("required_usdc", "credits_balance", "shortfall_usdc")
    required, balance = money(body.get("required_usdc")), money(body.get("credits_balance"))
    details = {key: excerpt(body.get(key)) for key in keys}
    return wording.credits_too_low(code, said, required, balance, details)


def _budget(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    budget = fields(body.get("budget"))
    return wording.account_budget_exceeded(
        code,
        said,
        excerpt(budget),
        which=line(budget.get("reason")),
        cap=money(budget.get("cap")),
        spent=money(budget.get("spent")),
        resets_at=moment(budget.get("resets_at")),
    )


def _approval(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    # It goes into a header.
    details = {"approval_id": name(body.get("approval_id"))}
    details["approval"] = excerpt(body.get("approval"))
    return wording.held_by_account(code, said, details)


def _denied(body: Mapping[str, Any], code: str, said: str | None) -> VoiceCallError:
    return wording.denied_by_account(code, said, excerpt(body.get("rule")))


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
