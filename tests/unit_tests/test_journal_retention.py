"""Forgetting by itself, and a few calls at a time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_journal
from sqlalchemy import Connection, event, text
from test_journal import ALICE, BOB, DAY, bring, known, new, wait

from langchain_oneshot_voice.journal import CallJournal, CallRecord, forgetting
from langchain_oneshot_voice.journal.schema import calls

_journal_url = test_journal._journal_url
journal = test_journal.journal


async def until_it_says(done: Callable[[CallRecord], bool], journal: CallJournal, key: str) -> None:
    """Wait until the record of a call is so."""
    async with asyncio.timeout(20):
        while not done(await known(journal, key)):  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0.01)


def is_forgotten(call: CallRecord) -> bool:
    """Whether nothing is left of what was said."""
    return (call.numbers, call.request, call.job) == ((), {}, None)


def forgotten(records: list[CallRecord]) -> set[str]:
    """The keys of those that are forgotten."""
    return {record.call_key for record in records if is_forgotten(record)}


async def test_old_calls_of_an_account_and_a_tenant_are_forgotten(journal: CallJournal) -> None:
    """Once they are old enough, and nobody else's; unfinished ones stay."""
    await bring(journal, new("mine"), "done")
    await bring(journal, new("open", BOB), "unknown")
    await bring(journal, new("other tenant", "+14155550103", tenant="b"), "done")
    await bring(journal, new("other account", "+14155550104", account="0xother"), "done")
    wait(30 * DAY, journal)
    await bring(journal, new("young", "+14155550105"), "done")
    journal.retain(29 * DAY, account="0xwallet", tenant="")
    await until_it_says(is_forgotten, journal, "mine")
    assert forgotten(await journal.recent()) == {"mine"}


async def test_every_hour_what_has_become_old_is_forgotten(
    journal: CallJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody asking, while the process uses the journal."""
    monkeypatch.setattr(forgetting, "_ROUND_SECONDS", 0.05)
    journal.retain(DAY, account="0xwallet", tenant="")
    await bring(journal, new("first"), "done")
    await bring(journal, new("second", BOB), "done")
    assert forgotten(await journal.recent()) == set()
    wait(2 * DAY, journal)
    await until_it_says(is_forgotten, journal, "first")
    await until_it_says(is_forgotten, journal, "second")


async def test_nothing_is_looked_at_again_before_an_hour_has_passed(journal: CallJournal) -> None:
    """A round that found little is followed by none."""
    journal.retain(DAY, account="0xwallet", tenant="")
    await bring(journal, new("k"), "done")
    wait(2 * DAY, journal)
    for _look in range(20):
        await journal.read("k")
    due = journal._retention.due_in()
    assert due is not None
    assert 3500 < due <= 3600
    assert forgotten(await journal.recent()) == set()


async def test_the_shortest_of_several_retentions_holds(journal: CallJournal) -> None:
    """Whichever was set first."""
    await bring(journal, new("k"), "done")
    wait(10 * DAY, journal)
    for days in (20, 5, 30):
        journal.retain(days * DAY, account="0xwallet", tenant="")
    await until_it_says(is_forgotten, journal, "k")


async def test_a_retention_of_nothing_leaves_the_limits_of_the_day(journal: CallJournal) -> None:
    """Hashes of the numbers stay for a day, and then nothing does."""
    await bring(journal, new("k", ALICE, BOB), "done")
    wait(1, journal)
    journal.retain(0, account="0xwallet", tenant="")
    await until_it_says(is_forgotten, journal, "k")
    assert (await known(journal, "k")).fingerprint != ""
    wait(DAY, journal)
    journal._retention._round_at = float("-inf")
    await until_it_says(lambda call: call.fingerprint == "", journal, "k")


@pytest.mark.parametrize("by_itself", [True, False])
async def test_many_calls_are_forgotten_a_few_at_a_time(
    journal: CallJournal, *, by_itself: bool
) -> None:
    """No transaction holds the others up for long."""
    await bring(journal, new("k0"), "refused")
    await journal._write(copy_of_a_call, 449)
    wait(2 * DAY, journal)
    scrubbed: list[int] = []

    def note(*args: Any) -> None:
        if args[2].startswith("UPDATE calls SET numbers"):
            scrubbed.append(args[1].rowcount)

    event.listen(journal._store.engine, "after_cursor_execute", note)
    if by_itself:
        journal.retain(DAY, account="0xwallet", tenant="")
        await until_it_says(is_forgotten, journal, "k449")
    else:
        assert await journal.forget(DAY) == 450
    event.remove(journal._store.engine, "after_cursor_execute", note)
    assert (max(scrubbed), sum(scrubbed)) == (forgetting.BATCH, 450)


def copy_of_a_call(connection: Connection, _now: float, times: int) -> None:
    """Copy the call k0 so many times, each a little younger than the one before."""
    names = [column.name for column in calls.columns]
    values = {"call_key": "'k' || :i", "updated_at": "updated_at + :i * 0.001"}
    copied = ", ".join(values.get(name, name) for name in names)
    insert = f"INSERT INTO calls ({', '.join(names)}) SELECT {copied} FROM calls"  # noqa: S608 - constants
    connection.execute(
        text(f"{insert} WHERE call_key = 'k0'"), [{"i": i} for i in range(1, times + 1)]
    )


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_time_that_is_none_is_refused(tmp_path: Path, seconds: float) -> None:
    """Before anything is forgotten by it."""
    with pytest.raises(ValueError, match="before they end"):
        CallJournal(tmp_path / "c.sqlite").retain(seconds, account="a", tenant="")
