"""What the service's answers mean: each refusal is one error, and money is money or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice import (
    CallRefusedError,
    ConfigurationError,
    InvalidCallError,
    PaymentRefusedError,
    PaymentTermsError,
    ServiceUnavailableError,
    VoiceCallError,
)
from langchain_oneshot_voice.oneshot import answers
from langchain_oneshot_voice.oneshot.answers import Answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)

ROWS: list[tuple[int, dict[str, Any], type[VoiceCallError], str]] = [
    (400, {"error": "invalid_request", "details": []}, InvalidCallError, "Correct the request"),
    (400, {"error": "content_blocked", "categories": ["fraud"]}, CallRefusedError, "fraud"),
    (
        400,
        {"error": "emergency_number_blocked", "blocked_number": "911"},
        CallRefusedError,
        "in person",
    ),
    (400, {"error": "exceeds_caller_budget"}, CallRefusedError, "max_duration_minutes"),
    (401, {"error": "proof_required"}, ConfigurationError, "credential"),
    (401, {"error": "invalid_proof", "reason": "expired"}, ConfigurationError, "clock"),
    (401, {"error": "invalid_proof", "reason": "bad_signature"}, ConfigurationError, "corrected"),
    (401, {"error": "access_token_revoked"}, ConfigurationError, "credential"),
    (401, {"error": "invalid_access_token"}, ConfigurationError, "credential"),
    (
        402,
        {"error": "payment_verification_failed", "reason": "insufficient_funds"},
        PaymentRefusedError,
        "insufficient_funds",
    ),
    (
        402,
        {"error": "insufficient_credits", "required_usdc": "1.75", "credits_balance": "0.20"},
        PaymentRefusedError,
        r"\$1\.75 needed, \$0\.20 left",
    ),
    (
        403,
        {
            "error": "budget_exceeded",
            "budget": {
                "reason": "daily",
                "cap": "5.00",
                "spent": "4.90",
                "resets_at": "2027-01-01T00:00:00Z",
            },
        },
        CallRefusedError,
        r"daily budget.*cap \$5\.00, spent \$4\.90.*2027-01-01",
    ),
    (
        403,
        {"error": "approval_required", "approval_id": "ap_1"},
        CallRefusedError,
        "require a person's approval",
    ),
    (403, {"error": "action_denied_by_policy", "rule": "r1"}, CallRefusedError, "rules"),
    (404, {"error": "quote_not_found"}, CallRefusedError, "quote_not_found"),
    (409, {"error": "quote_already_used"}, CallRefusedError, "quote_already_used"),
    (418, {"error": "a_word_of_tomorrow"}, CallRefusedError, "a_word_of_tomorrow"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), ROWS, ids=lambda v: str(v)[:40])
def test_refusal_is_one_kind_of_error(
    status: int, body: dict[str, Any], kind: type[VoiceCallError], words: str
) -> None:
    """Each refusal keeps the service's word as its code, charged nothing, and is not retried."""
    error = answers.refusal(Answer(status, {}, body))

    assert (type(error), error.code) == (kind, body["error"])
    assert (error.charged, error.safe_to_retry) == ("no", False)
    with pytest.raises(kind, match=words):
        raise error


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (429, {"error": "rate_limited"}, "rate_limited"),
        (429, None, "rate_limited"),
        (500, {"error": "internal_error"}, "service_unavailable"),
        (502, None, "service_unavailable"),
        (200, None, "service_unavailable"),
        (403, None, "service_unavailable"),
    ],
)
def test_failure_of_the_service_may_be_tried_again(
    status: int, body: dict[str, Any] | None, code: str
) -> None:
    """A rate limit, a 5xx or a proxy's page is no verdict on the call: it may be asked again."""
    error = answers.refusal(Answer(status, {}, body))

    assert (type(error), error.code) == (ServiceUnavailableError, code)
    assert (error.charged, error.safe_to_retry) == ("no", True)


def test_refusal_says_that_nothing_was_charged_and_what_to_do() -> None:
    """A model reads what happened, whether money moved, and what to do next."""
    error = answers.refusal(
        Answer(403, {}, {"error": "action_denied_by_policy", "message": "No calls on Sunday."})
    )

    assert str(error) == (
        'The account\'s rules do not allow this call. The service says: "No calls on Sunday."'
        " Nothing was charged. Do not retry; tell the user."
    )


@given(
    status=st.integers(200, 599),
    code=st.sampled_from([*answers._REFUSALS, "other", ""]),
    body=st.dictionaries(
        st.sampled_from(
            ("message", "reason", "budget", "categories", "required_usdc", "approval", "details")
        ),
        JSON,
    ),
)
def test_no_refusal_is_so_odd_that_it_crashes(status: int, code: str, body: dict[str, Any]) -> None:
    """Whatever stands in a refusal's fields, it is one error that says nothing was charged."""
    error = answers.refusal(Answer(status, {}, {"error": code} | body))

    assert error.charged == "no"
    assert "Nothing was charged." in str(error)


def test_quote_is_read_whole() -> None:
    """Every field of a quote is taken over, as money, as words, as time; unknown ones in raw."""
    context = {
        "quote_id": "quote_1",
        "total": "6.75",
        "estimated_call_cost": "1.75",
        "pipeline_fee": "0",
        "phone_registration_fee": 5.0,
        "estimated_duration_minutes": 5,
        "complexity_score": 3,
        "target_numbers": ["+14155550100"],
        "conference_mode": False,
        "objective_summary": "Book",
        "talking_points": ["one", 2, ""],
        "success_criteria": "booked",
        "expires_at": "2027-01-01T00:00:00Z",
        "tomorrow": "kept",
    }
    quote = answers.read_quote({"context": context})

    assert (quote.quote_id, quote.total) == ("quote_1", Decimal("6.75"))
    assert (quote.phone_registration_fee, quote.estimated_minutes) == (Decimal(5), Decimal(5))
    assert (quote.talking_points, quote.success_criteria) == (("one",), ("booked",))
    assert quote.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert quote.raw["tomorrow"] == "kept"


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"context": None},
        {"context": {"quote_id": "q"}},
        {"context": {"total": "1"}},
        {"context": {"quote_id": "", "total": "1"}},
        {"context": {"quote_id": "q", "total": "NaN"}},
        {"context": {"quote_id": "q", "total": "-1"}},
        {"context": {"quote_id": 7, "total": "1"}},
    ],
)
def test_quote_without_id_or_price_is_an_error(body: dict[str, Any] | None) -> None:
    """A quote that has no id or no readable price is refused; nothing is guessed."""
    with pytest.raises(PaymentTermsError, match="nothing was signed"):
        answers.read_quote(body)


@pytest.mark.parametrize(
    "body",
    [
        {"request_id": "req_1", "status": "processing", "receipt_id": "r1"},
        {"request_id": "req_1", "status": "queued"},
        {"data": {"request_id": "req_1"}},
    ],
)
def test_placement_needs_only_a_request_id(body: dict[str, Any]) -> None:
    """A 2xx that names a request is a placed call, whatever its status word."""
    placement = answers.read_placement(Answer(202, {}, body))

    assert placement is not None
    assert placement.request_id == "req_1"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, None),
        (200, {"error": "invalid_request"}),
        (202, {"request_id": ""}),
        (202, {"request_id": 7}),
        (409, {"request_id": "req_1"}),
        (500, {"request_id": "req_1"}),
    ],
)
def test_what_names_no_call_is_no_placement(status: int, body: dict[str, Any] | None) -> None:
    """A 200 that is an error in disguise, or an error that names a request, places nothing."""
    assert answers.read_placement(Answer(status, {}, body)) is None


KEY = "ab" * 32


@pytest.mark.parametrize(
    "receipt",
    [
        {"job_id": "req_1", "metadata": {"decisionContext": {"goalId": KEY}}},
        {"job_id": "req_1", "metadata": {"decision_context": {"goalId": KEY, "x": 1}}},
        {"job_id": "req_1", "metadata": '{"goalId": "' + KEY + '"}'},
        {"request_id": "req_1", "memo": f"call {KEY}"},
    ],
)
def test_receipt_is_found_wherever_it_keeps_the_key(receipt: dict[str, Any]) -> None:
    """The receipt of a call is known by our key, in whatever field the service keeps it."""
    found = answers.receipt_for({"receipts": [None, {"job_id": "other"}, receipt]}, KEY)

    assert found is not None
    assert found.request_id == "req_1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"receipts": None},
        {"receipts": ["x", 1, None]},
        {"receipts": [{"job_id": "req_1"}]},
        {"receipts": [{"memo": KEY}]},
    ],
)
def test_no_receipt_is_found_without_key_and_job(body: dict[str, Any]) -> None:
    """Without our key, or without a job to wait for, a receipt says nothing."""
    assert answers.receipt_for(body, KEY) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(value: str, seconds: float | None) -> None:
    """Only a finite, non-negative number of seconds is waited for."""
    assert Answer(429, {"retry-after": value}, None).retry_after == seconds
