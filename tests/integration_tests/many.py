"""What tests of many calls share: people to call, and a graph with one node."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypedDict

from full import FULL
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from placing import OBJECTIVE, legs

from langchain_oneshot_voice import (
    CallEnded,
    Sandbox,
    VoiceCallError,
    VoiceCallInput,
)
from langchain_oneshot_voice.sandbox.faults import Leg

WEALTH = Decimal(10**6)
LONG = 60.0
PEOPLE, PLACES = (1000, 50) if FULL else (150, 25)
Ended = CallEnded[VoiceCallInput]


def number(which: int) -> str:
    """A fictional number."""
    return f"+1415555{3000 + which}"


def request(which: int) -> VoiceCallInput:
    """A call to it."""
    return VoiceCallInput(objective=OBJECTIVE, target_number=number(which))


def requests(count: int) -> list[VoiceCallInput]:
    """Calls to so many people."""
    return [request(which) for which in range(count)]


def came_to(ended: CallEnded[Any]) -> str:
    """How a call ended, in a word."""
    if ended.result is not None:
        return ended.result.call_status
    return ended.error.code if isinstance(ended.error, VoiceCallError) else repr(ended.error)


def any_success(ended: Ended) -> bool:
    """One is enough."""
    return ended.succeeded


def asked_for(sandbox: Sandbox, leg: Leg) -> set[str]:
    """The numbers of all requests of a leg."""
    return {str((seen.body or {})["target_number"]) for seen in legs(sandbox, leg)}


THREAD: Any = {"configurable": {"thread_id": "thread-1"}}


class State(TypedDict):
    """The state of a graph with one node."""

    out: int


def graph_of(node: Any) -> Any:
    """A graph that runs one node."""
    graph = StateGraph(State)
    graph.add_node("calls", node)
    graph.add_edge(START, "calls")
    return graph.compile(checkpointer=InMemorySaver())


def questions(state: dict[str, Any]) -> list[Any]:
    """The interrupts that a graph stopped with."""
    return list(state.get("__interrupt__", ()))
