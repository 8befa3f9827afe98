"""Graphs that version 0.1.0 paused or lost, resumed by this version: one payment each, at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from old_threads import GRAPHS, in_thread
from upgrading import Case, OldRun, Upgraded, postgres_server, upgraded

from langchain_oneshot_voice import VoiceCallResult

__all__ = ["postgres_server"]

APPROVE, REJECT = {"type": "approve"}, {"type": "reject", "message": "Not today."}
PAUSED = ["paused_agent", "paused_tool_node", "paused_after_edit"]
MOST_QUESTIONS = 4
"""Resumes after which a thread has to be at its end."""


@dataclass
class Thread:
    """One thread, resumed until it asked nothing more.

    Attributes:
        case: the call of the fixtures.
        paid_at_first: what was paid by the first resume.
        asked_again: how often something was asked after it.
        shown: the price that the person saw last.
        message: the tool's last message for the call.
        last: what the thread's last message says.
    """

    case: Case
    paid_at_first: int = 0
    asked_again: int = 0
    shown: Decimal | None = None
    message: ToolMessage | None = None
    last: str = ""


@dataclass
class Resumed:
    """All threads of one journal, resumed in one way."""

    upgraded: Upgraded
    threads: dict[str, Thread] = field(default_factory=dict)

    def paid(self, thread: Thread) -> list[str]:
        """The request ids of what was paid for the thread's call."""
        return self.upgraded.paid(thread.case.number)

    def price(self, request_id: str) -> Decimal:
        """What was paid for one call, in USDC and in credits together."""
        payments = self.upgraded.sandbox.payments
        return sum((p.amount for p in payments if p.request_id == request_id), Decimal(0))

    def finish(self, cases: list[Case], given: Any, answers: dict[str, Any]) -> list[Thread]:
        """Resume the thread of these calls, and answer each question by its id until it ends."""
        threads = {case.number: Thread(case) for case in cases}
        graph_of = GRAPHS[str(cases[0].graph)]
        config = in_thread(str(cases[0].thread_id))
        with SqliteSaver.from_conn_string(str(self.upgraded.checkpoints)) as saver:
            graph = graph_of(self.upgraded.tool(approval="interrupt"), saver)
            _look(threads, graph.get_state(config).interrupts)
            state = graph.invoke(given, config)
            for thread in threads.values():
                thread.paid_at_first = len(self.paid(thread))
            for _ in range(MOST_QUESTIONS):
                questions = state.get("__interrupt__", ())
                if not questions:
                    break
                asked = _look(threads, questions)
                for number in asked.values():
                    threads[number].asked_again += 1
                answer = {key: answers[number] for key, number in asked.items()}
                state = graph.invoke(Command(resume=answer), config)
            for case in cases:
                threads[case.number].message = _message_of(state, case)
                threads[case.number].last = str(state["messages"][-1].content)
        assert not state.get("__interrupt__")
        for thread in threads.values():
            self.threads[thread.case.name + thread.case.number[-1]] = thread
        return list(threads.values())


def _look(threads: dict[str, Thread], questions: Any) -> dict[str, str]:
    """See the price of each question; the number that each is about, by the question's id."""
    asked = {}
    for question in questions:
        number = question.value["args"]["target_number"]
        threads[number].shown = Decimal(question.value["quote"]["total"])
        asked[question.id] = number
    return asked


def _message_of(state: dict[str, Any], case: Case) -> ToolMessage | None:
    messages = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    return next((m for m in reversed(messages) if m.tool_call_id == case.tool_call_id), None)


@pytest.fixture(params=["sqlite", "postgres"])
def resumed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Resumed]:
    """A copy of a journal and of its threads."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    with upgraded(OldRun.of(request.param), tmp_path, server) as copy:
        yield Resumed(copy)


def _first(case: Case, way: str, decision: dict[str, Any]) -> Command[Any]:
    """The first answer after the upgrade: a bare one, or one by the id that 0.1.0 showed."""
    return Command(resume={case.question_id: decision} if way == "by_id" else decision)


def _completed(thread: Thread) -> bool:
    assert thread.message is not None
    return thread.message.artifact is not None and (
        thread.message.artifact.call_status == "completed"
    )


@pytest.mark.parametrize("way", ["bare", "by_id"])
def test_an_approved_thread_pays_once_at_the_price_shown(resumed: Resumed, way: str) -> None:
    """Paused by 0.1.0 and approved now, each thread ends with one payment and its outcome."""
    for name in PAUSED:
        case = resumed.upgraded.case(name)
        answer = _first(case, way, APPROVE)
        [thread] = resumed.finish([case], answer, {case.number: APPROVE})
        [request_id] = resumed.paid(thread)
        assert resumed.price(request_id) == thread.shown, name
        assert thread.paid_at_first == int(thread.asked_again == 0), name
        assert _completed(thread), name


@pytest.mark.parametrize("way", ["bare", "by_id"])
def test_a_rejected_thread_pays_nothing(resumed: Resumed, way: str) -> None:
    """Paused by 0.1.0 and rejected now, each thread ends without a payment."""
    for name in PAUSED:
        case = resumed.upgraded.case(name)
        [thread] = resumed.finish([case], _first(case, way, REJECT), {case.number: REJECT})
        assert resumed.paid(thread) == [], name
        assert thread.message is not None
        assert thread.message.artifact.call_status == "rejected", name


def test_of_two_questions_only_the_approved_call_is_made(resumed: Resumed) -> None:
    """Two calls of one message are answered apart, by the ids that 0.1.0 showed."""
    cases = [case for case in resumed.upgraded.old.cases if case.name == "paused_pair"]
    decisions = dict(zip((case.number for case in cases), (APPROVE, REJECT), strict=True))
    first: Command[Any] = Command(
        resume={case.question_id: decisions[case.number] for case in cases}
    )
    approved, rejected = resumed.finish(cases, first, decisions)
    assert len(resumed.paid(approved)) == 1
    assert _completed(approved)
    assert resumed.paid(rejected) == []
    assert rejected.message is not None
    assert rejected.message.artifact.call_status == "rejected"


def test_a_thread_that_paid_before_it_died_is_not_asked_or_paid_again(resumed: Resumed) -> None:
    """Approved and paid under 0.1.0, the thread goes on to the outcome of that payment."""
    case = resumed.upgraded.case("approved_paid")
    [thread] = resumed.finish([case], None, {case.number: APPROVE})
    assert resumed.paid(thread) == [case.request_id]
    assert (thread.asked_again, thread.last) == (0, "Done.")
    assert _completed(thread)


def test_a_thread_that_was_approved_and_did_not_pay_pays_once(resumed: Resumed) -> None:
    """Approved under 0.1.0 and killed before it signed, it pays once, asked again or not."""
    case = resumed.upgraded.case("approved_unpaid")
    [thread] = resumed.finish([case], None, {case.number: APPROVE})
    [request_id] = resumed.paid(thread)
    assert resumed.price(request_id) == thread.shown
    assert _completed(thread)


def test_a_thread_that_had_ended_still_shows_its_outcome(resumed: Resumed) -> None:
    """The result in a checkpoint of 0.1.0 can be read, and its call is not made again."""
    case = resumed.upgraded.case("finished_agent")
    with SqliteSaver.from_conn_string(str(resumed.upgraded.checkpoints)) as saver:
        graph = GRAPHS["agent"](resumed.upgraded.tool(approval="interrupt"), saver)
        state = graph.get_state(in_thread(str(case.thread_id)))
        again = graph.invoke(None, in_thread(str(case.thread_id)))
    message = _message_of(state.values, case)
    assert message is not None
    result = VoiceCallResult.model_validate(message.artifact)
    assert (result.call_status, result.request_id) == ("completed", case.request_id)
    assert state.next == ()
    assert again["messages"][-1].content == "Done."
    assert resumed.upgraded.paid(case.number) == [case.request_id]
