"""Many calls at once: as they end, a few at a time, until one is enough, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from chaos.ledger import times_paid, times_rung
from conftest import MakeCaller
from many import (
    LONG,
    PEOPLE,
    PLACES,
    THREAD,
    WEALTH,
    Ended,
    any_success,
    asked_for,
    came_to,
    graph_of,
    number,
    request,
    requests,
)
from placing import OBJECTIVE, at_any_hour

from langchain_oneshot_voice import (
    CallJournal,
    CallProgress,
    ConfigurationError,
    Sandbox,
    VoiceCaller,
    VoiceCallError,
    VoiceCallInput,
    VoiceCallQuote,
    WalletKey,
)
from langchain_oneshot_voice.sandbox import CallScript, Fault


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
