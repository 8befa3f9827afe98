"""Many calls in a node of a graph: a person is asked about each of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from chaos.ledger import times_paid, times_rung
from conftest import MakeCaller
from langgraph.types import Command, interrupt
from many import (
    THREAD,
    Ended,
    State,
    any_success,
    came_to,
    graph_of,
    number,
    questions,
    request,
    requests,
)
from placing import OBJECTIVE, at_any_hour

from langchain_oneshot_voice import (
    Sandbox,
    VoiceCallInput,
)


def test_graph_is_paused_with_all_questions_at_once(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """Each is answered by its id, some now and some later; every yes is one call."""
    caller = make_caller(approval="interrupt")
    ends: dict[str, str] = {}

    def node(_state: State) -> dict[str, Any]:
        for ended in caller.call_many([*requests(3), request(0)]):
            ends[ended.request.numbers[0]] = came_to(ended)
        return {"out": len(ends)}

    app = graph_of(node)
    paused = app.invoke({"out": 0}, THREAD)
    asked = {q.value["args"]["target_number"]: q.id for q in questions(paused)}
    assert sorted(asked) == [number(which) for which in range(3)]
    assert times_paid(sandbox) == 0

    paused = app.invoke(
        Command(
            resume={asked[number(1)]: {"type": "approve"}, asked[number(2)]: {"type": "reject"}}
        ),
        THREAD,
    )
    assert [question.id for question in questions(paused)] == [asked[number(0)]]
    assert ends == {number(1): "completed", number(2): "rejected"}
    assert [ring.number for ring in sandbox.rings] == [number(1)]

    done = app.invoke(Command(resume={asked[number(0)]: {"type": "approve"}}), THREAD)
    assert (done["out"], questions(done)) == (3, [])
    assert Counter(ring.number for ring in sandbox.rings) == {number(0): 1, number(1): 1}


def test_no_more_questions_at_once_than_places(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """A person is asked about a list in parts."""
    caller = make_caller(approval="interrupt")
    app = graph_of(lambda _state: {"out": len(list(caller.call_many(requests(5), concurrency=2)))})
    state, rounds = app.invoke({"out": 0}, THREAD), []
    while questions(state):
        rounds.append(len(questions(state)))
        resume = {question.id: {"type": "approve"} for question in questions(state)}
        state = app.invoke(Command(resume=resume), THREAD)
    assert (state["out"], max(rounds), sum(rounds)) == (5, 2, 5)
    assert times_paid(sandbox) == times_rung(sandbox) == 5


def test_question_that_is_not_needed_any_more_is_not_asked(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """A call that needs nobody's yes was enough: the graph is not paused."""
    usual = at_any_hour(require_approval_above=15)
    caller = make_caller(approval="interrupt", policy=usual)
    dear = VoiceCallInput(objective=OBJECTIVE, target_number=number(0), max_duration_minutes=30)
    ends: list[Ended] = []

    def node(_state: State) -> dict[str, Any]:
        policy = at_any_hour(require_approval_above=6, max_cost_per_call=None)
        ends.extend(caller.call_many([dear, request(1)], stop_when=any_success, policy=policy))
        return {"out": len(ends)}

    list(caller.call_many([request(2)]))  # it pays for the wallet's number
    done = graph_of(node).invoke({"out": 0}, THREAD)
    assert questions(done) == []
    assert sorted(map(came_to, ends)) == ["completed", "withdrawn"]
    assert times_rung(sandbox) == 2


def test_interrupt_of_the_users_own_pauses_the_graph(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """An approval function that asks LangGraph is no failed call."""

    def approve(_request: object, _quote: object) -> bool:
        return bool(interrupt("May I?"))

    caller = make_caller(approval=approve)
    app = graph_of(lambda _state: {"out": len(list(caller.call_many([request(0)])))})
    [question] = questions(app.invoke({"out": 0}, THREAD))
    assert (question.value, times_paid(sandbox)) == ("May I?", 0)
    assert app.invoke(Command(resume=True), THREAD)["out"] == 1
    assert times_paid(sandbox) == 1
