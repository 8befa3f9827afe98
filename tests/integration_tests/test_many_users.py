"""A server with many users: whose call it is, who pays, and that nobody waits for anybody."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from chaos.ledger import times_rung
from conftest import MakeTool
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from placing import NUMBER, arguments, at_any_hour, signatures, tool_call

from langchain_oneshot_voice import (
    AccessToken,
    CallJournal,
    CallPolicy,
    CallProgress,
    ConfigurationError,
    Sandbox,
    VoiceCaller,
    VoiceCallError,
    VoiceCallInput,
    VoiceCallResult,
    WalletKey,
)
from langchain_oneshot_voice.sandbox import CallScript

PEOPLE = 60
"""More than the threads that an event loop has of itself."""


def of_user(name: str, **more: Any) -> RunnableConfig:
    """The config of a run for a user; every user's thread has the same name."""
    return {"configurable": {"thread_id": "thread-1", "user": name} | more}


def user_in(config: RunnableConfig) -> str:
    """Who the run is for."""
    return str(config["configurable"]["user"])


def their_policy(config: RunnableConfig) -> CallPolicy:
    """A tenant for each user."""
    return at_any_hour(tenant=user_in(config))


# Nobody waits for anybody


async def test_people_who_think_hold_up_nobody(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Sixty people think about a price; a call that needs nobody's yes goes through meanwhile."""
    thinking, decided = threading.Semaphore(0), threading.Event()

    def think(_request: object, _quote: object) -> bool:
        thinking.release()
        assert decided.wait(60)
        return False

    policy = at_any_hour(check=lambda _request, _quote: None, max_cost_per_day=None)
    slow = make_tool(approval=think, policy=policy)
    asked = [
        asyncio.create_task(slow.ainvoke(tool_call(f"c{n}", **arguments(f"+1415555{3000 + n}"))))
        for n in range(PEOPLE)
    ]
    for _ in range(PEOPLE):
        assert await asyncio.to_thread(thinking.acquire, timeout=60)
    quick = await make_tool(policy=policy).ainvoke(tool_call())
    decided.set()
    declined = {message.artifact.call_status for message in await asyncio.gather(*asked)}
    assert (quick.artifact.call_status, declined) == ("completed", {"rejected"})
    assert times_rung(sandbox) == 1


@pytest.mark.parametrize("how", ["function", "coroutine", "blocking coroutine"])
async def test_listener_that_never_comes_back_holds_up_no_call(
    make_tool: MakeTool, how: str
) -> None:
    """It is told beside the call, and the call ends without it."""
    forever = threading.Event()

    def stuck(_progress: CallProgress) -> None:
        forever.wait(60)

    async def stuck_too(_progress: CallProgress) -> None:
        await asyncio.sleep(60)

    async def blocks_its_loop(progress: CallProgress) -> None:
        stuck(progress)

    ways = {"function": stuck, "coroutine": stuck_too, "blocking coroutine": blocks_its_loop}
    tool = make_tool(on_progress=ways[how])
    message = await asyncio.wait_for(tool.ainvoke(tool_call()), 10)
    forever.set()
    assert message.artifact.call_status == "completed"


@pytest.mark.parametrize("run_inline", [False, True])
async def test_callbacks_that_never_come_back_hold_up_nobody(
    make_tool: MakeTool, run_inline: bool
) -> None:
    """Neither their own calls nor others, which have to look up a host: threads are left for it."""
    forever = threading.Event()

    class Stuck(BaseCallbackHandler):
        def on_custom_event(self, *_: Any, **__: Any) -> None:
            forever.wait(60)

    Stuck.run_inline = run_inline
    policy = at_any_hour(max_cost_per_day=None)
    calls = [tool_call(f"c{n}", **arguments(f"+1415555{3000 + n}")) for n in range(40)]
    own = make_tool(policy=policy)
    told = await asyncio.wait_for(
        asyncio.gather(*(own.ainvoke(call, {"callbacks": [Stuck()]}) for call in calls)), 30
    )
    with Sandbox(call_seconds=0.05) as other:
        tool = other.tool(base_url=other.base_url.replace("127.0.0.1", "localhost"))
        message = await asyncio.wait_for(tool.ainvoke(tool_call()), 5)
    forever.set()
    assert {m.artifact.call_status for m in [*told, message]} == {"completed"}


@pytest.mark.parametrize("fault", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, OSError])
async def test_listener_can_t_cancel_or_fail_a_call(
    make_tool: MakeTool, fault: type[BaseException]
) -> None:
    """Whatever it raises."""

    def breaks(_progress: CallProgress) -> None:
        raise fault

    message = await make_tool(on_progress=breaks).ainvoke(tool_call())
    assert message.artifact.call_status == "completed"


# Whose call it is


def test_tenants_whose_ids_coincide_do_not_read_each_other(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """One wallet, one journal, the same thread, tool call and words: a call for each tenant."""
    tool = make_tool(policy=their_policy)
    for name, secret in (("ann", "Ann has a rash."), ("bob", "Bob is late.")):
        sandbox.expect(NUMBER, CallScript(transcript=f"User: {secret}"))
        message = tool.invoke(tool_call(), of_user(name))
        assert secret in message.content
    again = tool.invoke(tool_call(), of_user("ann"))
    assert ("Ann has a rash." in again.content, "Bob" in again.content) == (True, False)
    assert times_rung(sandbox) == 2


def test_idempotency_keys_of_tenants_are_their_own(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """An application's key that two tenants use is two calls."""
    tool = make_tool(policy=their_policy)
    told = [
        tool.invoke(tool_call(), of_user(name, idempotency_key="order-1")).artifact.request_id
        for name in ("ann", "bob", "ann")
    ]
    assert (told[0] == told[2], told[0] == told[1], times_rung(sandbox)) == (True, False, 2)


def test_busy_number_tells_nothing_of_another_tenant_s_call(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The line is busy, and that is all: no request id to look for, and no other number."""
    both = [NUMBER, "+14155550177"]
    sandbox.expect(NUMBER, CallScript(seconds=20))
    tool = make_tool(policy=their_policy, max_wait=0.1, handle_tool_error=False)
    objective = "Settle with both of them on one line when the three of you meet this week."
    hers = tool.invoke(tool_call(objective=objective, target_number=both), of_user("ann")).artifact
    with pytest.raises(VoiceCallError) as busy:
        tool.invoke(tool_call(), of_user("bob"))
    told = f"{busy.value} {busy.value.request_id} {busy.value.details}"
    assert busy.value.code == "number_busy"
    assert (hers.request_id in told, "77" in told) == (False, False)


def test_recovery_finishes_the_calls_of_one_tenant(
    sandbox: Sandbox, journal: CallJournal, make_tool: MakeTool
) -> None:
    """What a dead process left of another tenant's is neither told nor touched."""
    tool = make_tool(policy=their_policy, max_wait=0.1)
    for number, name in (("+14155550110", "ann"), ("+14155550111", "bob")):
        sandbox.expect(number, CallScript(seconds=0.5))
        tool.invoke(tool_call(**arguments(number)), of_user(name))
    hers = tool.caller.recover(config=of_user("ann"))
    everybody_s = tool.caller.recover(every_tenant=True, config=of_user("ann"))
    assert [len(ends) for ends in (hers, everybody_s)] == [1, 1]
    [end] = hers
    assert isinstance(end, VoiceCallResult)
    record = asyncio.run(_recorded(journal, end.call_key or ""))
    assert (record.tenant, record.state) == ("ann", "done")


async def _recorded(journal: CallJournal, key: str) -> Any:
    return await journal.read(key)


# Who pays


async def test_each_user_pays_with_a_credential_of_their_own(
    sandbox: Sandbox, make_tool: MakeTool
) -> None:
    """One tool; the run's config says whose wallet or token it is."""
    wallet, token = WalletKey(sandbox.private_key), AccessToken(sandbox.access_token)
    purse = {"ann": wallet, "bob": token}
    tool = make_tool(credential=lambda config: purse[user_in(config)])
    for n, name in enumerate(("ann", "bob", "ann")):
        call = tool_call(f"call-{n}", **arguments(f"+1415555012{n}"))
        message = await tool.ainvoke(call, of_user(name))
        assert message.artifact.call_status == "completed"
    payers = [payment.payer for payment in sandbox.payments]
    assert len(set(payers)) == 2
    assert payers.count(sandbox.address) >= 2
    assert len(signatures(sandbox)) == 2
    assert tool.private_key is None


async def test_users_at_once_each_pay_for_their_own_call(
    sandbox: Sandbox, make_tool: MakeTool
) -> None:
    """Twenty runs of two users, side by side: no call is paid by the other one."""
    purse = {"ann": WalletKey(sandbox.private_key), "bob": AccessToken(sandbox.access_token)}
    tool = make_tool(
        credential=lambda config: purse[user_in(config)],
        policy=lambda config: at_any_hour(tenant=user_in(config), max_cost_per_day=None),
    )
    calls = [
        tool.ainvoke(
            tool_call(f"call-{n}", **arguments(f"+1415555{4000 + n}")),
            of_user("ann" if n % 2 else "bob"),
        )
        for n in range(20)
    ]
    results = [message.artifact for message in await asyncio.gather(*calls)]
    hers = {result.request_id for n, result in enumerate(results) if n % 2}
    payers = {payment.request_id: payment.payer for payment in sandbox.payments}
    assert {payers[request_id] == sandbox.address for request_id in hers} == {True}
    assert sum(payer == sandbox.address for payer in payers.values()) == 10


@pytest.mark.parametrize("given", [None, "0x" + "1" * 64, object()])
def test_credential_function_that_gives_no_credential_calls_nobody(
    make_tool: MakeTool, sandbox: Sandbox, given: object
) -> None:
    """The refusal says what it has to give, and shows nothing of what it gave."""
    tool = make_tool(credential=lambda _config: given, handle_tool_error=False)
    with pytest.raises(ConfigurationError, match="a WalletKey or an AccessToken") as refused:
        tool.invoke(tool_call(), of_user("ann"))
    assert "1111" not in str(refused.value)
    assert sandbox.requests == ()


def test_credential_function_that_fails_calls_nobody(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A user without a wallet: the application's own error comes out."""

    def purse_of(config: RunnableConfig) -> WalletKey:
        raise LookupError(user_in(config))

    with pytest.raises(LookupError, match="ann"):
        make_tool(credential=purse_of).invoke(tool_call(), of_user("ann"))
    assert sandbox.requests == ()


def test_policy_function_that_gives_no_policy_calls_nobody(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """No limits are not the default limits."""
    tool = make_tool(policy=lambda _config: None, handle_tool_error=False)
    with pytest.raises(ConfigurationError, match="a CallPolicy"):
        tool.invoke(tool_call(), of_user("ann"))
    assert sandbox.requests == ()


async def test_rotated_token_is_polled_with_the_new_one(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """The first token is revoked while its call goes on: the second one reads the outcome."""
    sandbox.expect(NUMBER, CallScript(seconds=0.5))
    tokens = [sandbox.access_token]
    hasty = VoiceCaller(
        lambda _config: AccessToken(tokens[-1]),
        base_url=sandbox.base_url,
        journal=journal,
        policy=at_any_hour(),
        max_wait=0.2,
    )
    config = of_user("ann", idempotency_key="order-1")
    request = VoiceCallInput(**arguments())
    early = await hasty.acall(request, config=config)
    payer = sandbox.payments[0].payer
    tokens.append(sandbox.create_access_token(Decimal(100), address=payer))
    sandbox.revoke_access_token(tokens[0])
    late = await replace(hasty, max_wait=10.0).acall(request, config=config)
    assert (early.call_status, late.call_status) == ("in_progress", "completed")
    assert times_rung(sandbox) == 1


# What is kept of it


def test_each_tenant_s_calls_are_kept_for_as_long_as_it_says(
    sandbox: Sandbox, journal: CallJournal, make_tool: MakeTool
) -> None:
    """What ended before is forgotten for Ann and kept for Bob; what it cost stays."""
    tool = make_tool(policy=their_policy)
    kept = {
        name: tool.invoke(tool_call(**arguments(number)), of_user(name)).artifact.call_key
        for name, number in (("ann", "+14155550110"), ("bob", "+14155550111"))
    }
    tool.retention = timedelta(0)
    tool.invoke(tool_call("call-2", **arguments("+14155550112")), of_user("ann"))

    def recorded(name: str) -> Any:
        return asyncio.run(_recorded(journal, kept[name]))

    sandbox.wait_until(lambda: recorded("ann").numbers == ())
    assert (recorded("ann").job, recorded("ann").reserved) == (None, Decimal("6.75"))
    assert (len(recorded("bob").numbers), recorded("bob").job["status"]) == (1, "completed")
