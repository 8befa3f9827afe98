"""Where a call is, seen from outside: LangChain's events, a graph's stream, and a function."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import MakeTool
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from placing import NUMBER, arguments, tool_call

from langchain_oneshot_voice import CallProgress, Sandbox, VoiceCallTool
from langchain_oneshot_voice.progress import EVENT
from langchain_oneshot_voice.sandbox import CallScript

STORY = ["quoted", "paying", "placed", "completed"]
"""What is told of every call; `in_progress` stands between the last two when it takes long."""


def told_of(steps: list[Any]) -> list[str]:
    """The stages that were told, `in_progress` left out."""
    stages = [CallProgress.model_validate(step).stage for step in steps]
    return [stage for stage in stages if stage != "in_progress"]


def graph_of(tool: VoiceCallTool) -> Any:
    """A graph of one tool node."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    return graph.compile()


def asked() -> dict[str, Any]:
    """A state in which a model has just asked for a call."""
    return {"messages": [AIMessage("", tool_calls=[tool_call()])]}


async def test_astream_events_of_the_tool(make_tool: MakeTool) -> None:
    """Each step is a custom event of the tool's run, without a graph around it."""
    events = [event async for event in make_tool().astream_events(arguments(), version="v2")]
    steps = [event["data"] for event in events if event["event"] == "on_custom_event"]

    assert told_of(steps) == STORY
    assert {e["name"] for e in events if e["event"] == "on_custom_event"} == {EVENT}


async def test_astream_events_of_a_graph(make_tool: MakeTool) -> None:
    """And when the tool is somewhere inside a graph."""
    graph = graph_of(make_tool())
    events = [event async for event in graph.astream_events(asked(), version="v2")]
    steps = [e["data"] for e in events if e["event"] == "on_custom_event" and e["name"] == EVENT]

    assert told_of(steps) == STORY


async def test_custom_stream_of_an_async_graph(make_tool: MakeTool) -> None:
    """`stream_mode="custom"` has the same steps."""
    graph = graph_of(make_tool())
    steps = [news[EVENT] async for news in graph.astream(asked(), stream_mode="custom")]

    assert told_of(steps) == STORY


def test_custom_stream_of_a_sync_graph(make_tool: MakeTool) -> None:
    """In sync code too."""
    steps = [news[EVENT] for news in graph_of(make_tool()).stream(asked(), stream_mode="custom")]

    assert told_of(steps) == STORY


async def test_steps_arrive_while_the_call_is_on(sandbox: Sandbox, make_tool: MakeTool) -> None:
    """`placed` is told before the call has ended, not with it."""
    sandbox.expect(NUMBER, CallScript(seconds=0.5))
    ended = {}
    async for news in graph_of(make_tool()).astream(asked(), stream_mode="custom"):
        ended[news[EVENT]["stage"]] = sandbox.calls and sandbox.calls[0].status == "completed"

    assert ended["placed"] is False
    assert ended["completed"] is True


async def test_long_call_is_told_to_be_in_progress(sandbox: Sandbox, make_tool: MakeTool) -> None:
    """While the phone is busy that is said again and again, with the time that has passed."""
    sandbox.expect(NUMBER, CallScript(seconds=0.6))
    told: list[CallProgress] = []
    await make_tool(on_progress=told.append).ainvoke(arguments())
    waiting = [step for step in told if step.stage == "in_progress"]

    assert waiting
    assert all(step.request_id == sandbox.calls[0].request_id for step in waiting)
    assert [s.elapsed_seconds for s in told] == sorted(s.elapsed_seconds for s in told)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_function_is_told_of_an_async_call(make_tool: MakeTool, asynchronous: bool) -> None:
    """`on_progress` may be a function or a coroutine function."""
    told: list[CallProgress] = []

    async def listen(progress: CallProgress) -> None:
        told.append(progress)

    listener: Any = listen if asynchronous else told.append
    await make_tool(on_progress=listener).ainvoke(arguments())

    assert told_of([step.model_dump() for step in told]) == STORY


def test_function_is_told_of_a_sync_call(make_tool: MakeTool) -> None:
    """In sync code it is told while the caller's thread waits, from another thread."""
    told: list[tuple[str, int]] = []
    tool = make_tool(on_progress=lambda step: told.append((step.stage, threading.get_ident())))
    tool.invoke(arguments())

    assert [stage for stage, _ in told if stage != "in_progress"] == STORY
    assert threading.get_ident() not in {thread for _, thread in told}


async def test_no_step_shows_a_whole_number(make_tool: MakeTool) -> None:
    """Numbers are masked wherever progress is told, also inside the quote."""
    graph = graph_of(make_tool())
    news = [step async for step in graph.astream(asked(), stream_mode="custom")]
    events = [e async for e in make_tool().astream_events(arguments("+14155550112"), version="v2")]
    custom = [event["data"] for event in events if event["event"] == "on_custom_event"]

    assert NUMBER not in str(news)
    assert "+14155550112" not in str(custom)
    assert "+14*******00" in str(news)
