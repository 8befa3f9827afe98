"""The one thread that writes: commits in groups, failures, and tasks that are cancelled."""

import asyncio
import threading
from typing import Any

import pytest
import test_journal
from sqlalchemy import Connection, event
from test_journal import bring, claim, known, new, quoted, sign

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    IllegalMoveError,
    JournalUnavailableError,
)
from langchain_oneshot_voice.journal.schema import calls

_journal_url = test_journal._journal_url
journal = test_journal.journal


async def test_writes_that_wait_together_are_committed_together(journal: CallJournal) -> None:
    """Three hundred writes at once take a few commits, not three hundred."""
    await journal.read("open it")
    commits: list[object] = []
    event.listen(journal._store.engine, "commit", commits.append)
    await asyncio.gather(*[claim(journal, new(f"k{i}", f"+1415555{i:04}")) for i in range(300)])
    assert len(await journal.recent(limit=500)) == 300
    assert len(commits) <= 20


async def test_a_lost_call_in_a_batch_leaves_the_others_alone(journal: CallJournal) -> None:
    """Its neighbours in the transaction are committed."""
    await asyncio.gather(*[quoted(journal, new(f"k{i}", f"+1415555{i:04}")) for i in range(10)])
    outcomes = await asyncio.gather(
        *[sign(journal, f"k{i}", owner="w1" if i % 2 else "w2") for i in range(10)]
    )
    assert [isinstance(outcome, CallRecord) for outcome in outcomes] == [False, True] * 5
    states = [(await known(journal, f"k{i}")).state for i in range(10)]
    assert states == ["quoted", "signed"] * 5


async def test_a_failure_in_a_batch_leaves_nothing_half_done(journal: CallJournal) -> None:
    """What an operation wrote before it failed is undone, and nothing else is."""
    await claim(journal, new("k"))

    def fail(connection: Connection, _now: float) -> None:
        connection.execute(calls.update().values(tenant="half done"))
        raise LookupError

    outcomes = await asyncio.gather(
        *[claim(journal, new(f"k{i}", f"+1415555012{i}")) for i in range(3)],
        *[journal._write(fail) for _ in range(3)],
        return_exceptions=True,
    )
    assert [isinstance(o, LookupError) for o in outcomes] == [False] * 3 + [True] * 3
    assert [record.tenant for record in await journal.recent()] == [""] * 4


@pytest.mark.parametrize(
    ("state", "to", "columns"),
    [
        ("signed", "placed", {"request_id": "r1"}),
        ("placed", "done", {"job": {}, "answered": True}),
        ("signed", "refused", {"error_code": "no"}),
        ("signed", "unknown", {"error_code": "timeout"}),
        ("asking", "declined", {"error_code": "rejected"}),
        ("asking", "edited", {"edited_to": "another"}),
    ],
)
async def test_what_happened_is_recorded_though_nobody_waits(
    journal: CallJournal, state: str, to: Any, columns: dict[str, Any]
) -> None:
    """Cancelling the task that records it does not lose it."""
    await bring(journal, new("k"), state)
    recording = asyncio.create_task(journal.move("k", owner="w1", to=to, **columns))
    await asyncio.sleep(0)
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    record = await known(journal, "k")
    assert record.state == to
    assert {name: getattr(record, name) for name in columns} == columns


async def test_a_release_is_recorded_though_nobody_waits(journal: CallJournal) -> None:
    """Cancelling the task that releases a call does not keep it held."""
    await bring(journal, new("k"), "quoted")
    releasing = asyncio.create_task(journal.release("k", owner="w1"))
    await asyncio.sleep(0)
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    assert (await claim(journal, new("k"), "w2")).kind == "mine"


async def test_an_error_of_the_program_is_raised(journal: CallJournal) -> None:
    """In a batch as well as alone; the call stays its owner's."""
    await bring(journal, new("k"), "quoted")
    steps = [journal.move("k", owner="w1", to="done", job={}) for _ in range(3)]
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [IllegalMoveError] * 3
    assert await journal.holds("k", owner="w1")
    assert (await claim(journal, new("k"), "w2")).kind == "held"


async def test_a_closed_journal_says_so(journal_url: str) -> None:
    """Closing finishes what is queued; afterwards nothing can be asked."""
    journal = CallJournal(journal_url)
    writing = asyncio.create_task(claim(journal, new("k")))
    await asyncio.sleep(0)
    await journal.aclose()
    assert (await writing).kind == "mine"
    with pytest.raises(JournalUnavailableError, match="is closed"):
        await journal.read("k")
    await journal.aclose()


async def test_closing_that_nobody_waits_for_is_finished(journal: CallJournal) -> None:
    """A cancelled `aclose` goes on, its thread ends in peace, and another one waits for it."""
    go_on = threading.Event()
    busy = journal._submit(None, lambda *_: go_on.wait(5))
    closing = asyncio.create_task(journal.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    go_on.set()
    await journal.aclose()
    assert busy.done()
