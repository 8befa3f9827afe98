"""The switchboard: paid calls, from the first ring to the final status.

A call changes its status in real time: it is `pending` when it is placed (the phone rings at once),
then `processing`, and then it has its final status. Subscribers are notified of each change. The
switchboard runs on the server's event loop; while the server is stopped, calls pause.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from .chain import usd
from .clock import Clock, iso
from .ledger import Receipt, checksummed
from .line import PickUp
from .quotes import PRICE_PER_MINUTE, Quote
from .records import Call, Ring

if TYPE_CHECKING:
    from threading import RLock

logger = logging.getLogger("langchain_oneshot_voice.sandbox")

_PENDING_SHARE: Final = 0.25


class Subscriber(Protocol):
    """A receiver of a call's changes: an open socket."""

    def notify(self, job: dict[str, Any]) -> None:
        """Receive one job, in the format of the poll's answer. Must not block."""


@dataclass(eq=False)
class Job:
    """One call and its state."""

    quote: Quote
    pick_up: PickUp
    receipt: Receipt
    created_at: float
    ends_at: float
    request_id: str
    status: str = "pending"
    updated_at: float = 0.0
    result: dict[str, Any] | None = None
    subscribers: set[Subscriber] = field(default_factory=set)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON of the poll's answer."""
        job: dict[str, Any] = {
            "request_id": self.request_id,
            "tool": "voice",
            "status": self.status,
            "receipt_id": self.receipt.receipt_id,
            "settlement_status": "settled",
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        }
        script = self.pick_up.script
        if self.result is not None:
            job["result"] = self.result
        if self.ended and (script.error is not None or script.error_code is not None):
            job |= {
                "error": script.error,
                "error_code": script.error_code,
                "error_category": "provider",
                "error_status": 503,
            }
        return job

    def to_record(self) -> Call:
        """Return the record for tests."""
        return Call(
            request_id=self.request_id,
            wallet=checksummed(self.quote.wallet),
            body=self.quote.request.body,
            price=self.quote.total,
            status=self.status,
            result=self.result,
        )

    @property
    def ended(self) -> bool:
        """True if the call has ended."""
        return self.status not in ("pending", "processing")


class Switchboard:
    """All calls, and the phones that rang.

    Args:
        lock: held for each change of a call, since tests read from other threads.
        clock: the clock for the times of jobs.
        call_seconds: the duration of a call, unless its script sets one.
        on_end: called with each ended call and the credit for its unused minutes.
    """

    def __init__(
        self,
        lock: RLock,
        clock: Clock,
        call_seconds: float,
        on_end: Callable[[Job, Decimal], None],
    ) -> None:
        self._lock = lock
        self._clock = clock
        self._call_seconds = call_seconds
        self._on_end = on_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: dict[str, Job] = {}
        self._unfinished: dict[str, Job] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self.rings: list[Ring] = []

    def connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Continue the calls on this event loop. Must be called from the loop."""
        self._loop = loop
        for job in list(self._unfinished.values()):
            self._schedule(job)

    def disconnect(self) -> None:
        """Pause all calls."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._loop = None

    def place(self, quote: Quote, pick_up: PickUp, receipt: Receipt, request_id: str) -> Job:
        """Ring the phones of a paid call."""
        now = self._clock.now()
        seconds = pick_up.script.seconds
        job = Job(
            quote=quote,
            pick_up=pick_up,
            receipt=receipt,
            created_at=now,
            updated_at=now,
            ends_at=time.monotonic() + (self._call_seconds if seconds is None else seconds),
            request_id=request_id,
        )
        self._jobs[request_id] = self._unfinished[request_id] = job
        for number in quote.request.numbers:
            self.rings.append(Ring(number, request_id))
            logger.info("%s ringing %s", request_id, mask(number))
        self._schedule(job)
        return job

    def find(self, request_id: str) -> Job | None:
        """Return the call with this id, if there is one."""
        return self._jobs.get(request_id)

    def calls(self) -> tuple[Call, ...]:
        """Return all calls, oldest first."""
        return tuple(job.to_record() for job in self._jobs.values())

    def subscribe(self, subscriber: Subscriber, request_id: str, wallet: str) -> Job | None:
        """Notify a subscriber of a wallet's call now and at each change.

        Returns:
            The call; None if the wallet has no such call.
        """
        job = self._jobs.get(request_id)
        if job is None or job.quote.wallet != wallet:
            return None
        job.subscribers.add(subscriber)
        subscriber.notify(job.to_wire())
        return job

    def _schedule(self, job: Job) -> None:
        if self._loop is None:
            return
        left = max(0.0, job.ends_at - time.monotonic())
        self._later(left * _PENDING_SHARE, self._start, job)
        self._later(left, self._end, job)

    def _later(self, seconds: float, step: Callable[[Job], None], job: Job) -> None:
        if self._loop is None:
            return
        timer: asyncio.TimerHandle

        def run() -> None:
            self._timers.discard(timer)
            with self._lock:
                step(job)

        timer = self._loop.call_later(seconds, run)
        self._timers.add(timer)

    def _start(self, job: Job) -> None:
        if job.status == "pending":
            self._change(job, "processing")

    def _end(self, job: Job) -> None:
        if job.ended:
            return
        self._unfinished.pop(job.request_id, None)
        result = job.pick_up.result
        credit = Decimal(0)
        if result is not None:
            credit = _credit_for_unused_minutes(job.quote, result.get("duration_seconds"))
            job.result = {
                "cost": usd(job.quote.total),
                "credit_issued": float(credit),
                "receipt_id": job.receipt.receipt_id,
                "memo": job.quote.request.body.get("memo"),
                **result,
            }
        self._on_end(job, credit)
        self._change(job, job.pick_up.script.status)

    def _change(self, job: Job, status: str) -> None:
        job.status = status
        job.updated_at = self._clock.now()
        logger.info("%s %s", job.request_id, status)
        message = job.to_wire()
        for subscriber in job.subscribers:
            subscriber.notify(message)


def new_request_id() -> str:
    """Return a new id for a call."""
    return f"req_{secrets.token_hex(12)}"


def mask(number: str) -> str:
    """Return the last four digits of a phone number, for logs."""
    return f"…{number[-4:]}"


def _credit_for_unused_minutes(quote: Quote, duration: object) -> Decimal:
    if not isinstance(duration, int | float):
        return Decimal(0)
    used = math.ceil(duration / 60)
    return PRICE_PER_MINUTE * max(0, quote.minutes - used)
