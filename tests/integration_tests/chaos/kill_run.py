"""The kill run: a worker that places calls is killed over and over, at moments of all kinds.

A round is a handful of calls with keys of their own, from a wallet of its own. Its worker is
killed some times, restarted with the same keys each time, and at last left alone until every call
has its outcome. A part of the kills comes at a random moment, the others a random breath after a
given step was seen on the wire, so that the short and the dangerous moments are met as well.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account

from chaos.ledger import table, times_paid, times_rung
from chaos.workers import Workers
from langchain_oneshot_voice.sandbox import CallScript, Sandbox

_CALLS = 5
_LONGEST_MOMENT = 1.2
_STEPS = ("quote", "paid", "paid", "paid", "receipts", "a while", "a while", "a while")
"""What a kill follows. The paid leg is the one that matters."""


@dataclass
class KillFigures:
    """What a kill run came to."""

    backend: str
    seed: int
    asked: int = 0
    kills: int = 0
    payments: int = 0
    rings: int = 0
    outcomes: int = 0
    seconds: float = 0.0
    killed_after: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def run_kills(backend: str, journal: str, folder: Path, *, kills: int, seed: int) -> KillFigures:
    """Kill workers until `kills` have died at work, and count what the world saw."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    figures = KillFigures(backend, seed)
    began = time.monotonic()
    with Sandbox(call_seconds=0.4) as sandbox, Workers(folder / f"{backend}.log") as workers:
        for i in range(_CALLS):
            # All minutes are used: credits for unused ones would pay later calls in part, and two
            # calls at once could count on the same credits.
            sandbox.expect(_number(i), CallScript(duration_seconds=290))
        while figures.kills < kills:
            left = min(chance.randint(2, 6), kills - figures.kills)
            _round(sandbox, workers, journal, folder, figures, left, chance)
        figures.payments, figures.rings = times_paid(sandbox), times_rung(sandbox)
    figures.seconds = time.monotonic() - began
    return figures


def kill_table(runs: list[KillFigures]) -> str:
    """The figures, a line a backend."""
    header = (
        "journal",
        "kills",
        "calls asked for",
        "payments",
        "rings",
        "outcomes read",
        "seconds",
    )
    rows: list[tuple[object, ...]] = [
        (f.backend, f.kills, f.asked, f.payments, f.rings, f.outcomes, round(f.seconds, 1))
        for f in runs
    ]
    moments = [
        f"{f.backend}: seed {f.seed}; killed after "
        + ", ".join(f"{step} ({n})" for step, n in sorted(f.killed_after.items()))
        for f in runs
    ]
    return "\n".join([table(header, rows), *moments])


def _round(
    sandbox: Sandbox,
    workers: Workers,
    journal: str,
    folder: Path,
    figures: KillFigures,
    kills: int,
    chance: random.Random,
) -> None:
    name = f"round-{figures.asked}"
    task: dict[str, Any] = {
        "journal": journal,
        "base_url": sandbox.base_url,
        "private_key": "0x" + bytes(Account.create().key).hex(),
        "result": str(folder / f"{figures.backend}-{name}.json"),
        "calls": [
            {
                "key": f"{name}-{i}",
                "number": _number(i),
                "objective": f"Ask the shop about order number {figures.asked + i}.",
            }
            for i in range(_CALLS)
        ],
    }
    figures.asked += _CALLS
    for _ in range(kills):
        moment = chance.choice(_STEPS)
        seen = len(sandbox.requests)
        (pid,) = workers.start(task)
        _await_moment(sandbox, moment, seen, chance)
        if not workers.kill(pid):
            break  # it was done already
        figures.kills += 1
        figures.killed_after[moment] = figures.killed_after.get(moment, 0) + 1
    workers.wait(workers.start(task))
    _read_outcomes(sandbox, Path(task["result"]), figures)


def _number(i: int) -> str:
    return f"+1415555{110 + i:04d}"


def _await_moment(sandbox: Sandbox, moment: str, seen: int, chance: random.Random) -> None:
    """Until a step has been seen again, or for a while when it is not."""
    if moment == "a while":
        time.sleep(chance.uniform(0.0, _LONGEST_MOMENT))
        return
    nth = chance.randint(1, _CALLS)
    deadline = time.monotonic() + _LONGEST_MOMENT
    while time.monotonic() < deadline:
        if sum(e.leg == moment for e in sandbox.requests[seen:]) >= nth:
            break
        time.sleep(0.002)
    time.sleep(chance.uniform(0.0, 0.03))


def _read_outcomes(sandbox: Sandbox, result: Path, figures: KillFigures) -> None:
    placed = {call.request_id for call in sandbox.calls}
    for end in json.loads(result.read_text()):
        if end.get("status") == "completed" and end["request_id"] in placed and end["summary"]:
            figures.outcomes += 1
        else:
            figures.wrong.append(str(end))
