"""Exactly once, though the framework runs the tool again: retries, resumes, replays, workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chaos.callers import AT_ANY_HOUR
from chaos.ledger import times_paid, times_rung
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt
from placing import tool_call
from postgres import postgres_server, postgres_url
from scripted_model import calls_then_says

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallTool
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.sandbox import Fault

__all__ = ["postgres_server", "postgres_url"]

MakeTool = Callable[..., VoiceCallTool]
Graph = Any
THREAD: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}


@pytest.fixture
def tool(make_tool: MakeTool) -> VoiceCallTool:
    """A tool that calls at any hour."""
    return make_tool(policy=AT_ANY_HOUR)


def graph_around(tool: VoiceCallTool, after: Callable[[Any], Any] | None = None) -> Graph:
    """A model that calls once, the tool's node, and perhaps a node behind it."""
    graph: Graph = StateGraph(MessagesState)
    graph.add_node("model", lambda _: {"messages": [AIMessage("", tool_calls=[tool_call()])]})
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    if after is None:
        graph.add_edge("tools", END)
    else:
        graph.add_node("after", after)
        graph.add_edge("tools", "after")
        graph.add_edge("after", END)
    return graph.compile(checkpointer=InMemorySaver())


def answer_in(state: dict[str, Any]) -> ToolMessage:
    """The tool's own message in a graph's state."""
    return next(m for m in reversed(state["messages"]) if isinstance(m, ToolMessage))


def once(sandbox: Sandbox) -> bool:
    """Whether one call was paid for and one phone rang."""
    return (times_paid(sandbox), times_rung(sandbox)) == (1, 1)


async def test_retry_middleware_after_a_lost_reply_pays_once(
    sandbox: Sandbox, make_tool: MakeTool
) -> None:
    """The tool fails because nobody knows, the middleware runs it again: it finds the call."""
    lost = make_tool(policy=AT_ANY_HOUR, handle_tool_error=False, max_wait=0.3)
    sandbox.inject(Fault("paid", "drop_reply"))
    sandbox.inject(Fault("receipts", "status_503", times=10**6))
    failures: list[VoiceCallError] = []

    def worth_a_retry(error: Exception) -> bool:
        failures.extend([error] if isinstance(error, VoiceCallError) else [])
        sandbox.clear_faults()
        return isinstance(error, VoiceCallError)

    retry = ToolRetryMiddleware(
        max_retries=5, initial_delay=0.05, backoff_factor=1.0, retry_on=worth_a_retry
    )
    agent: Graph = create_agent(calls_then_says(tool_call()), [lost], middleware=[retry])
    answer = answer_in(await agent.ainvoke({"messages": [("user", "Book a table.")]}, THREAD))
    assert (bool(failures), answer.artifact.call_status, once(sandbox)) == (True, "completed", True)


async def test_a_graph_resumed_after_a_later_interrupt_pays_once(
    sandbox: Sandbox, tool: VoiceCallTool
) -> None:
    """A person is asked something after the call; the resumed graph does not call again."""
    graph = graph_around(tool, after=lambda _: {"messages": [AIMessage(interrupt("Was it well?"))]})
    await graph.ainvoke({"messages": []}, THREAD)
    ended = await graph.ainvoke(Command(resume="yes"), THREAD)
    assert (ended["messages"][-1].content, once(sandbox)) == ("yes", True)


def test_a_node_that_runs_again_on_resume_pays_once(sandbox: Sandbox, tool: VoiceCallTool) -> None:
    """Call and interrupt in one node: the node runs from its top again, the call does not."""
    told: list[str] = []

    def call_and_ask(_: Any, config: RunnableConfig) -> dict[str, Any]:
        message = tool.invoke(tool_call(), config)
        told.append(message.artifact.request_id)
        return {"messages": [message, AIMessage(interrupt("Was it well?"))]}

    graph: Graph = StateGraph(MessagesState)
    graph.add_node("call_and_ask", call_and_ask)
    graph.add_edge(START, "call_and_ask")
    graph.add_edge("call_and_ask", END)
    compiled: Graph = graph.compile(checkpointer=InMemorySaver())
    compiled.invoke({"messages": []}, THREAD)
    compiled.invoke(Command(resume="yes"), THREAD)
    assert (len(told), len(set(told)), once(sandbox)) == (2, 1, True)


async def test_a_graph_run_again_from_its_checkpoint_pays_once(
    sandbox: Sandbox, tool: VoiceCallTool
) -> None:
    """Back to the checkpoint before the tool's node, and on from there: the same call's outcome."""
    graph = graph_around(tool)
    first = answer_in(await graph.ainvoke({"messages": []}, THREAD))
    before = next(s for s in graph.get_state_history(THREAD) if s.next == ("tools",))
    again = answer_in(await graph.ainvoke(None, before.config))
    same = again.artifact.request_id == first.artifact.request_id
    assert (same, again.artifact.call_status, once(sandbox)) == (True, "completed", True)


def test_a_node_that_failed_after_the_call_runs_again_and_pays_once(
    sandbox: Sandbox, tool: VoiceCallTool
) -> None:
    """A crash behind the tool's node, and the graph is taken up again from its last checkpoint."""
    crashes = iter([True, False])

    def crash_once(_: Any) -> dict[str, Any]:
        if next(crashes):
            raise RuntimeError("the worker ran out of memory")
        return {"messages": [AIMessage("Done.")]}

    graph = graph_around(tool, after=crash_once)
    with pytest.raises(RuntimeError):
        graph.invoke({"messages": []}, THREAD)
    ended = graph.invoke(None, THREAD)
    assert (ended["messages"][-1].content, once(sandbox)) == ("Done.", True)


@pytest.fixture
def two_workers(make_tool: MakeTool, postgres_url: str) -> Iterator[list[VoiceCallTool]]:
    """Two tools as on two machines: they share nothing but a database."""
    from langchain_oneshot_voice.engine import ENGINE

    journals = [CallJournal(postgres_url) for _ in range(2)]
    yield [make_tool(policy=AT_ANY_HOUR, journal=journal) for journal in journals]
    for journal in journals:
        ENGINE.call(journal.aclose)


def test_one_thread_on_two_workers_at_once_pays_once(
    sandbox: Sandbox, two_workers: list[VoiceCallTool]
) -> None:
    """A queue delivered the job twice: both workers get the one call's outcome."""
    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(_run_thread, two_workers))
    told = {answer_in(state).artifact.request_id for state in states}
    assert (len(told), once(sandbox)) == (1, True)


def test_one_thread_on_a_second_worker_after_the_first_lost_the_reply_pays_once(
    sandbox: Sandbox, two_workers: list[VoiceCallTool]
) -> None:
    """The first worker does not know what became of its payment; the second finds out."""
    first, second = two_workers
    first.max_wait = 0.3
    sandbox.inject(Fault("paid", "drop_reply"))
    sandbox.inject(Fault("receipts", "status_503", times=10**6))
    lost = answer_in(_run_thread(first))
    sandbox.clear_faults()
    found = answer_in(_run_thread(second))
    seen = (lost.status, found.status, found.artifact.call_status, once(sandbox))
    assert seen == ("error", "success", "completed", True)


def _run_thread(tool: VoiceCallTool) -> dict[str, Any]:
    state: dict[str, Any] = graph_around(tool).invoke({"messages": []}, THREAD)
    return state
