"""The tool in agents and graphs as the README has it; `usage.py` has the rest.

A file of its own, because LangGraph's own types are not known completely.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_oneshot_voice import VoiceCallTool

THREAD: RunnableConfig = {"configurable": {"thread_id": "42"}}


def in_an_agent(model: BaseChatModel) -> str:
    """An agent that asks a person."""
    tool = VoiceCallTool(approval="interrupt")
    agent = create_agent(model, [tool], checkpointer=InMemorySaver())
    paused = agent.invoke({"messages": [HumanMessage("Book a table.")]}, THREAD)
    [question] = paused["__interrupt__"]
    ended = agent.invoke(Command(resume={question.id: {"type": "approve"}}), THREAD)
    last = ended["messages"][-1]
    return str(last.text)


def in_a_graph(tool: VoiceCallTool, state: MessagesState) -> list[Any]:
    """A graph with the tool in a node."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    app = graph.compile(checkpointer=InMemorySaver())
    return list(app.stream(state, THREAD, stream_mode="custom"))
