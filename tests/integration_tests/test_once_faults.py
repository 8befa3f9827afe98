"""Exactly once, whatever goes wrong on the way: the fault matrix, and what no cell of it shows."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from chaos.callers import UNLIMITED, MovedClock, caller_on, end_of, key, request
from chaos.fault_matrix import cells, matrix_table, run_matrix, some_cells
from chaos.ledger import times_paid, times_rung
from chaos.virtual_matrix import virtual_cells
from chaos.virtual_time import at_once
from full import FULL

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallResult
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.errors import CallUnknownError
from langchain_oneshot_voice.progress import CallProgress
from langchain_oneshot_voice.sandbox import Fault

Altered = tuple[int, Mapping[str, str], Mapping[str, Any] | None]

VALID_SECONDS = 2
"""For which a payment is valid: of the first of them, only what is left of it."""


@pytest.fixture
def clock(journal: CallJournal) -> MovedClock:
    """The caller's clock."""
    return MovedClock(journal)


def let_it_expire(sandbox: Sandbox, clock: MovedClock) -> None:
    """Move every clock past the end of a payment that was signed just now."""
    sandbox.advance(VALID_SECONDS + 0.5)
    clock.move(VALID_SECONDS + 0.5)


def forget_what_was_used(
    status: int, headers: dict[str, str], body: dict[str, Any] | None
) -> Altered:
    """A service that says 404 of a quote where the contract has a 409."""
    gone = {"error": "quote_not_found", "message": "There is no such quote."}
    return (404, headers, gone) if status == 409 else (status, headers, body)


def test_no_fault_at_any_leg_pays_twice_rings_twice_or_loses_the_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each leg let down in each way: one payment, one ring, and the second run has the outcome."""
    rows = run_matrix(cells() if FULL else some_cells(), tmp_path, at_once=12)
    with capsys.disabled():
        print(f"\n{matrix_table(rows)}")  # noqa: T201 - the matrix is what the test is read for
    assert [fault for row in rows for fault in row.faults()] == []


def test_no_trouble_at_any_leg_pays_twice_rings_twice_or_loses_the_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What every fault comes to for the driver, at each leg, for each payer, on virtual time."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", at_once)
    chosen = list(virtual_cells())[:: 1 if FULL else 2]
    assert [wrong for cell in chosen for wrong in cell.wrong()] == []


def test_a_payment_that_expired_without_a_trace_is_replaced_by_one_other(
    journal: CallJournal,
) -> None:
    """The service never acted and the authorization is over: the call starts over, paid once."""
    with Sandbox(call_seconds=0.02, authorization_seconds=VALID_SECONDS) as sandbox:
        sandbox.inject(Fault("paid", "status_503", times=10**6))
        first = end_of(caller_on(sandbox, journal, max_wait=0.3), request(), key())
        sandbox.clear_faults()
        sandbox.inject(Fault("paid", "status_503", times=2))
        second = end_of(caller_on(sandbox, journal), request(), key())
        seen = (type(first), getattr(second, "call_status", second), times_paid(sandbox))
    assert seen == (CallUnknownError, "completed", 1)


def test_a_receipt_that_shows_after_the_payment_expired_is_no_second_payment(
    journal: CallJournal, clock: MovedClock
) -> None:
    """The reply was lost and the receipt came late: the call is found, and not paid again."""
    with Sandbox(
        call_seconds=0.02, authorization_seconds=VALID_SECONDS, receipt_delay=VALID_SECONDS + 1.5
    ) as sandbox:
        sandbox.inject(Fault("paid", "drop_reply"))
        first = end_of(caller_on(sandbox, journal, max_wait=0.3, clock=clock), request(), key())
        let_it_expire(sandbox, clock)
        second = end_of(caller_on(sandbox, journal, clock=clock), request(), key())
        seen = (type(first), getattr(second, "call_status", second), times_paid(sandbox))
    assert seen == (CallUnknownError, "completed", 1)


def test_a_call_that_the_service_says_was_used_is_never_paid_again(
    journal: CallJournal, clock: MovedClock
) -> None:
    """Used, and no receipt ever: unknown for this run, for a later one and for recover()."""
    with Sandbox(
        call_seconds=0.02, authorization_seconds=VALID_SECONDS, receipt_delay=10**6
    ) as sandbox:
        sandbox.inject(Fault("paid", "drop_reply"))
        caller = caller_on(sandbox, journal, max_wait=0.3, clock=clock)
        first = end_of(caller, request(), key())
        let_it_expire(sandbox, clock)
        second = end_of(caller, request(), key())
        recovered = caller.recover(max_wait=0.3)
        ends = [type(end) for end in (first, second, *recovered)]
        seen = (ends, times_paid(sandbox), times_rung(sandbox))
    assert seen == ([CallUnknownError] * 3, 1, 1)


def test_a_service_that_forgets_that_a_payment_was_used_gets_no_second_one(
    journal: CallJournal, clock: MovedClock
) -> None:
    """Once it said 409; later it says 404 of the expired quote: what it said first counts."""
    with Sandbox(
        call_seconds=0.02, authorization_seconds=VALID_SECONDS, receipt_delay=10**6
    ) as sandbox:
        sandbox.inject(Fault("paid", "drop_reply"))
        caller = caller_on(sandbox, journal, max_wait=0.5, clock=clock)
        end_of(caller, request(), key())
        sandbox.tamper("paid", forget_what_was_used)
        let_it_expire(sandbox, clock)
        later = end_of(caller, request(), key())
        seen = (type(later), times_paid(sandbox), times_rung(sandbox))
    assert seen == (CallUnknownError, 1, 1)


def test_nothing_starts_over_while_the_receipts_can_t_be_read(
    journal: CallJournal, clock: MovedClock
) -> None:
    """Expired, refused, and no look at the receipts: unknown; they are back: the call is found."""
    with Sandbox(call_seconds=0.02, authorization_seconds=VALID_SECONDS) as sandbox:
        sandbox.inject(Fault("paid", "drop_reply"))
        sandbox.inject(Fault("receipts", "status_503", times=10**6))
        sandbox.tamper("paid", forget_what_was_used)
        impatient = caller_on(sandbox, journal, max_wait=0.5, clock=clock)
        end_of(impatient, request(), key())
        let_it_expire(sandbox, clock)
        first = end_of(impatient, request(), key())
        sandbox.clear_faults()
        second = end_of(caller_on(sandbox, journal, clock=clock), request(), key())
        seen = (type(first), getattr(second, "call_status", second), times_paid(sandbox))
    assert seen == (CallUnknownError, "completed", 1)


def test_a_service_that_refuses_every_quote_of_its_own_is_not_asked_for_ever(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """A quote that is gone is replaced once; then the refusal is told, and nothing was charged."""
    sandbox.inject(Fault("paid", "status_404", times=10**6))
    end = end_of(caller_on(sandbox, journal), request(), key())
    asked = [r.leg for r in sandbox.requests if r.leg in {"quote", "paid"}]
    assert (getattr(end, "charged", end), asked) == ("no", ["quote", "paid"] * 2)


def test_credits_that_another_call_spent_meanwhile_are_made_up_from_the_wallet(
    journal: CallJournal,
) -> None:
    """The quote counted on credits that are gone: a new quote is paid, and only that one."""
    with Sandbox(call_seconds=0.02, credits=Decimal(3)) as sandbox:

        def spend(progress: CallProgress) -> None:
            if progress.stage == "paying":
                sandbox.set_credits(sandbox.address, Decimal(0))

        end = end_of(caller_on(sandbox, journal, on_progress=spend), request(), key())
        seen = (getattr(end, "call_status", end), times_paid(sandbox), times_rung(sandbox))
    assert seen == ("completed", 1, 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, {"status": "processing", "tool": "voice"}),
        (200, {"error": "internal_error", "message": "Something went wrong."}),
        (202, {"error": "receipt_failed", "request_id": None}),
    ],
    ids=["no request id", "200 with an error", "202 with an error"],
)
def test_an_acceptance_that_does_not_read_like_one_is_looked_up(
    sandbox: Sandbox, journal: CallJournal, status: int, body: dict[str, Any]
) -> None:
    """A success without a request id, or with an error in it, says nothing about the money."""

    def spoil(was: int, headers: dict[str, str], real: dict[str, Any] | None) -> Altered:
        return (status, headers, body) if was == 202 else (was, headers, real)

    sandbox.tamper("paid", spoil)
    ends = [end_of(caller_on(sandbox, journal), request(), key()) for _ in range(2)]
    words = [getattr(end, "call_status", end) for end in ends]
    assert (words, times_paid(sandbox), times_rung(sandbox)) == (["completed"] * 2, 1, 1)


def test_another_wallet_does_not_take_over_a_call_that_it_did_not_pay_for(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """The payer is part of the key: for another wallet it is another call."""
    from eth_account import Account
    from pydantic import SecretStr

    from langchain_oneshot_voice.oneshot.wallet import WalletKey

    sandbox.inject(Fault("paid", "drop_reply"))
    sandbox.inject(Fault("receipts", "status_503", times=10**6))
    end_of(caller_on(sandbox, journal, max_wait=0.3), request(), key())
    other = WalletKey(SecretStr("0x" + bytes(Account.create().key).hex()))
    end = end_of(caller_on(sandbox, journal, credential=other, max_wait=0.3), request(), key())
    first = end_of(caller_on(sandbox, journal, max_wait=0.3), request(), key())
    paid = {p.payer: times_paid(sandbox, p.payer) for p in sandbox.payments}
    assert (type(end), type(first), set(paid.values())) == (VoiceCallResult, CallUnknownError, {1})


def test_a_lost_payment_under_a_key_that_is_used_again_is_not_taken_for_the_earlier_call(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """The key's old end answers no more, and the old receipt says nothing of the new call."""
    anew = CallKey(key().key, answers_for=0.0)
    first = end_of(caller_on(sandbox, journal, policy=UNLIMITED), request(), anew)
    sandbox.inject(Fault("paid", "reset_before"))
    second = end_of(caller_on(sandbox, journal, policy=UNLIMITED), request(), anew)
    ends = [getattr(end, "call_status", end) for end in (first, second)]
    assert (ends, times_paid(sandbox)) == (["completed"] * 2, 2)
    assert first.request_id != second.request_id


def test_a_service_that_is_slow_to_show_receipts_is_waited_for(journal: CallJournal) -> None:
    """The reply is lost and the receipt lags by half a second: the first run finds it."""
    with Sandbox(call_seconds=0.02, receipt_delay=0.5) as sandbox:
        sandbox.inject(Fault("paid", "drop_reply"))
        end = end_of(caller_on(sandbox, journal), request(), key())
        seen = (getattr(end, "call_status", end), times_paid(sandbox), times_rung(sandbox))
    assert seen == ("completed", 1, 1)
