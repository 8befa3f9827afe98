"""A person can say no: each answer belongs to one call, and nothing rings without a yes."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from graphs import (
    INPUT,
    STYLES,
    THREAD,
    Fails,
    Graph,
    Script,
    in_node,
    in_node_by_id,
    tool_calls,
    tool_node,
)
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, RetryPolicy, interrupt
from person import Person, Style, atalk, open_questions, talk
from phone import APPROVE, REJECT, A, B, C, build_tool, edit_to, ledger, rung
from placing import arguments, at_any_hour, signatures, tool_call

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallInput, VoiceCallTool

BOTH_STYLES = pytest.mark.parametrize("style", ["bare", "by id"])
BOTH_RUNS = pytest.mark.parametrize("run", ["invoke", "ainvoke"])
MIXED = [c for c in itertools.product((True, False), repeat=3) if len(set(c)) > 1]
"""Answers to three calls, neither all yes nor all no."""
RESPOND = {"type": "respond", "message": "I booked it online."}


@pytest.fixture
def asking(sandbox: Sandbox, journal: CallJournal) -> VoiceCallTool:
    """A tool that asks before each call."""
    return build_tool(sandbox, journal, approval="interrupt")


def run_to_end(run: str, graph: Graph, given: Any, person: Person) -> Any:
    """Run a graph to its end, by `invoke` or by `ainvoke` in one event loop."""
    if run == "invoke":
        return talk(graph, given, person)
    return asyncio.run(atalk(graph, given, person))


def statuses(state: Any) -> dict[str, str]:
    """Return the status of each call's result, by tool call id."""
    messages = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    return {m.tool_call_id: m.artifact.call_status for m in messages if m.artifact}


# Several calls in one task


@BOTH_STYLES
@BOTH_RUNS
@pytest.mark.parametrize("yes", ["", A, B, A + B], ids=["none", "first", "second", "both"])
def test_of_two_calls_of_a_tool_node_only_the_approved_ring(
    asking: VoiceCallTool, sandbox: Sandbox, run: str, style: Style, yes: str
) -> None:
    """Two calls of one message share a task: each gets its own answer, and no other."""
    decisions = {n: APPROVE if n in yes else REJECT for n in (A, B)}
    person = Person(sandbox, style, decisions)
    state = run_to_end(run, tool_node(asking), tool_calls(A, B), person)
    approved = [n for n in (A, B) if n in yes]
    expected = {f"call-{n}": "completed" if n in yes else "rejected" for n in (A, B)}
    assert (statuses(state), ledger(sandbox)) == (expected, (approved, len(approved)))


@pytest.mark.parametrize(
    ("answers", "run"), list(zip(MIXED, ["invoke", "ainvoke"] * 3, strict=True))
)
def test_of_three_calls_of_a_tool_node_only_the_approved_ring(
    asking: VoiceCallTool, sandbox: Sandbox, run: str, answers: tuple[bool, ...]
) -> None:
    """Three calls, every mixed combination of answers by id: each call is asked about once."""
    numbers = (A, B, C)
    approved = [n for n, yes in zip(numbers, answers, strict=True) if yes]
    person = Person(sandbox, "by id", {n: APPROVE if n in approved else REJECT for n in numbers})
    run_to_end(run, tool_node(asking), tool_calls(*numbers), person)
    seen = (sorted(person.asked_numbers), ledger(sandbox))
    assert seen == ([A, B, C], (approved, len(approved)))


def test_answer_of_a_shown_question_places_no_other_call(
    asking: VoiceCallTool, sandbox: Sandbox
) -> None:
    """One yes, by id or bare, rings at most the number that was shown with it."""
    for thread, style in enumerate(("bare", "by id")):
        config = {"configurable": {"thread_id": f"thread-{thread}"}}
        numbers = [f"+1415555012{3 * thread + i}" for i in range(3)]
        before = set(rung(sandbox))
        graph = tool_node(asking)
        [question] = open_questions(graph.invoke(tool_calls(*numbers), config))
        shown = question.value["args"]["target_number"]
        graph.invoke(Command(resume=APPROVE if style == "bare" else {question.id: APPROVE}), config)
        assert set(rung(sandbox)) - before == {shown}


@pytest.mark.parametrize(
    ("run", "style"), [("invoke", "bare"), ("invoke", "by id"), ("ainvoke", "by id")]
)
@pytest.mark.parametrize("decision", [APPROVE, REJECT], ids=["approve", "reject"])
@pytest.mark.parametrize("edited", [A, B], ids=["first", "second"])
def test_edit_of_one_call_changes_no_other(
    asking: VoiceCallTool,
    sandbox: Sandbox,
    run: str,
    style: Style,
    decision: dict[str, Any],
    edited: str,
) -> None:
    """A person edits one of two calls: the edited number rings once, the original one never."""
    other = B if edited == A else A
    person = Person(sandbox, style, {edited: edit_to(C), other: decision})
    run_to_end(run, tool_node(asking), tool_calls(A, B), person)
    rings = sorted([C, other]) if decision is APPROVE else [C]
    assert ledger(sandbox) == (rings, len(rings))


# Questions of the program's own


@BOTH_STYLES
@pytest.mark.parametrize("build", [in_node, in_node_by_id], ids=["plain", "tool call id"])
@pytest.mark.parametrize("yes", [A, B], ids=["first", "second"])
def test_node_s_own_question_never_gets_a_call_s_approval(
    asking: VoiceCallTool, sandbox: Sandbox, style: Style, build: Any, yes: str
) -> None:
    """A node asks about transfers before, between and after two calls: no answer is mixed up."""
    script = Script(
        ["transfer $5,000?", arguments(A), "transfer $10?", arguments(B), "transfer $1?"]
    )
    person = Person(sandbox, style, {n: APPROVE if n in yes else REJECT for n in (A, B)})
    talk(build(asking, script), dict(INPUT), person)
    approved = [n for n in (A, B) if n in yes]
    assert (script.heard_wrongly(), ledger(sandbox)) == ([], (approved, len(approved)))


def transfer_tool(heard: list[Any]) -> BaseTool:
    """Build a tool of the program's own that asks by `interrupt()`."""

    @tool
    def transfer(objective: str, target_number: str) -> str:
        """Transfer money."""
        del objective, target_number
        heard.append(interrupt({"own": "transfer"}))
        return "Transferred."

    return transfer


def beside_transfer(place: str) -> dict[str, Any]:
    """Build the input of a `ToolNode`: two calls, and a transfer before or behind them."""
    given = tool_calls(A, B)
    [message] = given["messages"]
    transfer = tool_call("transfer-1", **arguments()) | {"name": "transfer"}
    message.tool_calls.insert(0 if place == "first" else 2, transfer)
    return given


@BOTH_RUNS
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("yes", ["", A], ids=["none", "first"])
def test_another_tool_s_question_never_gets_a_call_s_approval(
    asking: VoiceCallTool, sandbox: Sandbox, run: str, place: str, yes: str
) -> None:
    """Another tool of the same `ToolNode` asks beside two calls: by id, no answer is mixed up."""
    heard: list[Any] = []
    person = Person(sandbox, "by id", {n: APPROVE if n in yes else REJECT for n in (A, B)})
    run_to_end(run, tool_node(asking, transfer_tool(heard)), beside_transfer(place), person)
    approved = [n for n in (A, B) if n in yes]
    mixed_up = [answer for answer in heard if answer != "to transfer"]
    assert (mixed_up, ledger(sandbox)) == ([], (approved, len(approved)))


@BOTH_RUNS
@pytest.mark.parametrize("place", ["first", "last"])
def test_bare_approval_of_another_tool_s_question_pays_nothing(
    asking: VoiceCallTool, sandbox: Sandbox, run: str, place: str
) -> None:
    """A yes to the other tool's question, in the words of an approval, approves no call."""
    decisions = {A: REJECT, B: REJECT}
    person = Person(sandbox, "bare", decisions, own_answer=APPROVE)
    graph = tool_node(asking, transfer_tool([]))
    run_to_end(run, graph, beside_transfer(place), person)
    assert (signatures(sandbox), ledger(sandbox)) == ([], ([], 0))


# A rejection is final


@pytest.mark.parametrize("decision", [REJECT, RESPOND], ids=["reject", "respond"])
def test_rejected_call_stays_rejected_in_time_travel(
    asking: VoiceCallTool, sandbox: Sandbox, decision: dict[str, Any]
) -> None:
    """The same tool call, run again from its old checkpoint: rejected at once, nobody is asked."""
    person, graph = Person(sandbox, "by id", {A: decision}), tool_node(asking)
    talk(graph, tool_calls(A), person)
    before = next(s.config for s in graph.get_state_history(THREAD) if s.next == ("tools",))
    again = graph.invoke(None, before)
    seen = (open_questions(again), statuses(again), ledger(sandbox))
    assert seen == ([], {f"call-{A}": "rejected"}, ([], 0))
    assert decision["message"] in again["messages"][-1].content


def test_rejected_call_stays_rejected_after_a_restart(sandbox: Sandbox, tmp_path: Path) -> None:
    """Journal and checkpoints are opened anew: the same tool call is rejected, nobody is asked."""
    person = Person(sandbox, "by id", {A: REJECT})
    checkpoints = str(tmp_path / "graph.sqlite")
    for _ in range(2):
        journal = CallJournal(tmp_path / "restarted.sqlite")
        asking = build_tool(sandbox, journal, approval="interrupt")
        with SqliteSaver.from_conn_string(checkpoints) as saver:
            state = talk(tool_node(asking, saver=saver), tool_calls(A), person)
    seen = (person.asked_numbers, state["messages"][-1].artifact.call_status, ledger(sandbox))
    assert seen == ([A], "rejected", ([], 0))


@pytest.mark.parametrize("build", ["node", "async node", "subgraph node"])
def test_rejected_call_stays_rejected_in_a_retried_node(
    asking: VoiceCallTool, sandbox: Sandbox, build: str
) -> None:
    """The node fails twice behind a rejected call: its retries ask nobody."""
    options: Any = {"retry_policy": RetryPolicy(initial_interval=0.001, jitter=False)}
    person, script = Person(sandbox, "by id", {A: REJECT}), Script([arguments(A), Fails(2)])
    graph: Any = STYLES[build]
    talk(graph(asking, script, **options), dict(INPUT), person)
    assert (person.asked_numbers, ledger(sandbox)) == ([A], ([], 0))


@pytest.mark.parametrize("answer", [False, True], ids=["reject", "approve"])
def test_function_is_asked_once(sandbox: Sandbox, journal: CallJournal, *, answer: bool) -> None:
    """A function decides about a tool call: its answer stands when the tool call runs again."""
    asked: list[Any] = []

    def decide(request: VoiceCallInput, quote: Any) -> bool:
        asked.append((request.numbers, quote.total))
        return answer

    policy = at_any_hour(duplicate_window=None)
    tool = build_tool(sandbox, journal, approval=decide, policy=policy)
    results = [tool.invoke(tool_call(**arguments(A)), THREAD).artifact for _ in range(2)]
    status = "completed" if answer else "rejected"
    rings = ([A], 1) if answer else ([], 0)
    seen = ([r.call_status for r in results], len(asked), ledger(sandbox))
    assert seen == ([status, status], 1, rings)
