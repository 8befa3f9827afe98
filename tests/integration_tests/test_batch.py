"""`batch` and `abatch` of the tool: every call at once, as LangChain hands them out."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import MakeTool
from langgraph.types import Command
from many import (
    LONG,
    THREAD,
    graph_of,
    number,
    questions,
)
from placing import arguments, at_any_hour, tool_call

from langchain_oneshot_voice import (
    Sandbox,
    VoiceCallError,
)

AT_ONCE = 120


def calls(count: int) -> list[Any]:
    """Tool calls to so many people."""
    return [tool_call(f"call-{which}", **arguments(number(which))) for which in range(count)]


class Crowd:
    """An approval function that counts how many ask it at the same time."""

    def __init__(self, size: int) -> None:
        self._all_here = threading.Barrier(size)
        self._lock = threading.Lock()
        self._here = 0
        self.most = 0

    def __call__(self, _request: object, _quote: object) -> bool:
        """Wait until all are here."""
        with self._lock:
            self._here += 1
            self.most = max(self.most, self._here)
        self._all_here.wait(LONG)
        with self._lock:
            self._here -= 1
        return False


@pytest.mark.parametrize("way", ["batch", "batch_as_completed"])
def test_batch_runs_all_calls_at_once(way: str, make_tool: MakeTool) -> None:
    """None waits for a thread: each is asked about before anybody answers."""
    tool = make_tool(approval=Crowd(AT_ONCE), max_wait=LONG)
    if way == "batch":
        answers = tool.batch(calls(AT_ONCE))
    else:
        answers = [answer for _, answer in sorted(tool.batch_as_completed(calls(AT_ONCE)))]
    assert [m.tool_call_id for m in answers] == [f"call-{which}" for which in range(AT_ONCE)]
    assert {m.artifact.call_status for m in answers} == {"rejected"}


@pytest.mark.parametrize("many", [False, True], ids=["one config", "one each"])
def test_batch_respects_max_concurrency(make_tool: MakeTool, *, many: bool) -> None:
    """As LangChain's own does."""
    crowd = Crowd(2)
    config: Any = {"max_concurrency": 2}
    make_tool(approval=crowd).batch(calls(6), [config] * 6 if many else config)
    assert crowd.most == 2


def test_batch_returns_exceptions_as_langchain_does(make_tool: MakeTool) -> None:
    """In their places, if they are asked for; else the first is raised."""
    asked = calls(3)
    tool = make_tool(handle_tool_error=False, policy=at_any_hour(deny=[number(1)]))
    first, refused, third = tool.batch(asked, return_exceptions=True)
    assert isinstance(refused, VoiceCallError)
    assert {first.artifact.call_status, third.artifact.call_status} == {"completed"}
    with pytest.raises(VoiceCallError, match="may call"):
        tool.batch(asked)


async def test_abatch_runs_all_calls_at_once(make_tool: MakeTool) -> None:
    """LangChain's own does."""
    tool = make_tool(approval=Crowd(AT_ONCE), max_wait=LONG)
    answers = await tool.abatch(calls(AT_ONCE))
    assert {m.artifact.call_status for m in answers} == {"rejected"}


def test_batch_in_a_graph_asks_about_each_call_once(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """With `approval="interrupt"`: by id, each answer is for its own call."""
    tool = make_tool(approval="interrupt")
    app = graph_of(lambda _state: {"out": len(tool.batch([call["args"] for call in calls(3)]))})
    state, asked = app.invoke({"out": 0}, THREAD), []
    while questions(state):
        [question] = questions(state)
        asked.append(question.id)
        wanted = question.value["args"]["target_number"]
        answer = "reject" if wanted == number(1) else "approve"
        state = app.invoke(Command(resume={question.id: {"type": answer}}), THREAD)
    assert (state["out"], len(asked), len(set(asked))) == (3, 3, 3)
    assert sorted(ring.number for ring in sandbox.rings) == [number(0), number(2)]
