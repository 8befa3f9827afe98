"""How soon a second worker has a call: real processes, SQLite, the timing that users have.

The first worker is killed, is stopped, or its run is cancelled. In the short form each of these
happens once, and a worker counts as dead after a quarter of the usual time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from chaos.ledger import times_paid, times_rung
from chaos.workers import Workers, workers
from full import FULL

from langchain_oneshot_voice import Sandbox
from langchain_oneshot_voice.sandbox import CallScript, Fault

__all__ = ["workers"]

Stage = Literal["claimed", "signed", "placed"]
STAGES: tuple[Stage, ...] = ("claimed", "signed", "placed")
Blow = Literal["killed", "frozen", "cancelled"]
BLOWS: dict[Blow, Callable[[Workers, int], object]] = {
    "killed": Workers.kill,
    "frozen": Workers.freeze,
    "cancelled": Workers.cancel,
}
LEASE: dict[str, float] = {} if FULL else {"heartbeat": 0.25, "lease": 1.0}
LIMIT = 5.0 if FULL else 15.0
"""Seconds within which a second worker has the call; more beside other tests, on a busy machine."""

RINGS = 8.0 if FULL else 5.0
"""Seconds: longer than the takeover takes."""

HIT: list[dict[Stage, Blow]] = (
    [dict.fromkeys(STAGES, blow) for blow in BLOWS]
    if FULL
    else [{"claimed": "cancelled", "signed": "killed", "placed": "frozen"}]
)
"""What happens to the first workers, by the stage at which their calls are."""

NUMBERS: dict[Stage, str] = {
    "claimed": "+14155550151",
    "signed": "+14155550152",
    "placed": "+14155550153",
}
LEGS: dict[Stage, Literal["quote", "paid"] | None] = {
    "claimed": "quote",
    "signed": "paid",
    "placed": None,
}
"""Where a call hangs at each stage; a phone rings on by itself."""

_LOOK_SECONDS = 0.02
_LONGEST = 30.0


class Shop:
    """A service, a journal, and workers with a call each that is at some stage."""

    def __init__(self, workers: Workers, sandbox: Sandbox, folder: Path) -> None:
        self.workers = workers
        self.sandbox = sandbox
        self.folder = folder
        self.file = folder / "calls.sqlite"
        sandbox.expect(NUMBERS["placed"], CallScript(seconds=RINGS))

    def task(self, name: str, *stages: Stage) -> dict[str, Any]:
        """A task for a worker, whose calls are named for the stages that they get to."""
        return {
            "journal": str(self.file),
            "base_url": self.sandbox.base_url,
            "private_key": self.sandbox.private_key,
            "usual_timing": True,
            "timeout": 10.0,
            "result": str(self.folder / f"{name}.json"),
            **LEASE,
            "calls": [
                {"key": stage, "number": NUMBERS[stage], "objective": f"Ask for {stage}."}
                for stage in stages
            ],
        }

    def start_at(self, stage: Stage) -> int:
        """Start a worker and wait until its call is at a stage, where it stays for a while."""
        leg = LEGS[stage]
        if leg is not None:
            self.sandbox.inject(Fault(leg, "hang_before"))
        (pid,) = self.workers.start(self.task(stage, stage))
        _wait_until(lambda: self.rows().get(stage, ("", ""))[0] == stage)
        _wait_until(lambda: leg is None or self._hangs(leg))
        return pid

    def rows(self) -> dict[str, tuple[str, str | None]]:
        """The state and the worker of each call, by the stage that it is named for."""
        names = {number: stage for stage, number in NUMBERS.items()}
        query = "SELECT number, state, worker FROM calls JOIN call_numbers USING (call_key)"
        try:
            with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as journal:
                found = journal.execute(query).fetchall()
        except sqlite3.OperationalError:  # there is no file yet, or it has no tables
            return {}
        return {names[number]: (state, worker) for number, state, worker in found}

    def times_of_takeover(self, firsts: set[str | None]) -> dict[str, float]:
        """When each call was seen in the hands of a worker that is none of the first."""
        taken: dict[str, float] = {}

        def look() -> bool:
            for stage, (_, worker) in self.rows().items():
                if worker is not None and worker not in firsts:
                    taken.setdefault(stage, time.time())
            return len(taken) == len(NUMBERS)

        _wait_until(look)
        return taken

    def _hangs(self, leg: str) -> bool:
        return any(
            seen.leg == leg and seen.fault == "hang_before" for seen in self.sandbox.requests
        )


@pytest.fixture
def shop(workers: Workers, tmp_path: Path) -> Iterator[Shop]:
    """One for each test."""
    with Sandbox(call_seconds=0.05) as sandbox:
        yield Shop(workers, sandbox, tmp_path)


@pytest.mark.parametrize("blows", HIT, ids=lambda blows: "-".join(dict.fromkeys(blows.values())))
@pytest.mark.parametrize("turn", range(5 if FULL else 1))
def test_a_second_worker_has_a_call_within_five_seconds(
    shop: Shop, blows: dict[Stage, Blow], turn: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stage the call is at. The second worker waits for it already, and ends it."""
    pids = {stage: shop.start_at(stage) for stage in reversed(STAGES)}
    firsts = {worker for _, worker in shop.rows().values()}
    second = shop.workers.start(shop.task("second", *STAGES))
    time.sleep(0.2 * turn)  # another moment between two heartbeats
    hit_at = time.time()
    for stage, pid in pids.items():
        BLOWS[blows[stage]](shop.workers, pid)
    taken = {stage: at - hit_at for stage, at in shop.times_of_takeover(firsts).items()}
    frozen = [pids[stage] for stage, blow in blows.items() if blow == "frozen"]
    for pid in frozen:
        shop.workers.thaw(pid)
    shop.workers.wait(frozen)
    shop.workers.wait(second)
    with capsys.disabled():
        times = ", ".join(
            f"{blow} when {stage}: after {taken[stage]:.2f} s" for stage, blow in blows.items()
        )
        print(f"\ntaken over: {times}")  # noqa: T201 - what the test is read for
    told = json.loads((shop.folder / "second.json").read_text())
    assert [end.get("status", end) for end in told] == ["completed"] * 3
    assert (times_paid(shop.sandbox), times_rung(shop.sandbox)) == (3, 3)
    assert max(taken.values()) < LIMIT


def _wait_until(holds: Any) -> None:
    deadline = time.monotonic() + _LONGEST
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"this did not happen within {_LONGEST} seconds")
        time.sleep(_LOOK_SECONDS)
