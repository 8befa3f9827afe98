"""What a call costs the client: processor time and requests, beside the official client.

    python benchmarks/calls.py [calls at once] [seconds a call takes] [rounds]

The sandbox runs in a process of its own. Each client places the same calls in a fresh process, the
two in turn, and is charged with its own processor time between the first request and the last
outcome; imports are not counted (see imports.py). Quote the ratios of the medians.
"""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time

OBJECTIVE = "Ask at what time they close today, and whether they take cards."


def numbers(count: int) -> list[str]:
    return [f"+1415555{1000 + i}" for i in range(count)]


async def ours(base_url: str, key: str, count: int, folder: str) -> list[bool]:
    from langchain_oneshot_voice import CallPolicy, VoiceCallTool

    policy = CallPolicy(max_cost_per_day=None, calling_hours=None)
    tool = VoiceCallTool(
        private_key=key, base_url=base_url, policy=policy, journal=f"{folder}/calls.sqlite"
    )
    await tool.caller.arecover()  # opens the journal and imports what signs, as a warm process has

    async def place(number: str) -> bool:
        call = {"name": "voice_call", "id": number, "type": "tool_call"}
        message = await tool.ainvoke(
            call | {"args": {"objective": OBJECTIVE, "target_number": number}}
        )
        return bool(message.artifact.call_successful == "success")

    return await measured(place, count)


async def official(base_url: str, key: str, count: int, _folder: str) -> list[bool]:
    from langchain_oneshot import VoiceTool
    from oneshot import OneShotClient

    tool = VoiceTool(client=OneShotClient(private_key=key, base_url=base_url))

    async def place(number: str) -> bool:
        result = await tool.ainvoke({"objective": OBJECTIVE, "target_number": number})
        return bool(json.loads(result).get("success_evaluation") == "pass")

    return await measured(place, count)


async def measured(place, count: int) -> list[bool]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    before, began = processor_seconds(), time.perf_counter()
    outcomes = await asyncio.gather(*map(place, numbers(count)))
    print(json.dumps([processor_seconds() - before, time.perf_counter() - began, sum(outcomes)]))
    return outcomes


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(call_seconds: float) -> None:
    """The sandbox's process: a line with its address, then a line of counts for each newline."""
    from langchain_oneshot_voice import Sandbox

    with Sandbox(call_seconds=call_seconds, balance=100_000) as sandbox:
        print(json.dumps(sandbox.base_url), flush=True)
        for _ in sys.stdin:
            seen = len(sandbox.requests), len(sandbox.rings)
            print(json.dumps(seen), flush=True)


def main(count: int, call_seconds: float, rounds: int) -> None:
    me = [sys.executable, __file__]
    server = subprocess.Popen(
        [*me, "serve", str(call_seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None  # noqa: S101
    assert server.stdout is not None  # noqa: S101
    base_url = json.loads(server.stdout.readline())

    def counted() -> list[int]:
        server.stdin.write("\n")
        server.stdin.flush()
        return list(json.loads(server.stdout.readline()))

    figures: dict[str, list[list[float]]] = {"ours": [], "official": []}
    for _ in range(rounds):
        for name, seen in figures.items():
            before, key = counted(), "0x" + secrets.token_hex(32)  # a wallet of its own each time
            with tempfile.TemporaryDirectory() as folder:
                run = subprocess.run(
                    [*me, name, base_url, key, str(count), folder],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            processor, wall, achieved = json.loads(run.stdout)
            requests, rings = (b - a for a, b in zip(before, counted(), strict=True))
            seen.append([processor / count * 1000, wall, requests / count, achieved, rings])
    server.stdin.close()
    server.wait(timeout=30)

    print(f"{count} calls at once, {call_seconds} s each, {rounds} rounds; medians")
    medians = {n: [statistics.median(c) for c in zip(*f, strict=True)] for n, f in figures.items()}
    for name, (processor, wall, requests, achieved, rings) in medians.items():
        print(
            f"  {name:<9} {processor:7.1f} ms processor a call   {requests:5.1f} requests a call"
            f"   {wall:6.2f} s   {achieved:.0f} of {count} achieved, {rings:.0f} rings"
        )
    one, other = medians["ours"], medians["official"]
    print(f"  ratio     {one[0] / other[0]:7.2f}" + " " * 22 + f"{one[2] / other[2]:5.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", call_seconds]:
            serve(float(call_seconds))
        case [("ours" | "official") as name, base_url, key, count, folder]:
            client = ours if name == "ours" else official
            asyncio.run(client(base_url, key, int(count), folder))
        case arguments:
            given = [*arguments, *["50", "20", "3"][len(arguments) :]]
            main(int(given[0]), float(given[1]), int(given[2]))
