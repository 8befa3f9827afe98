"""A world in which time is virtual and everything can fail: for the state machine.

The lifecycle and the journal are the real ones. Around them: an event loop whose clock jumps to
the next timer instead of waiting, a journal without a thread, and a model of the service that
keeps its own ledger. Every step outward (to the service or to the journal) first asks the plan of
its worker what is to go wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from langchain_oneshot_voice.errors import CallRefusedError, ServiceUnavailableError
from langchain_oneshot_voice.journal import CallJournal, JournalUnavailableError
from langchain_oneshot_voice.journal.store import SQLiteStore, Started
from langchain_oneshot_voice.journal.writer import JournalWriter, _Queued
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.oneshot.client import (
    Offer,
    PlacementUnansweredError,
    WeatherError,
)
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey

T = TypeVar("T")

BASE_URL = "http://127.0.0.1:9"
PAYEE = "0x" + "ab" * 20
_BEGINNING = 1_800_000_000.0
_CALL_SECONDS = 60.0
_QUOTE_SECONDS = 600.0
_AUTHORIZATION_SECONDS = 300

Trouble = Literal[
    "fine", "lost", "acted", "late", "unsent", "no", "slow", "freeze", "die", "cancel"
]
"""What goes wrong at a step outward.

`lost`: it never arrives. `acted`: it is done, and the answer is lost. `late`: the answer is lost,
and it is done a minute and a half later. `unsent`: it surely never left. `no`: refused for no
reason. `slow`: it takes longer than a lease. `freeze`: the whole worker stands still for longer
than a lease. `die`: the worker is gone at once, half the time after the step was done. `cancel`:
the caller gives up at this moment.
"""


Wire = Literal["quote", "paid", "receipts", "feed", "journal"]
"""What a step goes to. Each has its own troubles, used up in order."""

Plan = Mapping[Wire, Sequence[Trouble]]


class Dead(BaseException):
    """The worker was killed: nothing of it runs any more, not even its cleaning up."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: its clock jumps to the next timer."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        super().__init__(_NoWaiting(self))
        self.set_exception_handler(lambda *_: None)  # the dead leave tasks that nobody asks after

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self.elapsed


class _NoWaiting(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and nothing will happen")
        if not ready and timeout:
            self._loop.elapsed += timeout
        return ready


class Clock:
    """Stands in for the module `time`: the wall's clock and the monotonic one."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        """Epoch seconds."""
        return _BEGINNING + self._loop.elapsed

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._loop.elapsed


async def at_once(function: Callable[..., T], *args: object, **_: object) -> T:
    """Stands in for `anyio.to_thread.run_sync`: a thread would not know of the virtual time."""
    return function(*args)


class _Store(SQLiteStore):
    def __init__(self, clock: Clock) -> None:
        super().__init__(URL.create("sqlite", database=":memory:"))
        self._clock = clock

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        super().begin(connection, writing=writing)
        return Started(now=self._clock.time())


class _Writer(JournalWriter):
    """Does at once, in the calling thread, what the real one queues."""

    def submit(self, operation: Any, *, writing: bool) -> Any:
        item = _Queued(operation, writing)
        item.future.set_running_or_notify_cancel()
        self._answer([item])
        return item.future


class VirtualJournal(CallJournal):
    """The real journal on virtual time, without a thread."""

    def __init__(self, clock: Clock) -> None:
        self._virtual = _Store(clock)
        super().__init__("memory")

    def _start(self) -> None:
        self._store = self._virtual
        self._writer = _Writer(self._store)

    def drop(self) -> None:
        """Close the connection."""
        self._writer._disconnect()


@dataclass
class Service:
    """A model of the service: what it took, and what it rang. A nonce and a quote count once."""

    clock: Clock
    loop: VirtualLoop
    receipt_delay: float
    forgetful: bool
    """Whether it forgets, once a quote has expired, that it was used."""
    payments: list[str] = field(default_factory=list)
    """The call key of each."""
    rings: list[tuple[str, float]] = field(default_factory=list)
    """The number and the moment of each."""
    overlaps: list[str] = field(default_factory=list)
    """Numbers that rang while they were on a call."""
    _quotes: dict[str, float] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _receipts: list[tuple[float, str, str]] = field(default_factory=list)
    _ends: dict[str, float] = field(default_factory=dict)

    def quote(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A 402, as a client keeps it."""
        quote_id = f"quote_{len(self._quotes)}"
        self._quotes[quote_id] = self.clock.time() + _QUOTE_SECONDS
        expires = datetime.fromtimestamp(self._quotes[quote_id], UTC).isoformat()
        terms = {
            "x402Version": 2,
            "accepts": [
                {
                    "scheme": "exact",
                    "network": "eip155:84532",
                    "amount": "1750000",
                    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
                    "payTo": PAYEE,
                    "maxTimeoutSeconds": _AUTHORIZATION_SECONDS,
                    "extra": {"name": "USDC", "version": "2"},
                }
            ],
        }
        context = {
            "quote_id": quote_id,
            "total": "1.75",
            "target_numbers": [body["target_number"]],
            "expires_at": expires,
        }
        return {
            "body": {"payment_request": {"recipient": PAYEE}, "context": context},
            "header": base64.b64encode(json.dumps(terms).encode()).decode(),
        }

    def pay(self, body: Mapping[str, Any], quote_id: str, header: str | None) -> Placement:
        """Leg two. Raises what the client would for a refusal or a 409."""
        now = self.clock.time()
        nonce, valid_before = _read(header)
        expired = self._quotes[quote_id] <= now
        if {quote_id, nonce} & self._used and not (self.forgetful and expired):
            raise PlacementUnansweredError("HTTP 409: used already", used=True)
        if expired:
            raise CallRefusedError("The quote is gone.", code="quote_expired")
        if valid_before is not None and valid_before <= now:
            raise CallRefusedError("The authorization is over.", code="payment_expired")
        self._used |= {quote_id, nonce} - {""}
        return self._place(body, now)

    def receipt_of(self, call_key: str) -> Placement | None:
        """The receipt that carries a key, once it shows."""
        now = self.clock.time()
        found = [r for shows, key, r in self._receipts if key == call_key and shows <= now]
        return Placement(found[0]) if found else None

    def end_of(self, request_id: str) -> float:
        """When a call ends."""
        return self._ends[request_id]

    def times_paid(self) -> Counter[str]:
        """Payments by call key."""
        return Counter(self.payments)

    def _place(self, body: Mapping[str, Any], now: float) -> Placement:
        call_key, number = body["decisionContext"]["goalId"], body["target_number"]
        request_id = f"req_{len(self.payments)}"
        self.payments.append(call_key)
        busy = any(n == number and now < t + _CALL_SECONDS for n, t in self.rings)
        self.overlaps += [number] if busy else []
        self.rings.append((number, now))
        self._ends[request_id] = now + _CALL_SECONDS
        self._receipts.append((now + self.receipt_delay, call_key, request_id))
        return Placement(request_id)


class Worker:
    """One process: its plan of troubles, and its ends of the wires."""

    def __init__(self, loop: VirtualLoop, plan: Plan) -> None:
        self._loop = loop
        self._plan: dict[Wire, Iterator[Trouble]] = {w: iter(t) for w, t in plan.items()}
        self._dies_after = False
        self._dead = False
        self._thaws_at = 0.0
        self.task: asyncio.Task[Any] | None = None

    async def step(
        self, wire: Wire, act: Callable[[], Awaitable[T]], fail: Callable[[Trouble], T | None]
    ) -> T:
        """Take one step outward; what the plan has for it may be worse than `act`.

        `fail` raises what the step's own failure is; when it does not, the step is fine after all.
        """
        await self._thawed()
        trouble: Trouble = next(self._plan.get(wire, iter(())), "fine")
        if trouble == "freeze":
            self._thaws_at = self._loop.time() + 100.0
            await self._thawed()
        if trouble == "slow":
            await asyncio.sleep(45.0)
        if trouble == "cancel" and self.task is not None:
            self._loop.call_soon(self.task.cancel)
        if trouble == "die":
            self._dies_after = not self._dies_after
            if self._dies_after:
                await act()
            self._dead = True
            raise Dead
        if trouble in {"acted", "late", "lost", "unsent", "no"}:
            if trouble == "acted":
                await act()
            if trouble == "late":
                self._loop.call_later(90.0, lambda: self._loop.create_task(act()))  # type: ignore[arg-type]  # every act is a coroutine
            fail(trouble)
        answer = await act()
        await self._thawed()
        return answer

    async def _thawed(self) -> None:
        if self._dead:
            raise Dead
        await asyncio.sleep(max(0.0, self._thaws_at - self._loop.time()))


class Client:
    """`OneShotClient` for a worker, without a wire."""

    def __init__(
        self, service: Service, worker: Worker, credential: WalletKey | AccessToken
    ) -> None:
        self.environment = Environment.at(BASE_URL)
        self.credential = credential
        self._service = service
        self._worker = worker

    async def quote(self, body: Mapping[str, Any], _headers: Mapping[str, str]) -> Offer:
        """Leg one."""

        async def act() -> Offer:
            return self.read_offer(self._service.quote(body))

        def fail(trouble: Trouble) -> None:
            if trouble == "no":
                raise CallRefusedError("No.", code="action_denied_by_policy")
            raise ServiceUnavailableError("The service is away.")

        return await self._worker.step("quote", act, fail)

    def read_offer(self, source: Mapping[str, Any]) -> Offer:
        """An offer that was received."""
        return Offer.read(source, signs=isinstance(self.credential, WalletKey))

    async def place(
        self,
        body: Mapping[str, Any],
        _headers: Mapping[str, str],
        quote_id: str,
        payment_header: str | None,
        *,
        proved: bool,
    ) -> Placement:
        """Leg two."""
        del proved

        async def act() -> Placement:
            return self._service.pay(body, quote_id, payment_header)

        def fail(trouble: Trouble) -> None:
            if trouble == "unsent":
                raise WeatherError("no connection", unsent=True)
            if trouble == "no":
                raise CallRefusedError("No.", code="budget_exceeded")
            raise PlacementUnansweredError("no answer")

        return await self._worker.step("paid", act, fail)

    async def find_receipt(self, call_key: str, _since: float) -> Placement | None:
        """The list of receipts."""

        async def act() -> Placement | None:
            return self._service.receipt_of(call_key)

        def fail(_: Trouble) -> None:
            raise WeatherError("no list")

        return await self._worker.step("receipts", act, fail)


class Feed:
    """`ResultFeed` for a worker: it waits until the call has ended."""

    def __init__(self, service: Service, worker: Worker) -> None:
        self._service = service
        self._worker = worker

    async def wait(self, request_id: str, seconds: float, _seen: object) -> dict[str, Any] | None:
        """The finished job, or `None` when the time ran out first."""

        async def act() -> None:
            return None

        await self._worker.step("feed", act, lambda _: None)
        left = self._service.end_of(request_id) - self._service.clock.time()
        await asyncio.sleep(max(0.0, min(left, seconds)))
        if left > seconds:
            return None
        result = {"outcome": "reached_person", "success_evaluation": "pass", "cost": "1.75"}
        return {"request_id": request_id, "status": "completed", "result": result}


class WorkerJournal:
    """A worker's hands on the journal: each operation may fail, before or after it is done."""

    def __init__(self, journal: VirtualJournal, worker: Worker) -> None:
        self._journal = journal
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._journal, name)

        async def do(*args: Any, **named: Any) -> Any:
            async def act() -> Any:
                return await operation(*args, **named)

            def fail(trouble: Trouble) -> None:
                if trouble in {"acted", "lost"}:
                    raise JournalUnavailableError("The disk is full.")

            return await self._worker.step("journal", act, fail)

        return do


def _read(header: str | None) -> tuple[str, float | None]:
    if header is None:
        return "", None
    signed = json.loads(base64.b64decode(header))["payload"]["authorization"]
    return signed["nonce"], float(signed["validBefore"])
