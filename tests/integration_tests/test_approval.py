"""A graph stops with the price, and goes on as the person answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from approving import (
    agent_on_disk,
    answers,
    async_agent_on_disk,
    calling,
    edit,
    in_thread,
    questions,
)
from conftest import MakeTool
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.middleware.human_in_the_loop import ToolApprovalRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from placing import NUMBER, at_any_hour, legs, signatures, tool_call
from scripted_model import calls_then_says

from langchain_oneshot_voice import Sandbox, VoiceCallError, VoiceCallTool

APPROVE, REJECT = {"type": "approve"}, {"type": "reject"}
ASKED = {"messages": [("user", "Book a table.")]}
PRICE = Decimal("6.75")
"""A wallet's first call: five minutes, and its number."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service whose quotes do not last as long as its proofs are fresh."""
    with Sandbox(call_seconds=0.05, quote_seconds=60) as running:
        yield running


@pytest.fixture
def tool(make_tool: MakeTool) -> VoiceCallTool:
    """A tool that asks before every call."""
    return make_tool(approval="interrupt")


@pytest.fixture
def agent(tool: VoiceCallTool, tmp_path: Path) -> Iterator[Any]:
    """An agent that makes one call, its checkpoints in SQLite."""
    with agent_on_disk(tmp_path / "graph.sqlite", tool, *calling(NUMBER)) as graph:
        yield graph


def ask(agent: Any) -> dict[str, Any]:
    """Let the agent run until it stops, and return what it asks."""
    [question] = questions(agent.invoke(ASKED, in_thread()))
    value: dict[str, Any] = question.value
    return value


def answer(agent: Any, decision: Any) -> dict[str, Any]:
    """Give an answer, and let the agent go on."""
    state: dict[str, Any] = agent.invoke(Command(resume=decision), in_thread())
    return state


def message_in(state: dict[str, Any]) -> ToolMessage:
    """The one tool message of a state."""
    [message] = answers(state).values()
    return message


def total_paid(sandbox: Sandbox) -> Decimal:
    """All that was paid."""
    return sum((payment.amount for payment in sandbox.payments), Decimal(0))


def priced(total: str) -> Callable[..., Any]:
    """Quotes of this price, in the body and in the terms."""

    def tamper(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Any:
        assert body is not None
        terms = json.loads(base64.b64decode(headers["payment-required"]))
        terms["accepts"][0]["amount"] = str(int(Decimal(total) * 10**6))
        header = base64.b64encode(json.dumps(terms).encode()).decode()
        body["payment_request"]["amount"] = total
        body["context"] |= {"total": total, "estimated_call_cost": total}
        body["context"]["phone_registration_fee"] = "0.00"
        return status, headers | {"payment-required": header}, body

    return tamper


def test_question_is_a_tool_approval_request_with_the_quote(agent: Any) -> None:
    """It has every key of LangChain's own question, and the price and the plan beside them."""
    asked = ask(agent)
    beside = {"quote", "question", "added"}
    assert asked.keys() == ToolApprovalRequest.__annotations__.keys() | beside
    assert (asked["type"], asked["name"]) == ("tool_approval", "voice_call")
    assert asked["tool_call_id"] == f"call-{NUMBER}"
    assert asked["args"]["target_number"] == NUMBER
    shown = {k: asked["quote"][k] for k in ("total", "worst_case", "conference", "numbers")}
    assert shown == {
        "total": "6.75",
        "worst_case": "8.50",
        "conference": False,
        "numbers": [NUMBER],
    }
    assert asked["quote"]["success_criteria"]
    assert asked["quote"]["expires_at"]
    price = "for $6.75 (at the most $8.50; $5.00 of it once, for the number to call from)."
    assert f"Phone call to {NUMBER} {price}" in asked["description"]


def test_question_is_json_throughout(agent: Any) -> None:
    """A review screen in another process can show it as it is."""
    asked = ask(agent)
    assert json.loads(json.dumps(asked)) == asked


def test_nothing_is_paid_before_the_answer(agent: Any, sandbox: Sandbox) -> None:
    """While the question is open, no payment was signed and sent and no phone rang."""
    ask(agent)
    assert (legs(sandbox, "paid"), signatures(sandbox), sandbox.rings) == ([], [], ())


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        (APPROVE, True),
        (REJECT, True),
        ({"type": "respond", "message": "Done."}, True),
        (edit(NUMBER), True),
        ({"type": "maybe"}, False),
        ({"type": "respond"}, False),
        ({"type": "edit", "edited_action": {"name": "rm", "args": {}}}, False),
    ],
    ids=lambda v: str(v)[:30],
)
def test_published_schema_says_what_may_be_answered(
    agent: Any, given: dict[str, Any], *, valid: bool
) -> None:
    """The interrupt's response schema accepts the four decisions, and nothing else."""
    [question] = questions(agent.invoke(ASKED, in_thread()))
    assert Draft202012Validator(question.response_schema).is_valid(given) == valid


def test_approved_call_is_paid_once_at_the_price_shown(agent: Any, sandbox: Sandbox) -> None:
    """One quote was asked for, and its price is what was paid."""
    shown = ask(agent)["quote"]["total"]
    state = answer(agent, APPROVE)
    assert message_in(state).artifact.call_status == "completed"
    assert (str(total_paid(sandbox)), len(sandbox.rings)) == (shown, 1)
    assert len(legs(sandbox, "quote")) == 1


async def test_approved_call_of_an_async_graph_is_paid_once(
    tool: VoiceCallTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """`ainvoke` stops and goes on likewise."""
    async with async_agent_on_disk(tmp_path / "graph.sqlite", tool, *calling(NUMBER)) as agent:
        assert len(questions(await agent.ainvoke(ASKED, in_thread()))) == 1
        state = await agent.ainvoke(Command(resume=APPROVE), in_thread())
    assert message_in(state).artifact.call_status == "completed"
    assert (total_paid(sandbox), len(sandbox.rings)) == (PRICE, 1)


def test_rejected_call_pays_nothing_and_tells_the_model_not_to_retry(
    agent: Any, sandbox: Sandbox
) -> None:
    """The model reads a plain no and the person's reason as quoted speech; nothing was sent."""
    ask(agent)
    message = message_in(answer(agent, REJECT | {"message": "Too dear."}))
    assert "must not be retried" in message.content
    assert "| Too dear." in message.content
    assert message.artifact.call_status == "rejected"
    assert (signatures(sandbox), sandbox.rings) == ([], ())


def test_edited_call_of_the_same_price_is_made_as_edited(agent: Any, sandbox: Sandbox) -> None:
    """Another number, no dearer: it rings without a second question."""
    ask(agent)
    state = answer(agent, edit("+14155550133"))
    assert (questions(state), message_in(state).artifact.call_status) == ([], "completed")
    assert [ring.number for ring in sandbox.rings] == ["+14155550133"]


def test_edited_call_that_the_policy_refuses_is_refused(
    make_tool: MakeTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A reviewer's version is held to the application's policy like the model's."""
    tool = make_tool(approval="interrupt", policy=at_any_hour(deny=["+1415555013"]))
    with agent_on_disk(tmp_path / "graph.sqlite", tool, *calling(NUMBER)) as agent:
        ask(agent)
        message = message_in(answer(agent, edit("+14155550133")))
    assert (message.status, signatures(sandbox)) == ("error", [])


def test_dearer_edit_is_asked_about_and_paid_when_agreed(agent: Any, sandbox: Sandbox) -> None:
    """The second question has the new price; a second yes pays it once."""
    ask(agent)
    [again] = questions(answer(agent, edit(NUMBER, max_duration_minutes=9)))
    assert again.value["quote"]["total"] == "8.15"
    message = message_in(answer(agent, APPROVE))
    assert (total_paid(sandbox), len(sandbox.rings)) == (Decimal("8.15"), 1)
    # It was made just now, though the call that it was made of had ended before.
    assert (message.artifact.reused, message.content[:23]) == (False, "The call took place and")


@pytest.mark.parametrize("garbage", [{"type": "maybe"}, "yes, please", 7, [], {"type": "edit"}])
def test_unreadable_answer_is_no_yes_and_can_be_given_again(
    agent: Any, sandbox: Sandbox, garbage: Any
) -> None:
    """It is asked again with what was wrong, nothing is paid, and a real yes counts."""
    ask(agent)
    [again] = questions(answer(agent, garbage))
    assert "decision" in again.value["note"]
    assert (signatures(sandbox), agent.get_state(in_thread()).next) == ([], ("tools",))
    assert message_in(answer(agent, APPROVE)).artifact.call_status == "completed"


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_works_beside_the_human_in_the_loop_middleware(
    tool: VoiceCallTool, sandbox: Sandbox, tmp_path: Path, mode: Any
) -> None:
    """The middleware asks before there is a price, the tool asks with it; both must say yes."""
    asks_first = HumanInTheLoopMiddleware(interrupt_on={"voice_call": True}, interrupt_mode=mode)
    file, first = tmp_path / "graph.sqlite", APPROVE
    with agent_on_disk(file, tool, *calling(NUMBER), middleware=[asks_first]) as agent:
        [before] = questions(agent.invoke(ASKED, in_thread()))
        [priced_question] = questions(
            answer(agent, {"decisions": [first]} if mode == "batched" else first)
        )
        assert ("quote" in before.value, "quote" in priced_question.value) == (False, True)
        assert signatures(sandbox) == []
        state = answer(agent, APPROVE)
    assert message_in(state).artifact.call_status == "completed"
    assert len(sandbox.rings) == 1


def test_parallel_calls_have_a_question_and_an_answer_each(
    tool: VoiceCallTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Of two calls in one message the approved one rings, the rejected one does not."""
    calls = calling("+14155550127", "+14155550128")
    with agent_on_disk(tmp_path / "graph.sqlite", tool, *calls) as agent:
        asked = questions(agent.invoke(ASKED, in_thread()))
        of = {q.value["args"]["target_number"]: q.id for q in asked}
        state = answer(agent, {of["+14155550127"]: REJECT, of["+14155550128"]: APPROVE})
    came_to = {k: m.artifact.call_status for k, m in answers(state).items()}
    assert came_to == {"call-+14155550127": "rejected", "call-+14155550128": "completed"}
    assert [ring.number for ring in sandbox.rings] == ["+14155550128"]


# Prices that do not last as long as a person thinks


def test_expired_quote_of_the_same_price_is_replaced_without_asking(tmp_path: Path) -> None:
    """The person took longer than the quote lasts; a new one costs the same and is paid."""
    with Sandbox(call_seconds=0.05, quote_seconds=5) as hasty:
        slow = _asking(hasty, tmp_path)
        with agent_on_disk(tmp_path / "graph.sqlite", slow, *calling(NUMBER)) as agent:
            ask(agent)
            state = answer(agent, APPROVE)
        assert (questions(state), message_in(state).artifact.call_status) == ([], "completed")
        assert (total_paid(hasty), len(legs(hasty, "quote"))) == (PRICE, 2)


def test_quote_gone_at_the_service_is_replaced_without_asking(agent: Any, sandbox: Sandbox) -> None:
    """The service's clock says that it is over, ours does not: same price, no second question."""
    ask(agent)
    sandbox.advance(100)
    state = answer(agent, APPROVE)
    assert (questions(state), message_in(state).artifact.call_status) == ([], "completed")
    assert (total_paid(sandbox), len(sandbox.rings)) == (PRICE, 1)


def _asking(sandbox: Sandbox, folder: Path) -> VoiceCallTool:
    return VoiceCallTool(
        private_key=sandbox.private_key,
        base_url=sandbox.base_url,
        journal=str(folder / "hasty.sqlite"),
        policy=at_any_hour(),
        approval="interrupt",
    )


def _dearer_by_expiry(agent: Any, sandbox: Sandbox) -> Any:
    """Agree to a price that has expired at the service meanwhile, where it is dearer now."""
    sandbox.tamper("quote", priced("2.00"))
    assert ask(agent)["quote"]["total"] == "2.00"
    sandbox.tamper("quote", None)
    sandbox.advance(100)
    [again] = questions(answer(agent, APPROVE))
    return again


def test_dearer_price_is_asked_about_in_words(agent: Any, sandbox: Sandbox) -> None:
    """The price rose while the person thought: they are told from what to what, and asked."""
    again = _dearer_by_expiry(agent, sandbox)
    assert again.value["quote"]["total"] == "6.75"
    assert "You agreed to $2.00; it costs more now." in again.value["description"]
    assert sandbox.payments == ()


def test_yes_to_the_dearer_price_pays_it_once(agent: Any, sandbox: Sandbox) -> None:
    """The second yes is for the second price, and pays that."""
    _dearer_by_expiry(agent, sandbox)
    assert message_in(answer(agent, APPROVE)).artifact.call_status == "completed"
    assert (total_paid(sandbox), len(sandbox.rings)) == (PRICE, 1)


def test_no_to_the_dearer_price_pays_nothing(agent: Any, sandbox: Sandbox) -> None:
    """A resumed graph gives the first yes again; it is not taken for the second answer."""
    _dearer_by_expiry(agent, sandbox)
    state = answer(agent, REJECT)
    assert (questions(state), message_in(state).artifact.call_status) == ([], "rejected")
    assert (sandbox.payments, sandbox.rings) == ((), ())


def test_earlier_yes_does_not_stand_for_a_dearer_attempt(
    make_tool: MakeTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A call failed before it was paid; run again, the yes to its old price buys no dearer one."""
    tool = make_tool(approval="interrupt", handle_tool_error=False)
    with agent_on_disk(tmp_path / "graph.sqlite", tool, *calling(NUMBER)) as agent:
        sandbox.tamper("quote", priced("2.00"))
        ask(agent)
        sandbox.stop()
        with pytest.raises(VoiceCallError, match="could not be reached"):
            answer(agent, APPROVE)
        sandbox.tamper("quote", None)
        sandbox.start()
        sandbox.advance(100)
        [again] = questions(agent.invoke(None, in_thread()))
        assert again.value["quote"]["total"] == "6.75"
        assert message_in(answer(agent, REJECT)).artifact.call_status == "rejected"
    assert sandbox.payments == ()


def test_edit_is_kept_while_its_price_rises(agent: Any, sandbox: Sandbox) -> None:
    """Edited, gone at the service, dearer now: the person is asked about their own version."""

    def cheap_until_it_is_gone(status: int, headers: dict[str, str], body: Any) -> Any:
        gone = bool(legs(sandbox, "paid"))
        return (status, headers, body) if gone else priced("2.00")(status, headers, body)

    def gone_once(status: int, headers: dict[str, str], body: Any) -> Any:
        if len(legs(sandbox, "paid")) > 1:
            return status, headers, body
        return 404, headers, {"error": "quote_not_found"}

    sandbox.tamper("quote", cheap_until_it_is_gone)
    sandbox.tamper("paid", gone_once)
    ask(agent)
    [again] = questions(answer(agent, edit("+14155550133")))
    asked = (again.value["args"]["target_number"], again.value["quote"]["total"])
    assert asked == ("+14155550133", "6.75")
    assert message_in(answer(agent, APPROVE)).artifact.call_status == "completed"
    assert [ring.number for ring in sandbox.rings] == ["+14155550133"]


def test_yes_is_to_the_request_that_was_shown_and_to_no_other(
    make_tool: MakeTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Deployed anew with another name for the caller: another request, so it is asked about."""
    file = tmp_path / "graph.sqlite"
    with agent_on_disk(file, make_tool(approval="interrupt"), *calling(NUMBER)) as agent:
        ask(agent)
    renamed = make_tool(approval="interrupt", policy=at_any_hour(caller_name="Rivera & Co"))
    with agent_on_disk(file, renamed, *calling(NUMBER)) as agent:
        [again] = questions(answer(agent, APPROVE))
        assert (again.value["added"]["caller_name"], signatures(sandbox)) == ("Rivera & Co", [])
        state = answer(agent, {again.id: APPROVE})
    assert (questions(state), message_in(state).artifact.call_status) == ([], "completed")
    assert (total_paid(sandbox), sandbox.calls[0].body["caller_name"]) == (PRICE, "Rivera & Co")


def test_earlier_yes_does_not_stand_for_a_dearer_call_of_another_policy(
    make_tool: MakeTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Deployed anew, and dearer: the first yes is for the first price, so the person is asked."""
    file = tmp_path / "graph.sqlite"
    sandbox.tamper("quote", priced("2.00"))
    with agent_on_disk(file, make_tool(approval="interrupt"), *calling(NUMBER)) as agent:
        ask(agent)
    sandbox.tamper("quote", None)
    renamed = make_tool(approval="interrupt", policy=at_any_hour(caller_name="Rivera & Co"))
    with agent_on_disk(file, renamed, *calling(NUMBER)) as agent:
        [again] = questions(answer(agent, APPROVE))
        assert again.value["quote"]["total"] == "6.75"
        answer(agent, REJECT)
    assert (signatures(sandbox), sandbox.payments) == ([], ())


# Where nobody can be asked


def test_outside_a_graph_the_call_is_refused(tool: VoiceCallTool, sandbox: Sandbox) -> None:
    """Nobody to ask is not a yes, and the message says what the program has to do."""
    message = tool.invoke(tool_call())
    assert (message.status, signatures(sandbox)) == ("error", [])
    assert "there is no graph: nothing can be paused" in message.content


def test_outside_a_graph_a_configured_run_is_no_graph(tool: VoiceCallTool) -> None:
    """A thread id of the application's does not make a graph of a plain run."""
    message = tool.invoke(tool_call(), {"configurable": {"thread_id": "thread-1"}})
    assert "there is no graph: nothing can be paused" in message.content


async def test_graph_without_a_checkpointer_is_told_so(
    tool: VoiceCallTool, sandbox: Sandbox
) -> None:
    """A graph that can't be resumed can't ask: the call is refused before it is paid."""
    agent: Any = create_agent(calls_then_says(*calling(NUMBER)), [tool])
    message = message_in(await agent.ainvoke(ASKED))
    assert (message.status, signatures(sandbox)) == ("error", [])
    assert "there is a graph without a checkpointer" in message.content


def test_plain_tool_node_asks_too(tool: VoiceCallTool, sandbox: Sandbox) -> None:
    """The question does not depend on `create_agent`."""
    graph: Any = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    asked = {"messages": [AIMessage("", tool_calls=[tool_call()])]}
    assert len(questions(compiled.invoke(asked, in_thread()))) == 1
    assert answer(compiled, APPROVE)["messages"][-1].artifact.call_status == "completed"
    assert len(sandbox.rings) == 1


def test_small_call_is_not_asked_about(
    make_tool: MakeTool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """At no more than `require_approval_above`, at its worst, a call is made without a question."""
    tool = make_tool(approval="interrupt", policy=at_any_hour(require_approval_above="8.50"))
    with agent_on_disk(tmp_path / "graph.sqlite", tool, *calling(NUMBER)) as agent:
        state = agent.invoke(ASKED, in_thread())
    assert (questions(state), message_in(state).artifact.call_status) == ([], "completed")
    assert len(sandbox.rings) == 1
