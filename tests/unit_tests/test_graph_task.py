"""Where in a graph a call is asked for: what stays the same when a task runs again."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig, ensure_config
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from langchain_oneshot_voice.approval.pause import can_pause, missing_private_name
from langchain_oneshot_voice.graph_task import PRIVATE_NAMES, SCRATCHPAD, GraphTask

THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """Whatever was done."""

    done: Annotated[list[int], operator.add]
    one: int


class Seen:
    """What a node sees of its task, run by run."""

    def __init__(self) -> None:
        self.positions: list[str] = []
        self.counts: list[int] = []
        self.tasks: list[GraphTask] = []

    def look(self, request: str = "the same") -> None:
        """Note the running task and the count of an equal request."""
        task = GraphTask.of(ensure_config())
        assert task is not None
        self.tasks.append(task)
        self.positions.append(task.position)
        self.counts.append(task.count(request))


@pytest.fixture
def seen() -> Seen:
    """An empty note."""
    return Seen()


def graph_of(node: Callable[[State], Any], **options: Any) -> Any:
    """A graph of one node."""
    graph: Any = StateGraph(State)
    graph.add_node("node", node, **options)
    graph.add_edge(START, "node")
    return graph


def failing_twice(step: Callable[[], None]) -> Callable[[State], State]:
    """A node that takes a step, and fails after it the first two times."""
    left = [2]

    def node(_: State) -> State:
        step()
        if left[0]:
            left[0] -= 1
            raise ValueError
        return {"done": [1]}

    return node


RETRIES = RetryPolicy(max_attempts=3, retry_on=ValueError, initial_interval=0.001)


def test_outside_a_graph_there_is_no_task() -> None:
    """Neither nothing, nor a thread id of the application's, nor an empty namespace is one."""
    assert GraphTask.of(None) is None
    assert GraphTask.of(THREAD) is None
    assert GraphTask.of({"configurable": {"__pregel_send": 1, "checkpoint_ns": ""}}) is None


def test_interrupted_task_runs_again_at_the_same_place(seen: Seen) -> None:
    """The same position, and equal requests are counted from 0 again."""

    def node(_: State) -> State:
        seen.look()
        interrupt("one")
        seen.look()
        interrupt("two")
        return {"done": [1]}

    graph = graph_of(node).compile(checkpointer=InMemorySaver())
    graph.invoke({"done": []}, THREAD)
    graph.invoke(Command(resume=1), THREAD)
    graph.invoke(Command(resume=2), THREAD)
    assert (len(set(seen.positions)), seen.counts) == (1, [0, 0, 1, 0, 1])


def test_retried_task_counts_from_0_again(seen: Seen) -> None:
    """A retry policy runs the node again within one run of the graph."""
    graph_of(failing_twice(seen.look), retry_policy=RETRIES).compile().invoke({"done": []})
    assert (len(set(seen.positions)), seen.counts) == (1, [0, 0, 0])


def test_retried_node_that_runs_a_subgraph_finds_the_same_place(seen: Seen) -> None:
    """LangGraph gives the subgraph's tasks new ids then; the position does not have them."""

    def inner(_: State) -> State:
        seen.look()
        return {"done": [1]}

    subgraph = graph_of(inner).compile()
    node = failing_twice(lambda: subgraph.invoke({"done": []}))
    graph_of(node, retry_policy=RETRIES).compile().invoke({"done": []})
    assert len({task.namespace for task in seen.tasks}) == 3
    assert (len(set(seen.positions)), seen.counts) == (1, [0, 0, 0])


def test_second_run_of_a_graph_is_another_place(seen: Seen) -> None:
    """New input makes new calls."""

    def node(_: State) -> State:
        seen.look()
        return {"done": [1]}

    graph = graph_of(node).compile(checkpointer=InMemorySaver())
    graph.invoke({"done": []}, THREAD)
    graph.invoke({"done": []}, THREAD)
    assert (len(set(seen.positions)), seen.counts) == (2, [0, 0])


def test_tasks_sent_within_a_subgraph_are_places_of_their_own(seen: Seen) -> None:
    """Two of one step have different paths."""

    def inner(_: State) -> State:
        seen.look()
        return {"done": [1]}

    subgraph: Any = StateGraph(State)
    subgraph.add_node("inner", inner)
    subgraph.add_conditional_edges(
        START, lambda _: [Send("inner", {"one": 1}), Send("inner", {"one": 1})], ["inner"]
    )
    graph: Any = StateGraph(State)
    graph.add_node("outer", subgraph.compile())
    graph.add_edge(START, "outer")
    graph.compile(checkpointer=InMemorySaver()).invoke({"done": []}, THREAD)
    assert (len(set(seen.positions)), seen.counts) == (2, [0, 0])


def test_different_requests_are_counted_apart(seen: Seen) -> None:
    """Their order in the node does not matter then."""

    def node(_: State) -> State:
        for request in ("a", "b", "a", "a", "b"):
            seen.look(request)
        return {"done": [1]}

    graph_of(node).compile().invoke({"done": []})
    assert seen.counts == [0, 0, 1, 2, 1]


def test_without_a_scratchpad_equal_requests_are_one(seen: Seen) -> None:
    """Should LangGraph rename it, two equal requests are one call; nothing is paid twice."""

    def node(_: State) -> State:
        task = GraphTask.of(ensure_config())
        assert task is not None
        bare = {k: v for k, v in task.configurable.items() if k != SCRATCHPAD}
        blind = GraphTask(task.thread, task.namespace, task.position, bare)
        seen.counts += [blind.count("x"), blind.count("x")]
        return {"done": [1]}

    graph_of(node).compile().invoke({"done": []})
    assert seen.counts == [0, 0]


def test_installed_langgraph_has_every_private_name_that_bare_answers_need(seen: Seen) -> None:
    """Without one of them the function says which one has moved."""

    def node(_: State) -> State:
        seen.look()
        return {"done": [1]}

    graph_of(node).compile(checkpointer=InMemorySaver()).invoke({"done": []}, THREAD)
    [task] = seen.tasks
    assert missing_private_name(task.configurable) is None
    for name in PRIVATE_NAMES:
        without = {k: v for k, v in task.configurable.items() if k != name}
        assert missing_private_name(without) == name


def test_only_a_graph_with_a_checkpointer_and_a_thread_can_be_paused(seen: Seen) -> None:
    """Without one nobody could resume it."""

    def node(_: State) -> State:
        seen.look()
        return {"done": [1]}

    graph_of(node).compile(checkpointer=InMemorySaver()).invoke({"done": []}, THREAD)
    graph_of(node).compile().invoke({"done": []}, THREAD)
    assert [can_pause(task) for task in (*seen.tasks, None)] == [True, False, False]


def test_repr_of_a_task_shows_nothing_of_the_user_s_config(seen: Seen) -> None:
    """What a config carries, a key perhaps, does not get into logs with the task."""
    graph = graph_of(lambda _state: seen.look()).compile(checkpointer=InMemorySaver())
    graph.invoke({}, {"configurable": {"thread_id": "t", "api_key": "a secret"}})
    assert "a secret" not in repr(seen.tasks)
    assert seen.tasks[0].configurable["api_key"] == "a secret"
