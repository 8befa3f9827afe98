"""How a database comes to have the journal's tables, and what becomes of older ones."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, column, create_engine, inspect, table, text
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable
from test_journal import ALICE, BOB, DAY, bring, claim, known, new, sign, wait

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    CallState,
    JournalUnavailableError,
    SpendLimits,
    migrations,
)
from langchain_oneshot_voice.journal.schema import call_numbers, metadata


@pytest.fixture(name="journal_url")
def _journal_url(tmp_path: Path) -> str:
    """Where the journal of a test is."""
    return f"sqlite:///{tmp_path / 'calls.sqlite'}"


@pytest.fixture(name="other_url")
def _other_url(tmp_path: Path) -> str:
    """Where another journal is."""
    return f"sqlite:///{tmp_path / 'other.sqlite'}"


@pytest.fixture(name="tables_url")
def _tables_url(tmp_path: Path) -> str:
    """Where an empty database is."""
    return f"sqlite:///{tmp_path / 'tables.sqlite'}"


@contextmanager
def connected(url: str) -> Iterator[Engine]:
    """Reach a database behind the journal's back."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        yield engine
    finally:
        engine.dispose()


def run(url: str, *statements: str, rows: tuple[dict[str, Any], ...] = ()) -> None:
    """Run statements in one transaction, each with every row."""
    with connected(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), rows or None)


async def opened(url: str) -> CallJournal:
    """A journal that has been used once."""
    journal = CallJournal(url)
    await journal.read("k")
    return journal


async def is_refused(url: str, match: str) -> None:
    """Check that a journal can't be opened, and why."""
    journal = CallJournal(url)
    with pytest.raises(JournalUnavailableError, match=match):
        await journal.read("k")
    await journal.aclose()


# A journal of version 0.1.0

NOW = 1_700_000_000.5
STATES: tuple[CallState, ...] = (
    "claimed",
    "quoted",
    "signed",
    "placed",
    "done",
    "refused",
    "unknown",
)


def source(total: str) -> dict[str, Any]:
    """The service's answer with a price, as received."""
    return {"body": {"quote": {"total": total}}, "header": f"header of {total}"}


def offered(total: str, *, over: bool = False, asked_as: int | None = None) -> dict[str, Any]:
    """An offer as version 0.1.0 kept it."""
    return {"request": {}, "source": source(total), "asked_as": asked_as, "over": over}


def old_row(key: str, state: str, **changes: Any) -> dict[str, Any]:
    """A row of `calls` as version 0.1.0 wrote it."""
    quote = {"offers": [offered("9.99", asked_as=0), offered("1.75")], "approval_id": "a1"}
    priced = state not in ("claimed", "refused")
    signed = state in ("signed", "placed", "done", "unknown")
    placed = state in ("placed", "done")
    row = {
        "call_key": key,
        "state": state,
        "account": "0xwallet",
        "tenant": "",
        "base_url": "https://voice.example",
        "numbers": json.dumps([ALICE]),
        "fingerprint": f"fingerprint of {key}",
        "request": json.dumps({"objective": "Book a table"}),
        "attempt": 2,
        "quote": json.dumps(quote) if priced else None,
        "quote_id": "q1" if priced else None,
        "quote_expires_at": NOW + 300 if priced else None,
        "payment": "bytes" if signed else None,
        "valid_before": NOW + 600 if signed else None,
        "reserved": 1_750_000 if signed else 0,
        "charged": 1_050_000 if state == "done" else None,
        "request_id": f"request of {key}" if placed else None,
        "receipt_id": "receipt" if placed else None,
        "job": json.dumps({"status": "completed"}) if state == "done" else None,
        "answered": True if state == "done" else None,
        "error_code": "timeout" if state == "unknown" else None,
        "lease_owner": "w1" if state == "signed" else None,
        "lease_until": NOW + 30 if state == "signed" else None,
        "created_at": NOW,
        "signed_at": NOW + 1 if signed else None,
        "placed_at": NOW + 2 if placed else None,
        "updated_at": NOW + 3,
        "forgotten_at": None,
    }
    return row | changes


def version_0_1_0(url: str, *rows: dict[str, Any], numbers: tuple[str, ...] = (ALICE,)) -> None:
    """Make a journal of version 0.1.0 with these calls."""
    with connected(url) as engine, engine.begin() as connection:
        migrations.MIGRATIONS[0](connection)
        connection.execute(
            text("UPDATE journal_meta SET value = '1' WHERE name = 'schema_version'")
        )
        old_calls = table("calls", *map(column, rows[0]))
        connection.execute(old_calls.insert(), list(rows))
        named = [{"key": r["call_key"], "number": n} for r in rows for n in numbers]
        connection.execute(text("INSERT INTO call_numbers VALUES (:key, :number)"), named)
        connection.execute(text("INSERT INTO suppressions VALUES ('+14155550199', 'asked', 5)"))


async def test_calls_of_version_0_1_0_are_kept(journal_url: str) -> None:
    """In every state: the last offer, the approval, the placement, and no lease."""
    version_0_1_0(journal_url, *(old_row(state, state) for state in STATES))
    journal = CallJournal(journal_url)
    for state in STATES:
        record = await known(journal, state)
        priced = state not in ("claimed", "refused")
        signed = state in ("signed", "placed", "done", "unknown")
        placed = state in ("placed", "done")
        placement = {"request_id": f"request of {state}", "receipt_id": "receipt"}
        assert record == CallRecord(
            call_key=state,
            state=state,
            account="0xwallet",
            tenant="",
            base_url="https://voice.example",
            numbers=(ALICE,),
            fingerprint=f"fingerprint of {state}",
            request={"objective": "Book a table"},
            attempt=2,
            offer=source("1.75") if priced else None,
            approval_id="a1" if priced else None,
            payment="bytes" if signed else None,
            valid_before=NOW + 600 if signed else None,
            reserved=Decimal("1.75") if signed else Decimal(0),
            charged=Decimal("1.05") if state == "done" else None,
            number_fee=None,
            request_id=f"request of {state}" if placed else None,
            placement=placement if placed else None,
            job={"status": "completed"} if state == "done" else None,
            answered=True if state == "done" else None,
            opt_out=None,
            error_code="timeout" if state == "unknown" else None,
            edited_to=None,
            owner=None,
            worker=None,
            created_at=NOW,
            signed_at=NOW + 1 if signed else None,
            placed_at=NOW + 2 if placed else None,
            updated_at=NOW + 3,
        )
    assert [entry.number for entry in await journal.suppressions()] == ["+14155550199"]
    await journal.aclose()


async def test_the_guards_know_the_calls_of_version_0_1_0(journal_url: str) -> None:
    """Their money, their lines and their numbers count as before."""
    paid = [
        old_row("k1", "done", fingerprint="same"),
        old_row("k2", "unknown", signed_at=NOW - 3000),
        old_row("k3", "done", signed_at=None, placed_at=NOW, reserved=0),
        old_row("k4", "placed", tenant="other"),
        old_row("k5", "refused", signed_at=NOW),
    ]
    version_0_1_0(journal_url, *paid)
    journal = CallJournal(journal_url)
    now = await journal._read(lambda _connection, now: now)
    wait(NOW + 10 - now, journal)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("4.55")
    assert await journal.spent(account="0xwallet", tenant="", seconds=100) == Decimal("2.80")
    assert await journal.spent(account="0xwallet", tenant="other") == Decimal("1.75")
    twin = new("new", BOB, fingerprint="same")
    assert (await claim(journal, twin, duplicate_window=600)).kind == "duplicate"
    busy = await claim(journal, new("new", ALICE))
    assert (busy.kind, busy.record.call_key) == ("number_busy", "k4")
    await journal.take("k4", owner="w1")
    await journal.move("k4", owner="w1", to="done", job={}, answered=True)
    assert (await claim(journal, new("new", ALICE))).kind == "mine"
    await journal.move("new", owner="w1", to="quoted")
    limits = SpendLimits(max_cost_per_day=None, max_calls_per_number_per_day=3, duplicate_window=0)
    reached = await sign(journal, "new", amount="0", limits=limits)
    assert getattr(reached, "resets_at", None) == NOW - 3000 + DAY
    await journal.aclose()


@pytest.mark.parametrize(
    ("quote", "offer", "approval_id"),
    [
        (None, None, None),
        ({}, None, None),
        ({"offers": [], "approval_id": None}, None, None),
        ({"offers": [offered("2.00", over=True)], "approval_id": "a"}, None, "a"),
        ({"offers": [offered("1.00"), offered("2.00", over=True)]}, source("1.00"), None),
    ],
)
async def test_an_offer_that_was_over_is_not_kept(
    journal_url: str, quote: Any, offer: Any, approval_id: str | None
) -> None:
    """Only what could still be paid is the call's offer."""
    version_0_1_0(
        journal_url, old_row("k", "quoted", quote=None if quote is None else json.dumps(quote))
    )
    journal = CallJournal(journal_url)
    record = await known(journal, "k")
    assert (record.offer, record.approval_id, record.placement) == (offer, approval_id, None)
    await journal.aclose()


async def test_a_forgotten_call_stays_forgotten(journal_url: str) -> None:
    """No placement comes back, and the hash of its number holds the limit of the day."""
    words = {"numbers": "[]", "request": "{}", "quote": None, "payment": None, "job": None}
    row = old_row("k", "done", **words, quote_id=None, forgotten_at=NOW + 5)
    version_0_1_0(journal_url, row, numbers=("#hash",))
    journal = CallJournal(journal_url)
    record = await known(journal, "k")
    assert (record.placement, record.offer, record.request_id) == (None, None, "request of k")

    def stamps(connection: Connection, _now: float) -> list[Any]:
        query = call_numbers.select().with_only_columns(
            call_numbers.c.number, call_numbers.c.line_since, call_numbers.c.committed_at
        )
        return [tuple(row) for row in connection.execute(query)]

    assert await journal._read(stamps) == [("#hash", None, NOW + 1)]
    await journal.aclose()


async def test_many_calls_are_converted(journal_url: str) -> None:
    """More of them than are converted at a time, and none is left out."""
    version_0_1_0(journal_url, *(old_row(f"k{i:04}", "done") for i in range(2500)))
    journal = CallJournal(journal_url)
    records = await journal.recent(limit=5000)
    assert len(records) == 2500
    assert all(record.offer == source("1.75") and record.placement for record in records)
    spent = await journal.spent(account="0xwallet", tenant="", seconds=1e10)
    assert spent == 2500 * Decimal("1.75")
    await journal.aclose()


# The tables


def layout(url: str) -> dict[str, Any]:
    """Columns, keys and references of every table, and every index."""
    with connected(url) as engine, engine.connect() as connection:
        tables = inspect(connection)
        found: dict[str, Any] = {
            name: {
                "columns": [
                    (c["name"], str(c["type"]), c["nullable"]) for c in tables.get_columns(name)
                ],
                "key": tables.get_pk_constraint(name)["constrained_columns"],
                "references": [
                    (f["constrained_columns"], f["referred_table"], f["options"])
                    for f in tables.get_foreign_keys(name)
                ],
            }
            for name in tables.get_table_names()
        }
        # Inspection leaves out indexes of expressions.
        query = {
            "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''",
            "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        }[engine.name]
        found["indexes"] = {row[0]: row[1] for row in connection.execute(text(query))}
        return found


def declared(url: str) -> None:
    """Make the tables that are declared with SQLAlchemy."""
    with connected(url) as engine, engine.begin() as connection:
        for each in metadata.sorted_tables:
            connection.execute(CreateTable(each))
            for index in each.indexes:
                connection.execute(CreateIndex(index))


async def test_a_migrated_journal_is_like_a_new_one(
    journal_url: str, other_url: str, tables_url: str
) -> None:
    """Both have exactly the columns and indexes that are declared."""
    version_0_1_0(journal_url, *(old_row(state, state) for state in STATES))
    for url in (journal_url, other_url):
        await (await opened(url)).aclose()
    declared(tables_url)
    assert "calls_by_spend" in layout(tables_url)["indexes"]
    assert layout(journal_url) == layout(other_url) == layout(tables_url)


async def test_new_calls_work_in_a_migrated_journal(journal_url: str) -> None:
    """Old rows and new ones take their steps."""
    version_0_1_0(journal_url, old_row("old", "signed"))
    journal = CallJournal(journal_url)
    await journal.take("old", owner="w1")
    assert await journal.move("old", owner="w1", to="placed", request_id="r")
    await bring(journal, new("new", BOB), "done")
    assert {record.state for record in await journal.recent()} == {"placed", "done"}
    await journal.aclose()


# Versions


def add_column(connection: Connection) -> None:
    """A step that a later version may have."""
    connection.exec_driver_sql("ALTER TABLE calls ADD COLUMN added TEXT")


def stored_version(connection: Connection, _now: float) -> object:
    """The version on record."""
    query = text("SELECT value FROM journal_meta WHERE name = 'schema_version'")
    return connection.scalar(query)


@pytest.mark.parametrize("old", [True, False])
async def test_a_later_step_works_on_old_and_new_journals(
    journal_url: str, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    """Journals that open one file together take every step once, from the first on."""
    if old:
        version_0_1_0(journal_url, old_row("k", "done"))
    steps: tuple[Callable[[Connection], None], ...] = (*migrations.MIGRATIONS, add_column)
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    journals = await asyncio.gather(*[opened(journal_url) for _ in range(8)])
    assert [await journal._read(stored_version) for journal in journals] == [str(len(steps))] * 8
    assert (await claim(journals[0], new("new", BOB))).kind == "mine"
    await asyncio.gather(*[journal.aclose() for journal in journals])


async def test_a_newer_schema_is_refused(journal_url: str) -> None:
    """A journal that a later version wrote is not touched by this one."""
    await (await opened(journal_url)).aclose()
    run(journal_url, "UPDATE journal_meta SET value = '99' WHERE name = 'schema_version'")
    await is_refused(journal_url, "schema version 99")


@pytest.mark.parametrize(
    "stored", ["two", "abc", "", "-1", "0", "1.5", "1_0", " 2", "٢", "1e3", "9" * 5000]
)
async def test_a_version_that_is_none_is_named(journal_url: str, stored: str) -> None:
    """The error says what was found, in bounds, and no step is taken."""
    await (await opened(journal_url)).aclose()
    rows = ({"stored": stored},)
    update = "UPDATE journal_meta SET value = :stored WHERE name = 'schema_version'"
    run(journal_url, update, rows=rows)
    before = layout(journal_url)
    journal = CallJournal(journal_url)
    with pytest.raises(JournalUnavailableError, match="not a number from 1 up") as refused:
        await journal.read("k")
    await journal.aclose()
    assert repr(stored[:40])[:-1] in str(refused.value)
    assert len(str(refused.value)) < 300
    assert layout(journal_url) == before


@pytest.mark.parametrize(
    ("stored", "said"), [(None, "'None', which"), ("999999999", "99 and this")]
)
async def test_a_version_of_nobody_is_refused(
    journal_url: str, stored: str | None, said: str
) -> None:
    """It is nothing at all, or one that may come in a thousand years."""
    run(journal_url, "CREATE TABLE journal_meta (name TEXT, value TEXT)")
    insert = "INSERT INTO journal_meta VALUES ('schema_version', :stored)"
    run(journal_url, insert, rows=({"stored": stored},))
    await is_refused(journal_url, said)


async def test_meta_data_of_someone_else_is_refused(journal_url: str) -> None:
    """A table of that name without a version is not a journal's."""
    run(journal_url, "CREATE TABLE journal_meta (name TEXT, value TEXT)")
    await is_refused(journal_url, "not the journal's")


async def test_a_step_that_fails_leaves_the_journal_as_it_was(
    journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened by the version that wrote it, with every row."""
    version_0_1_0(journal_url, *(old_row(state, state) for state in STATES))
    before = layout(journal_url)

    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT 1 FROM nowhere")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, fail))
    await is_refused(journal_url, "nowhere")
    assert layout(journal_url) == before
    monkeypatch.undo()
    journal = await opened(journal_url)
    assert len(await journal.recent()) == len(STATES)
    await journal.aclose()
