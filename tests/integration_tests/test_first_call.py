"""What calls of one wallet share: the number they call from, paid for once, and the credits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

from chaos.callers import IMPATIENT, UNLIMITED, caller_on, end_of, key, request
from chaos.ledger import times_paid

from langchain_oneshot_voice import CallJournal, CallRefusedError, Sandbox
from langchain_oneshot_voice.progress import CallProgress
from langchain_oneshot_voice.sandbox import Fault
from langchain_oneshot_voice.schemas import VoiceCallQuote

Altered = tuple[int, Mapping[str, str], Mapping[str, Any] | None]

FEE, CALL = Decimal("5.00"), Decimal("1.75")


def numbers(count: int) -> list[str]:
    """Fictional numbers, all different."""
    return [f"+141555501{n:02d}" for n in range(20, 20 + count)]


def spent(sandbox: Sandbox) -> Decimal:
    """US dollars that all calls cost, by wallet and by credits."""
    return sum((payment.amount for payment in sandbox.payments), Decimal(0))


def with_a_fee(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Altered:
    """A price that says that it has the fee for the number in it."""
    assert body is not None
    return status, headers, body | {"context": body["context"] | {"phone_registration_fee": "5.00"}}


def test_twenty_first_calls_at_once_pay_for_one_number(tmp_path: Path) -> None:
    """Two workers that share a journal, and a wallet that has never called."""
    journals = [CallJournal(tmp_path / "calls.sqlite") for _ in range(2)]
    with Sandbox(call_seconds=0.05) as sandbox, ThreadPoolExecutor(20) as pool:
        callers = [caller_on(sandbox, journal, policy=UNLIMITED) for journal in journals]
        ends = [
            pool.submit(end_of, callers[n % 2], request(number), key(number))
            for n, number in enumerate(numbers(20))
        ]
        told = {getattr(end.result(), "call_status", end.result()) for end in ends}
        paid, calls = spent(sandbox), times_paid(sandbox)
    assert (told, paid, calls) == ({"completed"}, 20 * CALL + FEE, 20)


def test_first_calls_wait_for_one_that_is_answered_slowly(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """As long as its answer may take, and not only as long as a payment may stay unsent."""
    first_answer = Event()

    def slow(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Altered:
        if not first_answer.is_set():
            first_answer.set()
            time.sleep(2 * IMPATIENT.payment_unsent)
        return status, headers, body

    sandbox.tamper("paid", slow)
    caller = caller_on(sandbox, journal)
    with ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(end_of, caller, request(n), key(n)) for n in numbers(3)]
        told = {getattr(end.result(), "call_status", end.result()) for end in ends}
    assert (told, spent(sandbox)) == ({"completed"}, 3 * CALL + FEE)


def test_a_first_call_without_an_answer_holds_nobody_up_for_ever(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """Nobody knows whether the first one paid for the number: the second one waits, and pays."""
    sandbox.inject(Fault("paid", "status_503", times=10**6))
    first = end_of(caller_on(sandbox, journal, max_wait=0.1), request(numbers(2)[0]), key("first"))
    sandbox.clear_faults()
    hurried = caller_on(sandbox, journal, timing=replace(IMPATIENT, payment=0.5))
    second = end_of(hurried, request(numbers(2)[1]), key("second"))
    assert getattr(first, "charged", first) == "unknown"
    assert getattr(second, "call_status", second) == "completed"
    assert (spent(sandbox), times_paid(sandbox)) == (CALL + FEE, 1)


def test_a_first_call_that_another_one_overtook_pays_less_than_was_agreed(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """A person agreed to a price with the fee, which is paid by now: there is no new question."""
    asked: list[Decimal] = []
    on_its_way, thought = Event(), Event()

    def slow(_request: object, quote: VoiceCallQuote) -> str:
        asked.append(quote.total)
        on_its_way.set()
        assert thought.wait(20)
        return "approve"

    with ThreadPoolExecutor(1) as pool:
        considered = pool.submit(
            end_of,
            caller_on(sandbox, journal, approval=slow),
            request(numbers(2)[0]),
            key("considered"),
        )
        assert on_its_way.wait(20)
        end_of(caller_on(sandbox, journal), request(numbers(2)[1]), key("quick"))
        thought.set()
        end = considered.result()
    assert getattr(end, "call_status", end) == "completed"
    assert (asked, spent(sandbox)) == ([CALL + FEE], CALL + FEE + CALL)


def test_a_service_that_wants_the_fee_again_is_asked_once_more_and_then_paid(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """A fee in each price, whoever has paid it: within the limits, but not for ever."""
    considered, thought = Event(), Event()

    def slow(_request: object, _quote: VoiceCallQuote) -> str:
        considered.set()
        assert thought.wait(20)
        return "approve"

    sandbox.tamper("quote", with_a_fee)
    late = caller_on(sandbox, journal, approval=slow, policy=UNLIMITED)
    with ThreadPoolExecutor(1) as pool:
        ends = [pool.submit(end_of, late, request(numbers(2)[0]), key("late"))]
        assert considered.wait(20)
        early = caller_on(sandbox, journal, policy=UNLIMITED)
        end_of(early, request(numbers(2)[1]), key("early"))
        thought.set()
        end = ends[0].result()
    quotes = [r for r in sandbox.requests if r.leg == "quote"]
    assert getattr(end, "call_status", end) == "completed"
    assert (len(quotes), times_paid(sandbox)) == (3, 2)


def test_a_limit_that_the_fee_passes_is_refused_with_advice_that_is_possible(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """Nothing shorter would fit: the refusal says what the fee is, and what the limit has to be."""
    policy = UNLIMITED.model_copy(update={"max_cost_per_call": Decimal(5)})
    end = end_of(caller_on(sandbox, journal, policy=policy), request(), key())
    assert isinstance(end, CallRefusedError)
    assert (end.code, end.charged, end.details["number_fee"]) == (
        "cost_limit_exceeded",
        "no",
        "5.00",
    )
    assert "$5.00 of it is a one-time fee for the number" in str(end)
    assert "shorter call does not help" in str(end)
    needed = Decimal(end.details["worst_case"])
    enough = policy.model_copy(update={"max_cost_per_call": needed})
    again = end_of(caller_on(sandbox, journal, policy=enough), request(), key())
    later = end_of(caller_on(sandbox, journal, policy=policy), request(numbers(1)[0]), key("later"))
    assert [getattr(e, "call_status", e) for e in (again, later)] == ["completed"] * 2
    assert spent(sandbox) == CALL + FEE + CALL


def test_credits_that_come_and_go_are_not_counted_on_twice(journal: CallJournal) -> None:
    """Other calls of the wallet spend credits and get some back, all the time: the wallet pays."""
    with Sandbox(call_seconds=0.02, credits=Decimal(3)) as sandbox:

        def spend(progress: CallProgress) -> None:
            if progress.stage == "paying":
                sandbox.set_credits(sandbox.address, Decimal(0))

        def give_back(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Altered:
            sandbox.set_credits(sandbox.address, Decimal(3))
            return status, headers, body

        sandbox.tamper("paid", give_back)
        timing = replace(IMPATIENT, payment_unsent=5.0)
        end = end_of(
            caller_on(sandbox, journal, on_progress=spend, timing=timing), request(), key()
        )
        seen = (getattr(end, "call_status", end), times_paid(sandbox))
    assert seen == ("completed", 1)
