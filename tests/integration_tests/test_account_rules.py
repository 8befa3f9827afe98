"""The account's owner has rules of their own at the provider: a call waits for them, or is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import httpx
import pytest
from conftest import MakeTool
from langchain_core.runnables import RunnableConfig
from placing import (
    FAST,
    NUMBER,
    OBJECTIVE,
    arguments,
    legs,
    signatures,
    tool_call,
)

from langchain_oneshot_voice import CallJournal, CallRefusedError, Sandbox, VoiceCallInput
from langchain_oneshot_voice.approval import Approve
from langchain_oneshot_voice.oneshot.wallet import WalletKey
from langchain_oneshot_voice.sandbox import Fault

WAITS = replace(FAST, account_approval=5.0)
SOON_GONE = replace(FAST, account_approval=0.2)
BOTH_LEGS = pytest.mark.parametrize("at", ["quote", "paid"])
Leg = Literal["quote", "paid"]
THREAD: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}


@contextmanager
def owner(sandbox: Sandbox, decision: Literal["approved", "denied"]) -> Iterator[None]:
    """Somebody who answers the first approval that is asked for, once it has been looked at."""

    def decide() -> None:
        sandbox.wait_until(lambda: bool(legs(sandbox, "approval")), seconds=10)
        sandbox.decide(sandbox.approvals[0], decision)

    person = threading.Thread(target=decide)
    person.start()
    try:
        yield
    finally:
        person.join()


def total_paid(sandbox: Sandbox) -> Decimal:
    """All that was paid."""
    return sum((payment.amount for payment in sandbox.payments), Decimal(0))


@BOTH_LEGS
def test_held_call_goes_on_once_it_is_approved(
    make_tool: MakeTool, sandbox: Sandbox, at: Leg
) -> None:
    """It waits for the owner, sends the approval's id along with the payment, and pays once."""
    sandbox.require_approval(at=at)
    with owner(sandbox, "approved"):
        message = make_tool(timing=WAITS).invoke(tool_call())
    assert message.artifact.call_status == "completed"
    assert (total_paid(sandbox), len(sandbox.rings)) == (Decimal("6.75"), 1)
    sent = [request.headers.get("x-approval-id") for request in legs(sandbox, "paid")]
    assert sent[-1] == sandbox.approvals[0]


@BOTH_LEGS
def test_denied_call_pays_nothing_and_says_who_denied_it(
    make_tool: MakeTool, sandbox: Sandbox, at: Leg
) -> None:
    """The owner's no is told as the account's, with the advice not to retry."""
    sandbox.require_approval(at=at)
    tool = make_tool(timing=WAITS, handle_tool_error=False)
    with owner(sandbox, "denied"), pytest.raises(CallRefusedError) as no:
        tool.invoke(tool_call())
    assert (no.value.code, no.value.charged, no.value.safe_to_retry) == (
        "approval_denied",
        "no",
        False,
    )
    assert "a person's approval for this call, and the approval is denied." in str(no.value)
    assert (sandbox.payments, sandbox.rings) == ((), ())


@BOTH_LEGS
def test_unanswered_approval_is_an_error_that_is_safe_to_retry(
    make_tool: MakeTool, sandbox: Sandbox, at: Leg
) -> None:
    """Nobody has answered in time: the model is told that it waits, and nothing was charged."""
    sandbox.require_approval(at=at)
    tool = make_tool(timing=SOON_GONE, handle_tool_error=False)
    with pytest.raises(CallRefusedError, match="nobody has answered yet") as waiting:
        tool.invoke(tool_call())
    assert (waiting.value.code, waiting.value.charged, waiting.value.safe_to_retry) == (
        "approval_required",
        "no",
        True,
    )
    assert sandbox.payments == ()


@BOTH_LEGS
def test_later_run_goes_on_waiting_and_finishes(
    make_tool: MakeTool, sandbox: Sandbox, at: Leg
) -> None:
    """The same call again waits for the same approval, and is paid once when it comes."""
    sandbox.require_approval(at=at)
    hasty, patient = make_tool(timing=SOON_GONE), make_tool(timing=WAITS)
    for _ in range(2):
        assert hasty.invoke(tool_call(), THREAD).status == "error"
    with owner(sandbox, "approved"):
        message = patient.invoke(tool_call(), THREAD)
    assert message.artifact.call_status == "completed"
    assert (total_paid(sandbox), len(sandbox.rings)) == (Decimal("6.75"), 1)
    assert len(sandbox.approvals) == 1


def test_weather_while_waiting_is_no_answer(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A route that fails while the owner thinks is neither a yes nor a no."""
    sandbox.require_approval()
    sandbox.inject(Fault("approval", "status_503", times=2))
    with owner(sandbox, "approved"):
        message = make_tool(timing=WAITS).invoke(tool_call())
    assert message.artifact.call_status == "completed"


def test_service_that_holds_an_approved_call_again_is_not_asked_for_ever(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Approved, and held all the same: the call ends, and says so."""
    sandbox.require_approval(at="paid")

    def forgetful(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Any:
        return status, headers, (body or {}) | {"status": "approved"}

    sandbox.tamper("approval", forgetful)
    message = make_tool(timing=WAITS).invoke(tool_call())
    assert (message.status, sandbox.payments) == ("error", ())
    assert len(legs(sandbox, "paid")) == 2


def test_person_is_not_asked_again_after_the_accounts_own_approval(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The yes to the price holds for the quote that the account's approval made necessary."""
    asked: list[str] = []

    def approve(request: VoiceCallInput, quote: Any) -> Approve:
        asked.append(f"{request.target_number} for {quote.total}")
        return Approve()

    sandbox.require_approval(at="paid")
    with owner(sandbox, "approved"):
        make_tool(timing=WAITS, approval=approve).invoke(tool_call())
    assert (asked, len(sandbox.rings)) == ([f"{NUMBER} for 6.75"], 1)


def test_denying_rule_is_named(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The account's action policy says no: the error says whose no it is, and which rule's."""
    sandbox.deny_action("no-calls-on-sundays")
    with pytest.raises(CallRefusedError, match="The account's rules do not allow") as no:
        make_tool(handle_tool_error=False).invoke(tool_call())
    assert (no.value.code, no.value.details["rule"]) == (
        "action_denied_by_policy",
        "no-calls-on-sundays",
    )
    assert signatures(sandbox) == []


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"per_transaction": 2}, "The account's own budget for one call does not allow"),
        ({"daily": 2}, "The account's own daily budget does not allow"),
    ],
    ids=["per_transaction", "daily"],
)
async def test_budget_is_told_with_its_sums_and_its_end(
    make_tool: MakeTool, sandbox: Sandbox, budget: dict[str, int], words: str
) -> None:
    """Whose budget it is, how large, and, for a day's, when there is room again."""
    await set_budget(make_tool, sandbox, budget)
    with pytest.raises(CallRefusedError, match=words) as no:
        await make_tool(handle_tool_error=False).ainvoke(tool_call())
    assert (no.value.code, signatures(sandbox)) == ("budget_exceeded", [])
    assert "cap $2" in str(no.value)
    assert ("It resets at" in str(no.value)) == ("daily" in budget)


async def set_budget(make_tool: MakeTool, sandbox: Sandbox, budget: dict[str, int]) -> None:
    """Set the account's own caps, as its owner would."""
    wallet = make_tool().caller.credential
    assert isinstance(wallet, WalletKey)
    proof = {"X-Agent-ID": wallet.address} | wallet.proof("write", time.time())
    async with httpx.AsyncClient(base_url=sandbox.base_url) as http:
        (await http.put("/v1/agents/me/budgets", json=budget, headers=proof)).raise_for_status()


async def test_budget_that_others_have_spent_is_not_the_journals(
    make_tool: MakeTool, sandbox: Sandbox, journal: CallJournal
) -> None:
    """A refused call leaves nothing reserved, so it can be made when the budget has room."""
    await set_budget(make_tool, sandbox, {"per_transaction": 2})
    tool = make_tool()
    assert (await tool.ainvoke(tool_call())).status == "error"
    assert await journal.spent(account=sandbox.address, tenant="") == 0
    await set_budget(make_tool, sandbox, {"per_transaction": 20})
    again = await tool.ainvoke(tool_call("call-2", **arguments(objective=OBJECTIVE)))
    assert again.artifact.call_status == "completed"
