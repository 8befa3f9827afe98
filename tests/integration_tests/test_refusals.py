"""Each no of the service, over the wire, becomes words that a model can act on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import httpx
import pytest
from conftest import MakeTool
from placing import NUMBER, arguments, legs, tool_call

from langchain_oneshot_voice import (
    CallRefusedError,
    ConfigurationError,
    InvalidCallError,
    PaymentRefusedError,
    Sandbox,
    VoiceCallError,
)
from langchain_oneshot_voice.sandbox import Fault

Answer = tuple[int, Mapping[str, str], Mapping[str, Any] | None]


def answering(
    status: int, body: Mapping[str, Any]
) -> Callable[[int, dict[str, str], dict[str, Any] | None], Answer]:
    """A leg that gives this answer instead of its own."""

    def tamper(_: int, __: dict[str, str], ___: dict[str, Any] | None) -> Answer:
        return status, {"content-type": "application/json"}, body

    return tamper


QUOTE_ROWS: list[tuple[int, dict[str, Any], type[VoiceCallError]]] = [
    (400, {"error": "invalid_request", "message": "context is odd"}, InvalidCallError),
    (400, {"error": "content_blocked", "categories": ["harassment"]}, CallRefusedError),
    (400, {"error": "emergency_number_blocked", "blocked_number": "911"}, CallRefusedError),
    (400, {"error": "exceeds_caller_budget"}, CallRefusedError),
    (401, {"error": "proof_required"}, ConfigurationError),
    (401, {"error": "access_token_revoked"}, ConfigurationError),
    (403, {"error": "budget_exceeded", "budget": {"reason": "daily"}}, CallRefusedError),
    (403, {"error": "approval_required", "approval_id": "ap_1"}, CallRefusedError),
    (403, {"error": "action_denied_by_policy", "rule": "r1"}, CallRefusedError),
]


@pytest.mark.parametrize(("status", "body", "kind"), QUOTE_ROWS, ids=lambda v: str(v)[:45])
def test_refused_quote_is_an_error_message(
    status: int,
    body: dict[str, Any],
    kind: type[VoiceCallError],
    make_tool: MakeTool,
    sandbox: Sandbox,
) -> None:
    """A no to the quote is a ToolMessage of status error that says nothing was charged."""
    sandbox.tamper("quote", answering(status, body))
    message = make_tool().invoke(tool_call())

    assert message.status == "error"
    assert "Nothing was charged." in message.content
    assert legs(sandbox, "paid") == []
    with pytest.raises(kind) as refused:
        make_tool(handle_tool_error=False).invoke(tool_call("call-2"))
    assert (refused.value.code, refused.value.charged) == (body["error"], "no")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"error": "payment_verification_failed", "reason": "invalid_signature"},
            "invalid_signature",
        ),
        (
            {
                "error": "insufficient_credits",
                "required_usdc": "1.75",
                "credits_balance": "0.20",
                "shortfall_usdc": "1.55",
            },
            "$1.75 needed, $0.20 left",
        ),
    ],
    ids=["payment", "credits"],
)
def test_refused_payment_is_an_error_message(
    body: dict[str, Any], words: str, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A 402 to the payment is told with the service's reason, and charged nothing."""
    sandbox.tamper("paid", answering(402, body))
    # The sandbox acts before it is tampered with, so the money is taken away first.
    sandbox.set_balance(sandbox.address, Decimal(0))
    tool = make_tool(handle_tool_error=False)
    with pytest.raises(PaymentRefusedError) as refused:
        tool.invoke(tool_call())

    assert words in str(refused.value)
    assert (refused.value.charged, refused.value.safe_to_retry) == ("no", False)
    assert (sandbox.payments, sandbox.rings) == ((), ())


def test_empty_wallet_is_told_so(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A wallet without money gets a refusal of the payment, and no phone rings."""
    sandbox.set_balance(sandbox.address, Decimal(1))
    message = make_tool().invoke(tool_call())

    assert message.status == "error"
    assert "did not accept the payment" in message.content
    assert "Nothing was charged." in message.content
    assert sandbox.rings == ()


def test_call_can_be_made_once_the_wallet_is_filled(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A refused payment does not use the call up: the same call later is quoted and paid anew."""
    tool = make_tool()
    sandbox.set_balance(sandbox.address, Decimal(1))
    tool.invoke(tool_call())
    sandbox.set_balance(sandbox.address, Decimal(100))

    assert tool.invoke(tool_call()).artifact.call_successful == "success"
    assert len(sandbox.rings) == 1


def test_account_budget_is_told_with_its_numbers(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The account's own cap, asked of the running service, is told with its sums."""
    sandbox.deny_action("no-calls-on-sundays")
    message = make_tool().invoke(tool_call())

    assert message.status == "error"
    assert "rules do not allow this call" in message.content


def test_held_call_is_told_as_waiting(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A call that the account's rules hold is told as waiting for a person."""
    sandbox.require_approval()
    tool = make_tool(handle_tool_error=False)
    with pytest.raises(CallRefusedError, match="require a person's approval") as held:
        tool.invoke(tool_call())

    assert held.value.code == "approval_required"
    assert held.value.details["approval_id"] == sandbox.approvals[0]


def test_emergency_number_is_never_rung(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A number that is none in E.164 is refused before the service is asked."""
    message = make_tool().invoke(tool_call(**arguments("911")))

    assert message.status == "error"
    assert sandbox.requests == ()


def test_errors_hold_no_trace_of_the_http_client(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """What comes out is ours alone: no httpx exception is its cause or its shown context."""
    sandbox.stop()
    with pytest.raises(VoiceCallError) as raised:
        make_tool(handle_tool_error=False).invoke(tool_call())
    error: BaseException | None = raised.value
    shown = []
    while error is not None:
        shown.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    assert not any(isinstance(e, httpx.HTTPError) for e in shown)


def test_duplicate_is_answered_by_the_first_call(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The same objective to the same number soon after is answered without ringing again."""
    tool = make_tool()
    first = tool.invoke(tool_call("call-1"))
    second = tool.invoke(tool_call("call-2"))

    assert second.artifact.reused
    assert second.artifact.request_id == first.artifact.request_id
    assert second.content.startswith("Nobody was called now:")
    assert [ring.number for ring in sandbox.rings] == [NUMBER]


def test_a_token_whose_credits_ran_out_is_not_priced_again(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A wallet could pay the rest of another quote; prepaid credits can't."""
    token = sandbox.create_access_token(Decimal(0))
    sandbox.tamper("paid", answering(402, {"error": "insufficient_credits"}))
    told = make_tool(access_token=token).invoke(tool_call())
    assert (told.status, len(legs(sandbox, "quote"))) == ("error", 1)


def test_a_price_without_an_end_is_paid_once_though_the_reply_is_lost(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Nothing says until when a token's payment counts: it is never taken for worthless."""

    def endless(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Any:
        assert body is not None
        del body["context"]["expires_at"]
        return status, headers, body

    sandbox.tamper("quote", endless)
    sandbox.inject(Fault("paid", "reset_after"))
    told = make_tool(access_token=sandbox.create_access_token()).invoke(tool_call())
    assert (told.artifact.call_status, len(sandbox.payments)) == ("completed", 1)
