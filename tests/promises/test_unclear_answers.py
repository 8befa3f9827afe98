"""A person can say no: an answer that is unclear, old or meant for something else pays nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from graphs import (
    INPUT,
    THREAD,
    Graph,
    Script,
    in_node,
    in_node_by_id,
    one_node,
    tool_calls,
    tool_node,
)
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from person import Person, Style, is_call, open_questions
from phone import APPROVE, REJECT, A, B, build_tool, ledger, rung
from placing import arguments, signatures

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallTool

BOTH_STYLES = pytest.mark.parametrize("style", ["bare", "by id"])
BUILDS = pytest.mark.parametrize("build", [in_node, in_node_by_id], ids=["plain", "tool call id"])
NOBODY: tuple[list[str], int] = ([], 0)


@pytest.fixture
def asking(sandbox: Sandbox, journal: CallJournal) -> VoiceCallTool:
    """A tool that asks before each call."""
    return build_tool(sandbox, journal, approval="interrupt")


@pytest.fixture
def graph(asking: VoiceCallTool) -> Graph:
    """A graph of one `ToolNode`."""
    return tool_node(asking)


def resume(graph: Graph, answer: Any, style: Style, question: Any) -> Any:
    """Answer the one open question, bare or by its id."""
    given = answer if style == "bare" else {question.id: answer}
    return graph.invoke(Command(resume=given), THREAD)


def one_open(state: Any) -> Any:
    """Return the one question that is open, which is about a call."""
    questions = open_questions(state)
    assert [is_call(question) for question in questions] == [True], "no question about a call"
    return questions[0]


UNREADABLE: list[Any] = [
    "Yes, transfer it.",
    7,
    [],
    {"type": "maybe"},
    {"type": "edit"},
    {"decisions": [APPROVE, REJECT]},
]


@pytest.mark.parametrize(
    ("unreadable", "style"),
    [*((unreadable, "bare") for unreadable in UNREADABLE), (UNREADABLE[0], "by id")],
    ids=str,
)
def test_unreadable_answer_leaves_the_question_open(
    graph: Graph, sandbox: Sandbox, style: Style, unreadable: Any
) -> None:
    """The graph raises nothing and asks again, with a note; then a clear answer counts."""
    question = one_open(graph.invoke(tool_calls(A), THREAD))
    again = one_open(resume(graph, unreadable, style, question))
    assert (bool(again.value["note"]), signatures(sandbox)) == (True, [])
    state = resume(graph, APPROVE, "by id", again)
    assert (open_questions(state), ledger(sandbox)) == ([], ([A], 1))


@BOTH_STYLES
@BUILDS
def test_unreadable_answer_is_not_given_again(
    asking: VoiceCallTool, sandbox: Sandbox, style: Style, build: Any
) -> None:
    """Words for the node's own question reach a call's; `invoke(None)` asks, twice, and goes on."""
    script = Script([arguments(A), "transfer"])
    graph = build(asking, script)
    question = one_open(graph.invoke(dict(INPUT), THREAD))
    state = resume(graph, "to transfer", style, question)
    for _ in range(2):
        one_open(state)
        state = graph.invoke(None, THREAD)
    person = Person(sandbox)
    reply = person.reply(state)
    state = graph.invoke(reply, THREAD)
    state = graph.invoke(person.reply(state), THREAD)
    seen = (open_questions(state), script.heard_wrongly(), ledger(sandbox))
    assert seen == ([], [], ([A], 1))


def test_first_question_has_no_note(graph: Graph) -> None:
    """There is nothing to say before anything was answered."""
    assert not one_open(graph.invoke(tool_calls(A), THREAD)).value.get("note")


# Which question an answer is for


def test_question_names_its_id(graph: Graph) -> None:
    """The value's `question` is the interrupt's id: 32 lower-case hex digits."""
    question = one_open(graph.invoke(tool_calls(A), THREAD))
    assert question.value["question"] == question.id
    assert (len(question.id), set(question.id) <= set("0123456789abcdef")) == (32, True)


@BOTH_STYLES
def test_answer_that_names_another_question_pays_nothing(
    graph: Graph, sandbox: Sandbox, style: Style
) -> None:
    """An approval with another question's id is no approval: the question is asked again."""
    question = one_open(graph.invoke(tool_calls(A), THREAD))
    wrong = APPROVE | {"question": "0123456789abcdef" * 2}
    again = one_open(resume(graph, wrong, style, question))
    assert (bool(again.value["note"]), signatures(sandbox)) == (True, [])


@BOTH_STYLES
def test_answer_that_names_its_question_counts(
    graph: Graph, sandbox: Sandbox, style: Style
) -> None:
    """An approval with the question's own id pays once."""
    question = one_open(graph.invoke(tool_calls(A), THREAD))
    state = resume(graph, APPROVE | {"question": question.value["question"]}, style, question)
    assert (open_questions(state), ledger(sandbox)) == ([], ([A], 1))


@pytest.mark.parametrize(
    ("decision", "style"), [(APPROVE, "bare"), (APPROVE, "by id"), (REJECT, "bare")]
)
@pytest.mark.parametrize(
    "shape",
    [lambda d: d, lambda d: [d], lambda d: {"decisions": [d]}],
    ids=["bare decision", "list", "decisions"],
)
def test_decision_counts_in_each_shape(
    graph: Graph, sandbox: Sandbox, style: Style, shape: Any, decision: dict[str, Any]
) -> None:
    """A decision, a list of one, and LangChain's `decisions` all answer the question."""
    question = one_open(graph.invoke(tool_calls(A), THREAD))
    state = resume(graph, shape(decision), style, question)
    rings = ([A], 1) if decision is APPROVE else NOBODY
    assert (open_questions(state), ledger(sandbox)) == ([], rings)


# An old bare answer, which LangGraph gives again


def poke(graph: Graph, durability: Any) -> Any:
    """Run the graph twice with nothing to say."""
    graph.invoke(None, THREAD, durability=durability)
    return graph.invoke(None, THREAD, durability=durability)


DURABILITIES = pytest.mark.parametrize("durability", ["async", "exit"])


@DURABILITIES
@BUILDS
def test_old_bare_approval_reaches_no_other_call(
    asking: VoiceCallTool, sandbox: Sandbox, build: Any, durability: Any
) -> None:
    """Call A was approved bare, B is open: two `invoke(None)` leave it open and unpaid."""
    graph = build(asking, Script([arguments(A), arguments(B)]))
    one_open(graph.invoke(dict(INPUT), THREAD, durability=durability))
    one_open(graph.invoke(Command(resume=APPROVE), THREAD, durability=durability))
    question = one_open(poke(graph, durability))
    assert (question.value["args"]["target_number"], ledger(sandbox)) == (B, ([A], 1))
    state = resume(graph, REJECT, "by id", question)
    assert (open_questions(state), ledger(sandbox)) == ([], ([A], 1))


@DURABILITIES
@pytest.mark.parametrize("first", [APPROVE, REJECT], ids=["approve", "reject"])
def test_old_bare_answer_reaches_no_other_call_of_a_tool_node(
    graph: Graph, sandbox: Sandbox, durability: Any, first: dict[str, Any]
) -> None:
    """The same for two calls of one `ToolNode`, whichever of them is shown first."""
    one = one_open(graph.invoke(tool_calls(A, B), THREAD, durability=durability))
    two = one_open(graph.invoke(Command(resume=first), THREAD, durability=durability))
    shown = {q.value["args"]["target_number"] for q in (one, two)}
    last = one_open(poke(graph, durability))
    rings = ([one.value["args"]["target_number"]], 1) if first is APPROVE else NOBODY
    assert (shown, last.value["args"], ledger(sandbox)) == ({A, B}, two.value["args"], rings)


@DURABILITIES
@BUILDS
@pytest.mark.parametrize("first", [APPROVE, REJECT], ids=["approve", "reject"])
def test_old_bare_answer_reaches_no_question_of_the_node(
    asking: VoiceCallTool, sandbox: Sandbox, build: Any, durability: Any, first: dict[str, Any]
) -> None:
    """A call was answered bare, the node's own question is open: it gets no decision."""
    script = Script([arguments(A), "transfer"])
    graph = build(asking, script)
    one_open(graph.invoke(dict(INPUT), THREAD, durability=durability))
    graph.invoke(Command(resume=first), THREAD, durability=durability)
    [question] = open_questions(poke(graph, durability))
    rings = ([A], 1) if first is APPROVE else NOBODY
    assert (question.value, script.heard, ledger(sandbox)) == ({"own": "transfer"}, [], rings)


@DURABILITIES
@BUILDS
def test_old_bare_approval_of_the_node_s_question_pays_nothing(
    asking: VoiceCallTool, sandbox: Sandbox, build: Any, durability: Any
) -> None:
    """The node's own question was approved bare, a call's is open: it stays open and unpaid."""
    graph = build(asking, Script(["transfer", arguments(A)]))
    graph.invoke(dict(INPUT), THREAD, durability=durability)
    one_open(graph.invoke(Command(resume=APPROVE), THREAD, durability=durability))
    question = one_open(poke(graph, durability))
    assert (signatures(sandbox), ledger(sandbox)) == ([], NOBODY)
    state = resume(graph, APPROVE, "by id", question)
    assert (open_questions(state), ledger(sandbox)) == ([], ([A], 1))


class Stubborn(InMemorySaver):
    """A checkpointer that keeps old bare answers: it refuses, or ignores, that one is cleared."""

    def __init__(self, *, refuses: bool) -> None:
        super().__init__()
        self._refuses = refuses

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store all writes but one that clears an answer of the whole graph."""
        of_the_graph = not task_id.strip("0-")
        if of_the_graph and any(value is None for _, value in writes):
            if self._refuses:
                raise OSError("the disk is full")
            return
        super().put_writes(config, writes, task_id, task_path)


@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "ignores"])
@pytest.mark.parametrize(
    "steps", [["transfer", arguments(A)], [arguments(B), arguments(A)]], ids=["own", "call"]
)
def test_old_bare_approval_that_cannot_be_cleared_pays_nothing(
    asking: VoiceCallTool, sandbox: Sandbox, steps: list[Any], *, refuses: bool
) -> None:
    """The checkpointer keeps the first question's approval: a call's question gets none of it."""
    script = Script(steps)
    graph = one_node(lambda _: script.run(asking.invoke), Stubborn(refuses=refuses))
    graph.invoke(dict(INPUT), THREAD)
    one_open(graph.invoke(Command(resume=APPROVE), THREAD))
    question = one_open(poke(graph, "async"))
    assert (question.value["args"]["target_number"], A in rung(sandbox)) == (A, False)
    state = resume(graph, APPROVE, "by id", question)
    assert (open_questions(state), A in rung(sandbox)) == ([], True)


@BOTH_STYLES
def test_question_about_a_new_price_says_what_was_wrong_with_the_last_answer(
    journal: CallJournal, style: Style
) -> None:
    """The quote has gone by when the unreadable answer comes; the note names the new question."""
    with Sandbox(quote_seconds=1) as sandbox:
        graph = tool_node(build_tool(sandbox, journal, approval="interrupt"))
        question = one_open(graph.invoke(tool_calls(A), THREAD))
        again = one_open(resume(graph, UNREADABLE[0], style, question))
        note = again.value["note"]
        assert (again.id == question.id, again.id in note, question.id in note) == (
            False,
            True,
            False,
        )
        assert signatures(sandbox) == []
