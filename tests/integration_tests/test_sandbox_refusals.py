from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from plain_client import BODY, PlainClient, decode, encode, quote_id_of, terms_of

from langchain_oneshot_voice.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service of this test's own."""
    with Sandbox(call_seconds=0.05) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> PlainClient:
    """The wallet with money."""
    return PlainClient(sandbox.base_url, sandbox.private_key)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objective": "too short"}, "objective must be at least 10"),
        ({"objective": "x" * 5001}, "objective must be at most 5000"),
        ({"objective": None}, "objective is required"),
        ({"objective": 7}, "objective must be a string"),
        ({"target_number": None}, "target_number is required"),
        ({"target_number": "415-555-1234"}, "E.164"),
        ({"target_number": []}, "1 to 5 numbers"),
        ({"target_number": ["+14155551234"] * 6}, "1 to 5 numbers"),
        ({"caller_persona": "x" * 1001}, "caller_persona must be at most 1000"),
        ({"caller_name": "x" * 101}, "caller_name must be at most 100"),
        ({"context": "x" * 10001}, "context must be at most 10000"),
        ({"memo": "x" * 1001}, "memo must be at most 1000"),
        ({"max_duration_minutes": 0}, "max_duration_minutes"),
        ({"max_duration_minutes": 31}, "max_duration_minutes"),
        ({"max_duration_minutes": "5"}, "max_duration_minutes"),
        ({"max_duration_minutes": True}, "max_duration_minutes"),
        ({"decisionContext": []}, "decisionContext must be an object"),
        ({"decisionContext": {"confidence": 2}}, "confidence"),
    ],
)
def test_every_field_rule_is_enforced(
    client: PlainClient, change: dict[str, Any], said: str
) -> None:
    """A field outside its rule is refused before any price is named."""
    answer = client.quote({**BODY, **change})
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
    assert said in answer.json()["message"]


def test_all_problems_are_listed_at_once(client: PlainClient) -> None:
    """One refusal names everything that has to be mended."""
    answer = client.quote({"objective": "short", "target_number": "1", "memo": 5})
    assert len(answer.json()["details"]) == 3


@pytest.mark.parametrize("number", ["911", "+1911", "112"])
def test_emergency_numbers_are_blocked(client: PlainClient, number: str) -> None:
    """Nobody calls an emergency line through the service."""
    answer = client.quote({**BODY, "target_number": ["+14155551234", number]})
    assert answer.json()["error"] == "emergency_number_blocked"
    assert answer.json()["blocked_number"] == number


def test_blocked_words_are_refused_with_their_category(client: PlainClient) -> None:
    """An objective that the content rules forbid is refused."""
    answer = client.quote({**BODY, "objective": "Tell them about the ransom they have to pay"})
    assert (answer.status_code, answer.json()["categories"]) == (400, ["extortion"])


def test_a_dearer_quote_than_the_caller_allows_is_refused(client: PlainClient) -> None:
    """`X-Max-Cost-USDC` below the price refuses; at the price it does not."""
    assert client.quote(**{"x-max-cost-usdc": "6.74"}).json()["error"] == "exceeds_caller_budget"
    assert client.quote(**{"x-max-cost-usdc": "6.75"}).status_code == 402


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": "6749999"}, "amount_mismatch"),
        ({"to": "0x" + "11" * 20}, "recipient_mismatch"),
        ({"from": "0x" + "22" * 20}, "payer_mismatch"),
        ({"validBefore": str(int(time.time()) - 1)}, "authorization_expired"),
        ({"validAfter": str(int(time.time()) + 3600)}, "authorization_not_yet_valid"),
        ({"domain": {"name": "USD Coin"}}, "invalid_signature"),
        ({"domain": {"chainId": 8453}}, "invalid_signature"),
        ({"domain": {"verifyingContract": "0x" + "33" * 20}}, "invalid_signature"),
        ({"domain": {"version": "1"}}, "invalid_signature"),
    ],
)
def test_a_payment_that_is_not_what_was_offered_is_refused(
    sandbox: Sandbox, client: PlainClient, change: dict[str, Any], reason: str
) -> None:
    """Each part of a signed payment is held against the terms; nothing moves when one is off."""
    quoted = client.quote()
    answer = client.pay(quoted, client.payment(terms_of(quoted), **change))
    assert answer.status_code == 402
    assert answer.json()["error"] == "payment_verification_failed"
    assert answer.json()["reason"] == reason
    assert answer.json()["expected"]["amount"] == "6750000"
    assert answer.json()["payment_attempt_id"]
    assert (sandbox.payments, sandbox.rings) == ((), ())


def test_altered_terms_are_refused(client: PlainClient) -> None:
    """`accepted` has to be the entry that was offered."""
    quoted = client.quote()
    terms = terms_of(quoted)
    payment = client.payment(terms, accepted={**terms, "amount": "1"})
    assert client.pay(quoted, payment).json()["reason"] == "terms_mismatch"


def _from(address: str) -> dict[str, Any]:
    """The field of a payment whose name is a word of the language."""
    return {"from": address}


def test_a_signature_of_another_wallet_is_refused(sandbox: Sandbox, client: PlainClient) -> None:
    """Claiming a payer without holding its key does not pay."""
    quoted = client.quote()
    payment = PlainClient(sandbox.base_url).payment(terms_of(quoted), **_from(client.address))
    assert client.pay(quoted, payment).json()["reason"] == "invalid_signature"


@pytest.mark.parametrize(
    "payment", ["%%%", encode([]), encode({"x402Version": 2}), encode({"x402Version": 1})]
)
def test_a_payment_that_cannot_be_read_is_refused(client: PlainClient, payment: str) -> None:
    """What is no payment at all is refused as such."""
    assert client.pay(client.quote(), payment).json()["reason"] == "invalid_payload"


def test_a_quote_without_a_payment_places_nothing(client: PlainClient) -> None:
    """A wallet can't pay by leaving the payment out."""
    assert client.pay(client.quote(), "").json()["reason"] == "missing_payment"


def test_an_empty_wallet_cannot_pay(sandbox: Sandbox, client: PlainClient) -> None:
    """A payment above the balance is refused."""
    sandbox.set_balance(client.address, Decimal("6.74"))
    assert client.pay(client.quote()).json()["reason"] == "insufficient_funds"


def test_the_placeholder_address_can_never_pay(sandbox: Sandbox) -> None:
    """What is no address gets a quote, and nothing more."""
    client = PlainClient(sandbox.base_url)
    placeholder = {"x-agent-id": "0xYourWalletAddress"}
    quoted = client.request("POST", "/v1/tools/voice/call", json=BODY, headers=placeholder)
    sent = {
        **placeholder,
        "x-quote-id": quote_id_of(quoted),
        "payment-signature": client.payment(terms_of(quoted)),
    }
    answer = client.request("POST", "/v1/tools/voice/call", json=BODY, headers=sent)
    assert answer.json()["reason"] == "payer_mismatch"


def test_the_same_paid_request_again_is_a_conflict(sandbox: Sandbox, client: PlainClient) -> None:
    """The same bytes charge once: presented again they are a 409, even expired and out of funds."""
    quoted = client.quote()
    payment = client.payment(terms_of(quoted))
    first = client.pay(quoted, payment)
    sandbox.set_balance(client.address, Decimal(0))
    sandbox.advance(10_000)
    again = client.pay(quoted, payment)
    assert (first.status_code, again.status_code) == (202, 409)
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


def test_a_payment_cannot_be_used_for_another_quote(client: PlainClient) -> None:
    """A settled nonce is a conflict under any quote."""
    body = {**BODY, "target_number": ["+14155551234", "+14155555678"]}
    quoted = client.quote(body, scope=None)
    payment = client.payment(terms_of(quoted))
    assert client.pay(quoted, payment, body).status_code == 202
    answer = client.pay(client.quote(body, scope=None), payment, body)
    assert (answer.status_code, answer.json()["error"]) == (409, "payment_already_used")


def test_a_refused_payment_leaves_the_quote_usable(sandbox: Sandbox, client: PlainClient) -> None:
    """After a refusal the same quote can still be paid."""
    quoted = client.quote()
    sandbox.set_balance(client.address, Decimal(0))
    payment = client.payment(terms_of(quoted))
    assert client.pay(quoted, payment).status_code == 402
    sandbox.set_balance(client.address, Decimal(10))
    assert client.pay(quoted, payment).status_code == 202


def test_quotes_expire(sandbox: Sandbox, client: PlainClient) -> None:
    """A quote past its time is not found."""
    quoted = client.quote()
    sandbox.advance(601)
    assert client.pay(quoted).json()["error"] == "quote_expired"


def test_a_quote_is_for_one_wallet_and_one_request(sandbox: Sandbox, client: PlainClient) -> None:
    """Another wallet does not find it, and another body is not what it was given for."""
    quoted = client.quote()
    other = {**BODY, "target_number": "+14155555678"}
    assert PlainClient(sandbox.base_url).pay(quoted).status_code == 404
    assert client.pay(quoted, body=other).status_code == 400
    assert client.pay(quoted, **{"x-quote-id": "quote_unknown"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scope": "write"}, "wrong_scope"),
        ({"issuedAt": 1_000_000}, "expired"),
        ({"issuedAt": int(time.time()) + 3600}, "not_yet_valid"),
        ({"agent": "0x" + "44" * 20}, "agent_mismatch"),
        ({"nonce": "0x12"}, "malformed"),
    ],
)
def test_a_proof_that_does_not_hold_is_refused(
    client: PlainClient, change: dict[str, Any], reason: str
) -> None:
    """Scope, age, agent and form of a proof are checked."""
    if reason == "malformed":
        broken = {**decode(client.proof("read")), **change}
        proof = encode(broken)
    else:
        proof = client.proof(**{"scope": "read", **change})
    headers = {"x-agent-id": client.address, "x-agent-proof": proof}
    answer = client.request("GET", "/v1/tools/balance", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_proof")
    assert answer.json()["reason"] == reason


def test_a_proof_signed_by_another_key_is_refused(sandbox: Sandbox, client: PlainClient) -> None:
    """A proof has to come from the wallet that it names."""
    proof = PlainClient(sandbox.base_url).proof("read", agent=client.address)
    headers = {"x-agent-id": client.address, "x-agent-proof": proof}
    answer = client.request("GET", "/v1/tools/balance", headers=headers)
    assert answer.json()["reason"] == "bad_signature"


@pytest.mark.parametrize("signature", ["0x", "0x00", "nonsense", "0x" + "00" * 65])
def test_a_signature_that_is_none_is_refused(client: PlainClient, signature: str) -> None:
    """Whatever stands where a signature should, the answer is a refusal."""
    proof = encode({**decode(client.proof("read")), "signature": signature})
    headers = {"x-agent-id": client.address, "x-agent-proof": proof}
    answer = client.request("GET", "/v1/tools/balance", headers=headers)
    assert answer.json()["reason"] == "bad_signature"


def test_a_proof_is_good_once(client: PlainClient) -> None:
    """A nonce that was accepted is not accepted again."""
    headers = client.headers("read")
    first = client.request("GET", "/v1/tools/balance", headers=headers)
    second = client.request("GET", "/v1/tools/balance", headers=headers)
    assert (first.status_code, second.json()["reason"]) == (200, "already_used")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/requests/req_1",
        "/v1/tools/balance",
        "/v1/analytics/receipts",
        "/v1/agents/me",
        "/v1/agents/me/budgets",
        "/v1/approvals/appr_1",
        "/v1/tools/voice/numbers",
    ],
)
def test_what_is_private_needs_a_proof(client: PlainClient, path: str) -> None:
    """An address alone, which anyone can know, opens nothing."""
    answer = client.request("GET", path, headers=client.headers())
    assert (answer.status_code, answer.json()["error"]) == (401, "proof_required")


def test_credits_cover_a_call_of_a_proven_wallet(sandbox: Sandbox, client: PlainClient) -> None:
    """With credits for all of it the header asks for 0, and the stub with a proof pays."""
    sandbox.set_credits(client.address, Decimal(10))
    quoted = client.quote()
    stub = client.stub(terms_of(quoted))
    unproven = client.pay(quoted, stub)
    paid = client.pay(quoted, stub, **{"x-agent-proof": client.proof("write")})
    assert terms_of(quoted)["amount"] == "0"
    assert unproven.json()["error"] == "proof_required"
    assert paid.status_code == 202
    assert [payment.kind for payment in sandbox.payments] == ["credits"]
    assert sandbox.balance_of(client.address) == Decimal(100)


def test_some_credits_lower_the_amount(sandbox: Sandbox, client: PlainClient) -> None:
    """Part of the price comes from credits, the rest is paid with USDC."""
    sandbox.set_credits(client.address, Decimal(1))
    quoted = client.quote()
    assert terms_of(quoted)["amount"] == "5750000"
    assert client.pay(quoted).status_code == 202
    moved = {payment.kind: payment.amount for payment in sandbox.payments}
    assert moved == {"usdc": Decimal("5.75"), "credits": Decimal(1)}


def test_an_unproven_wallet_has_no_credits(sandbox: Sandbox, client: PlainClient) -> None:
    """Without a proof the price is as if there were none."""
    sandbox.set_credits(client.address, Decimal(10))
    assert terms_of(client.quote(scope=None))["amount"] == "6750000"


def test_a_stub_does_not_pay_what_is_due(client: PlainClient) -> None:
    """The unsigned stand-in is good for a price of zero only."""
    quoted = client.quote()
    proof = client.proof("write")
    answer = client.pay(quoted, client.stub(terms_of(quoted)), **{"x-agent-proof": proof})
    assert answer.json()["reason"] == "amount_mismatch"


def test_an_access_token_pays_from_credits(sandbox: Sandbox) -> None:
    """With a token nothing is signed: the second leg carries the quote's id and no payment."""
    client = PlainClient(sandbox.base_url, token=sandbox.access_token)
    wallet = client.get("/v1/agents/me").json()["data"]["wallet_address"]
    job = client.result(client.call())
    assert job["status"] == "completed"
    assert [(p.payer, p.kind) for p in sandbox.payments] == [(wallet, "credits")]


def test_an_access_token_without_credits_is_told_what_is_missing(sandbox: Sandbox) -> None:
    """The shortfall is named, and nothing rings."""
    token = sandbox.create_access_token(credits=Decimal(2))
    client = PlainClient(sandbox.base_url, token=token)
    answer = client.pay(client.quote())
    assert answer.status_code == 402
    assert answer.json() == {
        "error": "insufficient_credits",
        "message": answer.json()["message"],
        "required_usdc": "6.75",
        "credits_balance": "2.00",
        "shortfall_usdc": "4.75",
    }
    assert sandbox.rings == ()


def test_a_revoked_or_unknown_token_opens_nothing(sandbox: Sandbox) -> None:
    """A token is good until it is revoked, and only if it was issued."""
    client = PlainClient(sandbox.base_url, token=sandbox.access_token)
    assert client.get("/v1/tools/balance").status_code == 200
    sandbox.revoke_access_token()
    assert client.get("/v1/tools/balance").json()["error"] == "access_token_revoked"
    unknown = PlainClient(sandbox.base_url, token=f"oneshot_{secrets.token_hex(32)}")
    assert unknown.get("/v1/tools/balance").status_code == 401


def test_budgets_are_kept_and_enforced(client: PlainClient) -> None:
    """An account's caps refuse a dearer call, and a day that would cost more than its cap."""
    path = "/v1/agents/me/budgets"

    def cap(**caps: float) -> int:
        put = client.request("PUT", path, json=caps, headers=client.headers("write"))
        return put.status_code

    assert cap(per_transaction=6) == 200
    refused = client.quote().json()
    assert (refused["error"], refused["budget"]["reason"]) == ("budget_exceeded", "per_transaction")
    assert cap(daily=8) == 200
    client.call()
    refused = client.quote().json()
    assert refused["budget"]["reason"] == "daily"
    assert (refused["budget"]["spent"], refused["budget"]["charge"]) == ("6.75", "1.75")
    assert client.get(path).json()["data"]["daily"] == 8
    assert cap(daily=-1) == 400


@pytest.mark.parametrize("at", ["quote", "paid"])
def test_an_approval_releases_one_call(sandbox: Sandbox, client: PlainClient, at: str) -> None:
    """A held call goes through with its approval, once, and is held again after that."""
    sandbox.require_approval(at="quote" if at == "quote" else "paid")
    held = client.quote() if at == "quote" else client.pay(client.quote())
    approval_id = held.json()["approval_id"]
    assert (held.status_code, held.json()["error"]) == (403, "approval_required")
    assert sandbox.approvals == (approval_id,)
    assert client.get(f"/v1/approvals/{approval_id}").json()["status"] == "pending"
    sandbox.decide(approval_id, "approved")
    release = {"x-approval-id": approval_id}
    assert client.pay(client.quote(**release), **release).status_code == 202
    assert client.get(f"/v1/approvals/{approval_id}").json()["status"] == "consumed"
    again = client.quote(**release) if at == "quote" else client.pay(client.quote(), **release)
    assert again.json()["approval_id"] != approval_id


def test_a_denied_call_is_not_placed(sandbox: Sandbox, client: PlainClient) -> None:
    """A no is a no, to one call or by a rule to all."""
    sandbox.require_approval(above=Decimal(5))
    approval_id = client.quote().json()["approval_id"]
    sandbox.decide(approval_id, "denied")
    assert client.quote(**{"x-approval-id": approval_id}).json()["rule"] == "approval_denied"
    sandbox.require_approval(None)
    sandbox.deny_action("no_voice_calls")
    refused = client.quote().json()
    assert (refused["error"], refused["rule"]) == ("action_denied_by_policy", "no_voice_calls")
    sandbox.deny_action(None)
    assert client.quote().status_code == 402
