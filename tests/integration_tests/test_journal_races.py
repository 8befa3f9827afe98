"""Processes that want the same thing at the same moment, on both databases."""

import asyncio
import itertools
import multiprocessing
from collections import Counter
from decimal import Decimal
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from full import FULL
from postgres import postgres_server, postgres_url

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    NewCall,
    SpendLimits,
)

__all__ = ["postgres_server", "postgres_url"]

PROCESSES, CALLS = (8, 12) if FULL else (3, 12)
PRICE, CAP = Decimal("1.37"), Decimal("30.00")
CONTESTS = ("money", "number", "keys")
LIMITS = SpendLimits(max_cost_per_day=CAP, max_calls_per_number_per_day=3, duplicate_window=0)


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A journal that several processes can open."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'calls.sqlite'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def new(key: str, number: str, account: str) -> NewCall:
    """A call to a number."""
    return NewCall(
        call_key=key,
        account=account,
        base_url="https://voice.example",
        numbers=(number,),
        fingerprint=key,
        request={},
    )


async def attempt(journal: CallJournal, owner: str, call: NewCall) -> str:
    """Claim and sign one call, and tell how far it came."""
    claim = await journal.claim(call, owner=owner, duplicate_window=0)
    if claim.kind != "mine":
        return claim.kind
    await journal.move(call.call_key, owner=owner, to="quoted")
    signed = await journal.sign(
        call.call_key,
        owner=owner,
        payment="bytes",
        valid_before=None,
        amount=PRICE,
        limits=LIMITS,
    )
    return signed.state if isinstance(signed, CallRecord) else type(signed).__name__


def wanted(contest: str, worker: int) -> list[NewCall]:
    """What one worker tries in a contest; each contest has an account, and a day, of its own."""
    match contest:
        case "money":  # every call its own
            named = [(f"{worker}-{i}", f"+1415555{worker:02}{i:02}") for i in range(CALLS)]
        case "number":  # every call to the same number
            named = [(f"one number {worker}-{i}", "+14155550123") for i in range(CALLS)]
        case _:  # every worker the same calls
            named = [(f"one key {i}", f"+141555501{i:02}") for i in range(CALLS)]
    return [new(key, number, contest) for key, number in named]


def race(url: str, worker: int, start: Barrier, told: "Queue[dict[str, list[str]]]") -> None:
    """Run in a process: wait for the others, then do it all at once; a contest at a time."""

    async def run() -> dict[str, list[str]]:
        # No worker takes over another one here, however slow the machine is.
        journal = CallJournal(url, lease=600)
        outcomes = {}
        for contest in CONTESTS:
            calls = wanted(contest, worker)
            start.wait(60)
            outcomes[contest] = await asyncio.gather(
                *[attempt(journal, f"w{worker}", call) for call in calls]
            )
        await journal.aclose()
        return outcomes

    told.put(asyncio.run(run()))


def compete(url: str) -> dict[str, Counter[str]]:
    """Let the processes race, and count what their calls came to."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["langchain_oneshot_voice.journal"]
    )  # imported once, not 8 times
    start, told = processes.Barrier(PROCESSES), processes.Queue()
    racers = [
        processes.Process(target=race, args=(url, worker, start, told))
        for worker in range(PROCESSES)
    ]
    for racer in racers:
        racer.start()
    outcomes = [told.get(timeout=90) for _ in racers]
    for racer in racers:
        racer.join(30)
    assert [racer.exitcode for racer in racers] == [0] * PROCESSES
    return {c: Counter(itertools.chain(*(o[c] for o in outcomes))) for c in CONTESTS}


async def test_no_limit_is_passed_by_many_processes_together(shared_url: str) -> None:
    """As many calls as the cap pays for are signed; one on a number; one with a key."""
    outcomes = await asyncio.to_thread(compete, shared_url)
    everything = PROCESSES * CALLS
    paid = int(CAP // PRICE)
    assert outcomes["money"] == {"signed": paid, "SpendLimitReached": everything - paid}
    busy = outcomes["number"]["NumberBusy"] + outcomes["number"]["number_busy"]
    assert (outcomes["number"]["signed"], busy) == (1, everything - 1)
    assert outcomes["keys"] == {"signed": CALLS, "held": everything - CALLS}
    journal = CallJournal(shared_url)
    assert await journal.spent(account="money", tenant="") == paid * PRICE
    await journal.aclose()
