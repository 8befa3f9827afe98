"""Many calls whose caller goes away: nothing more is placed, and what was paid is found again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chaos.ledger import times_paid, times_rung
from conftest import MakeCaller
from many import (
    LONG,
    WEALTH,
    Ended,
    asked_for,
    came_to,
    number,
    requests,
)
from placing import OBJECTIVE, at_any_hour

from langchain_oneshot_voice import (
    CallJournal,
    Sandbox,
    VoiceCaller,
    VoiceCallResult,
    WalletKey,
)
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.sandbox import CallScript


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
