"""Every figure that the project has a goal for, measured, and written to `results.md`.

    python benchmarks/run.py [rounds]

Takes about half an hour with three rounds. The machine should have nothing else to do: the ratios
bear a little noise, the walls and delays do not.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import calls
import journal
import startup

RESULTS = Path(__file__).with_name("results.md")
PACKAGES = (
    "langchain-oneshot-voice",
    "langchain-oneshot",
    "oneshot-python",
    "langchain-core",
    "aiohttp",
    "httpx2",
    "httpx",
    "coincurve",
    "SQLAlchemy",
)


@dataclass(frozen=True)
class Row:
    """One figure beside its goal."""

    figure: str
    value: float
    goal: float
    must: float
    unit: str = ""
    digits: int = 2

    def __str__(self) -> str:
        met = "goal" if self.value <= self.goal else "must" if self.value <= self.must else "missed"
        value, goal, must = (
            f"{number:,.{self.digits}f}{self.unit}" for number in (self.value, self.goal, self.must)
        )
        return f"| {self.figure} | {value} | {goal} | {must} | {met} |"


def rows(rounds: int) -> list[Row]:
    """Measure everything."""
    many = calls.compare(500, 10, rounds, clients=("fast", "plain", "official", "official+"))
    fast, plain, official = many["fast"], many["plain"], many["official"]
    found = [
        Row(
            "processor a call, 500 calls of 10 s at once, `[fast]`, over the official client's",
            fast.processor / official.processor,
            0.10,
            0.125,
        ),
        Row("the same, without extras", plain.processor / official.processor, 0.33, 0.4),
        Row("wall of it over the ideal 10 s, with `[fast]`", fast.wall / 10, 1.3, 1.5),
    ]
    for count in (2000, 5000):
        some = calls.compare(count, 10, 1, clients=("fast",))["fast"]
        of_them = f"{count:,} calls of 10 s at once"
        found += [
            Row(f"{of_them}: errors", some.errors + some.wrong, 0, 0, digits=0),
            Row(f"{of_them}: processor a call over that at 500", some.processor / fast.processor,
                1.2, 1.2),
            Row(f"{of_them}: memory a waiting call", some.memory, 60, 60, " kB", 0),
        ]  # fmt: skip
    late = calls.compare(500, 10, rounds, clients=("fast",), spread=10)["fast"]
    found += [
        Row("from a call's end to its result, p50", late.late_p50 or 0.0, 10, 50, " ms", 0),
        Row("from a call's end to its result, p99", late.late_p99 or 0.0, 50, 250, " ms", 0),
    ]
    for name, ratio in journal.grown().items():
        figure = f"a journal of 100,000 calls over an empty one, processor a call, {name}"
        found.append(Row(figure, ratio, 1.1, 1.2))
    warm = calls.compare(20, 2, rounds, clients=("fast", "official"), in_turn=True)
    found.append(
        Row(
            "a single warm call of 2 s, processor, over the official client's",
            warm["fast"].processor / warm["official"].processor,
            0.33,
            0.5,
        )
    )
    start = startup.measured(max(rounds, 5))
    found += [
        Row(
            "import of `VoiceCallTool` over `BaseTool`",
            start[startup.OURS] / start[startup.BASE_TOOL],
            1.10,
            1.15,
        ),
        Row("`oneshot-voice --help`", start[startup.HELP], 0.6, 1.0, " s"),
    ]
    details = [
        f"{client}: {figures.processor:.1f} ms of processor a call, wall {figures.wall:.1f} s,"
        f" {figures.requests:.1f} requests a call, {figures.memory:.0f} kB a call,"
        f" {figures.errors} errors"
        for client, figures in many.items()
    ]
    write(found, details, rounds)
    return found


def write(found: list[Row], details: list[str], rounds: int) -> None:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    lines = [
        "# Results",
        "",
        f"Written by `python benchmarks/run.py {rounds}` on {datetime.now(UTC):%Y-%m-%d}.",
        f"Medians of {rounds} rounds; one round for 2,000 and 5,000 calls.",
        f"{machine}, Python {platform.python_version()}; {versions}.",
        "",
        "The official client has no extras, as it is installed by default; `official+` is the same",
        "client where coincurve happens to be installed.",
        "",
        "| figure | measured | goal | must | |",
        "| --- | --- | --- | --- | --- |",
        *map(str, found),
        "",
        "500 calls of 10 s at once:",
        "",
        *(f"- {line}" for line in details),
        "",
    ]
    RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        print(row)
