"""The graphs whose threads the fixtures hold: built the same way before and after the upgrade."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_oneshot_voice import VoiceCallTool

# The scripted model is part of the tests in the next folder.
sys.path.append(str(Path(__file__).parents[1] / "integration_tests"))

from scripted_model import ScriptedModel


def call_of(call_id: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool call as a model makes it."""
    return {"name": "voice_call", "args": arguments, "id": call_id, "type": "tool_call"}


def in_thread(name: str) -> RunnableConfig:
    """The config of one conversation."""
    return {"configurable": {"thread_id": name}}


def agent(tool: VoiceCallTool, saver: SqliteSaver, *calls: dict[str, Any]) -> Any:
    """A `create_agent` graph. Without calls its model only says the last words."""
    script = [AIMessage("", tool_calls=list(calls))] if calls else []
    return create_agent(
        ScriptedModel(responses=[*script, AIMessage("Done.")]), [tool], checkpointer=saver
    )


def tool_node(tool: VoiceCallTool, saver: SqliteSaver, *_: dict[str, Any]) -> Any:
    """A graph of one plain `ToolNode`. Its calls come with the input."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    return graph.compile(checkpointer=saver)


GRAPHS: dict[str, Callable[..., Any]] = {"agent": agent, "tool_node": tool_node}
"""How each kind of graph is built."""


def first_input(graph: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """What starts a thread."""
    messages: list[Any] = [("user", "Please call.")]
    if graph == "tool_node":
        messages.append(AIMessage("", tool_calls=calls))
    return {"messages": messages}
