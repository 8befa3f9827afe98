"""What keeps a model's second thoughts from ringing a phone twice, and what finishes a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chaos.callers import AT_ANY_HOUR, caller_on, end_of, key, request
from chaos.ledger import times_paid, times_rung
from placing import tool_call

from langchain_oneshot_voice import CallJournal, CallPolicy, Sandbox
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import CallUnknownError, VoiceCallError
from langchain_oneshot_voice.sandbox import CallScript, Fault

NUMBER = "+14155550150"
WORDS = "Ask whether the shop is open on Sunday."
SAME_IN_OTHER_CASE = "ask whether  THE SHOP is open\n on sunday."
OTHER_WORDS = "Find out whether they sell gift cards."


def test_the_same_objective_in_other_case_is_answered_by_the_earlier_call(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """An answered call answers the same request within the window, and says that it did."""
    caller = caller_on(sandbox, journal)
    first = caller.call(request(NUMBER, WORDS))
    again = caller.call(request(NUMBER, SAME_IN_OTHER_CASE))
    seen = (again.request_id == first.request_id, first.reused, again.reused, times_paid(sandbox))
    assert seen == (True, False, True, 1)


def test_a_call_in_progress_answers_the_same_request_when_it_ends(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """Asked again while the phone rings: one call, and its outcome for both."""
    sandbox.expect(NUMBER, CallScript(seconds=1.0))
    first = caller_on(sandbox, journal, max_wait=0.2).call(request(NUMBER, WORDS))
    again = caller_on(sandbox, journal).call(request(NUMBER, WORDS))
    seen = (first.call_status, again.call_status, again.reused, times_rung(sandbox))
    assert seen == ("in_progress", "completed", True, 1)


def test_two_workers_asking_for_the_same_thing_at_once_make_one_call(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Different keys, same request, same moment: one is placed and the others are told of it."""
    callers = [caller_on(sandbox, CallJournal(tmp_path / "calls.sqlite")) for _ in range(6)]

    async def ask() -> list[Any]:
        asked = (c.acall(request(NUMBER, WORDS), call_key=key(str(i))) for i, c in callers_by_key)
        return await asyncio.gather(*asked)

    callers_by_key = list(enumerate(callers))
    results = asyncio.run(ask())
    seen = ({r.request_id for r in results}, sum(not r.reused for r in results))
    assert (*seen, times_paid(sandbox)) == ({sandbox.calls[0].request_id}, 1, 1)


async def test_a_call_that_another_worker_is_making_answers_when_it_ends(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The other worker lives and waits too, so the end is read from the record that it writes."""
    sandbox.expect(NUMBER, CallScript(seconds=1.0))
    one, other = (caller_on(sandbox, CallJournal(tmp_path / "calls.sqlite")) for _ in range(2))
    making = asyncio.ensure_future(one.acall(request(NUMBER, WORDS)))
    await asyncio.to_thread(sandbox.wait_until, lambda: bool(sandbox.calls))
    again, first = await asyncio.gather(other.acall(request(NUMBER, WORDS)), making)
    seen = (again.call_status, again.request_id == first.request_id, again.reused, first.reused)
    assert (*seen, times_rung(sandbox)) == ("completed", True, True, False, 1)


def test_a_call_of_unknown_fate_is_not_placed_again_in_the_same_words(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """Nobody knows yet: the second request hears that, and no second payment is made."""
    sandbox.inject(Fault("paid", "drop_reply"))
    sandbox.inject(Fault("receipts", "status_503", times=10**6))
    ends = [
        end_of(caller_on(sandbox, journal, max_wait=0.3), request(NUMBER, WORDS), None)
        for _ in range(2)
    ]
    assert ([type(end) for end in ends], times_paid(sandbox)) == ([CallUnknownError] * 2, 1)


def test_a_call_of_unknown_fate_is_handed_back_once_it_is_known(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """The receipts are back: the same request, under another key, gets the first call's outcome."""
    sandbox.inject(Fault("paid", "drop_reply"))
    sandbox.inject(Fault("receipts", "status_503", times=10**6))
    end_of(caller_on(sandbox, journal, max_wait=0.3), request(NUMBER, WORDS), None)
    sandbox.clear_faults()
    again = caller_on(sandbox, journal).call(request(NUMBER, WORDS))
    assert (again.call_status, again.reused, times_paid(sandbox)) == ("completed", True, 1)


@pytest.mark.parametrize(
    "script",
    [
        CallScript(outcome="no_answer", ended_reason="customer-did-not-answer", transcript=None),
        CallScript(outcome=None, ended_reason="customer-busy", transcript=None),
    ],
    ids=["no answer", "busy"],
)
def test_a_call_that_reached_nobody_may_be_made_again(
    sandbox: Sandbox, journal: CallJournal, script: CallScript
) -> None:
    """Busy or no answer: the same request is a new call."""
    sandbox.expect(NUMBER, script)
    results = [caller_on(sandbox, journal).call(request(NUMBER, WORDS)) for _ in range(2)]
    assert ([r.reused for r in results], times_rung(sandbox)) == ([False, False], 2)


def test_a_call_that_was_refused_before_payment_may_be_made_again(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """A no before anything was paid stands in nobody's way."""
    sandbox.deny_action("no calls today")
    refused = end_of(caller_on(sandbox, journal), request(NUMBER, WORDS), None)
    sandbox.deny_action(None)
    second = caller_on(sandbox, journal).call(request(NUMBER, WORDS))
    assert isinstance(refused, VoiceCallError)
    assert (refused.charged, second.reused, times_rung(sandbox)) == ("no", False, 1)


def test_a_number_on_a_call_is_not_rung_for_another_objective(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """Models re-plan in other words: the line is busy until that call has ended."""
    sandbox.expect(NUMBER, CallScript(seconds=20.0))
    placed = caller_on(sandbox, journal, max_wait=0.1).call(request(NUMBER, WORDS))
    other = caller_on(sandbox, journal, max_wait=0.1)
    end = end_of(other, request(NUMBER, OTHER_WORDS), None)
    assert isinstance(end, VoiceCallError)
    seen = (end.code, end.charged, end.request_id, times_rung(sandbox))
    assert seen == ("number_busy", "no", placed.request_id, 1)


def test_a_number_whose_call_has_ended_may_be_rung_for_another_objective(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """The earlier call's outcome was not read yet; that it has ended is found out."""
    sandbox.expect(NUMBER, CallScript(seconds=0.4))
    caller_on(sandbox, journal, max_wait=0.1).call(request(NUMBER, WORDS))
    sandbox.wait_until(lambda: sandbox.calls[0].status == "completed")
    second = caller_on(sandbox, journal).call(request(NUMBER, OTHER_WORDS))
    assert (second.call_status, second.reused, times_rung(sandbox)) == ("completed", False, 2)


def _leave_signed(sandbox: Sandbox) -> None:
    """The bytes are on disk, and never reached the service."""
    sandbox.inject(Fault("paid", "reset_before", times=10**6))


def _leave_unanswered(sandbox: Sandbox) -> None:
    """It was paid, and nobody heard."""
    sandbox.inject(Fault("paid", "drop_reply", times=10**6))
    sandbox.inject(Fault("receipts", "status_503", times=10**6))


def _leave_placed(sandbox: Sandbox) -> None:
    """It was placed, and the outcome was not read."""
    sandbox.inject(Fault("socket", "refuse", times=10**6))
    sandbox.inject(Fault("poll", "status_503", times=10**6))


@pytest.mark.parametrize("leave", [_leave_signed, _leave_unanswered, _leave_placed])
async def test_recover_finishes_what_a_dead_worker_left(
    sandbox: Sandbox, journal: CallJournal, leave: Callable[[Sandbox], None]
) -> None:
    """Left signed, unanswered or placed: recover() reads the outcome, with one payment in all."""
    leave(sandbox)
    caller = caller_on(sandbox, journal)
    left = asyncio.create_task(caller.acall(request(NUMBER, WORDS), call_key=key()))
    wanted = "poll" if leave is _leave_placed else "receipts"
    await asyncio.to_thread(
        sandbox.wait_until, lambda: any(seen.leg == wanted for seen in sandbox.requests)
    )
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    sandbox.clear_faults()
    (end,) = await caller.arecover(max_wait=10.0)
    seen = (getattr(end, "call_status", end), times_paid(sandbox), times_rung(sandbox))
    assert seen == ("completed", 1, 1)


def test_recover_leaves_nothing_to_recover(sandbox: Sandbox, journal: CallJournal) -> None:
    """What is finished is not finished again."""
    caller = caller_on(sandbox, journal)
    caller.call(request(NUMBER, WORDS))
    assert (caller.recover(), times_paid(sandbox)) == ([], 1)


def test_a_tool_call_without_a_thread_is_answered_again_only_within_the_window(
    sandbox: Sandbox, make_tool: Callable[..., Any]
) -> None:
    """Some models count their tool calls from 0: the id means something for a while only."""
    window = AT_ANY_HOUR.model_copy(update={"duplicate_window": timedelta(seconds=1)})
    tool = make_tool(policy=window)
    first = tool.invoke(tool_call("call_0")).artifact
    again = tool.invoke(tool_call("call_0")).artifact
    time.sleep(1.1)  # the window's own time has to run out
    later = tool.invoke(tool_call("call_0")).artifact
    seen = (again.request_id == first.request_id, later.request_id == first.request_id)
    assert (*seen, times_paid(sandbox)) == (True, False, 2)


def test_a_tool_call_in_a_thread_is_answered_again_for_ever(
    sandbox: Sandbox, make_tool: Callable[..., Any]
) -> None:
    """A thread's tool call is one call, however late it is asked for again."""
    tool = make_tool(policy=CallPolicy(calling_hours=None, duplicate_window=None))
    config = {"configurable": {"thread_id": "thread-1"}}
    results = [tool.invoke(tool_call("call_0"), config).artifact for _ in range(2)]
    assert (len({r.request_id for r in results}), times_paid(sandbox)) == (1, 1)


def test_a_key_that_was_forgotten_still_answers_without_paying_again(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """What was said is gone from the journal; that the call was made is not."""
    caller = caller_on(sandbox, journal)
    first = caller.call(request(NUMBER, WORDS), call_key=key())
    ENGINE.call(journal.forget, -1.0)
    again = caller.call(request(NUMBER, WORDS), call_key=key())
    seen = (again.call_status, again.request_id == first.request_id, times_paid(sandbox))
    assert seen == ("completed", True, 1)


def test_a_key_means_one_request_for_ever(sandbox: Sandbox, journal: CallJournal) -> None:
    """An idempotency key that is used for other words is an error, not a second call."""
    caller = caller_on(sandbox, journal)
    asked = [request(NUMBER, WORDS), request("+14155550151", OTHER_WORDS)]
    keys = [CallKey.of(ask, idempotency_key="order-7") for ask in asked]
    caller.call(asked[0], call_key=keys[0])
    end = end_of(caller, asked[1], keys[1])
    assert (getattr(end, "code", end), times_paid(sandbox)) == ("idempotency_key_reused", 1)
