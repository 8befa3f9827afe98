"""The kill run: workers that place calls are killed and frozen over and over, at any moment.

A round is a handful of calls with keys of their own, from an account of its own. A worker alone is
killed some times, restarted with the same keys each time, and at last left alone until every call
has its outcome. Two workers who share the keys take calls from each other all the time: now one of
them is killed and restarted, now one is frozen for a while and goes on. In some rounds the clock of
their machine jumps an hour.

A part of the blows comes at a random moment, the others a random breath after a given step was seen
on the wire, so that the short and the dangerous moments are met as well.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from full import FULL

from chaos.ledger import table, times_paid, times_rung
from chaos.size import CALLS
from chaos.workers import Workers
from langchain_oneshot_voice.sandbox import CallScript, Sandbox

_LONGEST_MOMENT = 1.2 if FULL else 0.6
_STEPS = ("quote", "paid", "paid", "paid", "receipts", "a while", "a while", "a while")
"""What a blow follows. The paid leg is the one that matters."""

_SHORT = {"heartbeat": 0.03, "lease": 0.1}
_ALONE: dict[str, float] = {} if FULL else {"heartbeat": 0.1, "lease": 0.5}
"""Of the journals of workers that don't share their keys."""

_HOUR = 3600.0


@dataclass
class KillFigures:
    """What a kill run came to."""

    backend: str
    seed: int
    shared: bool
    asked: int = 0
    kills: int = 0
    freezes: int = 0
    jumps: int = 0
    payments: int = 0
    rings: int = 0
    outcomes: int = 0
    seconds: float = 0.0
    hit_after: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def blows(self) -> int:
        """Workers that were killed or frozen at work."""
        return self.kills + self.freezes


def run_kills(
    workers: Workers,
    backend: str,
    journal: str,
    folder: Path,
    *,
    kills: int,
    seed: int,
    shared: bool = False,
) -> KillFigures:
    """Hit workers until `kills` have been hit at work, and count what the world saw.

    Args:
        workers: where they come from.
        backend: the name of the kind of journal.
        journal: where it is.
        folder: for what workers write.
        kills: how many workers to hit.
        seed: of the moments.
        shared: whether two workers share each key, and are frozen as well as killed.
    """
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    figures = KillFigures(backend, seed, shared)
    began = time.monotonic()
    with Sandbox(call_seconds=0.4) as sandbox:
        for i in range(CALLS):
            # All minutes are used: credits for unused ones would pay later calls in part, and two
            # calls at once could count on the same credits.
            sandbox.expect(_number(i), CallScript(duration_seconds=290))
        round_ = _Round(sandbox, workers, journal, folder, figures, chance)
        while figures.blows < kills:
            left = kills - figures.blows
            left = min(chance.randint(2, 6), left) if FULL else left
            if shared:
                round_.hit_two(left)
            else:
                round_.kill_one(left)
        figures.payments, figures.rings = times_paid(sandbox), times_rung(sandbox)
    figures.seconds = time.monotonic() - began
    return figures


def kill_table(runs: list[KillFigures]) -> str:
    """The figures, a line a run."""
    header = (
        *("journal", "workers", "kills", "freezes", "jumps", "calls asked for", "payments"),
        *("rings", "outcomes read", "seconds"),
    )
    rows: list[tuple[object, ...]] = [
        (
            *(f.backend, "two" if f.shared else "one", f.kills, f.freezes, f.jumps, f.asked),
            *(f.payments, f.rings, f.outcomes, round(f.seconds, 1)),
        )
        for f in runs
    ]
    moments = [
        f"{f.backend}: seed {f.seed}; hit after "
        + ", ".join(f"{step} ({n})" for step, n in sorted(f.hit_after.items()))
        for f in runs
    ]
    return "\n".join([table(header, rows), *moments])


@dataclass
class _Round:
    """The workers at work."""

    sandbox: Sandbox
    workers: Workers
    journal: str
    folder: Path
    figures: KillFigures
    chance: random.Random
    _in_turn: Iterator[str] = field(
        default_factory=lambda: itertools.cycle(dict.fromkeys(_STEPS)), init=False
    )

    def kill_one(self, kills: int) -> None:
        """Kill a worker so many times, and let its last successor finish."""
        task = self._task() | _ALONE
        for _ in range(kills):
            moment, seen = self._moment()
            (pid,) = self.workers.start(task)
            self._await(moment, seen)
            if not self.workers.kill(pid):
                break  # it was done already
            self._count(moment, killed=True)
        self.workers.wait(self.workers.start(task))
        self._read_outcomes([task])

    def hit_two(self, blows: int) -> None:
        """Hit two workers with the same keys so many times, and let the last two finish."""
        task = self._task() | _SHORT
        jumping = self._jumping(task)
        two = [task | {"result": f"{task['result']}-{i}"} for i in range(2)]
        pids = self.workers.start(*(task | jumping for task in two))
        for _ in range(blows):
            moment, seen = self._moment()
            self._await(moment, seen)
            victim = self.chance.randrange(2)
            if not any(map(self.workers.works, pids)):
                break
            if self.chance.random() < 0.5 and self.workers.works(pids[victim]):
                self.workers.freeze(pids[victim])
                time.sleep(self.chance.uniform(0.1, 0.6))
                self.workers.thaw(pids[victim])
                self._count(moment, killed=False)
                continue
            if self.workers.kill(pids[victim]):
                self._count(moment, killed=True)
            (pids[victim],) = self.workers.start(two[victim] | jumping)
        self.workers.wait(pids)
        self.workers.wait(self.workers.start(*two))  # the clock is right again
        self._read_outcomes(two)

    def _task(self) -> dict[str, Any]:
        """New calls, and who pays them."""
        name = f"round-{self.figures.asked}"
        calls = [
            {
                "key": f"{name}-{i}",
                "number": _number(i),
                "objective": f"Ask the shop about order number {self.figures.asked + i}.",
            }
            for i in range(CALLS)
        ]
        self.figures.asked += CALLS
        return {
            "journal": self.journal,
            "base_url": self.sandbox.base_url,
            "private_key": "0x" + bytes(Account.create().key).hex(),
            "result": str(self.folder / f"{self.figures.backend}-{name}.json"),
            "calls": calls,
        }

    def _jumping(self, task: dict[str, Any]) -> dict[str, Any]:
        """Perhaps a moment at which the clock jumps, the same for both workers."""
        by = self.chance.choice([0.0, -_HOUR, _HOUR])
        if not by:
            return {}
        if by > 0:
            # A transfer that is signed by a clock that is ahead can't be made for an hour.
            task["access_token"] = self.sandbox.create_access_token()
        self.figures.jumps += 1
        moment = time.time() + self.chance.uniform(0.0, 0.5)
        # What was signed before a jump back has ended by the service's clock, not by theirs: they
        # would wait for it.
        return {"jump": (moment, by), "max_wait": 3.0}

    def _moment(self) -> tuple[str, int]:
        """A moment to come, and how much was seen on the wire before."""
        # A look at the receipts comes after a blow at the payment, so the order matters.
        step = self.chance.choice(_STEPS) if FULL else next(self._in_turn)
        return step, len(self.sandbox.requests)

    def _count(self, moment: str, *, killed: bool) -> None:
        self.figures.kills += killed
        self.figures.freezes += not killed
        self.figures.hit_after[moment] = self.figures.hit_after.get(moment, 0) + 1

    def _await(self, moment: str, seen: int) -> None:
        """Until a step has been seen again, or for a while when it is not."""
        if moment == "a while":
            time.sleep(self.chance.uniform(0.0, _LONGEST_MOMENT))
            return
        nth = self.chance.randint(1, CALLS)
        deadline = time.monotonic() + _LONGEST_MOMENT
        while time.monotonic() < deadline:
            if sum(e.leg == moment for e in self.sandbox.requests[seen:]) >= nth:
                break
            time.sleep(0.002)
        time.sleep(self.chance.uniform(0.0, 0.03))

    def _read_outcomes(self, tasks: list[dict[str, Any]]) -> None:
        """Count the calls of which every worker tells the same outcome."""
        placed = {call.request_id for call in self.sandbox.calls}
        ends = [json.loads(Path(task["result"]).read_text()) for task in tasks]
        for told in zip(*ends, strict=True):
            known = {end.get("request_id") for end in told}
            fine = all(end.get("status") == "completed" and end["summary"] for end in told)
            if fine and len(known) == 1 and known <= placed:
                self.figures.outcomes += 1
            else:
                self.figures.wrong.append(str(told))


def _number(i: int) -> str:
    return f"+1415555{110 + i:04d}"
