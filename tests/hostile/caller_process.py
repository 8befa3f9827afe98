"""The process that is attacked. It reads orders from stdin, a line each, and answers likewise.

Each order is a round: some calls to malicious services, and ten calls to a friendly sandbox, all at
once. Only this file knows how a fast caller is set up.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import secrets
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from placing import FAST, OBJECTIVE, at_any_hour

from langchain_oneshot_voice import (
    CallJournal,
    CallUnknownError,
    VoiceCallError,
    VoiceCallResult,
    VoiceCallTool,
)

FRIENDS = 10
_FRIENDS_TIME = 10.0
"""Seconds that the friendly calls have when the attacked ones are over."""

_FRIENDS_KEYS = ["0x" + secrets.token_hex(32) for _ in range(FRIENDS)]
"""A wallet each: calls of one wallet would compete for the credits that calls before gave back."""

_MOST_ADDRESS_SPACE = 6 * 2**30
"""Bytes. A bomb that goes off must not take the machine with it."""

_TIMING = replace(
    FAST,
    connect=1.0,
    quote=0.6,
    payment=0.6,
    answer=0.4,
    answer_rest=2.0,
    payment_rest=2.5,
    socket_trusted=1.0,
)
_UNLIMITED = {
    "max_cost_per_day": None,
    "max_calls_per_number_per_day": None,
    "duplicate_window": None,
}


@dataclass(frozen=True)
class Outcome:
    """How one call ended, as far as a test can want to know.

    Attributes:
        end: a status, `refused`, `unknown`, `raw` for an exception of another kind, or `hung`.
        seconds: how long it took.
        text: what the model is told.
        kind: the type of the error.
        code: the error's code.
        trace: the traceback of a raw exception, shortened.
        artifact: the result without `raw` and the transcript, as JSON.
        raw_bytes: the size of the result's `raw`, as JSON.
        quote_raw_bytes: the size of the quote's `raw`, as JSON.
        job: the job as the journal keeps it, when the order asks for it.
        unsaved: why the whole artifact can't be written as JSON.
    """

    end: str
    seconds: float = 0.0
    text: str = ""
    kind: str = ""
    code: str = ""
    trace: str = ""
    artifact: dict[str, Any] = field(default_factory=dict)
    raw_bytes: int = 0
    quote_raw_bytes: int = 0
    job: Any = None
    unsaved: str = ""


@dataclass(frozen=True)
class Target:
    """One attacked call: where, and with what limits."""

    base_url: str
    max_wait: float
    policy: dict[str, Any]
    calls: int = 1


@dataclass(frozen=True)
class Order:
    """One round."""

    targets: list[Target]
    seconds: float
    friendly_url: str


@dataclass(frozen=True)
class Report:
    """How a round went.

    Attributes:
        outcomes: of each target, the last call's.
        friends: how each friendly call ended.
        friends_seconds: how long the slowest of them took.
        grown: bytes of memory by which the process was larger than before, at its peak.
    """

    outcomes: list[Outcome]
    friends: list[str]
    friends_seconds: float
    grown: int


def make_tool(
    base_url: str, key: str, max_wait: float, policy: dict[str, Any], journal: CallJournal
) -> VoiceCallTool:
    """A tool whose errors come out as they are, with a caller that is fast."""
    limits = at_any_hour(**_UNLIMITED | policy)
    return VoiceCallTool(
        private_key=key,
        base_url=base_url,
        journal=journal,
        policy=limits,
        max_wait=max_wait,
        handle_tool_error=False,
        timing=_TIMING,
    )


async def place(tool: VoiceCallTool, number: int) -> tuple[str, VoiceCallResult]:
    """One call, as a model asks for it."""
    args = {"objective": OBJECTIVE, "target_number": f"+1415555{2000 + number}"}
    call = {"name": "voice_call", "args": args, "id": secrets.token_hex(8), "type": "tool_call"}
    message = await tool.ainvoke(call)
    return str(message.content), message.artifact


async def attacked(target: Target) -> Outcome:
    """Place the calls of one target, and say how the last one ended."""
    key = "0x" + secrets.token_hex(32)
    journal = CallJournal("memory")
    tool = make_tool(target.base_url, key, target.max_wait, target.policy, journal)
    began = time.monotonic()
    try:
        outcomes = [await _outcome(tool, number) for number in range(target.calls)]
    except Exception as error:  # noqa: BLE001 - this is what must never happen
        trace = "".join(traceback.format_exception(error, limit=-8))
        seconds = time.monotonic() - began
        return Outcome("raw", seconds, kind=type(error).__name__, trace=trace[-4000:])
    finally:
        await journal.aclose()
    return outcomes[-1]


async def _outcome(tool: VoiceCallTool, number: int) -> Outcome:
    began = time.monotonic()
    try:
        text, result = await place(tool, number)
    except VoiceCallError as error:
        unknown = isinstance(error, CallUnknownError) or error.charged == "unknown"
        end = "unknown" if unknown else "refused" if error.charged == "no" else "charged"
        seconds = time.monotonic() - began
        return Outcome(end, seconds, str(error), type(error).__name__, error.code)
    seconds = time.monotonic() - began
    unsaved, artifact = "", {}
    try:
        result.model_dump_json()
        artifact = json.loads(
            result.model_dump_json(exclude={"raw": True, "transcript": True, "quote": {"raw"}})
        )
    except Exception as error:  # noqa: BLE001 - reported, and judged by the test
        unsaved = f"{type(error).__name__}: {error}"[:500]
    journal = tool.journal
    assert isinstance(journal, CallJournal)
    records = await journal.recent(limit=1)
    return Outcome(
        result.call_status,
        seconds,
        text,
        artifact=artifact,
        raw_bytes=len(json.dumps(result.raw, default=str)),
        quote_raw_bytes=len(json.dumps(result.quote.raw, default=str)) if result.quote else 0,
        job=_sizes(records[0].job if records else None),
        unsaved=unsaved,
    )


def _sizes(job: dict[str, Any] | None) -> dict[str, int]:
    """How much of a job is on record, as JSON, by the fields of its result."""
    result = (job or {}).get("result")
    fields = result if isinstance(result, dict) else {}
    return {name: len(json.dumps(value, ensure_ascii=False)) for name, value in fields.items()}


async def _friends(order: Order) -> list[tuple[str, float]]:
    journal = CallJournal("memory")

    async def one(number: int) -> tuple[str, float]:
        began = time.monotonic()
        tool = make_tool(order.friendly_url, _FRIENDS_KEYS[number], 30.0, {}, journal)
        try:
            _, result = await place(tool, number)
        except Exception as error:  # noqa: BLE001 - reported
            return repr(error), time.monotonic() - began
        return result.call_status, time.monotonic() - began

    try:
        return await asyncio.gather(*map(one, range(FRIENDS)))
    finally:
        await journal.aclose()


async def play(order: Order) -> Report:
    """Play one round."""
    gc.collect()
    before = _start_measuring()
    friends = asyncio.create_task(_friends(order))
    calls = [asyncio.create_task(attacked(target)) for target in order.targets]
    if calls:
        await asyncio.wait(calls, timeout=order.seconds)
    await asyncio.wait([friends], timeout=_FRIENDS_TIME)
    grown = _peak() - before
    outcomes = [
        call.result() if call.done() else Outcome("hung", seconds=order.seconds) for call in calls
    ]
    told = friends.result() if friends.done() else [("hung", order.seconds)] * FRIENDS
    for task in (*calls, friends):
        task.cancel()
    ended, seconds = zip(*told, strict=True)
    return Report(outcomes, list(ended), max(seconds), grown)


def _start_measuring() -> int:
    """Forget the peak so far, where the system can, and return the memory in use."""
    if not Path("/proc/self/clear_refs").exists():
        return _peak()
    Path("/proc/self/clear_refs").write_text("5")
    return _from_status("VmRSS")


def _peak() -> int:
    if Path("/proc/self/status").exists():
        return _from_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _from_status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def _order(line: str) -> Order:
    fields = json.loads(line)
    return Order(**fields | {"targets": [Target(**target) for target in fields["targets"]]})


def main() -> None:
    """Play rounds until stdin ends."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESS_SPACE,) * 2)
    answers = sys.stdout
    sys.stdout = sys.stderr

    async def answer(line: str) -> None:
        # Answered before the loop ends: a call that hangs may not let it end.
        report = await play(_order(line))
        print(json.dumps(asdict(report)), file=answers, flush=True)

    for line in sys.stdin:
        asyncio.run(answer(line))


if __name__ == "__main__":
    main()
