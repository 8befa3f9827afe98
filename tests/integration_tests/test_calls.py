"""A call from request to result over real HTTP, from wherever a LangChain tool is used."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest
from conftest import MakeCaller, MakeTool
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from placing import NUMBER, OBJECTIVE, arguments, at_any_hour, legs, signatures, tool_call
from scripted_model import calls_then_says

from langchain_oneshot_voice import (
    CallPolicy,
    CallProgress,
    CallRefusedError,
    Sandbox,
    VoiceCallInput,
    VoiceCallResult,
)
from langchain_oneshot_voice.policy import disclosing
from langchain_oneshot_voice.progress import EVENT
from langchain_oneshot_voice.sandbox import CallScript


def require_one_call(sandbox: Sandbox) -> None:
    """One phone rang once, and was paid for once."""
    assert [ring.number for ring in sandbox.rings] == [NUMBER]
    assert len({payment.request_id for payment in sandbox.payments}) == 1
    assert len(sandbox.calls) == 1


def test_sync_call(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A tool call becomes a ToolMessage with a text, and a result with all there is to know."""
    message = make_tool().invoke(tool_call())
    result = message.artifact

    require_one_call(sandbox)
    assert isinstance(result, VoiceCallResult)
    assert (result.call_status, result.call_successful) == ("completed", "success")
    assert (result.answered_by, result.ended_reason) == ("person", "customer-ended-call")
    assert result.request_id == sandbox.calls[0].request_id
    assert result.cost.charged == result.cost.quoted == sandbox.payments[0].amount
    assert result.quote is not None
    assert {turn.speaker for turn in result.transcript} == {"caller", "callee"}
    assert message.status == "success"
    assert message.content.startswith("The call took place and achieved its objective")


def test_plain_invoke_returns_the_text(make_tool: MakeTool) -> None:
    """Without a tool call the text alone comes back."""
    assert "achieved its objective" in make_tool().invoke(arguments())


async def test_async_call(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The same, awaited."""
    message = await make_tool().ainvoke(tool_call())

    require_one_call(sandbox)
    assert message.artifact.call_successful == "success"


async def test_sync_call_inside_a_running_loop(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The blocking call works in a cell of a notebook, whose loop is running."""
    message = make_tool().invoke(tool_call())

    require_one_call(sandbox)
    assert message.artifact.call_successful == "success"


def test_request_is_sent_as_it_was_asked(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Both legs carry the same body: the six fields that were given, the disclosure, our key."""
    given = arguments(caller_name="Ann", context="Birthday.", max_duration_minutes=3)
    make_tool().invoke(tool_call(**given))
    quoted, paid = legs(sandbox, "quote")[0], legs(sandbox, "paid")[0]

    assert quoted.body == paid.body
    sent = given | {"context": disclosing("Birthday.")}
    assert {k: v for k, v in quoted.body.items() if k != "decisionContext"} == sent
    assert paid.headers["x-quote-id"]
    assert quoted.headers["x-agent-id"] == paid.headers["x-agent-id"] == sandbox.address
    assert "x-max-cost-usdc" not in quoted.headers
    assert paid.headers["x-max-cost-usdc"] == "10"


def test_conference_rings_everyone_for_one_payment(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Several numbers make one call: each phone rings once, and one price is paid."""
    numbers = ["+14155550110", "+14155550111"]
    objective = "Settle with both of them on one line when the three of you meet this week."
    message = make_tool().invoke(tool_call(objective=objective, target_number=numbers))

    assert [ring.number for ring in sandbox.rings] == numbers
    assert len(sandbox.payments) == 1
    assert message.artifact.quote.conference
    assert message.artifact.quote.phone_registration_fee == 0


def test_call_that_came_to_nothing_is_a_result(make_tool: MakeTool) -> None:
    """A call that nobody answers was placed and paid: it is a result, not an error."""
    message = make_tool().invoke(tool_call(**arguments("+14155550101")))

    assert message.status == "success"
    assert (message.artifact.answered_by, message.artifact.call_successful) == ("nobody", "failure")


def test_call_that_the_provider_lost_is_a_result(make_tool: MakeTool) -> None:
    """A job that failed at the provider keeps its reason and its request id."""
    message = make_tool().invoke(tool_call(**arguments("+14155550106")))

    assert message.artifact.call_status == "failed"
    assert message.artifact.error_code
    assert message.artifact.request_id in message.content


def test_strangers_orders_stay_quoted(make_tool: MakeTool) -> None:
    """What a person on the phone tells the AI to do is in the text only behind a bar."""
    message = make_tool().invoke(tool_call(**arguments("+14155550107")))
    said = [turn.text for turn in message.artifact.transcript if turn.speaker == "callee"]
    unquoted = [line for line in message.content.splitlines() if not line.startswith("| ")]

    assert said
    assert not any(words[:30] in line for words in said for line in unquoted)


def test_graph_with_a_tool_node(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """In a graph's ToolNode the tool answers, and tells its progress to the graph's stream."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([make_tool()]))
    graph.add_edge(START, "tools")
    asked = {"messages": [AIMessage("", tool_calls=[tool_call()])]}
    messages: list[Any] = []
    stages: list[str] = []
    compiled: Any = graph.compile()
    for mode, chunk in compiled.stream(asked, stream_mode=["updates", "custom"]):
        if mode == "custom":
            stages.append(chunk[EVENT]["stage"])
        else:
            messages += chunk["tools"]["messages"]

    require_one_call(sandbox)
    assert stages[:3] == ["quoted", "paying", "placed"]
    assert stages[-1] == "completed"
    assert messages[0].artifact.call_successful == "success"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_agent_calls_and_reads_the_outcome(
    make_tool: MakeTool, sandbox: Sandbox, *, is_async: bool
) -> None:
    """An agent of `create_agent` decides to call, and sees what came of it."""
    agent: Any = create_agent(calls_then_says(tool_call(), words="Booked."), [make_tool()])
    asked = {"messages": [HumanMessage(OBJECTIVE)]}
    end = await agent.ainvoke(asked) if is_async else await asyncio.to_thread(agent.invoke, asked)

    require_one_call(sandbox)
    answers = [m for m in end["messages"] if isinstance(m, ToolMessage)]
    assert [answer.artifact.call_successful for answer in answers] == ["success"]
    assert end["messages"][-1].content == "Booked."


def test_agents_parallel_calls_are_calls_of_their_own(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Two tool calls in one message ring two phones, each once."""
    model = calls_then_says(
        tool_call("call-1", **arguments("+14155550110", max_duration_minutes=2)),
        tool_call("call-2", **arguments("+14155550111", max_duration_minutes=2)),
    )
    agent: Any = create_agent(model, [make_tool()])
    agent.invoke({"messages": [HumanMessage("Call both.")]})

    assert sorted(ring.number for ring in sandbox.rings) == ["+14155550110", "+14155550111"]


async def test_progress_reaches_astream_events(make_tool: MakeTool) -> None:
    """Custom events of the tool's run tell each step, outside any graph too."""
    told: list[Any] = [
        event["data"]
        async for event in make_tool().astream_events(tool_call(), version="v2")
        if event["event"] == "on_custom_event" and event["name"] == EVENT
    ]

    assert [step["stage"] for step in told if step["stage"] != "in_progress"] == [
        "quoted",
        "paying",
        "placed",
        "completed",
    ]


def test_progress_reaches_a_function(make_tool: MakeTool) -> None:
    """The function that the tool was given is told the price before anything is paid."""
    told: list[CallProgress] = []
    make_tool(on_progress=told.append).invoke(tool_call())

    assert told[0].stage == "quoted"
    assert told[0].cost == Decimal("6.75")
    assert told[-1].stage == "completed"


async def test_cancelled_wait_keeps_the_call(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """Cancelling while the phone rings leaves a paid call that `recover` brings to its end."""
    sandbox.expect(NUMBER, CallScript(seconds=0.5))
    caller = make_caller()
    task = asyncio.create_task(caller.acall(VoiceCallInput(**arguments())))
    await asyncio.to_thread(sandbox.wait_until, lambda: bool(legs(sandbox, "socket")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    recovered = await caller.arecover(max_wait=10)

    require_one_call(sandbox)
    assert [r.call_status for r in recovered if isinstance(r, VoiceCallResult)] == ["completed"]


async def test_hundred_calls_share_one_socket(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """A hundred calls beside a long one ring once each, and all listen on one WebSocket."""
    caller = make_caller(max_wait=60.0, policy=_no_limits())
    sandbox.set_balance(sandbox.address, Decimal(10_000))
    sandbox.expect("+14155551234", CallScript(seconds=60))
    for n in range(100):
        sandbox.expect(_number(n), CallScript(seconds=0.5))
    long_one = asyncio.create_task(caller.acall(_no_change_back("+14155551234")))
    await asyncio.to_thread(sandbox.wait_until, lambda: bool(legs(sandbox, "socket")))
    results = await asyncio.gather(*(caller.acall(_no_change_back(_number(n))) for n in range(100)))
    long_one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long_one

    assert [r.call_successful for r in results] == ["success"] * 100
    assert len({ring.number for ring in sandbox.rings}) == len(sandbox.rings) == 101
    assert len(sandbox.payments) == 101
    assert len(legs(sandbox, "socket")) == 1


def test_calls_from_many_threads(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Threads with and without loops of their own place their calls side by side."""
    tool = make_tool(policy=_no_limits())
    seen: list[str] = []

    def work(n: int) -> None:
        asked = tool_call(f"call-{n}", **_no_change_back(_number(10 + n)).model_dump())
        message = asyncio.run(tool.ainvoke(asked)) if n % 2 else tool.invoke(asked)
        seen.append(message.artifact.call_successful)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["success"] * 8
    assert len(sandbox.rings) == 8


def test_dear_call_is_refused_by_the_service_too(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A dear quote is refused before it is signed, and its refusal says what would fit."""
    message = make_tool().invoke(tool_call(**arguments(max_duration_minutes=30)))

    assert message.status == "error"
    assert "max_duration_minutes of at most 14" in message.content
    assert "Nothing was charged." in message.content
    assert signatures(sandbox) == []


def test_error_is_raised_when_it_is_not_handled(make_tool: MakeTool) -> None:
    """With `handle_tool_error=False` a program gets the typed error."""
    tool = make_tool(handle_tool_error=False)
    with pytest.raises(CallRefusedError) as refused:
        tool.invoke(tool_call(**arguments(max_duration_minutes=30)))

    assert (refused.value.code, refused.value.charged) == ("cost_limit_exceeded", "no")


def _no_limits() -> CallPolicy:
    return at_any_hour(max_cost_per_day=None, max_calls_per_number_per_day=None)


def _number(n: int) -> str:
    return f"+141555501{n:02d}"


def _no_change_back(number: str) -> VoiceCallInput:
    """A call that uses its minutes up: credits for calls that end would change others' prices."""
    return VoiceCallInput(**arguments(number, max_duration_minutes=2))
