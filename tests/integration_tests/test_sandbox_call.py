from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from plain_client import BODY, CALL, PlainClient, decode, terms_of
from websockets.sync.client import connect

from langchain_oneshot_voice.sandbox import CallScript, Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service of this test's own."""
    with Sandbox(call_seconds=0.05) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> PlainClient:
    """The wallet with money."""
    return PlainClient(sandbox.base_url, sandbox.private_key)


def test_the_402_carries_the_price_in_header_and_body(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """A call without payment is answered with the terms in the header and the plan in the body."""
    quoted = client.quote()
    body = quoted.json()
    assert quoted.status_code == 402
    assert terms_of(quoted) == {
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "6750000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": sandbox.payee,
        "maxTimeoutSeconds": 300,
        "extra": {"name": "USDC", "version": "2"},
    }
    assert decode(quoted.headers["payment-required"])["x402Version"] == 2
    assert body["payment_request"]["amount"] == "6.75"
    assert body["context"]["total"] == "6.75"
    assert body["context"]["needs_phone_registration"] is True


def test_mainnet_has_its_own_network_token_and_name() -> None:
    """On `base` the offered terms name mainnet, its USDC contract and `USD Coin`."""
    with Sandbox(chain="base") as sandbox:
        client = PlainClient(sandbox.base_url, sandbox.private_key)
        quoted = client.quote()
        terms = terms_of(quoted)
        assert terms["network"] == "eip155:8453"
        assert terms["asset"] == "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
        assert terms["extra"]["name"] == "USD Coin"
        assert client.pay(quoted).status_code == 202


def test_a_paid_call_rings_once_and_is_read_back(sandbox: Sandbox, client: PlainClient) -> None:
    """Both legs move the quoted money, ring the number once, and lead to a whole result."""
    request_id = client.call()
    job = client.result(request_id)
    assert [ring.number for ring in sandbox.rings] == ["+14155551234"]
    assert [(p.amount, p.kind, p.payer) for p in sandbox.payments] == [
        (Decimal("6.75"), "usdc", sandbox.address)
    ]
    assert sandbox.balance_of(client.address) == Decimal("93.25")
    assert job["result"]["transcript"].startswith("AI: Hello, this is an AI assistant")
    assert job["result"]["structured_data"]["party_size"] == 2
    assert job["result"]["duration_seconds"] == 94
    assert [call.status for call in sandbox.calls] == ["completed"]


def test_unused_minutes_come_back_as_credits(sandbox: Sandbox, client: PlainClient) -> None:
    """A call of 94 seconds out of 5 paid minutes gives 3 minutes back."""
    job = client.result(client.call())
    assert job["result"]["credit_issued"] == pytest.approx(1.05)
    assert sandbox.credits_of(client.address) == Decimal("1.05")


def test_the_number_is_paid_for_once(client: PlainClient) -> None:
    """Only a wallet's first call pays the registration fee."""
    client.result(client.call())
    context = client.quote(scope=None).json()["context"]
    assert (context["phone_registration_fee"], context["total"]) == ("0.00", "1.75")


def test_a_conference_shares_a_number_and_pays_no_fee(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """Several numbers ring together, without a registration fee, each callee with a voice."""
    body = {**BODY, "target_number": ["+14155551234", "+14155555678"]}
    context = client.quote(body).json()["context"]
    job = client.result(client.call(body))
    assert (context["conference_mode"], context["total"]) == (True, "1.75")
    assert len(sandbox.rings) == 2
    assert "Callee 2: " in job["result"]["transcript"]


def test_the_asked_minutes_set_the_price(client: PlainClient) -> None:
    """`max_duration_minutes` is what is priced."""
    context = client.quote({**BODY, "max_duration_minutes": 30}).json()["context"]
    assert context["estimated_call_cost"] == "10.50"


def test_the_same_objective_is_the_same_call() -> None:
    """Nothing in a conversation is left to chance."""
    results = []
    for _ in range(2):
        with Sandbox(call_seconds=0) as sandbox:
            client = PlainClient(sandbox.base_url, sandbox.private_key)
            result = client.result(client.call())["result"]
            results.append({k: v for k, v in result.items() if k != "receipt_id"})
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("last", "outcome", "success"),
    [
        ("0101", "no_answer", "fail"),
        ("0102", "voicemail_left", "fail"),
        ("0103", "refused", "fail"),
        ("0104", "phone_menu_dead_end", "fail"),
        ("0105", "wrong_number", "fail"),
        ("0107", "reached_person", "fail"),
        ("0108", "reached_person", "fail"),
        ("0109", "refused", "fail"),
        ("0110", "reached_person", "pass"),
    ],
)
def test_magic_numbers_end_as_they_say(
    client: PlainClient, last: str, outcome: str, success: str
) -> None:
    """Each fictional number leads to its own end, any other to a good one."""
    result = client.result(client.call({**BODY, "target_number": f"+1415555{last}"}))["result"]
    assert (result["outcome"], result["success_evaluation"]) == (outcome, success)


def test_a_failed_job_says_why_and_has_no_result(client: PlainClient) -> None:
    """The number that fails at the provider leads to a failed job with a code."""
    job = client.result(client.call({**BODY, "target_number": "+14155550106"}))
    assert (job["status"], job["error_code"]) == ("failed", "provider_unavailable")
    assert "result" not in job


def test_a_script_replaces_what_happens_at_a_number(sandbox: Sandbox, client: PlainClient) -> None:
    """`expect` sets single fields, `null` among them, adds others, and leaves the rest as usual."""
    sandbox.expect(
        "+14155551234",
        CallScript(outcome=None, success_evaluation=True, extras={"mood": "cheerful"}),
    )
    result = client.result(client.call())["result"]
    assert result["outcome"] is None
    assert result["success_evaluation"] is True
    assert result["mood"] == "cheerful"
    assert result["summary"].startswith("The table for 2")


def test_a_script_may_end_in_a_status_nobody_knows(sandbox: Sandbox, client: PlainClient) -> None:
    """A raw status passes through as it is."""
    sandbox.expect("+14155551234", CallScript(status="evaporated", seconds=0))
    assert client.result(client.call())["status"] == "evaporated"


def test_the_socket_pushes_each_change_of_each_call(sandbox: Sandbox, client: PlainClient) -> None:
    """One socket tells of every call it subscribed to, from its present state to its last."""
    sandbox.expect("+14155551234", CallScript(seconds=0.8))
    first, second = client.call(), client.call()
    url = sandbox.base_url.replace("http", "ws")
    seen: dict[str, list[str]] = {first: [], second: []}
    with connect(f"{url}/v1/requests/subscribe?wallet={client.address}") as socket:
        for request_id in (first, second):
            socket.send(json.dumps({"subscribe": [request_id]}))
        while any("completed" not in statuses for statuses in seen.values()):
            job = json.loads(socket.recv(timeout=5))
            seen[job["request_id"]].append(job["status"])
            if job["status"] == "completed":
                assert job["result"]["success_evaluation"] == "pass"
    every = ["pending", "processing", "completed"]
    assert all(statuses == every[-len(statuses) :] for statuses in seen.values())
    assert len(seen[first]) > 1


def test_a_socket_tells_nothing_of_another_wallets_calls(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """A subscription to someone else's call is not answered; one's own on the same socket is."""
    stranger = PlainClient(sandbox.base_url)
    foreign, own = client.call(), stranger.call()
    url = sandbox.base_url.replace("http", "ws")
    with connect(f"{url}/v1/requests/subscribe?wallet={stranger.address}") as socket:
        socket.send(json.dumps({"subscribe": [foreign, own]}))
        told = json.loads(socket.recv(timeout=5))
        assert told["request_id"] == own
    assert stranger.get(f"/v1/requests/{foreign}").status_code == 404


def test_receipts_find_a_call_by_what_it_was_marked_with(client: PlainClient) -> None:
    """The receipt of a call carries its memo and its decision context, and names its job."""
    body = {**BODY, "memo": "dinner", "decisionContext": {"goal": "eat", "call_key": "abc"}}
    request_id = client.call(body)
    listed = client.get("/v1/analytics/receipts?category=communication").json()
    (receipt,) = listed["receipts"]
    assert receipt["job_id"] == request_id
    assert receipt["amount_usdc"] == "6.75"
    assert receipt["metadata"]["memo"] == "dinner"
    assert receipt["metadata"]["decisionContext"]["call_key"] == "abc"
    assert (listed["count"], listed["has_more"]) == (1, False)


def test_receipts_are_cut_at_the_limit_newest_first(client: PlainClient) -> None:
    """`limit` and `has_more` page; `since` leaves out older ones, a category all others."""
    ids = [client.call() for _ in range(3)]
    newest = client.get("/v1/analytics/receipts?limit=2").json()
    since = newest["receipts"][0]["created_at"]
    assert [receipt["job_id"] for receipt in newest["receipts"]] == [ids[2], ids[1]]
    assert newest["has_more"] is True
    assert client.get("/v1/analytics/receipts", params={"since": since}).json()["count"] <= 1
    assert client.get("/v1/analytics/receipts?category=email").json()["count"] == 0


def test_a_receipt_can_be_late() -> None:
    """With a delay, a settled call appears in the list only once the clock is there."""
    with Sandbox(call_seconds=0, receipt_delay=60) as sandbox:
        client = PlainClient(sandbox.base_url, sandbox.private_key)
        client.call()
        before = client.get("/v1/analytics/receipts").json()["count"]
        sandbox.advance(61)
        proof = client.proof("read", issuedAt=int(time.time()) + 61)
        headers = {"x-agent-id": client.address, "x-agent-proof": proof}
        after = client.request("GET", "/v1/analytics/receipts", headers=headers).json()["count"]
        assert (before, after) == (0, 1)


def test_the_account_tells_its_balance_and_numbers(sandbox: Sandbox, client: PlainClient) -> None:
    """Balance, account and phone numbers are those of the proven wallet."""
    sandbox.set_credits(client.address, Decimal(12))
    bought = client.request("POST", "/v1/tools/voice/numbers", headers=client.headers("write"))
    balance = client.get("/v1/tools/balance").json()
    assert bought.status_code == 201
    assert balance == {
        "on_chain_balance": "100.00",
        "credits_balance": "7.00",
        "currency": "USDC",
        "address": client.address,
        "chain_id": 84532,
    }
    assert client.get("/v1/agents/me").json()["data"]["wallet_address"] == client.address
    assert len(client.get("/v1/tools/voice/numbers").json()["data"]["numbers"]) == 1
    assert client.quote().json()["context"]["needs_phone_registration"] is False


def test_unknown_routes_are_404_in_json(client: PlainClient) -> None:
    """A path that the service does not have is answered with the usual refusal."""
    answer = client.get("/v1/tools/telepathy")
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


def test_the_published_example_works_with_only_the_host_changed(sandbox: Sandbox) -> None:
    """The page's curl command gets its quote, literal placeholder address and all."""
    body: dict[str, Any] = {
        "objective": "Call the restaurant to make a dinner reservation for 2 people at 7pm tonight",
        "target_number": "+14155551234",
        "caller_persona": "A polite assistant making a reservation",
        "context": "Italian restaurant, prefer outdoor seating",
    }
    headers = {"Content-Type": "application/json", "X-Agent-ID": "0xYourWalletAddress"}
    url = sandbox.base_url + CALL
    curl = shutil.which("curl")
    if curl:
        command = [curl, "-s", "-X", "POST", url, "-w", "%{http_code}", "-d", json.dumps(body)]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        output = subprocess.run(  # noqa: S603 - the very command of the page
            command, capture_output=True, text=True, check=True, timeout=20
        ).stdout
        status, answer = int(output[-3:]), json.loads(output[:-3])
    else:
        response = httpx.post(url, json=body, headers=headers)
        status, answer = response.status_code, response.json()
    assert status == 402
    assert answer["context"]["total"] == "6.75"
    assert answer["context"]["target_numbers"] == ["+14155551234"]
