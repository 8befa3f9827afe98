"""Who has a call: live workers, dead ones, and runs that come late."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import test_journal
from sqlalchemy import Connection
from test_journal import STEPS, bring, claim, known, new, quoted, step, wait

from langchain_oneshot_voice.journal import CallJournal, CallState
from langchain_oneshot_voice.journal.schema import workers

journal = test_journal.journal


@pytest.fixture(name="journal_url")
def _journal_url(tmp_path: Path) -> str:
    """Where the journal of a test is, for several processes."""
    return f"sqlite:///{tmp_path / 'calls.sqlite'}"


@pytest.fixture
async def other(journal_url: str) -> AsyncIterator[CallJournal]:
    """The same journal, as another process sees it."""
    opened = CallJournal(journal_url)
    yield opened
    await opened.aclose()


@asynccontextmanager
async def stopped(journal: CallJournal) -> AsyncIterator[None]:
    """Keep a journal's thread from doing anything, as a paused process would."""
    paused, going_on = threading.Event(), threading.Event()

    def pause(_connection: Connection, _now: float) -> bool:
        paused.set()
        return going_on.wait(60)

    pausing = asyncio.ensure_future(journal._read(pause))
    try:
        await asyncio.to_thread(paused.wait)
        yield
    finally:
        going_on.set()
        assert await pausing


async def beats(journal: CallJournal) -> dict[str, float]:
    """When each worker last said that it is alive."""
    return await journal._read(
        lambda connection, _now: {
            row.worker: row.beat_at for row in connection.execute(workers.select())
        }
    )


async def beat(journal: CallJournal) -> None:
    """Write the next heartbeat now."""
    await journal._write(journal._worker.run)


async def until(condition: Any) -> None:
    """Look until something is so."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - the database knows, and does not tell
            await asyncio.sleep(0.01)


async def test_a_stopped_worker_is_lease_a_time(journal: CallJournal, other: CallJournal) -> None:
    """Another process is kept off until then, and goes on from the state after it."""
    await bring(journal, new("k"), "signed")
    async with stopped(journal):
        wait(2, other)
        assert (await claim(other, new("k"), "w2")).kind == "held"
        assert await other.take("k", owner="w2") is None
        assert await other.unfinished() == []
        wait(2, other)
        assert [call.call_key for call in await other.unfinished()] == ["k"]
        taken = await claim(other, new("k"), "w2")
    assert (taken.kind, taken.record.state) == ("mine", "signed")
    assert taken.record.payment == "bytes of k"
    assert not await journal.holds("k", owner="w1")


@pytest.mark.parametrize("to", STEPS)
async def test_a_worker_that_was_taken_over_can_not_write(
    journal: CallJournal, other: CallJournal, to: CallState
) -> None:
    """A paused run that goes on after the takeover records nothing, not even `signed`."""
    states = {"done": "placed", "unknown": "signed", "declined": "asking", "edited": "asking"}
    await bring(journal, new("k"), states.get(to, "quoted"))
    async with stopped(journal):
        late = asyncio.ensure_future(step(journal, "k", to))
        releasing = asyncio.ensure_future(journal.release("k", owner="w1"))
        wait(5, other)
        taken = await other.take("k", owner="w2")
        assert taken is not None
    assert await late is None
    await releasing
    assert await journal.read("k") == taken


async def test_heartbeats_keep_a_call(journal_url: str, other: CallJournal) -> None:
    """A run that takes longer than `lease` keeps its call, though nobody does anything."""
    journal = CallJournal(journal_url, heartbeat=0.02, lease=0.5)
    first = (await claim(journal, new("k"))).now
    name = journal._worker.name

    async def long_after() -> bool:
        return (await beats(other))[name] > first + 0.6

    await until(long_after)
    assert (await claim(other, new("k"), "w2")).kind == "held"
    await journal.aclose()

    async def free() -> bool:
        return (await claim(other, new("k"), "w2")).kind == "mine"

    await until(free)


async def test_a_busy_journal_writes_heartbeats_too(journal_url: str) -> None:
    """They don't wait for the queue to be empty."""
    journal = CallJournal(journal_url, heartbeat=0.05)
    first = (await claim(journal, new("k"))).now
    slow = [journal._read(lambda _connection, _now: time.sleep(0.001)) for _ in range(400)]
    last = (await beats(journal))[journal._worker.name]
    assert all(reading.done() for reading in slow)
    assert last > first + 0.2
    await journal.aclose()


async def test_an_idle_journal_writes_nothing(journal_url: str) -> None:
    """Once its runs have no calls, there are no heartbeats."""
    journal = CallJournal(journal_url, heartbeat=0.01)
    await claim(journal, new("k"))
    await journal.release("k", owner="w1")
    for key, end in (("k1", "done"), ("k2", "refused"), ("k3", "unknown"), ("k4", "declined")):
        await bring(journal, new(key, f"+1415555012{key[1]}"), end)
    assert journal._worker.due_in() is None
    last = await beats(journal)
    await asyncio.sleep(0.1)
    assert await beats(journal) == last
    await journal.aclose()


async def test_a_lost_call_gives_no_reason_for_heartbeats(
    journal: CallJournal, other: CallJournal
) -> None:
    """A run that was told that its call is lost does not have to release it."""
    await quoted(journal, new("k"))
    wait(5, other)
    assert await other.take("k", owner="w2")
    assert await journal.move("k", owner="w1", to="quoted") is None
    assert journal._worker.due_in() is None


@pytest.mark.parametrize("jump", [-3600, 3600])
async def test_the_dead_are_dead_though_the_clock_jumped(
    journal: CallJournal, other: CallJournal, jump: float
) -> None:
    """Neither an hour back nor an hour forward makes a stopped worker live for an hour."""
    await bring(journal, new("k"), "signed")
    async with stopped(journal):
        wait(5 + jump, other)
        assert (await claim(other, new("k"), "w2")).kind == "mine"


@pytest.mark.parametrize("jump", [-3600, 3600])
async def test_the_living_live_though_the_clock_jumped(
    journal: CallJournal, other: CallJournal, jump: float
) -> None:
    """From its next heartbeat on a worker is alive; its own runs are so at every moment."""
    await bring(journal, new("k"), "signed")
    wait(jump, journal, other)
    assert (await claim(journal, new("k"), "w2")).kind == "held"
    assert await journal.unfinished() == []
    await beat(journal)
    assert (await claim(other, new("k"), "w3")).kind == "held"
    assert await other.unfinished() == []


async def test_rows_of_dead_workers_are_removed(journal: CallJournal, other: CallJournal) -> None:
    """When a worker first says that it is alive, those of the day before go."""

    def record(connection: Connection, now: float) -> None:
        rows = [("old", now - 86_500), ("young", now - 86_300)]
        terms = [{"worker": name, "beat_at": at, "lease": 4.0} for name, at in rows]
        connection.execute(workers.insert(), terms)

    await other._write(record)
    await claim(journal, new("k"))
    assert set(await beats(other)) == {"young", journal._worker.name}


async def test_each_journal_is_a_worker_of_its_own(
    journal: CallJournal, other: CallJournal
) -> None:
    """Also within one process: what one has, the other has not."""
    record = (await claim(journal, new("k"))).record
    assert record.worker == journal._worker.name != other._worker.name
    assert (await claim(other, new("k"), "w2")).kind == "held"


# Claims that nobody waits for


async def free(journal: CallJournal, other: CallJournal) -> None:
    """Check that nobody has the call, here and as another process sees it."""
    await journal.read("k")  # what was queued before is done
    assert journal._worker.due_in() is None
    record = await other.read("k")
    assert record is None or (record.owner, record.worker) == (None, None)


@pytest.mark.parametrize("released", [True, False])
async def test_a_cancelled_claim_holds_nothing(
    journal: CallJournal, other: CallJournal, released: bool
) -> None:
    """At whatever moment it is cancelled, and whether or not the run releases it."""
    await other.read("k")
    granted = 0
    for turns in [*range(12), *range(0, 600, 40)]:
        claiming = asyncio.create_task(claim(journal, new("k")))
        for _ in range(turns):
            await asyncio.sleep(0)
        claiming.cancel()
        (answer,) = await asyncio.gather(claiming, return_exceptions=True)
        if not isinstance(answer, asyncio.CancelledError):
            granted += 1
        if released or not isinstance(answer, asyncio.CancelledError):
            await journal.release("k", owner="w1")
        await free(journal, other)
    taking = asyncio.create_task(journal.take("k", owner="w1"))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await free(journal, other)


async def test_a_claim_that_is_cancelled_before_its_turn_is_not_made(
    journal: CallJournal, other: CallJournal
) -> None:
    """Nothing is on record of it, and nothing in memory."""
    async with stopped(journal):
        claiming = asyncio.create_task(claim(journal, new("k")))
        await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
    await free(journal, other)
    assert await journal.read("k") is None


async def test_a_claim_whose_loop_is_gone_holds_nothing(
    journal: CallJournal, other: CallJournal
) -> None:
    """A coroutine that is closed while it waits gives the call back."""
    claiming = claim(journal, new("k"))
    claiming.send(None)
    claiming.close()
    await free(journal, other)


async def test_a_cancelled_claim_by_a_former_key_holds_nothing(
    journal: CallJournal, other: CallJournal
) -> None:
    """The record that it found is given back under its own key."""
    await bring(journal, new("k"), "signed")
    await journal.release("k", owner="w1")
    claiming = claim(journal, new("new"), former_key="k")
    claiming.send(None)
    claiming.close()
    await free(journal, other)


@pytest.mark.parametrize(
    "times", [{"heartbeat": 0}, {"lease": -1}, {"heartbeat": 1e10}, {"heartbeat": float("nan")}]
)
def test_times_are_greater_than_zero(times: dict[str, float]) -> None:
    """Others would keep a worker dead, or its thread busy, or end it."""
    with pytest.raises(ValueError, match="greater than zero"):
        CallJournal("memory", **times)


async def test_an_answer_after_the_takeover_stays_with_the_call(
    journal: CallJournal, other: CallJournal
) -> None:
    """What happened in the world is recorded by the one who has the call now."""
    await bring(journal, new("k"), "signed")
    wait(5, other)
    assert await other.take("k", owner="w2")
    assert await other.move("k", owner="w2", to="placed", request_id="r")
    assert await journal.move("k", owner="w1", to="refused", error_code="late") is None
    assert (await known(journal, "k")).state == "placed"
