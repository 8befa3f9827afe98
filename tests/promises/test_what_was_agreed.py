"""The price that the person saw is the price that is paid, under the policy of that moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from graphs import THREAD, Graph, tool_calls, tool_node
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from person import Style, open_questions
from phone import APPROVE, OTHER, REJECT, A, B, C, build_tool, edit_to, ledger, rung
from placing import arguments, at_any_hour, signatures, tool_call
from prices import dollars_paid, priced

from langchain_oneshot_voice import CallJournal, CallPolicy, Sandbox

BOTH_STYLES = pytest.mark.parametrize("style", ["bare", "by id"])


@pytest.fixture(params=[600], ids=[""])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A service; the parameter says for how many seconds its quotes last."""
    with Sandbox(call_seconds=0.05, quote_seconds=request.param) as running:
        yield running


SHORT_QUOTES = pytest.mark.parametrize(
    "sandbox", [60, 10], indirect=True, ids=["expired at the service", "seen to expire"]
)
"""After 100 seconds the service takes no such quote; one of 10 seconds is not even tried."""


@pytest.fixture
def graph(sandbox: Sandbox, journal: CallJournal) -> Graph:
    """A graph of one `ToolNode` whose tool asks before each call."""
    return tool_node(build_tool(sandbox, journal, approval="interrupt"))


def ask(graph: Graph, number: str = A, config: RunnableConfig = THREAD) -> Any:
    """Run the graph to its question about a call, and return the interrupt."""
    [question] = open_questions(graph.invoke(tool_calls(number), config))
    return question


def answer(graph: Graph, question: Any, decision: Any, style: Style = "by id") -> Any:
    """Answer the question; return the graph's state."""
    given = decision if style == "bare" else {question.id: decision}
    return graph.invoke(Command(resume=given), THREAD)


def total(question: Any) -> str:
    """Return the price that a question shows."""
    return str(question.value["quote"]["total"])


# Prices


@BOTH_STYLES
def test_price_shown_is_the_price_paid(graph: Graph, sandbox: Sandbox, style: Style) -> None:
    """One quote, one question, one payment of exactly that price."""
    question = ask(graph)
    answer(graph, question, APPROVE, style)
    assert (str(dollars_paid(sandbox)), ledger(sandbox)) == (total(question), ([A], 1))


@SHORT_QUOTES
@BOTH_STYLES
def test_expired_quote_of_the_same_price_is_paid(
    graph: Graph, sandbox: Sandbox, style: Style
) -> None:
    """The quote expired meanwhile, and the new one costs the same: no second question."""
    question = ask(graph)
    sandbox.advance(100)
    state = answer(graph, question, APPROVE, style)
    seen = (open_questions(state), str(dollars_paid(sandbox)), ledger(sandbox))
    assert seen == ([], total(question), ([A], 1))


@SHORT_QUOTES
def test_expired_quote_that_is_cheaper_now_is_paid(graph: Graph, sandbox: Sandbox) -> None:
    """The new quote is cheaper than what the person agreed to: it is paid without a question."""
    sandbox.tamper(
        "quote", priced("6.90", estimated_call_cost="1.90", phone_registration_fee="5.00")
    )
    question = ask(graph)
    sandbox.tamper("quote", None)
    sandbox.advance(100)
    state = answer(graph, question, APPROVE)
    seen = (total(question), open_questions(state), dollars_paid(sandbox), rung(sandbox))
    assert seen == ("6.90", [], Decimal("6.75"), [A])


@SHORT_QUOTES
@BOTH_STYLES
@pytest.mark.parametrize("second", [APPROVE, REJECT], ids=["approve", "reject"])
def test_expired_quote_that_is_dearer_now_is_asked_about(
    graph: Graph, sandbox: Sandbox, style: Style, second: dict[str, Any]
) -> None:
    """The new quote is dearer: a question of its own, and nothing is paid before its answer."""
    sandbox.tamper("quote", priced("2.00"))
    first = ask(graph)
    sandbox.tamper("quote", None)
    sandbox.advance(100)
    [again] = open_questions(answer(graph, first, APPROVE, style))
    before = (total(first), total(again), again.id != first.id, sandbox.payments, sandbox.rings)
    assert before == ("2.00", "6.75", True, (), ())
    state = answer(graph, again, second, style)
    paid = Decimal("6.75") if second is APPROVE else Decimal(0)
    rings = [A] if second is APPROVE else []
    assert (open_questions(state), dollars_paid(sandbox), rung(sandbox)) == ([], paid, rings)


@SHORT_QUOTES
def test_answer_to_the_old_price_pays_no_new_one(graph: Graph, sandbox: Sandbox) -> None:
    """A dearer question is open: the old question's id, sent again, answers nothing."""
    sandbox.tamper("quote", priced("2.00"))
    first = ask(graph)
    sandbox.tamper("quote", None)
    sandbox.advance(100)
    answer(graph, first, APPROVE)
    [still] = open_questions(answer(graph, first, APPROVE))
    assert (total(still), sandbox.payments, sandbox.rings) == ("6.75", (), ())


# The policy, after the person has answered


@dataclass
class Program:
    """A program with an open question, and what it takes to change its surroundings."""

    sandbox: Sandbox
    journal: CallJournal
    saver: InMemorySaver
    graph: Graph

    def redeploy(self, **limits: Any) -> None:
        """Build tool and graph anew with another policy, over the same journal and checkpoints."""
        policy = CallPolicy(**{"calling_hours": None} | limits)
        tool = build_tool(self.sandbox, self.journal, approval="interrupt", policy=policy)
        self.graph = tool_node(tool, saver=self.saver)

    def call_now(self, number: str, **more: Any) -> None:
        """Place another call meanwhile, without a question."""
        tool = build_tool(self.sandbox, self.journal)
        tool.invoke(tool_call("meanwhile", **arguments(number, **more)))
        assert number in rung(self.sandbox)


def not_now() -> tuple[str, str]:
    """Return calling hours that are not now where the tests' numbers are."""
    there = datetime.now(ZoneInfo("America/Los_Angeles"))
    return f"{there + timedelta(hours=5):%H:%M}", f"{there + timedelta(hours=6):%H:%M}"


def list_number(program: Program) -> None:
    """Put the number on the do-not-call list."""
    build_tool(program.sandbox, program.journal).caller.suppress(A)


def use_up_the_day(program: Program) -> None:
    """Spend nearly all that may be spent in a day."""
    program.call_now(OTHER)


def use_up_the_number(program: Program) -> None:
    """Call the number as often as it may be called in a day."""
    program.call_now(A, objective="Ask whether they are open on Sunday.")


MEANWHILE: dict[str, Callable[[Program], None]] = {
    "do-not-call list": list_number,
    "calling hours over": lambda program: program.redeploy(calling_hours=not_now()),
    "number denied": lambda program: program.redeploy(deny=[A]),
    "country not allowed": lambda program: program.redeploy(allowed_countries={"DE"}),
    "cost cap lowered": lambda program: program.redeploy(max_cost_per_call=3),
    "day's cap used up": use_up_the_day,
    "number's calls used up": use_up_the_number,
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
def test_policy_is_kept_after_the_answer(
    sandbox: Sandbox, journal: CallJournal, meanwhile: Callable[[Program], None]
) -> None:
    """What the policy forbids by the time of the answer is refused, and nothing is signed."""
    saver = InMemorySaver()
    policy = at_any_hour(max_cost_per_day=8, max_calls_per_number_per_day=1)
    tool = build_tool(sandbox, journal, approval="interrupt", policy=policy)
    program = Program(sandbox, journal, saver, tool_node(tool, saver=saver))
    question = ask(program.graph)
    meanwhile(program)
    before = (signatures(sandbox), ledger(sandbox))
    state = answer(program.graph, question, APPROVE)
    assert (open_questions(state), state["messages"][-1].status) == ([], "error")
    assert (signatures(sandbox), ledger(sandbox)) == before


def test_policy_of_the_answering_run_counts(sandbox: Sandbox, journal: CallJournal) -> None:
    """The policy is a function of the run's config: the run that brings the answer is judged."""

    def policy(config: RunnableConfig) -> CallPolicy:
        hours = config.get("configurable", {}).get("hours")
        return CallPolicy(calling_hours=hours)

    tool = build_tool(sandbox, journal, approval="interrupt", policy=policy)
    graph = tool_node(tool)
    question = ask(graph)
    late: Any = {"configurable": {"thread_id": "thread-1", "hours": not_now()}}
    state = graph.invoke(Command(resume={question.id: APPROVE}), late)
    assert (state["messages"][-1].status, signatures(sandbox)) == ("error", [])


@pytest.mark.parametrize("meanwhile", ["do-not-call list", "day's cap used up"])
def test_policy_is_kept_after_a_function_s_answer(
    sandbox: Sandbox, journal: CallJournal, meanwhile: str
) -> None:
    """While a function decides, the call becomes forbidden: its yes signs nothing."""
    program = Program(sandbox, journal, InMemorySaver(), None)
    before: list[Any] = []

    def decide(*_: Any) -> bool:
        MEANWHILE[meanwhile](program)
        before.append((signatures(sandbox), ledger(sandbox)))
        return True

    policy = at_any_hour(max_cost_per_day=8)
    tool = build_tool(sandbox, journal, approval=decide, policy=policy)
    message = tool.invoke(tool_call(**arguments(A)), THREAD)
    assert message.status == "error"
    assert [(signatures(sandbox), ledger(sandbox))] == before


# Edits


@BOTH_STYLES
def test_edited_call_answers_for_its_own_words(
    sandbox: Sandbox, graph: Graph, style: Style
) -> None:
    """Asked for again elsewhere, the edited call is reused; the original one is asked about."""
    answer(graph, ask(graph), edit_to(C), style)
    assert rung(sandbox) == [C]
    for_edited = graph.invoke(tool_calls(C), {"configurable": {"thread_id": "thread-2"}})
    assert open_questions(for_edited) == []
    assert (for_edited["messages"][-1].artifact.reused, rung(sandbox)) == (True, [C])
    elsewhere: RunnableConfig = {"configurable": {"thread_id": "thread-3"}}
    question = ask(graph, A, elsewhere)
    graph.invoke(Command(resume={question.id: APPROVE}), elsewhere)
    assert ledger(sandbox) == ([A, C], 2)


def test_dearer_edit_is_asked_about(graph: Graph, sandbox: Sandbox) -> None:
    """A longer call costs more than was shown: nothing is paid before the second yes."""
    first = ask(graph)
    [again] = open_questions(answer(graph, first, edit_to(B, max_duration_minutes=9)))
    before = (total(again), again.value["args"]["target_number"], sandbox.payments)
    assert before == ("8.15", B, ())
    answer(graph, again, APPROVE)
    assert (dollars_paid(sandbox), ledger(sandbox)) == (Decimal("8.15"), ([B], 1))


def test_edit_is_run_again_as_one_call(graph: Graph, sandbox: Sandbox) -> None:
    """The edited tool call, run again from its old checkpoint: its outcome, and nobody is asked."""
    answer(graph, ask(graph), edit_to(C))
    before = next(s.config for s in graph.get_state_history(THREAD) if s.next == ("tools",))
    again = graph.invoke(None, before)
    seen = (open_questions(again), again["messages"][-1].artifact.call_status, ledger(sandbox))
    assert seen == ([], "completed", ([C], 1))


def test_equal_edits_of_two_calls_are_two_calls(sandbox: Sandbox, journal: CallJournal) -> None:
    """Two threads edit their calls to the same words, without a duplicate window: two calls."""
    policy = at_any_hour(duplicate_window=None)
    graph = tool_node(build_tool(sandbox, journal, approval="interrupt", policy=policy))
    for thread in ("thread-1", "thread-2"):
        config: RunnableConfig = {"configurable": {"thread_id": thread}}
        question = ask(graph, A, config)
        graph.invoke(Command(resume={question.id: edit_to(C)}), config)
    assert ledger(sandbox) == ([C, C], 2)
