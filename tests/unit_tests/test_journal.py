"""The life of a call on record, whichever database it is in.

The same facts run on PostgreSQL from the integration tests, which bring their own `journal_url`.
What a file adds to a journal in memory is in `test_journal_sqlite.py` and `test_journal_file.py`;
with `CHAOS=full` these facts run on a file too.
Time passes by moving the journal's clock, not by waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from full import FULL

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    CallState,
    Claim,
    Guard,
    IllegalMoveError,
    NewCall,
    SpendLimits,
)

ALICE, BOB = "+14155550101", "+14155550102"
NO_LIMITS = SpendLimits(
    max_cost_per_day=None, max_calls_per_number_per_day=None, duplicate_window=0
)
DAY = 86400


DATABASES = ["sqlite", "memory"] if FULL else ["memory"]


@pytest.fixture(name="journal_url", params=DATABASES)
def _journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the journal of a test is."""
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path / 'calls.sqlite'}"


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[CallJournal]:
    """An empty journal."""
    opened = CallJournal(journal_url)
    yield opened
    await opened.aclose()


WHOSE = {"account": "0xwallet", "tenant": "", "base_url": "https://voice.example"}


def new(key: str, *numbers: str, **changes: Any) -> NewCall:
    """A call of its own substance, unless told otherwise."""
    given: dict[str, Any] = {
        "call_key": key,
        "account": "0xwallet",
        "base_url": "https://voice.example",
        "numbers": numbers or (ALICE,),
        "fingerprint": f"fingerprint of {key}",
        "request": {"objective": "Book a table", "target_number": list(numbers)},
    }
    return NewCall(**{**given, **changes})


async def claim(journal: CallJournal, call: NewCall, owner: str = "w1", **terms: Any) -> Claim:
    """Claim without a duplicate guard, unless told otherwise."""
    return await journal.claim(call, owner=owner, **{"duplicate_window": 0, **terms})


async def sign(
    journal: CallJournal,
    key: str,
    *,
    owner: str = "w1",
    amount: str = "1.75",
    limits: SpendLimits = NO_LIMITS,
) -> CallRecord | Guard | None:
    """Sign for an amount, without limits unless told otherwise."""
    return await journal.sign(
        key,
        owner=owner,
        payment=f"bytes of {key}",
        valid_before=1e9,
        amount=Decimal(amount),
        limits=limits,
    )


async def quoted(journal: CallJournal, call: NewCall, owner: str = "w1", **terms: Any) -> None:
    """Claim a call and record its price."""
    assert (await claim(journal, call, owner, **terms)).kind == "mine"
    assert await journal.move(call.call_key, owner=owner, to="quoted", offer={"body": {}})


async def bring(
    journal: CallJournal, call: NewCall, state: str, *, amount: str = "1.75", answered: bool = True
) -> None:
    """Take a new call to a state by legal steps."""
    key = call.call_key
    if state == "claimed":
        assert (await claim(journal, call)).kind == "mine"
        return
    await quoted(journal, call)
    if state in ("asking", "declined", "edited"):
        await step(journal, key, "asking")
    if state in ("signed", "placed", "done", "unknown"):
        assert isinstance(await sign(journal, key, amount=amount), CallRecord)
    if state in ("placed", "done"):
        await journal.move(key, owner="w1", to="placed", request_id=f"request of {key}")
    if state == "done":
        job = {"status": "completed"}
        await journal.move(key, owner="w1", to="done", job=job, answered=answered)
    if state in ("declined", "edited", "refused", "unknown"):
        await step(journal, key, state)
    assert (await known(journal, key)).state == state


async def step(
    journal: CallJournal, key: str, state: Any, owner: str = "w1"
) -> CallRecord | Guard | None:
    """Take one step, legal or not."""
    if state == "signed":
        return await sign(journal, key, owner=owner)
    columns: dict[str, dict[str, Any]] = {
        "placed": {"request_id": "another request"},
        "done": {"job": {}, "answered": None},
        "edited": {"edited_to": "another key"},
        "refused": {"error_code": "no"},
        "unknown": {"error_code": "no answer"},
    }
    return await journal.move(key, owner=owner, to=state, **columns.get(state, {}))


def wait(seconds: float, *journals: CallJournal) -> None:
    """Let time pass."""
    for journal in journals:
        journal._store.clock_offset += seconds


async def known(journal: CallJournal, key: str) -> CallRecord:
    """The record of a call that is there."""
    record = await journal.read(key)
    assert record is not None
    return record


async def test_a_call_goes_from_claim_to_outcome(journal: CallJournal) -> None:
    """What is recorded with each step is what is read at the end."""
    call = new("k", ALICE, BOB, tenant="acme")
    offer = {"body": {"total": "1.75"}, "header": "x"}
    claimed = await claim(journal, call)
    assert claimed.now == claimed.record.created_at
    await journal.move("k", owner="w1", to="quoted", offer=offer, approval_id="a1")
    await sign(journal, "k", amount="1.7500001")
    placement = {"request_id": "r1", "receipt_id": "receipt"}
    await journal.move("k", owner="w1", to="placed", request_id="r1", placement=placement)
    job = {"result": "\x00ü"}
    done = await journal.move(
        "k", owner="w1", to="done", job=job, answered=True, charged=Decimal("1.05")
    )
    assert done is not None
    whose = WHOSE | {"tenant": "acme"}
    assert done == await journal.read("k") == await journal.find("r1", **whose)
    for other in ({"account": "0xother"}, {"tenant": ""}, {"base_url": "https://other.example"}):
        assert await journal.find("r1", **whose | other) is None
    assert (done.state, done.numbers, done.request) == ("done", (ALICE, BOB), call.request)
    assert (done.offer, done.approval_id, done.payment) == (offer, "a1", "bytes of k")
    assert (done.reserved, done.charged) == (Decimal("1.750001"), Decimal("1.05"))
    assert (done.job, done.answered, done.placement) == (job, True, placement)
    assert (done.owner, done.worker, done.attempt) == (None, None, 1)
    assert done.created_at <= (done.signed_at or 0) <= (done.placed_at or 0) <= done.updated_at


async def test_a_record_is_returned_as_it_is_read_back(journal: CallJournal) -> None:
    """Tuples in JSON are lists there, and numbers as names are texts."""
    claimed = await claim(journal, new("k", request={"target_number": (ALICE, BOB)}))
    assert claimed.record == await known(journal, "k")
    moved = await journal.move("k", owner="w1", to="quoted", offer={"body": {1: ("a", "b")}})
    assert moved is not None
    assert moved == await known(journal, "k")
    assert moved.offer == {"body": {"1": ["a", "b"]}}


async def test_a_record_does_not_show_secrets_or_whole_numbers(journal: CallJournal) -> None:
    """A repr holds no number, payment, request or outcome that a log should not have."""
    await bring(journal, new("k"), "done")
    shown = repr(await known(journal, "k")) + repr(new("k"))
    assert not any(secret in shown for secret in (ALICE, "bytes of", "Book a table", "completed"))


LEGAL: dict[CallState, set[str]] = {
    "claimed": {"quoted", "placed", "declined", "edited", "refused"},
    "quoted": {"quoted", "asking", "signed", "placed", "declined", "edited", "refused"},
    "asking": {"quoted", "asking", "signed", "placed", "declined", "edited", "refused"},
    "signed": {"placed", "refused", "unknown"},
    "placed": {"done"},
    "done": set(),
    "declined": set(),
    "edited": set(),
    "refused": set(),
    "unknown": {"placed", "refused", "unknown"},
}
DROPPED = ("done", "declined", "edited", "refused", "unknown")
STEPS = ("quoted", "asking", "signed", "placed", *DROPPED)


@pytest.mark.parametrize("state", LEGAL)
async def test_only_legal_steps_are_taken(journal: CallJournal, state: CallState) -> None:
    """From each state each step either is in the table or changes nothing."""
    for number, to in enumerate(STEPS):
        key = f"{state} then {to}"
        await bring(journal, new(key, f"+141555501{number:02}"), state)
        await journal.take(key, owner="w1")
        before = await known(journal, key)
        if to in LEGAL[state]:
            moved = await step(journal, key, to)
            after = await known(journal, key)
            assert moved == after
            assert (after.state, after.owner) == (to, None if to in DROPPED else "w1")
        elif state in ("done", "declined", "edited", "refused"):  # it is nobody's
            assert await step(journal, key, to) is None
            assert await journal.read(key) == before
        else:
            with pytest.raises(IllegalMoveError, match=f"is {state}: it can't become {to}"):
                await step(journal, key, to)
            assert await journal.read(key) == before


@pytest.mark.parametrize("to", STEPS)
async def test_only_the_owner_writes(journal: CallJournal, to: CallState) -> None:
    """A step of anyone else returns nothing and changes nothing."""
    states: dict[str, CallState] = {
        "done": "placed",
        "unknown": "signed",
        "declined": "asking",
        "edited": "asking",
    }
    await bring(journal, new("k"), states.get(to, "quoted"))
    before = await journal.read("k")
    assert await step(journal, "k", to, owner="w2") is None
    assert await step(journal, "absent", to) is None
    assert await journal.read("k") == before


@pytest.mark.parametrize(
    ("to", "columns"),
    [("signed", {}), ("claimed", {}), ("quoted", {"payment": "bytes"}), ("done", {"state": "x"})],
)
async def test_a_step_writes_its_own_columns_only(
    journal: CallJournal, to: CallState, columns: dict[str, Any]
) -> None:
    """Other columns, and `signed` without its guards, are errors of the program."""
    await bring(journal, new("k"), "quoted")
    with pytest.raises(TypeError, match=f"move to {to}"):
        await journal.move("k", owner="w1", to=to, **columns)
    assert (await known(journal, "k")).state == "quoted"


async def test_placed_again_with_the_same_request_is_fine(journal: CallJournal) -> None:
    """Recording an acceptance twice keeps the first time; another request id is refused."""
    await bring(journal, new("k"), "placed")
    first = await known(journal, "k")
    wait(10, journal)
    late = {"receipt_id": "late"}
    again = await journal.move(
        "k", owner="w1", to="placed", request_id="request of k", placement=late
    )
    assert again is not None
    assert (again.placed_at, again.updated_at) == (first.placed_at, first.updated_at)
    assert again.placement == late
    with pytest.raises(IllegalMoveError):
        await journal.move("k", owner="w1", to="placed", request_id="another")


async def test_unknown_keeps_what_refused_lets_go(journal: CallJournal) -> None:
    """The reservation and the bytes stay until it is known that nothing can be charged."""
    await bring(journal, new("k"), "unknown")
    record = await known(journal, "k")
    assert (record.payment, record.reserved) == ("bytes of k", Decimal("1.75"))
    await journal.take("k", owner="w2")
    refused = await journal.move("k", owner="w2", to="refused", error_code="expired")
    assert refused is not None
    assert (refused.payment, refused.valid_before, refused.reserved) == (None, None, Decimal(0))
    assert await journal.spent(account="0xwallet", tenant="") == 0


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity"])
async def test_only_money_is_reserved_and_charged(journal: CallJournal, amount: str) -> None:
    """A negative amount would make room under a limit: it is refused."""
    await bring(journal, new("k"), "quoted")
    with pytest.raises(ValueError, match="not an amount"):
        await sign(journal, "k", amount=amount)
    await bring(journal, new("k2", BOB), "placed")
    with pytest.raises(ValueError, match="not an amount"):
        await journal.move("k2", owner="w1", to="done", charged=Decimal(amount))


# Claims


async def test_of_many_claims_one_is_granted(journal: CallJournal) -> None:
    """Fifty runs ask for one key at once: one gets it, the others are told that it is held."""
    claims = await asyncio.gather(*[claim(journal, new("k"), f"w{i}") for i in range(50)])
    assert sorted(c.kind for c in claims) == ["held"] * 49 + ["mine"]


async def test_a_released_call_is_free_at_once(journal: CallJournal) -> None:
    """Releasing keeps the state; releasing what is not held does nothing."""
    await bring(journal, new("k"), "quoted")
    await journal.release("k", owner="w2")
    assert await journal.holds("k", owner="w1")
    await journal.release("k", owner="w1")
    assert not await journal.holds("k", owner="w1")
    again = await claim(journal, new("k"), "w2")
    assert (again.kind, again.record.state) == ("mine", "quoted")


async def test_an_owner_may_claim_again(journal: CallJournal) -> None:
    """What a run has already, it is given again."""
    await bring(journal, new("k"), "signed")
    again = await claim(journal, new("k"))
    assert (again.kind, again.record.state) == ("mine", "signed")


@pytest.mark.parametrize("state", ["done", "declined", "edited"])
async def test_an_end_answers_its_key(journal: CallJournal, state: str) -> None:
    """An ended call is finished for every later claim, until `answers_for` has passed."""
    await bring(journal, new("k"), state)
    wait(100, journal)
    assert (await claim(journal, new("k"), answers_for=200)).kind == "finished"
    assert (await claim(journal, new("k"))).kind == "finished"
    anew = await claim(journal, new("k"), answers_for=50)
    assert (anew.kind, anew.record.attempt, anew.record.state) == ("mine", 1, "claimed")
    keys = [record.call_key for record in await journal.recent()]
    assert keys[0] == "k"
    assert keys[1].startswith("k~")


async def test_a_retired_call_keeps_its_money_and_its_place(journal: CallJournal) -> None:
    """Its cost counts for the day, its request id finds it, and its number stays limited."""
    await bring(journal, new("k"), "done")
    wait(100, journal)
    await quoted(journal, new("k"), answers_for=50)
    old = await journal.find("request of k", **WHOSE)
    assert old is not None
    assert old.call_key.startswith("k~")
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("1.75")
    once = SpendLimits(max_cost_per_day=None, max_calls_per_number_per_day=1, duplicate_window=0)
    assert not isinstance(await sign(journal, "k", limits=once), CallRecord)


async def test_an_end_since_the_run_began_always_answers(journal: CallJournal) -> None:
    """With `answers_for=0` too: a run that waited for another one does not pay again."""
    await bring(journal, new("k"), "placed")
    waiting = await claim(journal, new("k"), "w2", answers_for=0)
    assert waiting.kind == "held"
    wait(10, journal)
    await journal.move("k", owner="w1", to="done", job={}, answered=True)
    later = {"answers_for": 0, "asked_at": waiting.now}
    assert (await claim(journal, new("k"), "w2", **later)).kind == "finished"
    wait(1000, journal)
    assert (await claim(journal, new("k"), "w2", **later)).kind == "finished"
    assert (await claim(journal, new("k"), "w3", answers_for=0)).kind == "mine"


@pytest.mark.parametrize("jump", [-3600, 3600])
async def test_an_end_answers_though_the_clock_jumped(journal: CallJournal, jump: float) -> None:
    """A clock that is set back or forward while a run waits does not make it pay again."""
    await bring(journal, new("k"), "placed")
    waiting = await claim(journal, new("k"), "w2", answers_for=0)
    wait(jump, journal)
    await journal.move("k", owner="w1", to="done", job={}, answered=True)
    again = await claim(journal, new("k"), "w2", answers_for=0, asked_at=waiting.now)
    assert again.kind == "finished"


async def test_a_record_under_the_former_key_is_found(journal: CallJournal) -> None:
    """It keeps its key, and is used only when there is none under the new one."""
    await bring(journal, new("old"), "signed")
    found = await claim(journal, new("new"), "w1", former_key="old")
    assert (found.kind, found.record.call_key, found.record.state) == ("mine", "old", "signed")
    assert (await claim(journal, new("new"), "w2", former_key="old")).kind == "held"
    assert await journal.read("new") is None
    await bring(journal, new("new", BOB), "quoted")
    own = await claim(journal, new("new", BOB), "w1", former_key="old")
    assert own.record.call_key == "new"


@pytest.mark.parametrize("change", [{"account": "0xother"}, {"tenant": "t"}, {"base_url": "b"}])
async def test_a_former_key_is_of_the_same_account(
    journal: CallJournal, change: dict[str, str]
) -> None:
    """A record of another account, tenant or service is not the call's."""
    await bring(journal, new("old"), "declined")
    asked = await claim(journal, new("new", BOB, **change), former_key="old")
    assert (asked.kind, asked.record.call_key) == ("mine", "new")


async def test_a_former_record_that_is_over_makes_room(journal: CallJournal) -> None:
    """A refused one starts over under its own key; one that answers no more, under the new."""
    await bring(journal, new("r"), "refused")
    again = await claim(journal, new("r2", BOB), former_key="r")
    assert (again.kind, again.record.call_key, again.record.attempt) == ("mine", "r", 2)
    assert again.record.numbers == (BOB,)
    await bring(journal, new("d"), "done")
    wait(10, journal)
    anew = await claim(journal, new("d2"), former_key="d", answers_for=5)
    assert (anew.kind, anew.record.call_key, anew.record.attempt) == ("mine", "d2", 1)
    assert await journal.read("d") is None


async def test_a_refused_call_starts_over(journal: CallJournal) -> None:
    """The next attempt keeps nothing of the one before, and takes the request as it is now."""
    await bring(journal, new("k"), "unknown")
    await journal.take("k", owner="w1")
    await journal.move("k", owner="w1", to="refused", error_code="expired")
    again = await claim(journal, new("k", BOB, fingerprint="other"), "w2")
    assert (again.kind, again.record.state, again.record.attempt) == ("mine", "claimed", 2)
    assert (again.record.error_code, again.record.signed_at, again.record.offer) == (None,) * 3
    assert (again.record.numbers, again.record.fingerprint) == ((BOB,), "other")
    assert (await claim(journal, new("k"), "w3")).kind == "held"


async def test_only_unfinished_free_calls_are_taken(journal: CallJournal) -> None:
    """There is nothing to take of a call that has ended, is held or was never asked for."""
    for number, state in enumerate(LEGAL):
        await bring(journal, new(state, f"+1415555012{number}"), state)
    taken = [key for key in [*LEGAL, "absent"] if await journal.take(key, owner="w2")]
    assert taken == ["unknown"]
    await asyncio.gather(*[journal.release(key, owner="w1") for key in LEGAL])
    taken = [key for key in LEGAL if await journal.take(key, owner="w3")]
    assert taken == ["claimed", "quoted", "asking", "signed", "placed"]


async def test_unfinished_lists_what_nobody_works_on(journal: CallJournal) -> None:
    """Signed, placed and unknown calls that are free; by account and service."""
    for number, state in enumerate(LEGAL):
        await bring(journal, new(state, f"+1415555012{number}"), state)
    assert [r.state for r in await journal.unfinished()] == ["unknown"]
    await asyncio.gather(*[journal.release(key, owner="w1") for key in LEGAL])
    found = await journal.unfinished(account="0xwallet", base_url="https://voice.example")
    assert [r.state for r in found] == ["signed", "placed", "unknown"]
    assert await journal.unfinished(account="0xother") == []
    assert await journal.unfinished(base_url="https://other.example") == []


async def test_recent_is_newest_first(journal: CallJournal) -> None:
    """Of one tenant or of all, and no more than asked for."""
    for key, tenant in (("k1", "a"), ("k2", "b"), ("k3", "a")):
        await claim(journal, new(key, tenant=tenant))
        wait(10, journal)
    assert [r.call_key for r in await journal.recent(limit=2)] == ["k3", "k2"]
    assert [r.call_key for r in await journal.recent(tenant="a")] == ["k3", "k1"]


async def test_the_account_of_a_token_is_the_first_that_was_told(journal: CallJournal) -> None:
    """Whatever is told later; each token has its own."""
    assert await journal.account_of_token("one", "0xa") == "0xa"
    assert await journal.account_of_token("one", "0xb") == "0xa"
    assert await journal.account_of_token("two", "0xb") == "0xb"
