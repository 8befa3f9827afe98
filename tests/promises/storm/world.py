"""What outlives a process: the service, the databases and the files."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eth_account import Account
from langgraph.checkpoint.postgres import PostgresSaver
from postgres import new_database, running_server

from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.sandbox import Fault, Sandbox
from langchain_oneshot_voice.sandbox.records import Call, Ring
from storm.person import number_of
from storm.plan import Plan, Prices, Weather
from storm.process import Process

_EXAMPLES_PER_SANDBOX = 25
"""A service remembers every request, and the package keeps a socket open for each wallet: new ones
now and then keep both short."""

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - files of Linux that need no disk
"""Nothing is learned here from a disk that is slow."""

_FAULTS: dict[Weather, Fault] = {
    "reply_lost": Fault("paid", "drop_reply"),
    "reply_broken": Fault("paid", "truncate"),
    "unavailable": Fault("paid", "status_503"),
    "no_news": Fault("poll", "status_503", times=2),
    "no_receipts": Fault("receipts", "status_503"),
}
_FIRST_TOTAL: dict[Prices, str] = {"rises": "0.50", "falls": "9.50"}


class World:
    """One for each worker of the tests; its examples come one after the other."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._postgres: str | None = None
        self._sandbox: Sandbox | None = None
        self._examples = 0

    def __enter__(self) -> Self:
        fast = _IN_MEMORY if _IN_MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="storm", dir=fast))
        self._closing.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._closing.close()

    def _stop(self) -> None:
        if self._sandbox is not None:
            ENGINE.stop()
            self._sandbox.stop()

    def example(self, plan: Plan) -> Scene:
        """A wallet and a file of its own for one example."""
        if self._sandbox is None or self._examples % _EXAMPLES_PER_SANDBOX == 0:
            self._stop()
            self._sandbox = Sandbox(call_seconds=0.0)
            self._sandbox.start()
        self._examples += 1
        return Scene(self, self._sandbox, plan, self._examples)

    def postgres(self) -> str:
        """The address of a PostgreSQL server with the tables of LangGraph; started when asked."""
        if self._postgres is None:
            server = self._closing.enter_context(running_server())
            database = new_database(server).set(drivername="postgresql")
            self._postgres = database.render_as_string(hide_password=False)
            with PostgresSaver.from_conn_string(self._postgres) as saver:
                saver.setup()
        return self._postgres


class Scene:
    """The world as one example sees it: its wallet, its files, and the prices it is told."""

    def __init__(self, world: World, sandbox: Sandbox, plan: Plan, number: int) -> None:
        wallet = Account.create()
        self.world = world
        self.sandbox = sandbox
        self.private_key = "0x" + bytes(wallet.key).hex()
        self.thread = f"thread-{number}"
        self.process = Process()
        """The one that is running."""
        self.shared: dict[str, Any] = {}
        """Memory that stands for a database."""
        self._address = str(wallet.address)
        self._name = f"{number}"
        self._files = 0
        self._quotes: Counter[str] = Counter()
        self._prices = {number_of(wish.subject): wish.prices for wish in plan.wishes}
        sandbox.clear_faults()
        sandbox.tamper("quote", self._quoted)
        sandbox.tamper("paid", self._seen)

    def file(self, what: str) -> Path:
        """The file of a database that all processes of the example use."""
        return self.world.folder / f"{self._name}-{what}.sqlite"

    def journal_file(self) -> Path:
        """The file of the journal that stands now."""
        return self.file(f"journal{self._files}")

    def leave_journal(self) -> None:
        """Go on with a copy: what a dead process still writes does not reach it."""
        dead = self.journal_file()
        self._files += 1
        if not dead.exists():
            return
        with (
            closing(sqlite3.connect(dead)) as source,
            closing(sqlite3.connect(self.journal_file())) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = WAL")

    def clear(self) -> None:
        """Take the files away."""
        self.sandbox.clear_faults()
        for path in self.world.folder.glob(f"{self._name}-*"):
            path.unlink()

    def turn_bad(self, weather: Weather) -> None:
        """Let something go wrong at the service once."""
        if weather != "none":
            self.sandbox.inject(_FAULTS[weather])

    def calls(self) -> list[Call]:
        """The calls that were paid for, oldest first."""
        return [call for call in self.sandbox.calls if call.wallet == self._address]

    def rings(self) -> list[Ring]:
        """The phones that rang."""
        mine = {call.request_id for call in self.calls()}
        return [ring for ring in self.sandbox.rings if ring.request_id in mine]

    def charged(self) -> dict[str, Decimal]:
        """What was paid for each call, by its request id, in money and in credits together."""
        charged: dict[str, Decimal] = {}
        for payment in self.sandbox.payments:
            if payment.payer == self._address:
                before = charged.get(payment.request_id, Decimal(0))
                charged[payment.request_id] = before + payment.amount
        return charged

    def _seen(self, status: int, headers: dict[str, str], body: Any) -> Any:
        self.process.note("sandbox")
        return status, headers, body

    def _quoted(self, status: int, headers: dict[str, str], body: Any) -> Any:
        """The first quote for a number may end soon, at another price than the next one's."""
        self.process.note("sandbox")
        if status != 402 or body is None:
            return status, headers, body
        number = body["context"]["target_numbers"][0]
        prices = self._prices.get(number, "steady")
        self._quotes[number] += 1
        if prices == "steady" or self._quotes[number] > 1:
            return status, headers, body
        soon = datetime.fromtimestamp(time.time() + 5, UTC)
        body["context"]["expires_at"] = soon.isoformat().replace("+00:00", "Z")
        if prices in _FIRST_TOTAL:
            headers = _reprice(headers, body, _FIRST_TOTAL[prices])
        return status, headers, body


def _reprice(headers: dict[str, str], body: Any, total: str) -> dict[str, str]:
    """Another price, in the body and in the terms of payment."""
    terms = json.loads(base64.b64decode(headers["payment-required"]))
    terms["accepts"][0]["amount"] = str(int(Decimal(total) * 10**6))
    body["payment_request"]["amount"] = total
    body["context"] |= {
        "total": total,
        "estimated_call_cost": total,
        "phone_registration_fee": "0.00",
    }
    header = base64.b64encode(json.dumps(terms).encode()).decode()
    return headers | {"payment-required": header}


Own = Callable[[str], None]
"""Asks one of the node's own questions and keeps the answer."""
