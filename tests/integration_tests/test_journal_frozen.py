"""A process that stands still in the middle of a transaction, with the journal's lock in its hand.

The virtual worlds of `test_once_late.py` freeze a process before an operation and after it; here it
is stopped for real within one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos.workers import Program, Workers, workers

from langchain_oneshot_voice.journal import CallJournal, JournalUnavailableError, store

sys.path.insert(0, str(Path(__file__).parents[1] / "unit_tests"))

from postgres import postgres_server, postgres_url
from test_journal import known

__all__ = ["postgres_server", "postgres_url", "workers"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGSTOP")

FROZEN = """
import asyncio, os, signal, sys
from decimal import Decimal
from langchain_oneshot_voice.journal import CallJournal, NewCall, SpendLimits, calls, store

store._SESSION = (*store._SESSION, "SET idle_in_transaction_session_timeout = '300ms'")
ONCE = [None]
LIMITS = SpendLimits(
    max_cost_per_day=None, max_calls_per_number_per_day=None, duplicate_window=0
)

def sign(connection, now):
    if ONCE:
        ONCE.pop()
        os.kill(os.getpid(), signal.SIGSTOP)
    columns = {"payment": "bytes", "valid_before": None, "reserved": Decimal(1), "number_fee": None}
    return calls.sign(connection, now, "k", "w1", columns, LIMITS)

async def main():
    journal = CallJournal(sys.argv[1], lease=0.2)
    call = NewCall(
        call_key="k", account="a", base_url="b", numbers=(), fingerprint="f", request={}
    )
    await journal.claim(call, owner="w1", duplicate_window=0)
    await journal.move("k", owner="w1", to="quoted", offer={})
    signed = await journal._write(sign)
    print(signed.state if signed else "lost")
    await journal.aclose()

asyncio.run(main())
"""


def has_stopped(pid: int) -> bool:
    """Whether a process stands still."""
    listed = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, check=True)  # noqa: S603, S607
    return listed.stdout.startswith(b"T")


@contextmanager
def frozen(workers: Workers, url: str) -> Iterator[Program]:
    """A process that has stopped itself within the transaction that signs."""
    program = workers.begin(FROZEN, url)
    try:
        deadline = time.monotonic() + 30
        while not has_stopped(program.pid):
            assert workers.works(program.pid), program.end()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield program
    finally:
        workers.kill(program.pid)


async def test_a_process_that_is_frozen_with_the_lock_of_a_file(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are told so and sign nothing; when it goes on, what it signs is on record."""
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.3)
    path = tmp_path / "calls.sqlite"
    with frozen(workers, str(path)) as process:
        other = CallJournal(path)
        with pytest.raises(JournalUnavailableError, match="kept it locked"):
            await other.take("k", owner="w2")
        workers.thaw(process.pid)
        ran = await asyncio.to_thread(process.end)
    assert (ran.stdout, ran.stderr) == ("signed\n", "")
    assert ((await known(other, "k")).state, (await known(other, "k")).payment) == (
        "signed",
        "bytes",
    )
    await other.aclose()


async def test_a_process_that_is_frozen_with_the_lock_of_a_server(
    workers: Workers, postgres_url: str
) -> None:
    """The server ends its session; it wakes, and has lost the call to who took it meanwhile."""
    with frozen(workers, postgres_url) as process:
        other = CallJournal(postgres_url)
        async with asyncio.timeout(20):
            while await other.take("k", owner="w2") is None:  # noqa: ASYNC110 - its heartbeat grows old
                await asyncio.sleep(0.05)
        workers.thaw(process.pid)
        ran = await asyncio.to_thread(process.end)
    assert ran.stdout == "lost\n", ran.stderr
    record = await known(other, "k")
    assert (record.state, record.owner, record.payment) == ("quoted", "w2", None)
    await other.aclose()
