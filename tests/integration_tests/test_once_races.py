"""Exactly once, whoever else is at it: threads and processes racing for one key and one cap."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

from chaos.callers import UNLIMITED, caller_on, end_of, key, request
from chaos.ledger import times_paid, times_rung
from chaos.workers import Workers, workers
from full import FULL

from langchain_oneshot_voice import CallJournal, Sandbox
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import Claim, NewCall
from langchain_oneshot_voice.sandbox import CallScript

__all__ = ["workers"]

THREADS = 50
PROCESSES, CALLS = (8, 4) if FULL else (3, 10)
"""Processes that race, and how many calls each of them places for the day's cost."""


def race(
    workers: Workers, sandbox: Sandbox, folder: Path, calls: list[list[dict[str, str]]], **task: Any
) -> list[dict[str, Any]]:
    """Let a process place each list of calls, all at the same moment; what every call came to."""
    common: dict[str, Any] = {
        "journal": str(folder / "raced.sqlite"),
        "base_url": sandbox.base_url,
        "private_key": sandbox.private_key,
        "start_at": time.time() + 0.5,
    }
    tasks = [
        common | task | {"result": str(folder / f"{i}.json"), "calls": mine}
        for i, mine in enumerate(calls)
    ]
    workers.wait(workers.start(*tasks))
    return [end for task in tasks for end in json.loads(Path(task["result"]).read_text())]


def call(name: str, number: int = 150) -> dict[str, str]:
    """A call as a worker is told of it."""
    return {
        "key": name,
        "number": f"+1415555{number:04d}",
        "objective": f"Ask the shop about order number {name}.",
    }


def test_fifty_threads_with_one_key_make_one_call_and_all_get_its_result(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """One payment and one ring, and fifty times the same outcome; five journals on one file."""
    journals = [CallJournal(tmp_path / "raced.sqlite") for _ in range(5)]
    callers = [caller_on(sandbox, journals[i % 5], max_wait=30.0) for i in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        ends = list(pool.map(lambda caller: end_of(caller, request(), key()), callers))
    told = {(getattr(end, "call_status", end), end.request_id) for end in ends}
    placed = sandbox.calls[0].request_id
    assert (told, times_paid(sandbox), times_rung(sandbox)) == ({("completed", placed)}, 1, 1)


def test_processes_with_one_key_make_one_call_and_all_get_its_result(
    workers: Workers, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One payment and one ring, and the same outcome in every process."""
    ends = race(workers, sandbox, tmp_path, [[call("the one call")]] * PROCESSES)
    told = {(end.get("status", end.get("error")), end.get("request_id")) for end in ends}
    placed = sandbox.calls[0].request_id
    assert (told, times_paid(sandbox), times_rung(sandbox)) == ({("completed", placed)}, 1, 1)


def test_a_day_s_cost_raced_by_processes_is_not_exceeded_by_a_cent(
    workers: Workers, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What was paid stays within the cap, what would pass it is refused, and no room is wasted."""
    cap, dearest = Decimal(30), Decimal("6.75")
    calls = [
        [call(f"{p}-{i}", 110 + CALLS * p + i) for i in range(CALLS)] for p in range(PROCESSES)
    ]
    ends = race(workers, sandbox, tmp_path, calls, policy={"max_cost_per_day": str(cap)})
    refused = {end["error"] for end in ends if "error" in end}
    spent = sum((payment.amount for payment in sandbox.payments), Decimal(0))
    completed = sum(end.get("status") == "completed" for end in ends)
    assert refused == {"daily_cost_limit_reached"}
    assert cap - dearest < spent <= cap, f"${spent} of ${cap}"
    assert completed == times_paid(sandbox) == times_rung(sandbox)


def test_a_number_s_calls_a_day_raced_by_processes_are_not_exceeded(
    workers: Workers, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Two calls a day to one number are two, and then every process hears why."""
    policy = {"max_calls_per_number_per_day": 2}
    refused: list[str] = []
    while "number_limit_reached" not in refused:
        calls = [[call(f"{p} at {time.time()}")] for p in range(PROCESSES)]
        ends = race(workers, sandbox, tmp_path, calls, policy=policy)
        refused = [end["error"] for end in ends if "error" in end]
    assert (times_paid(sandbox), times_rung(sandbox)) == (2, 2)


class NotingJournal(CallJournal):
    """A journal that remembers when each run began: at its first claim."""

    def __init__(self, file: Path, **timing: float) -> None:
        super().__init__(file, **timing)
        self.began: dict[tuple[str, str], float] = {}

    async def claim(self, call: NewCall, *, owner: str, **terms: Any) -> Claim:
        """Claim, and remember the first time."""
        claim = await super().claim(call, owner=owner, **terms)
        self.began.setdefault((call.call_key, owner), claim.now)
        return claim


def test_calls_taken_from_live_workers_all_the_time_are_paid_once_each(tmp_path: Path) -> None:
    """Two workers that count as dead at once, and keys that no old end answers.

    A run that began before its call ended is answered by that end; one that began later makes a
    call of its own.
    """
    calls = 5000 if FULL else 40
    file = tmp_path / "raced.sqlite"
    journals = [NotingJournal(file, heartbeat=0.01, lease=0.001) for _ in range(2)]
    with Sandbox(call_seconds=0.05, balance=Decimal(10**6)) as sandbox:
        for number in range(80):  # all minutes are used: credits for others would pay later calls
            sandbox.expect(f"+1415555{110 + number:04d}", CallScript(duration_seconds=290))
        callers = [caller_on(sandbox, journal, policy=UNLIMITED) for journal in journals]

        def place(turn: int) -> object:
            index = turn // 2
            asked = request(f"+1415555{110 + index % 80:04d}", f"Ask about order number {index}.")
            return end_of(callers[turn % 2], asked, CallKey(f"{index:064x}", answers_for=0.0))

        with ThreadPoolExecutor(24) as pool:
            ends = list(pool.map(place, range(2 * calls)))
        began: dict[str, float] = {}  # when the later run of each key began
        for (key, _), at in [item for journal in journals for item in journal.began.items()]:
            began[key] = max(at, began.get(key, 0.0))
        ended: dict[str, float] = {}  # when the first call of each key ended
        records = ENGINE.call(lambda: journals[0].recent(limit=4 * calls))
        for record in records:
            key = record.call_key.partition("~")[0]
            ended[key] = min(record.updated_at, ended.get(key, float("inf")))
        together = sum(began[key] <= ended[key] for key in began)
        assert {getattr(end, "call_status", end) for end in ends} == {"completed"}
        seen = (len(records), times_paid(sandbox), times_rung(sandbox))
        assert seen == (2 * calls - together,) * 3
        assert together > calls / 2, "hardly any of the workers met"
