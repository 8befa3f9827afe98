"""The processes that are attacked. They read orders from sockets, a line each, and answer likewise.

Each order is a round: some calls to malicious services, and four calls to a friendly sandbox, all
at once, with one journal. Only this file knows how a fast caller is set up.

One process is started, and forks another for each HTTP package. A variable of the environment says
where their orders come from, such as `httpx=5,httpx2=7`: the numbers of sockets.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import resource
import secrets
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
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

SOCKETS = "HOSTILE_SOCKETS"

_NEEDED = (
    "aiohttp",
    "coincurve",
    "eth_keys",
    "httpx",
    "httpx2",
    "langchain_oneshot_voice.caller",
    "phonenumbers",
    "websockets.asyncio.client",
)
"""What a first call imports: it is imported once, before the fork."""

FRIENDS = 4
_FRIENDS_TIME = 30.0
"""Seconds that the friendly calls have when the attacked ones are over."""

_CLOSING = 5.0
"""Seconds that the journal has to close. A call that hangs may keep it open."""

_FRIENDS_KEYS = ["0x" + secrets.token_hex(32) for _ in range(FRIENDS)]
"""A wallet each: calls of one wallet would compete for the credits that calls before gave back."""

_MOST_ADDRESS_SPACE = 6 * 2**30
"""Bytes. A bomb that goes off must not take the machine with it."""

_AREAS = (212, 312, 415, 503, 617, 702, 808)
"""Area codes. In each of them 100 numbers belong to nobody."""

_PATIENT = replace(
    FAST,
    connect=10.0,
    quote=10.0,
    payment=10.0,
    answer=10.0,
    socket_first_news=0.2,
    socket_silence=0.3,
    socket_trusted=0.5,
    payment_unsent=1.0,
    pause=0.2,
    longest_pause=0.5,
)
"""A busy machine may be slow to answer, and is no attack."""

_UNANSWERED: dict[str, dict[str, float]] = {
    "quote": {"quote": 0.4},
    "paid": {"payment": 0.4},
    "poll": {"answer": 0.6},
    "receipts": {"answer": 0.6},
    "socket": {},
}
"""How long an answer is waited for on a leg where none begins."""

_UNENDED = {"answer_rest": 1.0, "payment_rest": 1.0}
"""How long an end is waited for where answers have none."""

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
    """Attacked calls that follow each other.

    Attributes:
        base_url: where the service is.
        max_wait: seconds to wait for an outcome.
        policy: limits of the calls, beside those that never hold a test up.
        calls: how many there are.
        unanswered: the legs on which no answer may begin.
        unended: whether an answer has no end.
    """

    base_url: str
    max_wait: float
    policy: dict[str, Any] = field(default_factory=dict)
    calls: int = 1
    unanswered: tuple[str, ...] = ()
    unended: bool = False


@dataclass(frozen=True)
class Order:
    """One round.

    Attributes:
        targets: the attacked calls, at most 150 with at most four calls each.
        seconds: how long they may take.
        friendly_url: where the friendly sandbox is.
        environment: variables that are set for the round.
    """

    targets: list[Target]
    seconds: float
    friendly_url: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """How a round went.

    Attributes:
        outcomes: of each target, the last call's.
        friends: how each friendly call ended.
        friends_seconds: how long the slowest of them took.
        grown: bytes of memory by which the process was larger than before, at its peak.
        busy: processor seconds that the whole round took.
    """

    outcomes: list[Outcome]
    friends: list[str]
    friends_seconds: float
    grown: int
    busy: float


def make_tool(target: Target, key: str, journal: CallJournal) -> VoiceCallTool:
    """A tool whose errors come out as they are, with a caller that is fast."""
    impatient = dict(_UNENDED) if target.unended else {}
    for leg in target.unanswered:
        impatient |= _UNANSWERED[leg]
    return VoiceCallTool(
        private_key=key,
        base_url=target.base_url,
        journal=journal,
        policy=at_any_hour(**_UNLIMITED | target.policy),
        max_wait=target.max_wait,
        handle_tool_error=False,
        timing=replace(_PATIENT, **impatient),
    )


async def place(tool: VoiceCallTool, number: int) -> tuple[str, VoiceCallResult]:
    """One call, as a model asks for it. Each number is called once in a round."""
    phone = f"+1{_AREAS[number // 100]}55501{number % 100:02}"
    args = {"objective": OBJECTIVE, "target_number": phone}
    call = {"name": "voice_call", "args": args, "id": secrets.token_hex(8), "type": "tool_call"}
    message = await tool.ainvoke(call)
    return str(message.content), message.artifact


async def attacked(target: Target, first: int, journal: CallJournal) -> Outcome:
    """Place the calls of one target, to numbers from the first on, and say how the last ended."""
    tool = make_tool(target, "0x" + secrets.token_hex(32), journal)
    began = time.monotonic()
    try:
        outcomes = [await _outcome(tool, first + call, journal) for call in range(target.calls)]
    except Exception as error:  # noqa: BLE001 - this is what must never happen
        trace = "".join(traceback.format_exception(error, limit=-8))
        seconds = time.monotonic() - began
        return Outcome("raw", seconds, kind=type(error).__name__, trace=trace[-4000:])
    return outcomes[-1]


async def _outcome(tool: VoiceCallTool, number: int, journal: CallJournal) -> Outcome:
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
    record = await journal.read(result.call_key or "")
    return Outcome(
        result.call_status,
        seconds,
        text,
        artifact=artifact,
        raw_bytes=len(json.dumps(result.raw, default=str)),
        quote_raw_bytes=len(json.dumps(result.quote.raw, default=str)) if result.quote else 0,
        job=_sizes(record.job if record else None),
        unsaved=unsaved,
    )


def _sizes(job: dict[str, Any] | None) -> dict[str, int]:
    """How much of a job is on record, as JSON, by the fields of its result."""
    result = (job or {}).get("result")
    fields = result if isinstance(result, dict) else {}
    return {name: len(json.dumps(value, ensure_ascii=False)) for name, value in fields.items()}


async def _friends(order: Order, first: int, journal: CallJournal) -> list[tuple[str, float]]:
    async def one(number: int) -> tuple[str, float]:
        began = time.monotonic()
        tool = make_tool(Target(order.friendly_url, 60.0), _FRIENDS_KEYS[number], journal)
        try:
            _, result = await place(tool, first + number)
        except Exception as error:  # noqa: BLE001 - reported
            return repr(error), time.monotonic() - began
        return result.call_status, time.monotonic() - began

    return await asyncio.gather(*map(one, range(FRIENDS)))


async def play(order: Order) -> Report:
    """Play one round."""
    journal = CallJournal("memory")
    gc.collect()
    began, before = time.process_time(), _start_measuring()
    calls = [
        asyncio.create_task(attacked(target, 4 * number, journal))
        for number, target in enumerate(order.targets)
    ]
    friends = asyncio.create_task(_friends(order, 4 * len(calls), journal))
    if calls:
        await asyncio.wait(calls, timeout=order.seconds)
    await asyncio.wait([friends], timeout=_FRIENDS_TIME)
    grown, busy = _peak() - before, time.process_time() - began
    outcomes = [
        call.result() if call.done() else Outcome("hung", seconds=order.seconds) for call in calls
    ]
    told = friends.result() if friends.done() else [("hung", order.seconds)] * FRIENDS
    for task in (*calls, friends):
        task.cancel()
    await asyncio.wait([asyncio.create_task(journal.aclose())], timeout=_CLOSING)
    ended, seconds = zip(*told, strict=True)
    return Report(outcomes, list(ended), max(seconds), grown, busy)


@contextmanager
def _environment(order: Order) -> Iterator[None]:
    """The order's variables, which are read when a connection is first needed."""
    before = dict(os.environ)
    os.environ.update(order.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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


def _order(line: bytes) -> Order:
    fields = json.loads(line)
    return Order(**fields | {"targets": [Target(**target) for target in fields["targets"]]})


def serve(transport: str, orders: socket.socket) -> None:
    """Play rounds until there are no more orders."""
    os.environ["ONESHOT_VOICE_HTTP"] = transport

    async def answer(line: bytes) -> None:
        # Answered before the loop ends: a call that hangs may not let it end.
        order = _order(line)
        with _environment(order):
            report = await play(order)
        orders.sendall(json.dumps(asdict(report)).encode() + b"\n")

    with orders, orders.makefile("rb") as lines:
        for line in lines:
            asyncio.run(answer(line))


def main() -> None:
    """Fork a process for each HTTP package."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESS_SPACE,) * 2)
    pairs = [pair.split("=") for pair in os.environ[SOCKETS].split(",")]
    ends = {transport: socket.socket(fileno=int(number)) for transport, number in pairs}
    for name in _NEEDED:
        importlib.import_module(name)
    gc.freeze()  # collecting before each round is quick without what was imported
    for transport, end in ends.items():
        if os.fork() == 0:
            for other in ends.values():
                if other is not end:
                    other.close()
            serve(transport, end)
            os._exit(0)  # a thousand connections are not closed one by one
    for end in ends.values():
        end.close()
    for _ in ends:
        os.wait()


if __name__ == "__main__":
    main()
