"""What a journal promises, whichever database it lives in.

The same facts run on PostgreSQL from the integration tests, which bring their own `journal_url`.
Time passes by moving a journal's rows into the past, not by waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from langchain_oneshot_voice.journal import (
    LINE_BUSY_SECONDS,
    CallJournal,
    CallRecord,
    Claim,
    DuplicateCall,
    IllegalMoveError,
    JournalUnavailableError,
    LeaseLost,
    NewCall,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    SpendLimitReached,
    SpendLimits,
)
from langchain_oneshot_voice.journal.schema import call_numbers, calls

ALICE, BOB = "+14155550101", "+14155550102"
NO_LIMITS = SpendLimits(
    max_cost_per_day=None, max_calls_per_number_per_day=None, duplicate_window=0
)
DAY = 86400


@pytest.fixture(name="journal_url", params=["sqlite", "memory"])
def _journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the journal of a test lives."""
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path / 'calls.sqlite'}"


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[CallJournal]:
    """An empty journal."""
    opened = CallJournal(journal_url)
    yield opened
    await opened.aclose()


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
    """Claim with a long lease and without a duplicate guard, unless told otherwise."""
    return await journal.claim(call, owner=owner, **{"lease": 60, "duplicate_window": 0, **terms})


async def sign(
    journal: CallJournal,
    key: str,
    *,
    owner: str = "w1",
    amount: str = "1.75",
    limits: SpendLimits = NO_LIMITS,
) -> CallRecord:
    """Sign for an amount, without limits unless told otherwise."""
    return await journal.signed(
        key,
        owner=owner,
        payment=f"bytes of {key}",
        quote_id="q1",
        valid_before=1e9,
        amount=Decimal(amount),
        limits=limits,
    )


async def bring(
    journal: CallJournal, call: NewCall, state: str, *, amount: str = "1.75", answered: bool = True
) -> None:
    """Take a new call to a state by legal steps."""
    key = call.call_key
    assert (await claim(journal, call)).kind == "mine"
    if state == "quoted":
        await journal.quoted(
            key, owner="w1", quote={"total": "1.75"}, quote_id="q1", quote_expires_at=1e9
        )
    if state in ("signed", "placed", "done", "unknown"):
        await sign(journal, key, amount=amount)
    if state in ("placed", "done"):
        await journal.placed(key, owner="w1", request_id=f"request of {key}")
    if state == "done":
        await journal.done(key, owner="w1", job={"status": "completed"}, answered=answered)
    if state == "refused":
        await journal.refused(key, owner="w1", error_code="exceeds_caller_budget")
    if state == "unknown":
        await journal.unknown(key, owner="w1", error_code="timeout")


async def step(journal: CallJournal, key: str, state: str, owner: str = "w1") -> object:
    """Take one step, legal or not."""
    match state:
        case "quoted":
            return await journal.quoted(
                key, owner=owner, quote={}, quote_id=None, quote_expires_at=None
            )
        case "signed":
            return await sign(journal, key, owner=owner)
        case "placed":
            return await journal.placed(key, owner=owner, request_id="another request")
        case "done":
            return await journal.done(key, owner=owner, job={}, answered=None)
        case "refused":
            return await journal.refused(key, owner=owner, error_code="no")
        case _:
            return await journal.unknown(key, owner=owner, error_code="no answer")


async def age(journal: CallJournal, seconds: float) -> None:
    """Let time pass: move everything that has happened, and every lease, into the past."""
    names = ("lease_until", "created_at", "signed_at", "placed_at", "updated_at", "forgotten_at")
    earlier = {name: calls.c[name] - seconds for name in names}
    await journal._write(
        lambda connection, _now: connection.execute(calls.update().values(earlier))
    )


async def known(journal: CallJournal, key: str) -> CallRecord:
    """The record of a call that is there."""
    record = await journal.read(key)
    assert record is not None
    return record


async def test_a_call_goes_from_claim_to_outcome(journal: CallJournal) -> None:
    """What is recorded at each boundary is what is read at the end."""
    call = new("k", ALICE, BOB, tenant="acme")
    await bring(journal, call, "quoted")
    await sign(journal, "k", amount="1.7500001")
    await journal.placed("k", owner="w1", request_id="r1", receipt_id="receipt")
    done = await journal.done(
        "k", owner="w1", job={"result": "\x00ü"}, answered=True, charged=Decimal("1.05")
    )
    assert done == await journal.read("k") == await journal.find("r1")
    assert (done.state, done.numbers, done.request) == ("done", (ALICE, BOB), call.request)
    assert (done.quote, done.quote_id, done.payment) == ({"total": "1.75"}, "q1", "bytes of k")
    assert (done.reserved, done.charged) == (Decimal("1.750001"), Decimal("1.05"))
    assert (done.job, done.answered, done.receipt_id) == ({"result": "\x00ü"}, True, "receipt")
    assert (done.lease_owner, done.lease_until, done.attempt) == (None, None, 1)


async def test_a_record_does_not_show_secrets_or_whole_numbers(journal: CallJournal) -> None:
    """A repr holds no number, payment, request or outcome that a log should not have."""
    await bring(journal, new("k"), "done")
    shown = repr(await known(journal, "k")) + repr(new("k"))
    assert not any(secret in shown for secret in (ALICE, "bytes of", "Book a table", "completed"))


LEGAL = {
    "claimed": {"quoted", "signed", "placed", "refused"},
    "quoted": {"quoted", "signed", "placed", "refused"},
    "signed": {"placed", "refused", "unknown"},
    "placed": {"done"},
    "done": set(),
    "refused": set(),
    "unknown": {"placed", "refused", "unknown"},
}
STEPS = ("quoted", "signed", "placed", "done", "refused", "unknown")


@pytest.mark.parametrize("state", LEGAL)
async def test_only_legal_steps_are_taken(journal: CallJournal, state: str) -> None:
    """From each state each step either is in the table or changes nothing."""
    for number, move in enumerate(STEPS):
        key = f"{state} then {move}"
        await bring(journal, new(key, f"+1415555012{number}"), state)
        # Whoever finished a call holds nothing any more: that is refused before the state is.
        error = LeaseLost if state in ("done", "refused") else IllegalMoveError
        await journal.take(key, owner="w1", lease=60)
        before = await journal.read(key)
        if move in LEGAL[state]:
            await step(journal, key, move)
            assert (await known(journal, key)).state == move
        else:
            with pytest.raises(error):
                await step(journal, key, move)
            assert await journal.read(key) == before


@pytest.mark.parametrize("move", STEPS)
async def test_a_worker_that_was_taken_over_can_not_write(journal: CallJournal, move: str) -> None:
    """A paused holder that wakes after the takeover records nothing, not even `signed`."""
    state = {"done": "placed", "unknown": "signed"}.get(move, "claimed")
    await bring(journal, new("k"), state)
    await age(journal, 61)
    taken = await journal.take("k", owner="w2", lease=60)
    with pytest.raises(LeaseLost):
        await step(journal, "k", move, owner="w1")
    assert await journal.read("k") == taken


async def test_placed_again_with_the_same_request_is_fine(journal: CallJournal) -> None:
    """Recording an acceptance twice keeps the first time; another request id is refused."""
    await bring(journal, new("k"), "placed")
    first = await known(journal, "k")
    await journal.placed("k", owner="w1", request_id="request of k", receipt_id="late")
    again = await known(journal, "k")
    assert (again.placed_at, again.receipt_id) == (first.placed_at, "late")
    with pytest.raises(IllegalMoveError):
        await journal.placed("k", owner="w1", request_id="another")


async def test_unknown_keeps_what_refused_lets_go(journal: CallJournal) -> None:
    """The reservation and the bytes stay until it is known that nothing can be charged."""
    await bring(journal, new("k"), "unknown")
    record = await known(journal, "k")
    assert (record.payment, record.reserved) == ("bytes of k", Decimal("1.75"))
    await journal.take("k", owner="w2", lease=60)
    refused = await journal.refused("k", owner="w2", error_code="expired")
    assert (refused.payment, refused.reserved) == (None, Decimal(0))
    assert await journal.spent(account="0xwallet", tenant="") == 0


# Claims and leases


async def test_of_many_claims_one_is_granted(journal: CallJournal) -> None:
    """Fifty workers ask for one key at once: one gets it, the others are told that it is held."""
    claims = await asyncio.gather(*[claim(journal, new("k"), f"w{i}") for i in range(50)])
    assert sorted(c.kind for c in claims) == ["held"] * 49 + ["mine"]


async def test_a_lease_that_runs_out_can_be_taken_over(journal: CallJournal) -> None:
    """Another worker is kept off while the lease lives, and goes on from the state after it."""
    await bring(journal, new("k"), "signed")
    await age(journal, 59)
    assert (await claim(journal, new("k"), "w2")).kind == "held"
    assert await journal.take("k", owner="w2", lease=60) is None
    await age(journal, 2)
    taken = await claim(journal, new("k"), "w2")
    assert (taken.kind, taken.record.state, taken.record.payment) == (
        "mine",
        "signed",
        "bytes of k",
    )


async def test_a_short_lease_runs_out_by_itself(journal: CallJournal) -> None:
    """No one has to do anything for a dead worker's lease to end."""
    await claim(journal, new("k"), "w1", lease=0.05)
    async with asyncio.timeout(10):
        while (await claim(journal, new("k"), "w2")).kind == "held":  # noqa: ASYNC110 - the database keeps the time
            await asyncio.sleep(0.01)
    assert (await known(journal, "k")).lease_owner == "w2"


async def test_a_renewed_lease_lasts(journal: CallJournal) -> None:
    """Renewing counts from now; only the owner can."""
    await claim(journal, new("k"))
    await age(journal, 50)
    await journal.renew("k", owner="w1", lease=60)
    await age(journal, 50)
    assert (await claim(journal, new("k"), "w2")).kind == "held"
    with pytest.raises(LeaseLost):
        await journal.renew("k", owner="w2", lease=60)


async def test_a_released_call_is_free_at_once(journal: CallJournal) -> None:
    """Releasing keeps the state; releasing what is not held does nothing."""
    await bring(journal, new("k"), "quoted")
    await journal.release("k", owner="w2")
    assert (await known(journal, "k")).lease_owner == "w1"
    await journal.release("k", owner="w1")
    again = await claim(journal, new("k"), "w2")
    assert (again.kind, again.record.state) == ("mine", "quoted")


async def test_an_outcome_answers_its_key(journal: CallJournal) -> None:
    """A finished call is finished for every later claim, until `answers_for` has passed."""
    await bring(journal, new("k"), "done")
    await age(journal, 100)
    assert (await claim(journal, new("k"), answers_for=200)).kind == "finished"
    assert (await claim(journal, new("k"))).kind == "finished"
    anew = await claim(journal, new("k"), answers_for=50)
    assert (anew.kind, anew.record.attempt, anew.record.state) == ("mine", 1, "claimed")
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("1.75")
    old = await journal.find("request of k")
    assert old is not None
    assert old.call_key.startswith("k~")


async def test_a_refused_call_starts_over(journal: CallJournal) -> None:
    """The next attempt keeps nothing of the one before, and takes the request as it is now."""
    await bring(journal, new("k"), "unknown")
    await journal.take("k", owner="w1", lease=60)
    await journal.refused("k", owner="w1", error_code="expired")
    again = await claim(journal, new("k", BOB, fingerprint="other"), "w2")
    assert (again.kind, again.record.state, again.record.attempt) == ("mine", "claimed", 2)
    assert (again.record.error_code, again.record.signed_at) == (None, None)
    assert (again.record.numbers, again.record.fingerprint) == ((BOB,), "other")


async def test_only_unfinished_free_calls_are_taken(journal: CallJournal) -> None:
    """There is nothing to take of a call that is finished or was never asked for."""
    await bring(journal, new("d"), "done")
    await bring(journal, new("r"), "refused")
    assert [await journal.take(k, owner="w2", lease=60) for k in ("d", "r", "absent")] == [None] * 3


# Guards


@pytest.mark.parametrize(
    ("state", "answered", "kind"),
    [
        ("claimed", True, "mine"),
        ("quoted", True, "mine"),
        ("signed", True, "duplicate"),
        ("placed", True, "duplicate"),
        ("unknown", True, "duplicate"),
        ("done", True, "duplicate"),
        ("done", False, "mine"),
        ("refused", True, "mine"),
    ],
)
async def test_the_same_call_under_another_key_is_a_duplicate(
    journal: CallJournal, state: str, answered: bool, kind: str
) -> None:
    """It is, when the other is under way, unknown or was answered; not after no answer."""
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


async def test_an_answered_call_is_a_duplicate_for_the_window_only(journal: CallJournal) -> None:
    """After the window, or with a window of zero, the same call may be made again."""
    await bring(journal, new("k1", fingerprint="same"), "done")
    assert (await claim(journal, new("k2", fingerprint="same"))).kind == "mine"
    await age(journal, 601)
    asked = await claim(journal, new("k3", fingerprint="same"), duplicate_window=600)
    assert asked.kind == "mine"


@pytest.mark.parametrize("state", ["signed", "placed", "unknown"])
async def test_a_number_on_a_call_is_not_rung(journal: CallJournal, state: str) -> None:
    """Whatever the objective and the tenant, until the first call can't be on any more."""
    await bring(journal, new("k1", ALICE), state)
    asked = await claim(journal, new("k2", BOB, ALICE, tenant="other"))
    assert (asked.kind, asked.record.call_key) == ("number_busy", "k1")
    assert (await claim(journal, new("k3", BOB))).kind == "mine"
    await age(journal, LINE_BUSY_SECONDS + 1)
    assert (await claim(journal, new("k2", ALICE))).kind == "mine"


async def test_of_two_keys_that_passed_claim_one_is_signed(journal: CallJournal) -> None:
    """The guards are asked again in the transaction that signs."""
    guarded = SpendLimits(
        max_cost_per_day=None, max_calls_per_number_per_day=None, duplicate_window=600
    )
    for key, substance in (("k1", "same"), ("k2", "same"), ("k3", "other")):
        await claim(journal, new(key, fingerprint=substance), duplicate_window=600)
    await sign(journal, "k1", limits=guarded)
    with pytest.raises(DuplicateCall) as duplicate:
        await sign(journal, "k2", limits=guarded)
    with pytest.raises(NumberBusy) as busy:
        await sign(journal, "k3", limits=guarded)
    assert duplicate.value.record.call_key == busy.value.record.call_key == "k1"
    assert {(await known(journal, k)).state for k in ("k2", "k3")} == {"claimed"}


async def test_the_day_has_only_so_much_money(journal: CallJournal) -> None:
    """Reserved and charged money counts to the cent, in this tenant, for 24 hours."""
    cap = SpendLimits(
        max_cost_per_day=Decimal("5.00"), max_calls_per_number_per_day=None, duplicate_window=0
    )
    await bring(journal, new("k1", "+14155550111"), "done", amount="2.00")
    await age(journal, DAY / 2)
    await bring(journal, new("k2", "+14155550112"), "unknown", amount="2.00")
    await claim(journal, new("k3", "+14155550113"))
    with pytest.raises(SpendLimitReached) as refused:
        await sign(journal, "k3", amount="1.000001", limits=cap)
    first = await known(journal, "k1")
    assert first.signed_at is not None
    error = refused.value
    assert (error.cap, error.spent, error.amount) == (
        Decimal("5.00"),
        Decimal(4),
        Decimal("1.000001"),
    )
    assert error.resets_at == first.signed_at + DAY
    await sign(journal, "k3", amount="1.00", limits=cap)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("5.00")
    await claim(journal, new("k4", "+14155550114", tenant="other"))
    await sign(journal, "k4", amount="5.00", limits=cap)
    await age(journal, DAY / 2 + 1)
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("3.00")


async def test_what_was_charged_counts_instead_of_what_was_reserved(journal: CallJournal) -> None:
    """A cheaper call than was quoted leaves room."""
    await bring(journal, new("k"), "placed")
    await journal.done("k", owner="w1", job={}, answered=True, charged=Decimal("0.35"))
    assert await journal.spent(account="0xwallet", tenant="") == Decimal("0.35")


async def test_an_amount_over_the_whole_limit_never_fits(journal: CallJournal) -> None:
    """There is then no time at which it would."""
    cap = SpendLimits(
        max_cost_per_day=Decimal(1), max_calls_per_number_per_day=None, duplicate_window=0
    )
    await claim(journal, new("k"))
    with pytest.raises(SpendLimitReached) as refused:
        await sign(journal, "k", amount="1.01", limits=cap)
    assert refused.value.resets_at is None


async def test_a_number_is_called_only_so_often_a_day(journal: CallJournal) -> None:
    """Refused calls don't count, finished ones do, and forgetting them makes no room."""
    cap = SpendLimits(max_cost_per_day=None, max_calls_per_number_per_day=2, duplicate_window=0)
    await bring(journal, new("k0"), "refused")
    await bring(journal, new("k1"), "done")
    await age(journal, 1000)
    await bring(journal, new("k2"), "done", answered=False)
    first = await known(journal, "k1")
    assert first.signed_at is not None
    await age(journal, 10)
    await journal.forget(5)
    await claim(journal, new("k3", BOB, ALICE))
    with pytest.raises(NumberLimitReached) as refused:
        await sign(journal, "k3", limits=cap)
    assert (refused.value.number, refused.value.cap) == (ALICE, 2)
    assert refused.value.resets_at == pytest.approx(first.signed_at - 10 + DAY, abs=1)
    assert ALICE not in str(refused.value)
    await age(journal, DAY - 1009)
    await journal.renew("k3", owner="w1", lease=60)
    await sign(journal, "k3", limits=cap)


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity"])
async def test_only_money_is_reserved(journal: CallJournal, amount: str) -> None:
    """A negative amount would make room under a limit: it is refused."""
    await claim(journal, new("k"))
    with pytest.raises(ValueError, match="not an amount"):
        await sign(journal, "k", amount=amount)


# Reading and forgetting


async def test_unfinished_lists_what_nobody_works_on(journal: CallJournal) -> None:
    """Signed, placed and unknown calls, once their lease is free; by account and service."""
    for number, state in enumerate(LEGAL):
        await bring(journal, new(state, f"+1415555012{number}"), state)
    assert [r.state for r in await journal.unfinished()] == ["unknown"]
    await age(journal, 61)
    found = await journal.unfinished(account="0xwallet", base_url="https://voice.example")
    assert {r.state for r in found} == {"signed", "placed", "unknown"}
    assert await journal.unfinished(account="0xother") == []


async def test_recent_is_newest_first(journal: CallJournal) -> None:
    """Of one tenant or of all, and no more than asked for."""
    for key, tenant in (("k1", "a"), ("k2", "b"), ("k3", "a")):
        await claim(journal, new(key, tenant=tenant))
        await age(journal, 10)
    assert [r.call_key for r in await journal.recent(limit=2)] == ["k3", "k2"]
    assert [r.call_key for r in await journal.recent(tenant="a")] == ["k3", "k1"]


async def test_forgetting_keeps_the_money_and_loses_the_words(journal: CallJournal) -> None:
    """Finished calls lose numbers, request, payment and outcome; unfinished ones nothing."""
    await bring(journal, new("k1"), "done")
    await bring(journal, new("k2", BOB), "unknown")
    await age(journal, 100)
    await bring(journal, new("k3"), "done")
    assert [await journal.forget(50), await journal.forget(50)] == [1, 0]
    gone = await known(journal, "k1")
    assert (gone.numbers, gone.request, gone.quote) == ((), {}, None)
    assert (gone.payment, gone.job) == (None, None)
    assert (gone.state, gone.reserved, gone.request_id) == (
        "done",
        Decimal("1.75"),
        "request of k1",
    )
    assert (await known(journal, "k2")).payment == "bytes of k2"
    assert (await known(journal, "k3")).job == {"status": "completed"}


async def test_after_a_day_nothing_of_a_forgotten_number_is_left(journal: CallJournal) -> None:
    """The hash that held the daily limit goes with the next forgetting."""
    await bring(journal, new("k"), "done")
    await age(journal, 1)

    async def stored() -> list[str]:
        return await journal._read(
            lambda connection, _now: [
                row.number for row in connection.execute(call_numbers.select())
            ]
        )

    await journal.forget(0)
    assert [number[0] for number in await stored()] == ["#"]
    await age(journal, DAY)
    await journal.forget(0)
    assert await stored() == []
    assert (await known(journal, "k")).fingerprint == ""


# Writing


async def test_writes_that_wait_together_are_committed_together(journal: CallJournal) -> None:
    """Three hundred writes at once take a few commits, not three hundred."""
    await journal.read("open it")
    commits: list[object] = []
    event.listen(journal._store.engine, "commit", commits.append)
    await asyncio.gather(*[claim(journal, new(f"k{i}", f"+1415555{i:04}")) for i in range(300)])
    assert len(await journal.recent(limit=500)) == 300
    assert len(commits) <= 10


async def test_a_refusal_in_a_batch_undoes_itself_alone(journal: CallJournal) -> None:
    """Its neighbours in the transaction are committed."""
    await asyncio.gather(*[claim(journal, new(f"k{i}", f"+1415555{i:04}")) for i in range(10)])
    outcomes = await asyncio.gather(
        *[sign(journal, f"k{i}", owner="w1" if i % 2 else "w2") for i in range(10)],
        return_exceptions=True,
    )
    assert [isinstance(o, LeaseLost) for o in outcomes] == [True, False] * 5
    states = [(await known(journal, f"k{i}")).state for i in range(10)]
    assert states == ["claimed", "signed"] * 5


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


async def test_what_happened_is_recorded_though_nobody_waits(journal: CallJournal) -> None:
    """Cancelling the task that records an acceptance does not lose the request id."""
    await bring(journal, new("k"), "signed")
    recording = asyncio.create_task(journal.placed("k", owner="w1", request_id="r1"))
    await asyncio.sleep(0)
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert (await known(journal, "k")).request_id == "r1"


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


async def test_who_does_not_want_to_be_called_is_not_signed_for(journal: CallJournal) -> None:
    """A listed number refuses the signature, whichever wallet or tenant asks; nothing changes."""
    await journal.suppress([ALICE, ALICE], "asked on the phone")
    await claim(journal, new("k", BOB, ALICE, tenant="other", account="0xother"))
    with pytest.raises(NumberSuppressed) as refused:
        await sign(journal, "k")
    assert refused.value.numbers == (ALICE,)
    assert ALICE not in str(refused.value)
    assert (await known(journal, "k")).state == "claimed"


async def test_a_number_comes_off_the_list_only_when_it_is_taken_off(journal: CallJournal) -> None:
    """Forgetting old calls keeps the list; taking a number off allows it again."""
    await journal.suppress([ALICE], "asked on the phone")
    await journal.suppress([ALICE, BOB], "by hand")
    await journal.forget(0)
    listed = {entry.number: entry.reason for entry in await journal.suppressions()}
    assert listed == {ALICE: "asked on the phone", BOB: "by hand"}
    assert await journal.unsuppress(ALICE)
    assert not await journal.unsuppress(ALICE)
    assert await journal.suppressed([ALICE, BOB]) == (BOB,)


async def test_edited_numbers_are_the_ones_that_are_guarded(journal: CallJournal) -> None:
    """After a person has edited a quoted call, its new number is busy and its old one is free."""
    await claim(journal, new("k", ALICE))
    edited = await journal.quoted(
        "k",
        owner="w1",
        quote={},
        quote_id="q2",
        quote_expires_at=None,
        request={"objective": "Book a table", "target_number": BOB},
        numbers=(BOB,),
    )
    assert (edited.numbers, edited.request["target_number"]) == ((BOB,), BOB)
    await sign(journal, "k")
    assert (await claim(journal, new("to bob", BOB))).kind == "number_busy"
    assert (await claim(journal, new("to alice", ALICE))).kind == "mine"
