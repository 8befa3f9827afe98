"""Who pays: a wallet, a token, credits, or part of each; and how each proves itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from conftest import MakeTool
from placing import legs, signatures, tool_call

from langchain_oneshot_voice import ConfigurationError, Sandbox
from langchain_oneshot_voice.sandbox import Fault

Answer = tuple[int, Mapping[str, str], Mapping[str, Any] | None]


def decoded(header: str) -> dict[str, Any]:
    """The JSON in a header."""
    read: dict[str, Any] = json.loads(base64.b64decode(header))
    return read


def test_wallet_pays_in_usdc(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A wallet's call takes its price from the wallet's USDC, once."""
    before = sandbox.balance_of(sandbox.address)
    result = make_tool().invoke(tool_call()).artifact

    assert before - sandbox.balance_of(sandbox.address) == result.cost.charged == Decimal("6.75")
    assert [p.kind for p in sandbox.payments] == ["usdc"]


def test_every_request_of_a_wallet_has_a_proof_of_its_own(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Leg one and every poll prove the wallet with a nonce that was not used before."""
    sandbox.inject(Fault("socket", "refuse", times=1000))
    make_tool().invoke(tool_call())
    proofs = [
        decoded(request.headers["x-agent-proof"])
        for request in sandbox.requests
        if request.leg in {"quote", "poll"}
    ]

    assert {p["scope"] for p in proofs[:1]} == {"write"}
    assert {p["scope"] for p in proofs[1:]} == {"read"}
    assert len({p["nonce"] for p in proofs}) == len(proofs) >= 2


def test_signed_payment_needs_no_proof(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Leg two of a paid call carries the payment, which says whose wallet it is."""
    make_tool().invoke(tool_call())
    paid = legs(sandbox, "paid")[0]

    assert "x-agent-proof" not in paid.headers
    assert paid.headers["x-agent-id"] == sandbox.address


def test_token_pays_from_credits_and_signs_nothing(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A token's call is paid from prepaid credits: no payment, no proof, a bearer throughout."""
    token = sandbox.access_token
    message = make_tool(access_token=token).invoke(tool_call())

    assert message.artifact.call_successful == "success"
    assert {p.kind for p in sandbox.payments} == {"credits"}
    assert signatures(sandbox) == []
    for request in sandbox.requests:
        assert request.headers["authorization"] == f"Bearer {token}"
        assert "x-agent-proof" not in request.headers


def test_token_asks_once_whose_it_is(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The wallet behind a token goes into X-Agent-ID of every call request."""
    make_tool(access_token=sandbox.access_token).invoke(tool_call())
    agents = {r.headers.get("x-agent-id") for r in sandbox.requests if r.leg in {"quote", "paid"}}

    assert len(agents) == 1
    assert None not in agents


def test_token_without_credits_is_told_so(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Credits that do not reach are an error with the sums, and nothing rang."""
    token = sandbox.create_access_token(Decimal("0.20"))
    message = make_tool(access_token=token).invoke(tool_call())

    assert message.status == "error"
    assert "credits do not cover the call" in message.content
    assert "Nothing was charged." in message.content
    assert sandbox.rings == ()


def test_revoked_token_is_told_so(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A token that was revoked is a matter of configuration."""
    sandbox.revoke_access_token()
    tool = make_tool(access_token=sandbox.access_token, handle_tool_error=False)
    with pytest.raises(ConfigurationError) as refused:
        tool.invoke(tool_call())

    assert refused.value.code == "access_token_revoked"
    assert sandbox.access_token not in str(refused.value)


def test_credits_that_cover_all_need_no_signature(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A wallet whose credits cover the call sends a stub and a proof, and its USDC stays."""
    sandbox.set_credits(sandbox.address, Decimal(50))
    before = sandbox.balance_of(sandbox.address)
    message = make_tool().invoke(tool_call())
    paid = legs(sandbox, "paid")[0]
    payload = decoded(paid.headers["payment-signature"])["payload"]

    assert message.artifact.call_successful == "success"
    assert (payload["signature"], payload["authorization"]["value"]) == ("0x", "0")
    assert decoded(paid.headers["x-agent-proof"])["scope"] == "write"
    assert sandbox.balance_of(sandbox.address) == before


def test_credits_that_cover_a_part_leave_the_rest_to_the_wallet(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Only what credits do not cover is signed for."""
    sandbox.set_credits(sandbox.address, Decimal("6.00"))
    message = make_tool().invoke(tool_call())
    value = decoded(signatures(sandbox)[0])["payload"]["authorization"]["value"]

    assert message.artifact.call_successful == "success"
    assert value == "750000"
    assert {p.kind: p.amount for p in sandbox.payments} == {
        "credits": Decimal("6.00"),
        "usdc": Decimal("0.75"),
    }


def refusing_proofs(
    reason: str, times: int
) -> Callable[[int, dict[str, str], dict[str, Any] | None], Answer]:
    """A leg that does not take the first proofs that it is shown."""
    refused = {"error": "invalid_proof", "reason": reason, "message": "No."}
    left = iter(range(times))

    def tamper(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Answer:
        if next(left, None) is None:
            return status, headers, body
        return 401, {"content-type": "application/json"}, refused

    return tamper


@pytest.mark.parametrize("reason", ["expired", "already_used"])
def test_stale_proof_is_signed_anew_once(
    reason: str, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A proof that is too old or was used is replaced by a new one, and the call goes on."""
    sandbox.tamper("quote", refusing_proofs(reason, 1))
    message = make_tool().invoke(tool_call())
    nonces = [decoded(r.headers["x-agent-proof"])["nonce"] for r in legs(sandbox, "quote")]

    assert message.artifact.call_successful == "success"
    assert len(nonces) == len(set(nonces)) == 2


@pytest.mark.parametrize(("reason", "asked"), [("expired", 2), ("already_used", 2), ("forged", 1)])
def test_proof_is_not_signed_anew_twice(
    reason: str, asked: int, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """When a new proof is refused as well, or a new one would not help, the error is told."""
    sandbox.tamper("quote", refusing_proofs(reason, 99))
    tool = make_tool(handle_tool_error=False)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        tool.invoke(tool_call())

    assert refused.value.code == "invalid_proof"
    assert len(legs(sandbox, "quote")) == asked
    assert signatures(sandbox) == []


def test_stale_proof_while_waiting_costs_nothing(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Proofs that are refused while waiting are weather: the outcome comes all the same."""
    sandbox.inject(Fault("socket", "refuse", times=1000))
    sandbox.tamper("poll", refusing_proofs("already_used", 3))
    message = make_tool().invoke(tool_call())

    assert message.artifact.call_successful == "success"
    assert len(sandbox.payments) == 1


def test_clock_that_is_wrong_is_told_so(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A machine whose clock is an hour off gets the advice to check its clock."""
    sandbox.advance(3600)
    message = make_tool().invoke(tool_call())

    assert message.status == "error"
    assert "clock" in message.content
    assert signatures(sandbox) == []
