"""The journals of version 0.1.0 as a program finds them a quarter of an hour later.

`OldRun.of(kind)` reads the fixtures. `upgraded(...)` copies them and starts a sandbox that goes on
as the service of that time. The sandbox knows the old quotes, payments, receipts and calls, has the
same payee, and refuses what was used before.

The copy names the address of the new sandbox wherever the old one was named. All its times are
moved, so that the last step of 0.1.0 was `AGO` seconds ago. Signed bytes keep their dates. So every
payment that was signed and every quote has expired by then.

The helper uses internal objects of the sandbox: no public method can give it a past.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from postgres import new_database, postgres_server
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from langchain_oneshot_voice import CallJournal, CallPolicy, Sandbox, VoiceCallTool
from langchain_oneshot_voice.sandbox.call_request import read_call_request
from langchain_oneshot_voice.sandbox.ledger import Receipt, checksummed
from langchain_oneshot_voice.sandbox.quotes import Quote
from langchain_oneshot_voice.sandbox.records import Payment, Ring
from langchain_oneshot_voice.sandbox.switchboard import Job

__all__ = ["AGO", "Case", "OldRun", "Upgraded", "postgres_server", "upgraded"]

FIXTURES = Path(__file__).parent / "fixtures"
AGO = 900.0
"""Seconds: longer than any quote or authorization lasts, shorter than a line counts as busy."""

_TALK = 0.5
"""Seconds that a call still takes which had not ended."""

_TIMES = (
    "quote_expires_at",
    "valid_before",
    "lease_until",
    "created_at",
    "signed_at",
    "placed_at",
    "updated_at",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call of the fixtures.

    Attributes:
        name: what happened to it.
        state: its state on record.
        call_key: its key on record.
        tool_call_id: of the tool call that asked for it.
        thread_id: of the conversation.
        idempotency_key: the application's own key.
        arguments: what the model asked for.
        number: the number that it rings; no other call has it.
        graph: the kind of graph it was made in; `None` for none.
        question_id: LangGraph's id of the open question.
        request_id: the service's id, whether or not 0.1.0 learned it; `None` when not placed.
        payment: what the service took: `nonce` and `amount`; `None` for nothing.
    """

    name: str
    state: str
    call_key: str
    tool_call_id: str | None
    thread_id: str | None
    idempotency_key: str | None
    arguments: dict[str, Any]
    number: str
    graph: str | None
    question_id: str | None
    request_id: str | None
    payment: dict[str, Any] | None

    def config(self, **changes: str) -> RunnableConfig:
        """The config that the call was made with."""
        names = {"thread_id": self.thread_id, "idempotency_key": self.idempotency_key} | changes
        return {"configurable": {name: value for name, value in names.items() if value is not None}}


@dataclass(frozen=True, kw_only=True)
class OldRun:
    """One journal of version 0.1.0, and what the service knew when it was written.

    Attributes:
        kind: `sqlite` or `postgres`: where the journal was.
        base_url: the service of that time.
        made_at: when 0.1.0 did its last step, in epoch seconds.
        wallet_key: the key of the throwaway wallet that paid.
        wallet: its address.
        payee: who was paid.
        spent: US dollars that count against the day's limit.
        suppressions: the numbers that are not to be called, and why.
        cases: the calls.
        service: what the service knew.
    """

    kind: str
    base_url: str
    made_at: float
    wallet_key: str = field(repr=False)
    wallet: str
    payee: str
    spent: str
    suppressions: dict[str, str]
    cases: tuple[Case, ...]
    service: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, kind: str) -> OldRun:
        """Read the fixtures of one kind of journal."""
        told = json.loads((FIXTURES / "cases.json").read_text())[kind]
        service = json.loads((FIXTURES / "service-0.1.0.json").read_text())[kind]
        cases = tuple(Case(**case) for case in told.pop("cases"))
        return cls(kind=kind, cases=cases, service=service, **told)


@dataclass(frozen=True)
class Upgraded:
    """A copy of one journal and its threads, and the service that goes on."""

    old: OldRun
    sandbox: Sandbox
    journal: str
    checkpoints: Path

    def case(self, name: str) -> Case:
        """The call of a name."""
        return next(case for case in self.old.cases if case.name == name)

    def tool(self, *, policy: dict[str, Any] | None = None, **changes: Any) -> VoiceCallTool:
        """A tool with the old wallet, as a new process makes it."""
        limits: dict[str, Any] = {"calling_hours": None, "max_cost_per_day": None}
        usual: dict[str, Any] = {
            "private_key": self.old.wallet_key,
            "base_url": self.sandbox.base_url,
            "journal": self.journal,
            "policy": CallPolicy(**limits | (policy or {})),
            "max_wait": 20.0,
        }
        return VoiceCallTool(**usual | changes)

    def run_again(self, case: Case, tool: VoiceCallTool, **changes: str) -> ToolMessage:
        """Make the same tool call in the same thread; returns the tool's message."""
        call_id = changes.pop("tool_call_id", case.tool_call_id)
        call = {"name": "voice_call", "args": case.arguments, "id": call_id, "type": "tool_call"}
        answer = tool.invoke(call, case.config(**changes))
        assert isinstance(answer, ToolMessage)
        return answer

    def paid(self, number: str) -> list[str]:
        """The request ids of all paid calls to a number, old ones too."""
        own = [c.request_id for c in self.sandbox.calls if c.body["target_number"] == number]
        paid = dict.fromkeys(payment.request_id for payment in self.sandbox.payments)
        assert {ring.request_id for ring in self.sandbox.rings if ring.number == number} == set(own)
        return [request_id for request_id in paid if request_id in own]

    def present(self, case: Case) -> httpx.Response:
        """Send the signed bytes of the journal to the service, as they are."""
        record = self.record(case)
        quotes = [q for q in self.old.service["quotes"] if q["body"] == record.request]
        headers = {
            "X-Agent-ID": self.old.wallet,
            "x-quote-id": quotes[-1]["quote_id"],
            "payment-signature": record.payment,
        }
        url = f"{self.sandbox.base_url}/v1/tools/voice/call"
        # Without TLS there is nothing to verify, and reading the authorities takes 20 ms.
        return httpx.post(url, json=record.request, headers=headers, verify=False)  # noqa: S501

    def go_back(self) -> None:
        """Set the service's clock to the last step of 0.1.0; its quotes last for ever."""
        service = self.sandbox._service
        with service.lock:
            service.clock._ahead = self.old.made_at - time.time()
            for quote in service._quotes._quotes.values():
                quote.expires_at = math.inf

    def record(self, case: Case) -> Any:
        """The call as the journal has it now."""

        async def read() -> Any:
            journal = CallJournal(self.journal)
            try:
                return await journal.read(case.call_key)
            finally:
                await journal.aclose()

        return asyncio.run(read())


@contextmanager
def upgraded(
    old: OldRun, folder: Path, server: URL | None, *, lease_left: float | None = None
) -> Iterator[Upgraded]:
    """Copy a journal and its threads, and let the service go on.

    Args:
        old: what version 0.1.0 wrote.
        folder: where the copies go.
        server: the PostgreSQL server, for a journal that was in one.
        lease_left: seconds for which the lease of each killed worker still lasts; by default all
            of them are over.
    """
    later = time.time() - AGO - old.made_at
    with _going_on(old, later) as sandbox:
        yield Upgraded(
            old=old,
            sandbox=sandbox,
            journal=_copy_journal(old, folder, server, sandbox.base_url, later, lease_left),
            checkpoints=_copy_checkpoints(old, folder),
        )


def _copy_checkpoints(old: OldRun, folder: Path) -> Path:
    name = {"sqlite": "graph-0.1.0.sqlite", "postgres": "graph-0.1.0.postgres.sqlite"}[old.kind]
    return Path(shutil.copy(FIXTURES / name, folder / "graph.sqlite"))


def _copy_journal(
    old: OldRun,
    folder: Path,
    server: URL | None,
    base_url: str,
    later: float,
    lease_left: float | None,
) -> str:
    """Copy the journal, with new addresses and times; returns where it is."""
    if old.kind == "sqlite":
        journal = str(shutil.copy(FIXTURES / "calls-0.1.0.sqlite", folder / "calls.sqlite"))
        url = f"sqlite:///{journal}"
    else:
        assert server is not None
        url = journal = new_database(server).render_as_string(hide_password=False)
        plain = make_url(url).set(drivername="postgresql")
        with psycopg.connect(plain.render_as_string(hide_password=False)) as loading:
            loading.execute((FIXTURES / "calls-0.1.0.postgres.sql").read_bytes())
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        _move(connection, old.base_url, base_url, later, lease_left)
    return journal


def _move(
    connection: Connection, old_url: str, new_url: str, later: float, lease_left: float | None
) -> None:
    """Move every row to another address, and `later` in time."""
    for row in connection.execute(text("SELECT * FROM calls")).mappings().all():
        values = {name: row[name] + later for name in _TIMES if row[name] is not None}
        if lease_left is not None and row["lease_until"] is not None:
            values["lease_until"] = time.time() + lease_left
        values["base_url"] = row["base_url"].replace(old_url, new_url)
        values["payment"] = row["payment"] and _readdressed(row["payment"], old_url, new_url)
        if row["quote"] is not None:
            values["quote"] = json.dumps(_moved(json.loads(row["quote"]), old_url, new_url, later))
        named = ", ".join(f"{name} = :{name}" for name in values)
        connection.execute(
            text(f"UPDATE calls SET {named} WHERE call_key = :key"),  # noqa: S608 - names of columns
            values | {"key": row["call_key"]},
        )
    connection.execute(text("UPDATE suppressions SET since = since + :later"), {"later": later})


def _moved(value: Any, old_url: str, new_url: str, later: float) -> Any:
    """What the service sent, with new addresses and dates."""
    if isinstance(value, list):
        return [_moved(item, old_url, new_url, later) for item in value]
    if isinstance(value, dict):
        moved = {name: _moved(item, old_url, new_url, later) for name, item in value.items()}
        if isinstance(moved.get("expires_at"), str):
            ends = datetime.fromisoformat(moved["expires_at"]) + timedelta(seconds=later)
            moved["expires_at"] = ends.astimezone(UTC).isoformat(timespec="milliseconds")
        return moved
    return _readdressed(value, old_url, new_url) if isinstance(value, str) else value


def _readdressed(value: str, old_url: str, new_url: str) -> str:
    """A text or a base64 header with the new address. No signature covers the address."""
    with_new = value.replace(old_url, new_url)
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return with_new
    if old_url not in decoded:
        return with_new
    return base64.b64encode(decoded.replace(old_url, new_url).encode()).decode()


@contextmanager
def _going_on(old: OldRun, later: float) -> Iterator[Sandbox]:
    """A sandbox that knows what the old service knew; its times are `later`."""
    sandbox = Sandbox(call_seconds=0.05, authorization_seconds=old.service["authorization_seconds"])
    service = sandbox._service
    sandbox._payee = service._payee = service.ledger._payee = old.payee
    with service.lock:
        _remember(sandbox, old, later)
    with sandbox:
        yield sandbox


def _remember(sandbox: Sandbox, old: OldRun, later: float) -> None:
    """Put the old quotes, payments, receipts and calls into the service's books."""
    service, known = sandbox._service, old.service
    owner = old.wallet.lower()
    wallet = service.ledger.wallet(owner)
    wallet.balance, wallet.credits = Decimal(known["balance"]), Decimal(known["credits"])
    wallet.phone_numbers.extend(known["phone_numbers"])
    for told in known["quotes"]:
        quote = Quote(
            wallet=owner,
            request=read_call_request(told["body"]),
            registration_fee=Decimal(told["registration_fee"]),
            credits_applied=Decimal(told["credits_applied"]),
            expires_at=told["expires_at"] + later,
            quote_id=told["quote_id"],
            used=told["used"],
        )
        service._quotes._quotes[quote.quote_id] = quote
    for told in known["payments"]:
        service.ledger.payments.append(
            Payment(
                payer=checksummed(owner),
                payee=old.payee,
                amount=Decimal(told["amount"]),
                nonce=told["nonce"],
                request_id=told["request_id"],
                kind=told["kind"],
            )
        )
        if told["nonce"] is not None:
            service.ledger._nonces.add((owner, told["nonce"]))
    for told in known["jobs"]:
        _remember_call(sandbox, owner, told, later)


def _remember_call(sandbox: Sandbox, owner: str, told: dict[str, Any], later: float) -> None:
    """Put one call into the books, with its receipt; one that had not ended goes on."""
    service = sandbox._service
    quote = service._quotes._quotes[told["quote_id"]]
    request = quote.request
    receipt = Receipt(
        receipt_id=told["receipt_id"],
        request_id=told["request_id"],
        amount=quote.total,
        created_at=told["created_at"] + later,
        visible_at=told["created_at"] + later,
        settlement_tx=told["settlement_tx"],
        metadata={
            "tool": "voice",
            "target_numbers": list(request.numbers),
            "quote_id": quote.quote_id,
            "decisionContext": request.body["decisionContext"],
        },
        execution_status=told["status"],
    )
    wallet = service.ledger.wallet(owner)
    wallet.receipts.append(receipt)
    wallet.spent_on[int(receipt.created_at // 86_400)] += quote.total
    job = Job(
        quote=quote,
        pick_up=service.line.pick_up(request),
        receipt=receipt,
        created_at=told["created_at"] + later,
        updated_at=told["updated_at"] + later,
        ends_at=time.monotonic() + _TALK,
        request_id=told["request_id"],
        status=told["status"],
        result=told["result"],
    )
    switchboard = service.switchboard
    switchboard._jobs[job.request_id] = job
    if not job.ended:
        switchboard._unfinished[job.request_id] = job
    switchboard.rings.extend(Ring(number, job.request_id) for number in request.numbers)
