"""What an honest service answers, written from the contract; it shares no code with the sandbox."""

from __future__ import annotations

import base64
import json
from typing import Any

from hostile.attack import Reply

NETWORK = "eip155:84532"
USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
PAYEE = "0x" + "42" * 20
TOTAL = "1.75"
AMOUNT = "1750000"

TERMS: dict[str, Any] = {
    "scheme": "exact",
    "network": NETWORK,
    "amount": AMOUNT,
    "asset": USDC,
    "payTo": PAYEE,
    "maxTimeoutSeconds": 300,
    "extra": {"name": "USDC", "version": "2"},
}


def required(terms: object, **more: object) -> str:
    """The value of `PAYMENT-REQUIRED` for these terms."""
    whole = {
        "x402Version": 2,
        "resource": {"url": "/v1/tools/voice/call"},
        "accepts": [terms],
    } | more
    return base64.b64encode(json.dumps(whole).encode()).decode()


def quote(number: int, target: str) -> Reply:
    """402 with the price: leg one."""
    context = {
        "tool": "voice",
        "quote_id": f"quote_{number}",
        "target_numbers": [target],
        "conference_mode": False,
        "success_criteria": ["The table is booked."],
        "estimated_duration_minutes": 5,
        "complexity_score": 2,
        "pipeline_fee": "0.00",
        "phone_registration_fee": "0.00",
        "estimated_call_cost": TOTAL,
        "total": TOTAL,
        "needs_phone_registration": False,
        "expires_at": "2099-01-01T00:00:00Z",
    }
    request = {
        "chain_id": 84532,
        "token_address": USDC,
        "amount": TOTAL,
        "recipient": PAYEE,
    }
    body = {"error": "payment_required", "payment_request": request, "context": context}
    return Reply.of(402, body, payment_required=required(TERMS))


def placed(request_id: str, target: str) -> Reply:
    """202: the call was paid for and is placed."""
    body = {
        "request_id": request_id,
        "status": "processing",
        "tool": "voice",
        "receipt_id": f"rcpt_{request_id}",
        "caller_number": "+14155559999",
        "target_numbers": [target],
        "conference_mode": False,
    }
    return Reply.of(202, body)


def used() -> Reply:
    """409: this payment was presented before."""
    return Reply.of(409, {"error": "payment_already_used", "message": "already used"})


def job(request_id: str) -> Reply:
    """200: the call is over."""
    result = {
        "status": "completed",
        "outcome": "reached_person",
        "ended_reason": "customer-ended-call",
        "duration_seconds": 94,
        "transcript": "AI: A table for two at seven, please.\nUser: It is booked.",
        "summary": "The table is booked.",
        "success_evaluation": "pass",
        "structured_data": {"booked": True},
        "recording_url": "https://recordings.invalid/1",
        "cost": TOTAL,
        "receipt_id": f"rcpt_{request_id}",
    }
    body = {
        "request_id": request_id,
        "tool": "voice",
        "status": "completed",
        "result": result,
        "receipt_id": f"rcpt_{request_id}",
        "created_at": "2026-11-24T10:00:00Z",
        "updated_at": "2026-11-24T10:02:00Z",
    }
    return Reply.of(200, body)


def unready(request_id: str) -> Reply:
    """200: the call goes on."""
    return Reply.of(200, {"request_id": request_id, "tool": "voice", "status": "processing"})


def receipts(told: list[tuple[str, object]]) -> Reply:
    """200: the receipts of these calls, given as id and decision context."""
    listed = [
        {
            "receipt_id": f"rcpt_{request_id}",
            "job_id": request_id,
            "amount_usdc": TOTAL,
            "status": "settled",
            "execution_status": "completed",
            "metadata": {"decisionContext": context},
            "created_at": "2026-11-24T10:00:00Z",
        }
        for request_id, context in told
    ]
    return Reply.of(200, {"receipts": listed, "count": len(listed), "has_more": False})


def no_socket() -> Reply:
    """404: this service has no result socket."""
    return Reply.of(404, {"error": "not_found"})
