"""A service that asks for other terms than agreed gets no signature, over the wire too."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from conftest import MakeTool
from placing import arguments, at_any_hour, legs, signatures, tool_call

from langchain_oneshot_voice import Sandbox

STRANGER = "0x" + "cd" * 20
Answer = tuple[int, Mapping[str, str], Mapping[str, Any] | None]
Tamper = Callable[[int, dict[str, str], dict[str, Any] | None], Answer]


def terms_changed(change: Callable[[dict[str, Any]], Any]) -> Tamper:
    """An answer whose header's first way to pay is changed."""

    def tamper(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Answer:
        terms = json.loads(base64.b64decode(headers["payment-required"]))
        change(terms["accepts"][0])
        changed = base64.b64encode(json.dumps(terms).encode()).decode()
        return status, headers | {"payment-required": changed}, body

    return tamper


def header_replaced(value: str | None) -> Tamper:
    """An answer with another header, or none."""

    def tamper(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Answer:
        rest = {k: v for k, v in headers.items() if k != "payment-required"}
        return status, rest if value is None else rest | {"payment-required": value}, body

    return tamper


def body_changed(change: Callable[[dict[str, Any]], Any]) -> Tamper:
    """An answer whose body is changed."""

    def tamper(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Answer:
        body = body or {}
        change(body)
        return status, headers, body

    return tamper


def _dear(body: dict[str, Any]) -> None:
    body["context"]["total"] = body["payment_request"]["amount"] = "900.00"


GUARD: dict[str, Tamper] = {
    "another scheme": terms_changed(lambda t: t.update(scheme="upto")),
    "another chain": terms_changed(lambda t: t.update(network="eip155:8453")),
    "another token": terms_changed(lambda t: t.update(asset=STRANGER)),
    "another signing name": terms_changed(lambda t: t["extra"].update(name="USD Coin")),
    "another signing version": terms_changed(lambda t: t["extra"].update(version="1")),
    "another payee": terms_changed(lambda t: t.update(payTo=STRANGER)),
    "a dearer header": terms_changed(lambda t: t.update(amount="6750001")),
    "a garbled amount": terms_changed(lambda t: t.update(amount="lots")),
    "no lifetime": terms_changed(lambda t: t.pop("maxTimeoutSeconds")),
    "no header": header_replaced(None),
    "a garbled header": header_replaced("bm9uc2Vuc2U="),
    "an empty header": header_replaced(""),
    "another payee in the body": body_changed(
        lambda b: b["payment_request"].update(recipient=STRANGER)
    ),
    "no payee in the body": body_changed(lambda b: b["payment_request"].pop("recipient")),
    "no payment request": body_changed(lambda b: b.pop("payment_request")),
    "a $900 price": body_changed(_dear),
    "no price": body_changed(lambda b: b["context"].pop("total")),
    "a price that is no number": body_changed(lambda b: b["context"].update(total="NaN")),
    "no quote id": body_changed(lambda b: b["context"].pop("quote_id")),
}


@pytest.mark.parametrize("tamper", GUARD.values(), ids=GUARD)
def test_nothing_is_signed_or_sent(tamper: Tamper, make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Terms that were not agreed to end the call: no payment is made, sent or settled."""
    sandbox.tamper("quote", tamper)
    message = make_tool().invoke(tool_call())

    assert message.status == "error"
    assert "Nothing was charged." in message.content
    assert signatures(sandbox) == []
    assert legs(sandbox, "paid") == []
    assert (sandbox.payments, sandbox.rings) == ((), ())


def test_the_same_call_can_be_made_once_the_terms_are_right(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A refusal of the terms does not use the call up."""
    tool = make_tool()
    sandbox.tamper("quote", GUARD["another token"])
    tool.invoke(tool_call())
    sandbox.tamper("quote", None)

    assert tool.invoke(tool_call()).artifact.call_successful == "success"
    assert len(sandbox.payments) == 1


def test_policy_caps_the_price_that_is_paid(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A cap below the price is kept even by a service that does not look at it."""

    def blind(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Answer:
        return status, headers, body

    sandbox.tamper("quote", blind)
    message = make_tool(policy=at_any_hour(max_cost_per_call=Decimal("6.74"))).invoke(tool_call())

    assert message.status == "error"
    assert signatures(sandbox) == []


def test_signed_amount_is_the_headers(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """What is signed and paid is what the header asked for, to the payee that it named."""
    make_tool().invoke(tool_call())
    payload = json.loads(base64.b64decode(signatures(sandbox)[0]))
    authorization = payload["payload"]["authorization"]

    assert authorization["value"] == payload["accepted"]["amount"] == "6750000"
    assert (authorization["to"], authorization["from"]) == (sandbox.payee, sandbox.address)
    assert sandbox.payments[0].amount == Decimal("6.75")


def test_authorization_is_short_however_long_the_service_allows(make_tool: MakeTool) -> None:
    """A service that allows a day gets an authorization of ten minutes."""
    with Sandbox(call_seconds=0.05, authorization_seconds=86_400) as generous:
        tool = make_tool(private_key=generous.private_key, base_url=generous.base_url)
        tool.invoke(tool_call())
        payload = json.loads(base64.b64decode(signatures(generous)[0]))["payload"]
    sent = payload["authorization"]

    assert int(sent["validBefore"]) - int(sent["validAfter"]) <= 600 + 300


def test_token_is_held_to_the_cap_too(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Prepaid credits are money: a token's call above the cap is not placed."""
    sandbox.tamper("quote", body_changed(_dear))
    message = make_tool(access_token=sandbox.access_token).invoke(tool_call(**arguments()))

    assert message.status == "error"
    assert legs(sandbox, "paid") == []
