"""A person who answers the questions of a graph, and sees that nothing rings without a yes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from graphs import THREAD, Graph
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command
from phone import APPROVE, rung

from langchain_oneshot_voice import Sandbox

Style = Literal["bare", "by id"]
MOST_QUESTIONS = 12


def open_questions(state: Any) -> list[Any]:
    """List the interrupts that a graph stopped with."""
    return list(state.get("__interrupt__", ())) if isinstance(state, dict) else []


def is_call(question: Any) -> bool:
    """Tell whether a question is about a phone call."""
    return isinstance(question.value, dict) and "quote" in question.value


class Person:
    """Answers each question by what it asks, and remembers all of them.

    Args:
        sandbox: where to look whether something rang that this person did not agree to.
        style: `bare` answers with `Command(resume=answer)` where one question is open. A question
            that comes with a `note` is answered by id, as the note says.
        decisions: the decision about a call, by the number that the question shows; approve
            where a number is not listed.
        may_ring: numbers that ring without a question.
        own_answer: the answer to the program's own questions; `to NAME` by default.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        style: Style = "by id",
        decisions: Mapping[str, Any] | None = None,
        *,
        may_ring: Iterable[str] = (),
        own_answer: Any = None,
    ) -> None:
        self._sandbox = sandbox
        self._style = style
        self._decisions = decisions or {}
        self._agreed = set(may_ring)
        self._own_answer = own_answer
        self.asked: list[Any] = []

    @property
    def asked_numbers(self) -> list[str]:
        """The numbers of the calls that were asked about, in order."""
        return [q.value["args"]["target_number"] for q in self.asked if is_call(q)]

    @property
    def asked_own(self) -> list[str]:
        """The node's own questions, in order."""
        return [q.value["own"] for q in self.asked if not is_call(q)]

    def reply(self, state: Any) -> Command[Any] | None:
        """Answer all open questions; None when there are none."""
        assert set(rung(self._sandbox)) <= self._agreed, "a phone rang and nobody agreed"
        questions = open_questions(state)
        self.asked += questions
        assert len(self.asked) <= MOST_QUESTIONS, "the graph asks for ever"
        if not questions:
            return None
        answers = {question.id: self._answer(question) for question in questions}
        if self._style == "bare" and len(questions) == 1 and "note" not in _keys(questions[0]):
            return Command(resume=answers[questions[0].id])
        return Command(resume=answers)

    def _answer(self, question: Any) -> Any:
        if not is_call(question):
            return self._own_answer or f"to {question.value['own']}"
        number = question.value["args"]["target_number"]
        decision = self._decisions.get(number, APPROVE)
        if decision["type"] == "approve":
            self._agreed.add(number)
        elif decision["type"] == "edit":
            self._agreed.add(decision["edited_action"]["args"]["target_number"])
        return decision


def _keys(question: Any) -> set[str]:
    return {key for key, value in question.value.items() if value}


def talk(graph: Graph, given: Any, person: Person, config: RunnableConfig | None = None) -> Any:
    """Run a graph to its end, with this person's answers; return its last state."""
    config = config or THREAD
    state = graph.invoke(given, config)
    while (reply := person.reply(state)) is not None:
        state = graph.invoke(reply, config)
    return state


async def atalk(
    graph: Graph, given: Any, person: Person, config: RunnableConfig | None = None
) -> Any:
    """Do the same with `ainvoke`, in one event loop."""
    config = config or THREAD
    state = await graph.ainvoke(given, config)
    while (reply := person.reply(state)) is not None:
        state = await graph.ainvoke(reply, config)
    return state
