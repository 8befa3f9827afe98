"""Many calls through one process: do memory, sockets, tasks and threads stay flat?

    python benchmarks/soak.py [calls] [at once] [seconds a call takes]

Calls are placed by `acall_many` on a journal on disk; the sandbox runs in a process of its own.
The process is looked at twice a second. The curves are written to `soak.png` beside this file, and
the figures after a tenth of the calls and at the end are printed.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import astuple, dataclass
from pathlib import Path

from calls import OBJECTIVE, resident
from service import numbers, serving

PLOT = Path(__file__).with_name("soak.png")


@dataclass(frozen=True)
class Look:
    """The process at a moment."""

    seconds: float
    ended: int
    memory_mb: float
    sockets: int
    tasks: int
    threads: int


def look(began: float, ended: int, tasks: int) -> Look:
    sockets = 0
    for file in Path("/proc/self/fd").iterdir():
        try:
            sockets += str(file.readlink()).startswith("socket:")
        except OSError:  # closed meanwhile
            continue
    seconds = time.monotonic() - began
    return Look(seconds, ended, resident() / 1024, sockets, tasks, threading.active_count())


async def soak(count: int, at_once: int, seconds: float) -> tuple[list[Look], int]:
    """Place the calls; what was seen, and how many calls went wrong."""
    from langchain_oneshot_voice import CallPolicy, VoiceCaller, VoiceCallInput, WalletKey
    from langchain_oneshot_voice.engine import ENGINE

    looks: list[Look] = []
    began, ended, wrong = time.monotonic(), 0, 0
    with serving(seconds, count) as service, tempfile.TemporaryDirectory() as folder:
        caller = VoiceCaller(
            WalletKey("0x" + secrets.token_hex(32)),
            base_url=service.base_url,
            policy=CallPolicy(max_cost_per_day=None, calling_hours=None),
            journal=f"{folder}/calls.sqlite",
        )

        async def tasks() -> int:
            return len(asyncio.all_tasks())

        async def watch() -> None:
            while True:
                looks.append(look(began, ended, await ENGINE.acall(tasks)))
                await asyncio.sleep(0.5)

        async def requests() -> AsyncIterator[VoiceCallInput]:
            for number in numbers(count):
                yield VoiceCallInput(objective=OBJECTIVE, target_number=number)

        watching = asyncio.create_task(watch())
        async for call in caller.acall_many(requests(), concurrency=at_once):
            ended += 1
            wrong += not call.succeeded
        await asyncio.sleep(2)
        watching.cancel()
        seen = service.seen()
        wrong += abs(seen.payments - count) + abs(seen.rings - count)
    return looks, wrong


def plot(looks: list[Look], title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 1, sharex=True, figsize=(8, 8), layout="constrained")
    names = ("memory (MB)", "sockets", "tasks", "threads")
    curves = list(zip(*map(astuple, looks), strict=True))[2:]
    for axis, name, values in zip(axes, names, curves, strict=True):
        axis.plot([seen.seconds for seen in looks], values, color="#1f6f8b", linewidth=1.2)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_title(title, fontsize=10)
    axes[-1].set_xlabel("seconds")
    figure.savefig(PLOT, dpi=110)


def main(count: int, at_once: int, seconds: float) -> tuple[Look, Look, int]:
    """Soak, draw, print; the process after a tenth of the calls and near the end, and errors."""
    looks, wrong = asyncio.run(soak(count, at_once, seconds))
    early = next(seen for seen in looks if seen.ended >= count / 10)
    late = [seen for seen in looks if seen.ended < count - at_once][-1]
    title = f"{count:,} calls of {seconds:g} s, {at_once:,} at once, in one process"
    plot(looks, title)
    print(f"{title}: {wrong} wrong, {looks[-1].seconds:.0f} s")
    for name, seen in (("after a tenth", early), ("near the end", late), ("after it", looks[-1])):
        print(
            f"  {name:<14} {seen.memory_mb:6.0f} MB {seen.sockets:5} sockets"
            f" {seen.tasks:6} tasks {seen.threads:4} threads"
        )
    return early, late, wrong


if __name__ == "__main__":
    given = [*sys.argv[1:], *["20000", "1000", "5"][len(sys.argv) - 1 :]]
    main(int(given[0]), int(given[1]), float(given[2]))
