"""The ways in which a LangGraph graph runs a tool, all around the same script of steps."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send, interrupt
from placing import arguments, tool_call

from langchain_oneshot_voice import VoiceCallInput, VoiceCallTool

Graph = Any
THREAD: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}
INPUT: Mapping[str, Any] = {"out": []}


class State(TypedDict, total=False):
    """The state of a graph that is made of scripts."""

    out: Annotated[list[int], operator.add]
    args: dict[str, Any]


class BrokenNodeError(Exception):
    """A node failed. LangGraph's default retry policy retries it."""


@dataclass
class Fails:
    """A step that raises the first few times."""

    times: int

    def __call__(self) -> None:
        """Raise while there are failures left."""
        if self.times > 0:
            self.times -= 1
            raise BrokenNodeError


@dataclass
class Script:
    """What a node does in order, and what it got.

    A string asks a question of the node's own, `Fails` raises, and a mapping (the arguments of a
    call) calls the tool.
    """

    steps: Sequence[str | Fails | dict[str, Any]]
    turns: bool = False
    """Whether every second run places its calls in reverse order."""
    runs: int = 0
    heard: list[tuple[str, Any]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def walk(self) -> Generator[dict[str, Any], Any, None]:
        """Go through the steps; yield each call's arguments and receive its result."""
        self.runs += 1
        calls = [step for step in self.steps if isinstance(step, dict)]
        if self.turns and self.runs % 2 == 0:
            calls.reverse()
        for step in self.steps:
            if isinstance(step, str):
                self.heard.append((step, interrupt({"own": step})))
            elif isinstance(step, Fails):
                step()
            else:
                self.results.append((yield calls.pop(0)))

    def run(self, place: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Run all steps, with a function that places a call."""
        walk = self.walk()
        try:
            args = next(walk)
            while True:
                args = walk.send(place(args))
        except StopIteration:
            return {"out": [1]}

    async def arun(self, place: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Run all steps, with an async function that places a call."""
        walk = self.walk()
        try:
            args = next(walk)
            while True:
                args = walk.send(await place(args))
        except StopIteration:
            return {"out": [1]}

    def heard_wrongly(self) -> list[tuple[str, Any]]:
        """List the own questions that got an answer to another question."""
        return [(name, answer) for name, answer in self.heard if answer != f"to {name}"]


class RunByAinvoke:
    """A graph whose `invoke` is a whole `asyncio.run` of its `ainvoke`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)

    def invoke(self, *args: Any, **options: Any) -> Any:
        """Run `ainvoke` in an event loop of its own."""
        return asyncio.run(self._graph.ainvoke(*args, **options))


def one_node(function: Any, saver: BaseCheckpointSaver[Any] | None, **options: Any) -> Graph:
    """Build a graph of one node."""
    graph: Any = StateGraph(State)
    graph.add_node("n", function, **options)
    graph.add_edge(START, "n")
    return graph.compile(checkpointer=saver)


def in_node(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call `tool.invoke({...})` in a node."""
    return one_node(lambda _: script.run(tool.invoke), InMemorySaver(), **options)


def in_node_by_id(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call the tool in a node, with a tool call whose id is made of the number."""

    def place(args: dict[str, Any]) -> Any:
        return tool.invoke(tool_call(f"call-{args['target_number']}", **args))

    return one_node(lambda _: script.run(place), InMemorySaver(), **options)


def in_async_node(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call `await tool.ainvoke({...})` in an async node."""

    async def node(_: State) -> Any:
        return await script.arun(tool.ainvoke)

    return RunByAinvoke(one_node(node, InMemorySaver(), **options))


def with_caller(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call `VoiceCaller.call(request, config=config)` in a node."""

    def node(_: State, config: RunnableConfig) -> Any:
        return script.run(lambda args: tool.caller.call(VoiceCallInput(**args), config=config))

    return one_node(node, InMemorySaver(), **options)


def in_chain(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call the tool as the last part of a chain, in a node that is a `RunnableLambda`."""
    chain: Any = RunnableLambda(lambda args: args) | tool
    node: Any = RunnableLambda(lambda _: script.run(chain.invoke))
    return one_node(node, InMemorySaver(), **options)


def in_entrypoint(tool: VoiceCallTool, script: Script) -> Graph:
    """Call `tool.invoke({...})` in the function of an `@entrypoint`."""

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: Any) -> Any:
        return script.run(tool.invoke)

    return flow


def in_task(tool: VoiceCallTool, script: Script) -> Graph:
    """Call `tool.invoke({...})` in a `@task` of an `@entrypoint`."""

    @task
    def place(args: dict[str, Any]) -> Any:
        return tool.invoke(args)

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: Any) -> Any:
        return script.run(lambda args: place(args).result())

    return flow


def in_called_subgraph(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call the tool in a node of a subgraph that another node invokes."""
    return around_subgraph(tool, script, Script([]), **options)


def around_subgraph(tool: VoiceCallTool, script: Script, after: Script, **options: Any) -> Graph:
    """Call the tool in a subgraph, and run a second script in the node that invoked it."""
    inner = one_node(lambda _: script.run(tool.invoke), None)

    def node(_: State) -> Any:
        inner.invoke(dict(INPUT))
        return after.run(tool.invoke)

    return one_node(node, InMemorySaver(), **options)


def in_subgraph_node(tool: VoiceCallTool, script: Script, **options: Any) -> Graph:
    """Call the tool in a subgraph that is itself a node."""
    inner = one_node(lambda _: script.run(tool.invoke), None)
    return one_node(inner, InMemorySaver(), **options)


Build = Callable[[VoiceCallTool, Script], Graph]
STYLES: dict[str, Build] = {
    "node": in_node,
    "async node": in_async_node,
    "caller": with_caller,
    "chain": in_chain,
    "entrypoint": in_entrypoint,
    "task": in_task,
    "called subgraph": in_called_subgraph,
    "subgraph node": in_subgraph_node,
}
"""Every way to call without a tool call id."""
RETRIED: dict[str, Any] = {
    "node": in_node,
    "async node": in_async_node,
    "caller": with_caller,
    "chain": in_chain,
    "called subgraph": in_called_subgraph,
    "subgraph node": in_subgraph_node,
}
"""Those of them whose node takes a retry policy."""


def sends(tool: VoiceCallTool, *calls: dict[str, Any], after: Script | None = None) -> Graph:
    """Place each call in a task of its own (`Send`); each task runs a script behind its call."""
    behind = after or Script([])

    def one(state: State) -> Any:
        tool.invoke(state["args"])
        return behind.run(tool.invoke)

    graph: Any = StateGraph(State)
    graph.add_node("one", one)
    graph.add_conditional_edges(START, lambda _: [Send("one", {"args": c}) for c in calls], ["one"])
    return graph.compile(checkpointer=InMemorySaver())


def tool_node(*tools: Any, saver: BaseCheckpointSaver[Any] | None = None, **options: Any) -> Graph:
    """Run tool calls in one `ToolNode`, so in one task."""
    graph: Any = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(list(tools)), **options)
    graph.add_edge(START, "tools")
    return graph.compile(checkpointer=saver or InMemorySaver())


def tool_calls(*numbers: str, name: str = "voice_call") -> dict[str, Any]:
    """Build the input of a `ToolNode`: one message of a model, with one call for each number."""
    calls = [tool_call(f"call-{n}", **arguments(n)) | {"name": name} for n in numbers]
    return {"messages": [AIMessage("", tool_calls=calls)]}
