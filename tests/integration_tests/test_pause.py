"""Bare answers and the checkpointer: what is cleared there, and when a bare answer counts."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from conftest import MakeCaller, MakeTool
from langchain_core.runnables import RunnableConfig, ensure_config
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from placing import NUMBER, arguments
from postgres import postgres_server, postgres_url  # noqa: F401 - fixtures
from sqlalchemy.engine import make_url

from langchain_oneshot_voice import Sandbox, VoiceCallInput, VoiceCallTool
from langchain_oneshot_voice.graph_task import PRIVATE_NAMES

APPROVE = {"type": "approve"}
THREAD: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}
NULL_TASK = "00000000-0000-0000-0000-000000000000"


class State(TypedDict, total=False):
    """What the node's own interrupts were answered with."""

    own: list[Any]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Each kind of checkpointer that LangGraph ships."""
    if request.param == "memory":
        yield InMemorySaver()
    elif request.param == "sqlite":
        connection = sqlite3.connect(tmp_path / "graph.sqlite", check_same_thread=False)
        yield SqliteSaver(connection)
        connection.close()
    else:
        url = make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql")
        plain = url.render_as_string(hide_password=False)
        with PostgresSaver.from_conn_string(plain) as saver:
            saver.setup()
            yield saver


def quote_that_is_over(
    status: int, headers: dict[str, str], body: dict[str, Any] | None
) -> tuple[int, dict[str, str], dict[str, Any] | None]:
    """A quote that can't be taken any more when the graph goes on."""
    assert body is not None
    body["context"]["expires_at"] = "2026-01-01T00:00:00Z"
    return status, headers, body


def calls_then_asks(tool: VoiceCallTool, saver: Any) -> Any:
    """A node that calls, and then has two questions of its own."""

    def node(_: State) -> State:
        tool.invoke(arguments())
        return {"own": [interrupt("first"), interrupt("second")]}

    graph: Any = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    return graph.compile(checkpointer=saver)


def stored(saver: Any) -> tuple[Any, list[tuple[Any, ...]]]:
    """The bare answer that is kept with the thread's checkpoint, and all else that is kept."""
    found = saver.get_tuple(THREAD)
    writes = [tuple(write) for write in found.pending_writes]
    bare = [w[2] for w in writes if w[:2] == (NULL_TASK, "__resume__")]
    others = [w for w in writes if w[:2] != (NULL_TASK, "__resume__")]
    return (bare[0] if bare else None), [(found.checkpoint["id"], found.metadata), *others]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_heard_answer_is_not_given_to_the_next_question(
    make_tool: MakeTool, sandbox: Sandbox, saver: Any, durability: Any
) -> None:
    """Our yes is cleared: runs without an answer leave the node's own questions open."""
    graph = calls_then_asks(make_tool(approval="interrupt"), saver)
    graph.invoke({"own": []}, THREAD, durability=durability)
    graph.invoke(Command(resume=APPROVE), THREAD, durability=durability)
    for _ in range(2):
        [question] = graph.invoke(None, THREAD, durability=durability)["__interrupt__"]
        assert question.value == "first"
    assert stored(saver)[0] is None
    graph.invoke(Command(resume="one"), THREAD, durability=durability)
    done = graph.invoke(Command(resume="two"), THREAD, durability=durability)
    assert (done["own"], len(sandbox.rings)) == (["one", "two"], 1)


class LateSaver(InMemorySaver):
    """A checkpointer that stores a bare answer only after it has been looked for twice."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)

    def get_tuple(self, config: RunnableConfig) -> Any:
        """Read, and note that somebody has looked."""
        found = super().get_tuple(config)
        self.looks.release()
        return found

    def put_writes(self, config: RunnableConfig, writes: Any, *where: Any) -> None:
        """Write; in the background, if LangGraph does."""
        if any(channel == "__resume__" and value is not None for channel, value in writes):
            self.looks = threading.Semaphore(0)
            for _ in range(2):
                self.looks.acquire(timeout=2)
        super().put_writes(config, writes, *where)


def test_answer_that_is_stored_late_is_not_given_to_the_next_question(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Our yes is heard before LangGraph has stored it; it is waited for, and cleared."""
    saver = LateSaver()
    graph = calls_then_asks(make_tool(approval="interrupt"), saver)
    graph.invoke({"own": []}, THREAD)
    graph.invoke(Command(resume=APPROVE), THREAD)
    [question] = graph.invoke(None, THREAD)["__interrupt__"]
    assert (question.value, stored(saver)[0], len(sandbox.rings)) == ("first", None, 1)


def test_bare_answer_where_no_question_is_open_is_no_answer(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The node failed before it called; it is run again with a yes, and the person is asked."""
    tool, fails = make_tool(approval="interrupt"), iter([True, False])

    def node(_: State) -> State:
        if next(fails):
            raise RuntimeError("not yet")
        tool.invoke(arguments())
        return {"own": []}

    graph: Any = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = graph.compile(checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="not yet"):
        app.invoke({"own": []}, THREAD)
    [question] = app.invoke(Command(resume=APPROVE), THREAD)["__interrupt__"]
    assert (question.value["type"], sandbox.rings, sandbox.payments) == ("tool_approval", (), ())


def test_nothing_but_the_bare_answer_is_touched(make_tool: MakeTool, saver: Any) -> None:
    """The checkpoint and every other write beside it stay as they were."""
    graph = calls_then_asks(make_tool(approval="interrupt"), saver)
    graph.invoke({"own": []}, THREAD)
    checkpoint = stored(saver)[1][0]
    graph.invoke(Command(resume=APPROVE), THREAD)
    bare, (after, *writes) = stored(saver)
    assert (bare, after) == (None, checkpoint)
    assert [
        interrupts[0].value for _, channel, interrupts in writes if channel == "__interrupt__"
    ] == ["first"]


@pytest.mark.parametrize("moved", PRIVATE_NAMES)
def test_where_a_private_name_has_moved_bare_answers_are_refused(
    make_caller: MakeCaller, sandbox: Sandbox, moved: str
) -> None:
    """A bare yes is asked again, or refused where nothing can be paused; by id it counts."""
    caller = make_caller(approval="interrupt")
    request = VoiceCallInput(**arguments(NUMBER))

    def node(_: State) -> State:
        config = ensure_config()
        names = {k: v for k, v in config["configurable"].items() if k != moved}
        try:
            caller.call(request, config={**config, "configurable": names})
        except Exception as refused:
            if getattr(refused, "code", "") != "approval_unavailable":
                raise
            return {"own": ["refused"]}
        return {"own": ["called"]}

    graph: Any = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = graph.compile(checkpointer=InMemorySaver())
    first = app.invoke({"own": []}, THREAD)
    if "__interrupt__" not in first:
        assert (first["own"], moved) == (["refused"], "__pregel_checkpointer")
        return
    [again] = app.invoke(Command(resume=APPROVE), THREAD)["__interrupt__"]
    assert ("by its id" in again.value["note"], sandbox.rings) == (True, ())
    done = app.invoke(Command(resume={again.id: APPROVE}), THREAD)
    assert (done["own"], len(sandbox.rings)) == (["called"], 1)


def test_late_no_to_an_earlier_question_ends_the_call(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The price rose, so a second question is open; a no to the first one, by its id, is a no."""
    graph = calls_then_asks(make_tool(approval="interrupt"), InMemorySaver())
    sandbox.tamper("quote", quote_that_is_over)
    [first] = graph.invoke({"own": []}, THREAD)["__interrupt__"]
    sandbox.tamper("quote", None)
    [second] = graph.invoke(None, THREAD)["__interrupt__"]
    assert first.id != second.id
    [own] = graph.invoke(Command(resume={first.id: {"type": "reject"}}), THREAD)["__interrupt__"]
    graph.invoke(Command(resume={second.id: APPROVE}), THREAD)
    assert (own.value, sandbox.rings, sandbox.payments) == ("first", (), ())
