from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from langchain_oneshot.tools.voice import VoiceTool
from oneshot import OneShotClient
from oneshot._errors import ApprovalRequiredError, BudgetExceededError, InsufficientCreditsError

from langchain_oneshot_voice.sandbox import Sandbox

OBJECTIVE = "Call the restaurant to make a dinner reservation for 2 people at 7pm tonight"
NUMBER = "+14155551234"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service of this test's own."""
    with Sandbox(call_seconds=0.05) as running:
        yield running


async def test_the_official_client_calls_with_a_wallet(sandbox: Sandbox) -> None:
    """Its quote, payment, proofs and polling are all accepted, and it reads the result."""
    client = OneShotClient(private_key=sandbox.private_key, base_url=sandbox.base_url)
    result = await client.avoice(OBJECTIVE, NUMBER, caller_name="Alex")
    assert result["success_evaluation"] == "pass"
    assert "on behalf of Alex" in result["transcript"]
    assert [payment.kind for payment in sandbox.payments] == ["usdc"]


async def test_the_official_client_pays_from_credits(sandbox: Sandbox) -> None:
    """Its zero-cost authorization is accepted when credits cover the call."""
    sandbox.set_credits(sandbox.address, Decimal(50))
    client = OneShotClient(private_key=sandbox.private_key, base_url=sandbox.base_url)
    await client.avoice(OBJECTIVE, NUMBER)
    assert [payment.kind for payment in sandbox.payments] == ["credits"]


async def test_the_official_client_calls_with_an_access_token(sandbox: Sandbox) -> None:
    """It finds the token's wallet and pays from its credits, without a signature."""
    client = await OneShotClient.acreate(
        access_token=sandbox.access_token, base_url=sandbox.base_url
    )
    result = await client.avoice(OBJECTIVE, NUMBER)
    assert result["outcome"] == "reached_person"
    assert [payment.kind for payment in sandbox.payments] == ["credits"]


async def test_the_official_client_understands_the_refusals(sandbox: Sandbox) -> None:
    """Missing credits, an exceeded budget and a held call arrive as its own typed errors."""
    token = sandbox.create_access_token(credits=Decimal(1))
    poor = await OneShotClient.acreate(access_token=token, base_url=sandbox.base_url)
    with pytest.raises(InsufficientCreditsError):
        await poor.avoice(OBJECTIVE, NUMBER)
    capped = OneShotClient(
        private_key=sandbox.private_key, base_url=sandbox.base_url, budgets={"per_transaction": 2}
    )
    with pytest.raises(BudgetExceededError):
        await capped.avoice(OBJECTIVE, NUMBER)
    sandbox.require_approval()
    held = OneShotClient(private_key="0x" + "42" * 32, base_url=sandbox.base_url)
    with pytest.raises(ApprovalRequiredError) as required:
        await held.avoice(OBJECTIVE, NUMBER)
    assert sandbox.approvals == (required.value.approval_id,)


async def test_the_official_client_reads_the_account(sandbox: Sandbox) -> None:
    """Balance, budgets and phone numbers come back in the shapes that it expects."""
    client = OneShotClient(private_key=sandbox.private_key, base_url=sandbox.base_url)
    balance = await client.acall_free_get("/v1/tools/balance")
    budgets = await client.aget_budgets()
    numbers = await client.avoice_numbers()
    assert balance["on_chain_balance"] == "100.00"
    assert budgets["daily"] is None
    assert numbers == {"numbers": []}


async def test_the_official_langchain_tool_places_a_call(sandbox: Sandbox) -> None:
    """`VoiceTool` works against the sandbox unchanged."""
    client = OneShotClient(private_key=sandbox.private_key, base_url=sandbox.base_url)
    tool = VoiceTool(client=client)
    answer = await tool.ainvoke({"objective": OBJECTIVE, "target_number": NUMBER})
    assert json.loads(answer)["success_evaluation"] == "pass"
    assert len(sandbox.rings) == 1
