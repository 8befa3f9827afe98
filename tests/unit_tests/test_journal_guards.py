"""Why a call may have to wait: the same call, a busy line, the day's limits, the list."""

from decimal import Decimal
from typing import Any

import pytest
import test_journal
from sqlalchemy import Connection, event, select
from test_journal import ALICE, BOB, DAY, bring, claim, known, new, quoted, sign, wait

from langchain_oneshot_voice.journal import (
    LINE_BUSY_SECONDS,
    CallJournal,
    CallRecord,
    DuplicateCall,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    SpendLimitReached,
    SpendLimits,
)
from langchain_oneshot_voice.journal.schema import call_numbers, calls

_journal_url = test_journal._journal_url
journal = test_journal.journal


def limits(**given: Any) -> SpendLimits:
    """No limits but those that are given."""
    none: dict[str, Any] = {"max_cost_per_day": None, "max_calls_per_number_per_day": None}
    return SpendLimits(**{**none, "duplicate_window": 0, **given})


@pytest.mark.parametrize(
    ("state", "answered", "kind"),
    [
        ("claimed", True, "mine"),
        ("quoted", True, "mine"),
        ("asking", True, "mine"),
        ("signed", True, "duplicate"),
        ("placed", True, "duplicate"),
        ("unknown", True, "duplicate"),
        ("done", True, "duplicate"),
        ("done", False, "mine"),
        ("declined", True, "mine"),
        ("edited", True, "mine"),
        ("refused", True, "mine"),
    ],
)
async def test_the_same_call_under_another_key_is_a_duplicate(
    journal: CallJournal, state: str, answered: bool, kind: str
) -> None:
    """It is, when the other is under way, unknown or was answered; not otherwise."""
    await bring(journal, new("k1", fingerprint="same"), state, answered=answered)
    asked = await claim(journal, new("k2", fingerprint="same"), duplicate_window=600)
    assert (asked.kind, asked.record.call_key) == (kind, "k2" if kind == "mine" else "k1")


@pytest.mark.parametrize("change", [{"account": "0xother"}, {"tenant": "t"}, {"base_url": "b"}])
async def test_a_duplicate_is_one_of_the_same_account(
    journal: CallJournal, change: dict[str, str]
) -> None:
    """Another account's, tenant's or service's call is not a duplicate."""
    await bring(journal, new("k1", fingerprint="same"), "done")
    asked = await claim(journal, new("k2", fingerprint="same", **change), duplicate_window=600)
    assert asked.kind == "mine"


@pytest.mark.parametrize("window", [600, 2 * LINE_BUSY_SECONDS])
async def test_an_answered_call_is_a_duplicate_for_the_window_only(
    journal: CallJournal, window: float
) -> None:
    """After the window, or with a window of zero, the same call may be made again."""
    await bring(journal, new("k1", fingerprint="same"), "done")
    assert (await claim(journal, new("k2", fingerprint="same"))).kind == "mine"
    wait(window - 30, journal)
    asked = await claim(journal, new("k3", fingerprint="same"), duplicate_window=window)
    assert asked.kind == "duplicate"
    wait(60, journal)
    asked = await claim(journal, new("k3", fingerprint="same"), duplicate_window=window)
    assert asked.kind == "mine"


async def test_a_call_under_way_is_a_duplicate_until_its_line_is_free(
    journal: CallJournal,
) -> None:
    """However short the window is."""
    await bring(journal, new("k1", BOB, fingerprint="same"), "unknown")
    wait(LINE_BUSY_SECONDS - 30, journal)
    again = new("k2", ALICE, fingerprint="same")
    assert (await claim(journal, again, duplicate_window=1)).kind == "duplicate"
    wait(60, journal)
    assert (await claim(journal, again, duplicate_window=1)).kind == "mine"


@pytest.mark.parametrize("state", ["signed", "placed", "unknown"])
async def test_a_number_on_a_call_is_not_rung(journal: CallJournal, state: str) -> None:
    """Whatever the objective and the tenant, until the first call can't be on any more."""
    await bring(journal, new("k1", ALICE), state)
    asked = await claim(journal, new("k2", BOB, ALICE, tenant="other"))
    assert (asked.kind, asked.record.call_key) == ("number_busy", "k1")
    assert (await claim(journal, new("k3", BOB))).kind == "mine"
    assert (await claim(journal, new("k4", ALICE, account="0xother"))).kind == "mine"
    assert (await claim(journal, new("k5", ALICE, base_url="b"))).kind == "mine"
    wait(LINE_BUSY_SECONDS + 1, journal)
    assert (await claim(journal, new("k2", ALICE))).kind == "mine"


async def test_a_line_is_free_when_its_call_has_ended(journal: CallJournal) -> None:
    """Done and refused calls do not keep a number busy."""
    await bring(journal, new("k1"), "done")
    await bring(journal, new("k2"), "signed")
    await journal.move("k2", owner="w1", to="refused", error_code="no")
    assert (await claim(journal, new("k3"))).kind == "mine"


async def test_a_late_acceptance_makes_the_line_busy_again(journal: CallJournal) -> None:
    """The line counts from the acceptance, the day from the signature."""
    await bring(journal, new("k1"), "signed")
    signed = await known(journal, "k1")
    wait(LINE_BUSY_SECONDS + 1, journal)
    await journal.move("k1", owner="w1", to="placed", request_id="r")
    assert (await claim(journal, new("k2"))).kind == "number_busy"
    wait(DAY - LINE_BUSY_SECONDS, journal)
    assert await journal.spent(account="0xwallet", tenant="") == 0
    assert (await known(journal, "k1")).signed_at == signed.signed_at


async def test_of_two_keys_that_passed_claim_one_is_signed(journal: CallJournal) -> None:
    """The guards are asked again in the transaction that signs."""
    guarded = limits(duplicate_window=600)
    for key, substance in (("k1", "same"), ("k2", "same"), ("k3", "other")):
        await quoted(journal, new(key, fingerprint=substance), duplicate_window=600)
    await sign(journal, "k1", limits=guarded)
    duplicate = await sign(journal, "k2", limits=guarded)
    busy = await sign(journal, "k3", limits=guarded)
    assert isinstance(duplicate, DuplicateCall)
    assert isinstance(busy, NumberBusy)
    assert duplicate.record.call_key == busy.record.call_key == "k1"
    assert {(await known(journal, k)).state for k in ("k2", "k3")} == {"quoted"}
    assert await journal.holds("k2", owner="w1")


async def test_the_day_has_only_so_much_money(journal: CallJournal) -> None:
    """Reserved and charged money counts to the cent, in this tenant, for 24 hours."""
    cap = limits(max_cost_per_day=Decimal("5.00"))
    await bring(journal, new("k1", "+14155550111"), "done", amount="2.00")
    first = await known(journal, "k1")
    assert first.signed_at is not None
    wait(DAY / 2, journal)
    await bring(journal, new("k2", "+14155550112"), "unknown", amount="2.00")
    await quoted(journal, new("k3", "+14155550113"))
    reached = await sign(journal, "k3", amount="1.000001", limits=cap)
    assert reached == SpendLimitReached(
        "max_cost_per_day",
        Decimal("5.00"),
        Decimal(4),
        Decimal("1.000001"),
        first.signed_at + DAY,
    )
    assert isinstance(await sign(journal, "k3", amount="1.00", limits=cap), CallRecord)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("5.00")
    await quoted(journal, new("k4", "+14155550114", tenant="other"))
    assert isinstance(await sign(journal, "k4", amount="5.00", limits=cap), CallRecord)
    wait(DAY / 2 + 1, journal)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("3.00")


@pytest.mark.parametrize(("charged", "counted"), [("0", "2"), ("0.35", "2"), ("3", "3")])
async def test_a_charge_that_is_lower_than_what_was_signed_frees_nothing(
    journal: CallJournal, charged: str, counted: str
) -> None:
    """The service's word does not lift the limit; a higher charge counts."""
    await bring(journal, new("k"), "placed", amount="2.00")
    cost = Decimal(charged)
    await journal.move("k", owner="w1", to="done", job={}, answered=True, charged=cost)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal(counted)


async def test_an_amount_over_the_whole_limit_never_fits(journal: CallJournal) -> None:
    """There is then no time at which it would."""
    await quoted(journal, new("k"))
    reached = await sign(journal, "k", amount="1.01", limits=limits(max_cost_per_day=Decimal(1)))
    assert isinstance(reached, SpendLimitReached)
    assert reached.resets_at is None


async def test_a_number_is_called_only_so_often_a_day(journal: CallJournal) -> None:
    """Refused calls don't count, finished ones do, and forgetting them makes no room."""
    cap = limits(max_calls_per_number_per_day=2)
    await bring(journal, new("k0"), "refused")
    await bring(journal, new("k1"), "done")
    first = await known(journal, "k1")
    assert first.signed_at is not None
    wait(1000, journal)
    await bring(journal, new("k2"), "done", answered=False)
    await bring(journal, new("k3", tenant="other"), "done")
    wait(10, journal)
    await journal.forget(5)
    await quoted(journal, new("k4", BOB, ALICE))
    reached = await sign(journal, "k4", limits=cap)
    assert reached == NumberLimitReached(ALICE, 2, first.signed_at + DAY)
    assert ALICE not in repr(reached)
    wait(DAY - 1009, journal)
    assert isinstance(await sign(journal, "k4", limits=cap), CallRecord)


async def test_a_number_limit_of_zero_never_ends(journal: CallJournal) -> None:
    """No call may be made, at no time."""
    await quoted(journal, new("k"))
    reached = await sign(journal, "k", limits=limits(max_calls_per_number_per_day=0))
    assert reached == NumberLimitReached(ALICE, 0, None)


async def test_edited_numbers_are_the_ones_that_are_guarded(journal: CallJournal) -> None:
    """After a quote for other numbers, the new one is busy and the old one is free."""
    await claim(journal, new("k", ALICE))
    request = {"objective": "Book a table", "target_number": BOB}
    edited = await journal.move("k", owner="w1", to="quoted", request=request, numbers=(BOB,))
    assert edited is not None
    assert (edited.numbers, edited.request) == ((BOB,), request)
    await sign(journal, "k")
    assert (await claim(journal, new("to bob", BOB))).kind == "number_busy"
    assert (await claim(journal, new("to alice", ALICE))).kind == "mine"


async def test_who_does_not_want_to_be_called_is_not_signed_for(journal: CallJournal) -> None:
    """A listed number refuses the signature, whichever wallet or tenant asks; nothing changes."""
    await journal.suppress([ALICE, ALICE], "asked on the phone")
    await quoted(journal, new("k", BOB, ALICE, tenant="other", account="0xother"))
    refused = await sign(journal, "k")
    assert refused == NumberSuppressed((ALICE,))
    assert ALICE not in repr(refused)
    assert (await known(journal, "k")).state == "quoted"


async def test_a_number_comes_off_the_list_only_when_it_is_taken_off(journal: CallJournal) -> None:
    """Forgetting old calls keeps the list; taking a number off allows it again."""
    await journal.suppress([ALICE], "asked on the phone")
    await journal.suppress([ALICE, BOB], "by hand")
    await journal.forget(0)
    listed = {entry.number: entry.reason for entry in await journal.suppressions()}
    assert listed == {ALICE: "asked on the phone", BOB: "by hand"}
    assert await journal.unsuppress(ALICE)
    assert not await journal.unsuppress(ALICE)
    assert [entry.number for entry in await journal.suppressions()] == [BOB]


def record_many(connection: Connection, now: float) -> None:
    """Put two thousand finished calls to the same numbers on record."""
    done = dict(connection.execute(select(calls)).one()._mapping)
    numbered = [{**done, "call_key": f"old {i}", "fingerprint": f"old {i}"} for i in range(2000)]
    connection.execute(calls.insert(), numbered)
    named = {"account": done["account"], "tenant": "", "number": ALICE, "committed_at": now}
    numbers = [{**named, "call_key": f"old {i}"} for i in range(2000)]
    connection.execute(call_numbers.insert(), numbers)


async def test_a_new_call_looks_at_few_rows(journal: CallJournal) -> None:
    """Every statement of a new call finds its rows by an index, without statistics."""
    await bring(journal, new("before", BOB), "done")
    await journal._write(record_many)
    statements: dict[str, Any] = {}

    def note(*executed: Any) -> None:
        _connection, _cursor, statement, parameters, _context, many = executed
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
            statements[statement] = parameters[0] if many else parameters

    event.listen(journal._store.engine, "before_cursor_execute", note)
    guarded = limits(
        max_cost_per_day=Decimal(100), max_calls_per_number_per_day=9999, duplicate_window=600
    )
    await quoted(journal, new("k", ALICE, BOB), duplicate_window=600)
    await sign(journal, "k", limits=guarded)
    await journal.move("k", owner="w1", to="placed", request_id="r")
    await journal.move("k", owner="w1", to="done", job={}, answered=True)
    event.remove(journal._store.engine, "before_cursor_execute", note)

    def plans(connection: Connection, _now: float) -> str:
        explain = "EXPLAIN" + " QUERY PLAN" * (connection.dialect.name == "sqlite")
        lines = [
            row[-1]
            for statement, parameters in statements.items()
            if "pg_advisory_xact_lock" not in statement
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
        ]
        return "\n".join(lines)

    plan = await journal._write(plans)
    indexes = ("calls_by_fingerprint", "numbers_by_line", "numbers_by_day", "calls_by_spend")
    assert [name for name in indexes if name not in plan] == []
    if "sqlite" in journal.url_for_display:
        scans = {line for line in plan.splitlines() if line.startswith("SCAN")}
        assert scans <= {"SCAN CONSTANT ROW"}
