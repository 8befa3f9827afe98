"""Many calls at once: as they end, a few at a time, until one is enough, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

import pytest
from chaos.ledger import times_paid, times_rung
from chaos.size import FULL
from conftest import MakeCaller, MakeTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from placing import OBJECTIVE, arguments, at_any_hour, legs, tool_call

from langchain_oneshot_voice import (
    CallEnded,
    CallJournal,
    CallProgress,
    ConfigurationError,
    Sandbox,
    VoiceCaller,
    VoiceCallError,
    VoiceCallInput,
    VoiceCallQuote,
    VoiceCallResult,
    WalletKey,
)
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.sandbox import CallScript, Fault
from langchain_oneshot_voice.sandbox.faults import Leg

WEALTH = Decimal(10**6)
LONG = 60.0
PEOPLE, PLACES = (1000, 50) if FULL else (150, 25)
Ended = CallEnded[VoiceCallInput]


def number(which: int) -> str:
    """A fictional number."""
    return f"+1415555{3000 + which}"


def request(which: int) -> VoiceCallInput:
    """A call to it."""
    return VoiceCallInput(objective=OBJECTIVE, target_number=number(which))


def requests(count: int) -> list[VoiceCallInput]:
    """Calls to so many people."""
    return [request(which) for which in range(count)]


def came_to(ended: CallEnded[Any]) -> str:
    """How a call ended, in a word."""
    if ended.result is not None:
        return ended.result.call_status
    return ended.error.code if isinstance(ended.error, VoiceCallError) else repr(ended.error)


def any_success(ended: Ended) -> bool:
    """One is enough."""
    return ended.succeeded


def asked_for(sandbox: Sandbox, leg: Leg) -> set[str]:
    """The numbers of all requests of a leg."""
    return {str((seen.body or {})["target_number"]) for seen in legs(sandbox, leg)}


def require_each_paid_call_told(sandbox: Sandbox, ends: list[Ended]) -> None:
    """What was paid rang, and is a result; what is no result was not paid."""
    told = {end.result.request_id for end in ends if end.result and not end.result.reused}
    assert told == {call.request_id for call in sandbox.calls}
    assert times_paid(sandbox) == times_rung(sandbox) == len(told)


# As they end


def test_each_call_is_handed_out_when_it_has_ended(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """The quick ones first, each with its own request and its place in the list."""
    sandbox.expect(number(0), CallScript(seconds=1.0))
    asked = requests(3)
    ends = list(make_caller().call_many(asked))
    assert ends[-1].index == 0
    assert [end.request for end in sorted(ends, key=lambda end: end.index)] == asked
    assert [came_to(end) for end in ends] == ["completed"] * 3
    require_each_paid_call_told(sandbox, ends)


async def _in_a_loop(caller: VoiceCaller, asked: list[VoiceCallInput]) -> list[Ended]:
    return [end async for end in caller.acall_many(asked, concurrency=2)]


async def _from_an_async_generator(caller: VoiceCaller, asked: list[VoiceCallInput]) -> list[Ended]:
    async def one_by_one() -> AsyncIterator[VoiceCallInput]:
        for one in asked:
            await asyncio.sleep(0)
            yield one

    return [end async for end in caller.acall_many(one_by_one(), concurrency=2)]


async def _plainly_in_a_running_loop(
    caller: VoiceCaller, asked: list[VoiceCallInput]
) -> list[Ended]:
    return list(caller.call_many(asked, concurrency=2))


async def _in_a_thread(caller: VoiceCaller, asked: list[VoiceCallInput]) -> list[Ended]:
    return await asyncio.to_thread(lambda: list(caller.call_many(iter(asked), concurrency=2)))


async def _in_a_node(caller: VoiceCaller, asked: list[VoiceCallInput]) -> list[Ended]:
    ends: list[Ended] = []

    def node(_state: Any) -> dict[str, Any]:
        ends.extend(caller.call_many(asked, concurrency=2))
        return {"out": len(ends)}

    await graph_of(node).ainvoke({"out": 0}, THREAD)
    return ends


@pytest.mark.parametrize(
    "way",
    [
        _in_a_loop,
        _from_an_async_generator,
        _plainly_in_a_running_loop,
        _in_a_thread,
        _in_a_node,
    ],
)
async def test_many_calls_are_made_wherever_a_program_is(
    way: Callable[[VoiceCaller, list[VoiceCallInput]], Any],
    make_caller: MakeCaller,
    sandbox: Sandbox,
) -> None:
    """In a loop, a notebook's cell, a thread or a node of a graph; progress is told."""
    told: list[CallProgress] = []
    ends = await way(make_caller(on_progress=told.append), requests(5))
    assert sorted(end.index for end in ends) == list(range(5))
    require_each_paid_call_told(sandbox, ends)
    assert Counter(progress.stage for progress in told)["completed"] == 5


def test_a_thousand_calls_go_a_few_at_a_time(journal: CallJournal) -> None:
    """A generator of thousands is read as places become free, and each call is made once."""
    read = taken = most = 0

    def people() -> Iterator[VoiceCallInput]:
        nonlocal read, most
        for which in range(PEOPLE):
            read += 1
            most = max(most, read - taken)
            yield request(which)

    policy = at_any_hour(max_cost_per_day=None)
    with Sandbox(call_seconds=0.02, balance=WEALTH) as sandbox:
        key = WalletKey(sandbox.private_key)
        caller = VoiceCaller(key, base_url=sandbox.base_url, journal=journal, policy=policy)
        ends: list[Ended] = []
        for ended in caller.call_many(people(), concurrency=PLACES):
            taken += 1
            ends.append(ended)
        assert Counter(map(came_to, ends))["completed"] > 0.98 * PEOPLE  # some are premium-rate
        assert (len(ends), most) == (PEOPLE, PLACES)
        require_each_paid_call_told(sandbox, ends)


async def test_request_that_is_waited_for_holds_up_nothing(make_caller: MakeCaller) -> None:
    """The next request depends on an earlier outcome, and comes after it was handed out."""
    outcomes: asyncio.Queue[Ended] = asyncio.Queue()

    async def one_after_the_other() -> AsyncIterator[VoiceCallInput]:
        yield request(0)
        yield request((await outcomes.get()).index + 1)

    indices = []
    async with (
        asyncio.timeout(LONG),
        aclosing(make_caller().acall_many(one_after_the_other())) as ends,
    ):
        async for ended in ends:
            indices.append(ended.index)
            outcomes.put_nowait(ended)
    assert indices == [0, 1]


# What goes wrong with one call


def test_one_bad_request_loses_no_other(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """What can't be read and what the policy forbids are outcomes of their own."""
    asked: list[Any] = [
        {"objective": OBJECTIVE, "target_number": number(0)},
        {"objective": "x", "target_number": number(1)},
        request(2),
        object(),
        {"objective": OBJECTIVE, "target_number": "+14159115555"},
        request(3),
    ]
    policy = at_any_hour(deny=[number(2)])
    ends = sorted(make_caller(policy=policy).call_many(asked), key=lambda end: end.index)
    assert [end.request for end in ends] == asked
    assert [end.result is not None for end in ends] == [True, False, False, False, True, True]
    for end in ends:
        assert end.result or (isinstance(end.error, VoiceCallError) and end.error.charged == "no")
        assert number(1) not in str(end.error)
    require_each_paid_call_told(sandbox, ends)


def test_failing_function_of_the_users_is_the_outcome_of_its_call(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """An approval that raises pays nothing, and the other calls go on."""

    def approve(asked: VoiceCallInput, _quote: VoiceCallQuote) -> bool:
        if asked.target_number == number(1):
            raise LookupError("nobody is there")
        return True

    ends = list(make_caller(approval=approve).call_many(requests(3)))
    assert sorted(map(came_to, ends)) == ["LookupError('nobody is there')", *["completed"] * 2]
    require_each_paid_call_told(sandbox, ends)


def test_function_that_ends_the_program_ends_the_iteration(make_caller: MakeCaller) -> None:
    """It is not an outcome of a call."""

    def leave(_request: object, _quote: object) -> bool:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(make_caller(approval=leave).call_many(requests(2)))


def test_equal_requests_are_one_call(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """At once or one after the other, with the guard off too: one payment, and all are told."""
    policy = at_any_hour(duplicate_window=None)
    ends = list(make_caller(policy=policy).call_many([request(0)] * 5, concurrency=3))
    assert [came_to(end) for end in ends] == ["completed"] * 5
    assert sum(end.result.reused for end in ends if end.result) == 4
    require_each_paid_call_told(sandbox, ends)


def test_cap_over_a_day_holds(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """Each call that would pass it is told so, and the others are made."""
    policy = at_any_hour(max_cost_per_day=12)
    ends = list(make_caller(policy=policy).call_many(requests(12), concurrency=12))
    told = Counter(map(came_to, ends))
    assert told.keys() == {"completed", "daily_cost_limit_reached"}
    assert sum(payment.amount for payment in sandbox.payments) <= 12
    require_each_paid_call_told(sandbox, ends)


def test_stopped_calls_are_told(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """The stop switch refuses the rest of the list; what was paid is seen to its end."""
    caller = make_caller()
    ends: list[Ended] = []
    for ended in caller.call_many(requests(8), concurrency=2):
        if not ends:
            caller.pause("Enough.")
        ends.append(ended)
    assert Counter(map(came_to, ends)).keys() == {"completed", "calls_stopped"}
    assert len(ends) == 8
    require_each_paid_call_told(sandbox, ends)


# Until one is enough


def plumbers(sandbox: Sandbox, count: int, *, can_come: int) -> list[VoiceCallInput]:
    """So many people, of whom one says yes."""
    for which in range(count):
        said, seconds = ("pass", 0.05) if which == can_come else ("fail", 1.0)
        sandbox.expect(number(which), CallScript(success_evaluation=said, seconds=seconds))
    return requests(count)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_first_who_can_come_ends_the_search(
    kind: str, make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """Nothing more is paid, what was paid is told, and so is the rest of the list."""

    async def awaited(ended: Ended) -> bool:
        return ended.succeeded

    enough = any_success if kind == "function" else awaited
    asked = plumbers(sandbox, 10, can_come=2)
    ends = list(make_caller().call_many(asked, concurrency=3, stop_when=enough))
    assert sorted(end.index for end in ends) == list(range(10))
    assert set(map(came_to, ends)) == {"completed", "withdrawn"}
    withdrawn = {end.request.numbers[0] for end in ends if end.error}
    assert withdrawn & {ring.number for ring in sandbox.rings} == set()
    assert all("Nothing was charged." in str(end.error) for end in ends if end.error)
    require_each_paid_call_told(sandbox, ends)


def test_rest_of_a_generator_is_not_read(make_caller: MakeCaller, sandbox: Sandbox) -> None:
    """It may have no end."""

    def people() -> Iterator[VoiceCallInput]:
        which = 0
        while True:
            yield request(which)
            which += 1

    ends = list(make_caller().call_many(people(), concurrency=2, stop_when=any_success))
    assert 1 <= len(ends) <= 3
    require_each_paid_call_told(sandbox, ends)


def test_call_that_waits_for_a_person_is_withdrawn(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """Nobody's late yes pays for it."""
    asked, decided = threading.Event(), threading.Event()

    def approve(wanted: VoiceCallInput, _quote: VoiceCallQuote) -> bool:
        if wanted.target_number == number(0):
            asked.set()
            return decided.wait(LONG)
        return asked.wait(LONG)

    caller = make_caller(approval=approve, journal="memory")
    ends = list(caller.call_many(requests(2), stop_when=any_success))
    decided.set()
    assert [came_to(end) for end in ends] == ["completed", "withdrawn"]
    assert asked_for(sandbox, "paid") == {number(1)}
    require_each_paid_call_told(sandbox, ends)


async def test_payment_on_its_way_is_seen_through(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """One call has ended well while another one's payment has no answer, and never gets one."""
    sandbox.expect(number(0), CallScript(seconds=0.5))

    async def people() -> AsyncIterator[VoiceCallInput]:
        yield request(0)
        await asyncio.to_thread(sandbox.wait_until, lambda: times_rung(sandbox) == 1, 10)
        sandbox.inject(Fault("paid", "hang_after"))
        yield request(1)

    def is_enough(_ended: Ended) -> bool:
        sandbox.wait_until(lambda: times_rung(sandbox) == 2, 10)
        return True

    ends = [end async for end in make_caller().acall_many(people(), stop_when=is_enough)]
    assert [came_to(end) for end in ends] == ["completed"] * 2
    require_each_paid_call_told(sandbox, ends)


@pytest.mark.parametrize("culprit", ["stop_when", "generator"])
def test_exception_of_the_users_is_raised_when_all_is_told(
    culprit: str, make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """Nothing new is placed after it, and no outcome of what was paid is lost."""

    def people() -> Iterator[VoiceCallInput]:
        yield from requests(2)
        if culprit == "generator":
            raise LookupError(culprit)
        yield from requests(20)

    def enough(_ended: Ended) -> bool:
        if culprit == "stop_when":
            raise LookupError(culprit)
        return False

    ends: list[Ended] = []
    with pytest.raises(LookupError, match=culprit):
        ends.extend(make_caller().call_many(people(), concurrency=2, stop_when=enough))
    assert times_rung(sandbox) <= 2
    assert {came_to(end) for end in ends} <= {"completed", "withdrawn"}
    require_each_paid_call_told(sandbox, ends)


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"stop_when": "the first"}], ids=["concurrency", "stop_when"]
)
def test_unusable_argument_is_refused_before_anything_is_read(
    wrong: dict[str, Any], make_caller: MakeCaller
) -> None:
    """At the call, and not when the first outcome is asked for."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        make_caller().call_many(requests(1), **wrong)


# Whoever asks goes away


def require_recovered(caller: VoiceCaller, sandbox: Sandbox, handed_out: int) -> None:
    """What was paid and not handed out is read from the journal, each call with its one ring."""
    sandbox.wait_until(lambda: all(call.status == "completed" for call in sandbox.calls), 10)
    recovered = caller.recover(10.0)
    assert all(isinstance(end, VoiceCallResult) for end in recovered)
    kept = [record.state for record in ENGINE.call(_journal_of(caller).recent)]
    assert kept.count("done") == times_paid(sandbox) == times_rung(sandbox)
    assert len(recovered) <= times_rung(sandbox) - handed_out
    assert "signed" not in kept


def require_nothing(ended: Ended) -> None:
    """Fail, as a program may that reads outcomes."""
    raise LookupError(ended.index)


def _journal_of(caller: VoiceCaller) -> CallJournal:
    assert isinstance(caller.journal, CallJournal)
    return caller.journal


@pytest.mark.parametrize("how", ["break", "raise", "close"])
def test_whoever_leaves_the_loop_places_nothing_more(
    how: str, make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """What is not paid stays unpaid, and `recover` reads what is."""
    caller = make_caller()
    ends = caller.call_many(requests(20), concurrency=4)
    try:
        for ended in ends:
            if how == "break":
                break
            if how == "close":
                ends.close()
            if how == "raise":
                require_nothing(ended)
    except LookupError:
        pass
    del ends
    require_recovered(caller, sandbox, 1)
    assert times_rung(sandbox) <= 8


async def test_break_in_a_loop_places_nothing_more(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """The event loop closes what was left."""
    caller = make_caller()
    async for _ended in caller.acall_many(requests(20), concurrency=4):
        break
    for _ in range(100):
        await asyncio.sleep(0.01)
        if not ENGINE.call(_held_calls, caller):
            break
    await asyncio.to_thread(require_recovered, caller, sandbox, 1)
    assert times_rung(sandbox) <= 8


async def _held_calls(caller: VoiceCaller) -> list[Any]:
    return [r for r in await _journal_of(caller).recent() if r.owner]


async def test_cancelled_iteration_places_nothing_more(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """The task that iterates is cancelled while phones ring."""
    for which in range(20):
        sandbox.expect(number(which), CallScript(seconds=1.0))
    caller = make_caller()

    async def iterate() -> None:
        async for _ended in caller.acall_many(requests(20), concurrency=4):
            pass

    task = asyncio.create_task(iterate())
    await asyncio.to_thread(sandbox.wait_until, lambda: times_rung(sandbox) == 4, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(require_recovered, caller, sandbox, 0)
    assert times_rung(sandbox) == 4


def test_nothing_is_placed_while_nobody_asks_for_the_next_outcome(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """A slow reader is waited for: its places are free when it has taken what came."""
    ends = make_caller().call_many(requests(9), concurrency=3)
    next(ends)
    sandbox.wait_until(lambda: len([c for c in sandbox.calls if c.status == "completed"]) == 3, 10)
    time.sleep(0.3)  # not for luck: whatever would be placed, would be by now
    assert len(asked_for(sandbox, "quote")) <= 3
    assert len(list(ends)) == 8


# Crash, and run again

_PROGRAM = """
import json, sys
from langchain_oneshot_voice import CallPolicy, Timing, VoiceCaller, VoiceCallInput, WalletKey
task = json.load(sys.stdin)
caller = VoiceCaller(
    WalletKey(task["key"]), base_url=task["base_url"], journal=task["journal"],
    policy=CallPolicy(calling_hours=None, max_cost_per_day=None, duplicate_window=None),
)
people = [VoiceCallInput(objective=task["objective"], target_number=n) for n in task["numbers"]]
for ended in caller.call_many(people, concurrency=4, key="list 7"):
    pass
"""


def test_killed_run_is_finished_by_the_next_one(tmp_path: Path) -> None:
    """The list's key finds each call that was made, in another order too; none rings twice."""
    with Sandbox(call_seconds=0.2, balance=WEALTH) as sandbox:
        task = {
            "key": sandbox.private_key,
            "base_url": sandbox.base_url,
            "journal": str(tmp_path / "calls.sqlite"),
            "objective": OBJECTIVE,
            "numbers": [number(which) for which in range(24)],
        }
        first = _begin(task)
        sandbox.wait_until(lambda: times_rung(sandbox) >= 9, 30)
        first.send_signal(signal.SIGKILL)
        first.wait(LONG)
        rung_before = times_rung(sandbox)
        caller = VoiceCaller(
            WalletKey(sandbox.private_key),
            base_url=sandbox.base_url,
            journal=str(tmp_path / "calls.sqlite"),
            policy=at_any_hour(max_cost_per_day=None, duplicate_window=None),
        )
        people = requests(24)[::-1]
        ends = list(caller.call_many(people, concurrency=4, key="list 7"))
        assert Counter(map(came_to, ends)) == {"completed": 24}
        assert rung_before < times_rung(sandbox) == times_paid(sandbox) == 24
        assert len({ring.number for ring in sandbox.rings}) == 24
        again = caller.call_many(people, key="list 7")
        assert all(end.result is not None and end.result.reused for end in again)
        assert times_rung(sandbox) == 24


def _begin(task: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    return process


def test_idempotency_key_of_the_config_names_the_list(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """One key is one list, as one key is one call elsewhere."""
    caller = make_caller(policy=at_any_hour(duplicate_window=None))
    config: Any = {"configurable": {"idempotency_key": "order-42"}}
    first = list(caller.call_many(requests(2), config=config))
    second = list(caller.call_many(requests(2), config=config))
    assert {e.result.request_id for e in first if e.result} == {
        e.result.request_id for e in second if e.result
    }
    assert times_rung(sandbox) == 2
    assert all(end.succeeded for end in caller.call_many(requests(2)))
    assert times_rung(sandbox) == 4


# Graphs

THREAD: Any = {"configurable": {"thread_id": "thread-1"}}


class State(TypedDict):
    """The state of a graph with one node."""

    out: int


def graph_of(node: Any) -> Any:
    """A graph that runs one node."""
    graph = StateGraph(State)
    graph.add_node("calls", node)
    graph.add_edge(START, "calls")
    return graph.compile(checkpointer=InMemorySaver())


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


def questions(state: dict[str, Any]) -> list[Any]:
    """The interrupts that a graph stopped with."""
    return list(state.get("__interrupt__", ()))


# The tool's own batch

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
