"""Journals of version 0.1.0 in this version: nothing is lost, and nothing is paid again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from upgrading import Case, OldRun, Upgraded, postgres_server, upgraded

from langchain_oneshot_voice import (
    CallJournal,
    CallRefusedError,
    Sandbox,
    VoiceCallError,
    VoiceCallInput,
    VoiceCallResult,
)

__all__ = ["postgres_server"]

HERE = Path(__file__).parent
KINDS = ("sqlite", "postgres")
CALLS = [case for case in OldRun.of("sqlite").cases if case.graph is None]
PAID = [case.name for case in CALLS if case.payment]
ASKED_FOR_AGAIN = [name for name in PAID if name != "placed_nameless"]
UNFINISHED = [case.name for case in CALLS if case.payment and case.state != "done"]
UNPAID = [case.name for case in CALLS if not case.payment and case.name != "rejected"]
FINER = {"rejected": "declined", "asked": "asking"} | {
    case.name: "asking" for case in OldRun.of("sqlite").cases if case.question_id
}
"""States that 0.1.0 had no word for."""


@dataclass
class World:
    """An upgraded journal, and what its calls came to."""

    upgraded: Upgraded
    answers: dict[str, ToolMessage] = field(default_factory=dict)
    recovered: list[VoiceCallResult | VoiceCallError] = field(default_factory=list)
    recovered_payments: int = 0

    def run_all_again(self) -> None:
        """Ask for each call once more, as the same thread would."""
        tools = {
            "asked": self.upgraded.tool(approval=lambda *_: True),
            "rejected": self.upgraded.tool(approval=lambda *_: False),
        }
        usual = self.upgraded.tool()
        for call in CALLS:
            case = self.upgraded.case(call.name)
            if case.tool_call_id is not None:
                tool = tools.get(case.name, usual)
                self.answers[case.name] = self.upgraded.run_again(case, tool)

    def result(self, name: str) -> VoiceCallResult:
        """What a call came to when it was asked for again."""
        message = self.answers[name]
        assert isinstance(message.artifact, VoiceCallResult), message.content
        return message.artifact


@contextmanager
def world(request: pytest.FixtureRequest, folder: Path, **options: Any) -> Iterator[World]:
    """A copy of the journal that the test is for."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    with upgraded(OldRun.of(request.param), folder, server, **options) as copy:
        yield World(copy)


@pytest.fixture(scope="module", params=KINDS)
def again(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[World]:
    """Every call was asked for again."""
    with world(request, tmp_path_factory.mktemp("again")) as copy:
        copy.run_all_again()
        yield copy


@pytest.fixture(scope="module", params=KINDS)
def recovered(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[World]:
    """What was unfinished was recovered; then every call was asked for again."""
    with world(request, tmp_path_factory.mktemp("recovered")) as copy:
        before = len(copy.upgraded.sandbox.payments)
        copy.recovered = copy.upgraded.tool().caller.recover(20.0)
        copy.recovered_payments = len(copy.upgraded.sandbox.payments) - before
        copy.run_all_again()
        yield copy


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[World]:
    """A journal that is only opened; what a test adds to it is its own."""
    with world(request, tmp_path_factory.mktemp("opened")) as copy:
        yield copy


@pytest.mark.parametrize("name", ASKED_FOR_AGAIN)
def test_a_call_that_was_paid_for_is_answered_by_its_outcome(again: World, name: str) -> None:
    """Asked for again, it is not paid or rung again, and its outcome comes back."""
    case = again.upgraded.case(name)
    result = again.result(name)
    assert (result.call_status, result.request_id) == ("completed", case.request_id)
    assert again.upgraded.paid(case.number) == [case.request_id]


@pytest.mark.parametrize("name", UNPAID)
def test_a_call_that_was_not_paid_for_is_made_once(again: World, name: str) -> None:
    """Asked for again, it is made: one payment, one call."""
    result = again.result(name)
    assert result.call_status == "completed"
    assert again.upgraded.paid(again.upgraded.case(name).number) == [result.request_id]


def test_a_call_that_a_person_rejected_is_not_made_without_a_yes(again: World) -> None:
    """Asked for again, it is rejected again."""
    assert again.result("rejected").call_status == "rejected"
    assert again.upgraded.paid(again.upgraded.case("rejected").number) == []


@pytest.mark.parametrize("name", [*ASKED_FOR_AGAIN, *UNPAID])
def test_a_call_keeps_its_key_on_record(again: World, name: str) -> None:
    """Its row is found under the key that 0.1.0 gave it, with its outcome."""
    record = again.upgraded.record(again.upgraded.case(name))
    assert (record.state, record.request_id) == ("done", again.result(name).request_id)
    assert record.job["status"] == "completed"


def test_nobody_else_was_paid_or_called(again: World) -> None:
    """There is no payment and no call besides those of the cases."""
    sandbox = again.upgraded.sandbox
    made = [request_id for case in CALLS for request_id in again.upgraded.paid(case.number)]
    made += [c.request_id for c in again.upgraded.old.cases if c.graph and c.request_id]
    assert {payment.request_id for payment in sandbox.payments} == set(made)
    assert len(sandbox.calls) == len(made)


@pytest.mark.parametrize("name", UNFINISHED)
def test_recover_hands_back_the_outcome_of_a_paid_call(recovered: World, name: str) -> None:
    """What a dead process had paid for comes back as a result."""
    ends = {end.request_id: end for end in recovered.recovered if isinstance(end, VoiceCallResult)}
    assert ends[recovered.upgraded.case(name).request_id].call_status == "completed"


def test_recover_pays_nothing(recovered: World) -> None:
    """Recovering makes no payment, and ends in no error."""
    errors = [end for end in recovered.recovered if isinstance(end, VoiceCallError)]
    assert (recovered.recovered_payments, errors) == (0, [])


@pytest.mark.parametrize("name", ASKED_FOR_AGAIN)
def test_a_recovered_call_is_answered_by_its_outcome(recovered: World, name: str) -> None:
    """Asked for after it was recovered, it is not paid again."""
    case = recovered.upgraded.case(name)
    result = recovered.result(name)
    assert (result.call_status, result.request_id) == ("completed", case.request_id)
    assert recovered.upgraded.paid(case.number) == [case.request_id]


@pytest.mark.parametrize("name", UNPAID)
def test_a_call_that_recover_closed_is_made_once(recovered: World, name: str) -> None:
    """Asked for after recovery, an unpaid call is made once."""
    result = recovered.result(name)
    assert result.call_status == "completed"
    assert recovered.upgraded.paid(recovered.upgraded.case(name).number) == [result.request_id]


def test_the_numbers_that_are_not_to_be_called_stay_listed(opened: World) -> None:
    """Both kinds of entry are kept with their reasons: the person's and the application's."""

    async def listed() -> dict[str, str]:
        journal = CallJournal(opened.upgraded.journal)
        try:
            return {entry.number: entry.reason for entry in await journal.suppressions()}
        finally:
            await journal.aclose()

    assert asyncio.run(listed()) == opened.upgraded.old.suppressions


@pytest.mark.parametrize("number", OldRun.of("sqlite").suppressions)
def test_a_number_that_is_not_to_be_called_is_refused(opened: World, number: str) -> None:
    """A new call to it is refused, and nothing is paid."""
    before = opened.upgraded.sandbox.payments
    request = VoiceCallInput(objective="Ask when the shop opens.", target_number=number)
    with pytest.raises(CallRefusedError) as refused:
        opened.upgraded.tool().caller.call(request)
    assert refused.value.code == "number_suppressed"
    assert opened.upgraded.sandbox.payments == before


def test_what_was_spent_counts_against_the_day(opened: World) -> None:
    """A cap that the old calls have nearly reached refuses a new call."""
    spent = Decimal(opened.upgraded.old.spent)
    tool = opened.upgraded.tool(policy={"max_cost_per_day": spent + Decimal("1.50")})
    request = VoiceCallInput(objective="Ask when the shop opens.", target_number="+14155550141")
    with pytest.raises(CallRefusedError) as refused:
        tool.caller.call(request)
    assert refused.value.code == "daily_cost_limit_reached"
    assert Decimal(refused.value.details["spent"]) == spent


def test_the_same_call_of_another_thread_is_answered_by_the_old_one(opened: World) -> None:
    """A paid call that has not ended is a duplicate for whoever asks for the same."""
    case = opened.upgraded.case("placed_talking")
    tool = opened.upgraded.tool()
    answer = opened.upgraded.run_again(
        case, tool, tool_call_id="call-other", thread_id="thread-other"
    )
    assert (answer.artifact.reused, answer.artifact.request_id) == (True, case.request_id)
    assert opened.upgraded.paid(case.number) == [case.request_id]


@pytest.mark.parametrize("other", ["wallet", "service", "tenant"])
def test_somebody_else_does_not_get_a_call(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, other: str
) -> None:
    """The same ids with another wallet, service or tenant stand for another call."""
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    with (
        upgraded(OldRun.of(kind), tmp_path, server) as copy,
        Sandbox(call_seconds=0.05) as elsewhere,
    ):
        changes: dict[str, dict[str, Any]] = {
            "wallet": {"private_key": copy.sandbox.private_key},
            "service": {"base_url": elsewhere.base_url},
            "tenant": {"policy": {"tenant": "somebody else"}},
        }
        tool = copy.tool(max_wait=2.0, **changes[other])
        got, changed = [], []
        for name in ("quoted", "signed_keyed", "placed_over", "done"):
            case = copy.case(name)
            before = _essence(copy.record(case))
            answer = copy.run_again(case, tool)
            record = copy.record(case)
            own = answer.artifact is not None and answer.artifact.call_key == record.call_key
            got += [name] if own else []
            # The wallet's own other tenant looks whether the line is free, and records the end.
            ended = other == "tenant" and name == "placed_over" and record.state == "done"
            changed += [name] if _essence(record) != before and not ended else []
    assert (got, changed) == ([], [])


@pytest.mark.parametrize("other", ["wallet", "tenant"])
def test_an_old_call_of_somebody_else_does_not_loosen_the_policy(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, other: str
) -> None:
    """A number that may not be called is not called, whoever called it under the same ids."""
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    with upgraded(OldRun.of(kind), tmp_path, server) as copy:
        before = copy.sandbox.payments
        for name in ("signed_keyed", "placed_over", "done"):
            case = copy.case(name)
            changes: dict[str, dict[str, Any]] = {
                "wallet": {"private_key": copy.sandbox.private_key},
                "tenant": {"policy": {"tenant": "somebody else"}},
            }
            policy = {"deny": (case.number,)} | changes[other].pop("policy", {})
            tool = copy.tool(policy=policy, max_wait=2.0, **changes[other])
            ids = {"tool_call_id": "call-new", "thread_id": "thread-new"}
            fresh = copy.run_again(case, tool, **ids, idempotency_key="order-new")
            assert fresh.status == "error", name
            copy.run_again(case, tool)
            assert copy.sandbox.payments == before, name


def test_a_call_whose_lease_still_lasts_is_taken_over(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """The calls of a worker that was killed a moment ago are finished, with one payment each."""
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    with upgraded(OldRun.of(kind), tmp_path, server, lease_left=1.0) as copy:
        for name in ("claimed", "placed_over"):
            case = copy.case(name)
            result = copy.run_again(case, copy.tool()).artifact
            assert result.call_status == "completed"
            assert copy.paid(case.number) == [result.request_id]


def test_a_journal_can_be_opened_twice(tmp_path: Path, kind: str, request: Any) -> None:
    """Opened, closed and opened again, it shows the same calls: all of them, in their states."""
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    with upgraded(OldRun.of(kind), tmp_path, server) as copy:

        async def shown() -> list[Any]:
            journal = CallJournal(copy.journal)
            try:
                return await journal.recent()
            finally:
                await journal.aclose()

        first, second = asyncio.run(shown()), asyncio.run(shown())
    assert first == second
    _require_all_kept(copy.old.cases, {c.call_key: (c.state, c.request_id) for c in first})


def test_two_processes_can_open_it_at_once(tmp_path: Path, kind: str, request: Any) -> None:
    """Two that start together both see every call in its state."""
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    with upgraded(OldRun.of(kind), tmp_path, server) as copy:
        openers = [_opener(copy.journal) for _ in range(2)]
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write("now\n")
            opener.stdin.flush()
        told = [opener.communicate(timeout=30) for opener in openers]
    for (seen, complaint), opener in zip(told, openers, strict=True):
        assert opener.returncode == 0, complaint
        _require_all_kept(copy.old.cases, {k: (s, r) for k, s, r in json.loads(seen)})


def test_the_service_of_the_tests_remembers(opened: World) -> None:
    """What the old service took is in the books of the new one, paid to the same payee."""
    sandbox, old = opened.upgraded.sandbox, opened.upgraded.old
    assert sandbox.payee == old.payee
    for case in old.cases:
        taken = [p for p in sandbox.payments if p.request_id == case.request_id]
        assert sum(p.amount for p in taken) == Decimal((case.payment or {"amount": 0})["amount"])


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("signed_paid", 409, "quote_already_used"),
        ("approved_paid", 409, "quote_already_used"),
        ("signed_unpaid", 404, "quote_expired"),
    ],
)
def test_old_bytes_are_refused_as_the_old_service_would(
    opened: World, name: str, status: int, code: str
) -> None:
    """A used quote is refused as used, and an unused one as expired."""
    answer = opened.upgraded.present(opened.upgraded.case(name))
    assert (answer.status_code, answer.json()["error"]) == (status, code)


def test_old_bytes_were_signed_for_this_payee(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """With its clock set back, the service takes the payment that was never sent, once."""
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    with upgraded(OldRun.of(kind), tmp_path, server) as copy:
        case = copy.case("signed_unpaid")
        copy.go_back()
        first, second = copy.present(case), copy.present(case)
        assert (first.status_code, second.status_code) == (202, 409)
        assert copy.paid(case.number) == [first.json()["request_id"]]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Where the journal is."""
    return str(request.param)


def _require_all_kept(cases: tuple[Case, ...], shown: dict[str, tuple[str, str | None]]) -> None:
    assert set(shown) == {case.call_key for case in cases}
    for case in cases:
        known = case.request_id if case.state in {"placed", "done"} else None
        state, request_id = shown[case.call_key]
        assert state in {case.state, FINER.get(case.name, case.state)}, case.name
        assert request_id == known, case.name


def _essence(record: Any) -> tuple[Any, ...]:
    """What of a call nobody else may change."""
    return (record.state, record.account, record.request_id, record.payment, record.updated_at)


def _opener(journal: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, str(HERE / "open_journal.py"), journal],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
    )
