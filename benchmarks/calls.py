"""What calls cost the client, many at once, beside the official client.

    python benchmarks/calls.py [calls at once] [seconds a call takes] [rounds] [clients]

The clients are `fast` (this package with its extra `fast`), `plain` (without), `official`, and
`official+` (the official client where coincurve happens to be installed); by default the first
three.

The sandbox runs in a process of its own. Each client places the same calls in a fresh process, the
two in turn, with a journal on disk, and is charged with its own processor time between the first
request and the last outcome; imports are not counted (see startup.py). The wall is compared with
the seconds that one call takes. Quote the ratios of the medians.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from service import numbers, serving

OBJECTIVE = "Ask at what time they close today, and whether they take cards."
CLIENTS = ("fast", "plain", "official")
EXTRAS = ("coincurve", "aiohttp")
"""What the extra `fast` adds. httpx2 is there without it: langchain-core brings it."""


@dataclass(frozen=True)
class Run:
    """One client's calls.

    Attributes:
        processor: milliseconds of its processor a call.
        wall: seconds from the first request to the last outcome.
        achieved: calls that came back as a success.
        memory: kB of resident memory a call, while all of them waited.
        late: seconds from each call's end to its result, where the result says when it ended.
    """

    processor: float
    wall: float
    achieved: int
    memory: float
    late: list[float]


async def ours(base_url: str, key: str, folder: str, count: int, *, in_turn: bool) -> Run:
    from langchain_oneshot_voice import CallPolicy, VoiceCallTool

    tool = VoiceCallTool(
        private_key=key,
        base_url=base_url,
        policy=CallPolicy(max_cost_per_day=None, calling_hours=None),
        journal=f"{folder}/calls.sqlite",
    )

    async def place(number: str) -> tuple[bool, float | None]:
        call = {"name": "voice_call", "id": number, "type": "tool_call"}
        request = {"objective": OBJECTIVE, "target_number": number}
        message = await tool.ainvoke(call | {"args": request})
        now, result = time.time(), message.artifact
        if result is None:
            print(message.content, file=sys.stderr)
            return False, None
        ended = datetime.fromisoformat(result.raw["updated_at"]).timestamp()
        return result.call_successful == "success", now - ended

    await place(numbers(count + 1)[-1])  # opens what a warm process has opened
    return await measured(place, count, in_turn=in_turn)


async def official(base_url: str, key: str, _folder: str, count: int, *, in_turn: bool) -> Run:
    from langchain_oneshot import VoiceTool
    from oneshot import OneShotClient

    tool = VoiceTool(client=OneShotClient(private_key=key, base_url=base_url))

    async def place(number: str) -> tuple[bool, float | None]:
        result = await tool.ainvoke({"objective": OBJECTIVE, "target_number": number})
        return json.loads(result).get("success_evaluation") == "pass", None

    await place(numbers(count + 1)[-1])
    return await measured(place, count, in_turn=in_turn)


async def measured(
    place: Callable[[str], Awaitable[tuple[bool, float | None]]], count: int, *, in_turn: bool
) -> Run:
    fullest = before = resident()
    ended = 0

    async def one(number: str) -> tuple[bool, float | None]:
        nonlocal ended
        try:
            return await place(number)
        except Exception as error:  # noqa: BLE001 - counted
            print(type(error).__name__, error, file=sys.stderr)
            return False, None
        finally:
            ended += 1

    async def watch() -> None:
        nonlocal fullest
        while not ended:
            fullest = max(fullest, resident())
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    used, began = processor(), time.perf_counter()
    if in_turn:
        outcomes = [await one(number) for number in numbers(count)]
    else:
        outcomes = await asyncio.gather(*map(one, numbers(count)))
    used, wall = processor() - used, time.perf_counter() - began
    await watching
    return Run(
        processor=used / count * 1000,
        wall=wall,
        achieved=sum(achieved for achieved, _ in outcomes),
        memory=(fullest - before) / count,
        late=sorted(late for _, late in outcomes if late is not None),
    )


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> float:
    """Memory of this process, in kB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


@dataclass(frozen=True)
class Figures:
    """A client's medians; `errors` and `wrong` are sums over all rounds.

    Attributes:
        requests: HTTP requests a call.
        errors: calls that did not come back as a success.
        wrong: calls that were not paid, or did not ring, exactly once.
    """

    processor: float
    wall: float
    memory: float
    requests: float
    errors: int
    wrong: int
    late_p50: float | None
    late_p99: float | None


def compare(
    count: int,
    seconds: float,
    rounds: int,
    *,
    clients: Sequence[str] = CLIENTS,
    spread: float = 0.0,
    in_turn: bool = False,
) -> dict[str, Figures]:
    """Run the clients in turn.

    Args:
        count: how many calls.
        seconds: how long each takes.
        rounds: how often each client places them.
        clients: which clients.
        spread: seconds over which the ends of calls that begin together are spread evenly.
        in_turn: one call after the other, instead of all at once.
    """
    runs: dict[str, list[Run]] = {client: [] for client in clients}
    requests: dict[str, list[float]] = {client: [] for client in clients}
    wrong = dict.fromkeys(clients, 0)
    for _ in range(rounds):
        for client in clients:
            with (
                serving(seconds, count + 1, spread) as service,
                tempfile.TemporaryDirectory() as folder,
            ):
                task = [client, service.base_url, "0x" + secrets.token_hex(32), folder, count]
                task.append(in_turn)
                child = subprocess.run(
                    [sys.executable, __file__, json.dumps(task)],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                seen = service.seen()
            runs[client].append(Run(**json.loads(child.stdout)))
            requests[client].append(seen.requests / (count + 1))
            wrong[client] += abs(seen.payments - count - 1) + abs(seen.rings - count - 1)
    return {
        client: Figures(
            processor=statistics.median(run.processor for run in runs[client]),
            wall=statistics.median(run.wall for run in runs[client]),
            memory=statistics.median(run.memory for run in runs[client]),
            requests=statistics.median(requests[client]),
            errors=sum(count - run.achieved for run in runs[client]),
            wrong=wrong[client],
            late_p50=_late(runs[client], 0.5),
            late_p99=_late(runs[client], 0.99),
        )
        for client in clients
    }


def _late(runs: Sequence[Run], share: float) -> float | None:
    """The median over the rounds of a quantile, in ms."""
    of_each = [run.late[int(share * (len(run.late) - 1))] * 1000 for run in runs if run.late]
    return statistics.median(of_each) if of_each else None


def main(count: int, seconds: float, rounds: int, clients: Sequence[str]) -> None:
    figures = compare(count, seconds, rounds, clients=clients)
    print(f"{count} calls at once, {seconds:g} s each, {rounds} rounds; medians")
    for client, f in figures.items():
        over = f.processor / figures[clients[-1]].processor
        late = (
            "" if f.late_p50 is None else f"; results after {f.late_p50:.0f}, {f.late_p99:.0f} ms"
        )
        print(
            f"  {client:<10}{f.processor:6.1f} ms processor a call ({over:.3f})"
            f" {f.requests:5.1f} requests {f.memory:5.0f} kB a call"
            f"  wall {f.wall:.2f} s ({f.wall / seconds:.2f})"
            f"  {f.errors} errors, {f.wrong} wrong{late}"
        )


def client_process(
    client: str, base_url: str, key: str, folder: str, count: int, in_turn: bool
) -> None:
    if client in {"plain", "official"}:
        # `None` makes Python find no such package.
        sys.modules.update(dict.fromkeys(EXTRAS))  # type: ignore[arg-type]
    place = ours if client in {"plain", "fast"} else official
    print(json.dumps(asdict(asyncio.run(place(base_url, key, folder, count, in_turn=in_turn)))))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [task] if task.startswith("["):
            client_process(*json.loads(task))
        case given:
            given = [*given, *["500", "10", "3", ",".join(CLIENTS)][len(given) :]]
            main(int(given[0]), float(given[1]), int(given[2]), given[3].split(","))
