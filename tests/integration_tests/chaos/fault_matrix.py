"""The fault matrix: each leg of a call, let down in each way, once and for as long as it lasts.

Every cell is a call on a sandbox and a journal of its own, over real sockets. After the first
run the fault is lifted and the call is asked for again under the same key. A cell tells what both
runs answered and what the service's books say; `faults_of` judges it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from placing import FAST_PACE
from pydantic import SecretStr

from chaos.callers import UNLIMITED
from chaos.ledger import table, times_paid, times_rung
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.caller import VoiceCaller
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.calls.services import Patience
from langchain_oneshot_voice.oneshot.client import Timeouts
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey
from langchain_oneshot_voice.progress import CallProgress
from langchain_oneshot_voice.sandbox import Fault, Sandbox
from langchain_oneshot_voice.sandbox.faults import Kind
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

Leg = Literal["quote", "paid", "poll", "receipts"]
Mode = Literal["wallet", "credits", "token"]
"""Who pays: a signed transfer, a proven wallet's prepaid credits, or an access token."""

_LEGS: tuple[Leg, ...] = ("quote", "paid", "poll", "receipts")
_WAYS: tuple[tuple[Kind, bool, int | None], ...] = (
    ("refuse", False, None),
    ("reset_before", False, None),
    ("reset_after", False, None),
    ("drop_reply", False, None),
    ("truncate", False, None),
    ("hang_before", False, None),
    ("hang_after", False, None),
    ("status_500", False, None),
    ("status_500", True, None),
    ("status_502_html", False, None),
    ("status_502_html", True, None),
    ("status_503", False, None),
    ("status_503", True, None),
    ("status_429", False, None),
    ("status_429", False, 1),
    ("status_429", True, None),
    ("status_409", False, None),
    ("status_409", True, None),
    ("html_200", True, None),
    ("garbage", False, None),
    ("garbage", True, None),
)
_LOST_REPLIES = ("reset_after", "drop_reply", "truncate", "hang_after", "garbage")
_DOWN_AT = {"quote": None, "paid": "paying", "poll": "placed"}

_TIMEOUTS = Timeouts(connect=1.0, quote=0.7, place=0.7, read=0.7)
_PATIENCE = Patience(
    settle=0.5, unsent=0.4, pause=0.03, longest_pause=0.2, at_cancel=1.0
)
_HICCUP_WAIT, _OUTAGE_WAIT, _CALM_WAIT = 15.0, 0.8, 30.0
_FOR_EVER = 10**6


@dataclass(frozen=True)
class Cell:
    """One thing that goes wrong. `kind` None is a service that is not there at all."""

    leg: Leg
    kind: Kind | None
    acts: bool = False
    retry_after: int | None = None
    lasts: bool = False
    mode: Mode = "wallet"

    @property
    def name(self) -> str:
        """The kind, and what sets it apart from others of the kind."""
        extras = (" acted" if self.acts else "", " Retry-After" if self.retry_after else "")
        return (self.kind or "down") + "".join(extras)

    def fault(self) -> Fault | None:
        """As the sandbox takes it."""
        if self.kind is None:
            return None
        times = _FOR_EVER if self.lasts else 1
        return Fault(self.leg, self.kind, times, self.acts, self.retry_after)


@dataclass(frozen=True)
class Row:
    """What came of a cell."""

    cell: Cell
    first: str
    first_charged: str
    paid_at_first: int
    second: str
    second_is_the_placed_call: bool
    payments: int
    rings: int

    def faults(self) -> list[str]:
        """What must not be, and is."""
        wrong = {
            f"{self.payments} payments": self.payments != 1,
            f"{self.rings} rings": self.rings != 1,
            f"the second run ended as {self.second}": self.second != "completed",
            "the second run tells of another call": not self.second_is_the_placed_call,
            "charged 'no' after a payment": self.first_charged == "no" and self.paid_at_first > 0,
            f"the first run ended as {self.first}": not self._honest(),
        }
        return [f"{self.cell}: {what}" for what, holds in wrong.items() if holds]

    def _honest(self) -> bool:
        if self.first in {"completed", "in_progress"}:
            return self.paid_at_first == 1
        return self.first_charged in {"no", "unknown"}


def cells() -> Iterator[Cell]:
    """Every cell."""
    for lasts, leg, way in itertools.product((False, True), _LEGS, _WAYS):
        kind, acts, retry_after = way
        yield Cell(leg, kind, acts, retry_after, lasts)
    for lasts, leg in itertools.product((False, True), _LEGS[:3]):
        yield Cell(leg, None, lasts=lasts)
    prepaid: tuple[Mode, ...] = ("credits", "token")
    for lasts, way, mode in itertools.product((False, True), _WAYS, prepaid):
        kind, acts, retry_after = way
        if acts or kind in _LOST_REPLIES:
            yield Cell("paid", kind, acts, retry_after, lasts, mode)


def some_cells() -> Iterator[Cell]:
    """The short form: every fault once, and every fourth as an outage."""
    hiccups = [cell for cell in cells() if not cell.lasts]
    outages = [cell for cell in cells() if cell.lasts]
    yield from hiccups
    yield from outages[::4]


def run_matrix(chosen: Iterable[Cell], folder: Path, *, at_once: int = 8) -> list[Row]:
    """Run cells beside each other; each has its own service and its own journal."""
    numbered = list(enumerate(chosen))
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda n: _run(n[1], folder / f"cell-{n[0]}.sqlite"), numbered))


def matrix_table(rows: Iterable[Row]) -> str:
    """The matrix as a person reads it: a line a cell."""
    lines: list[tuple[object, ...]] = [
        (
            row.cell.leg,
            row.cell.name,
            row.cell.mode,
            "outage" if row.cell.lasts else "once",
            row.first + (f" (charged: {row.first_charged})" if row.first_charged else ""),
            row.second,
            row.payments,
            row.rings,
        )
        for row in rows
    ]
    header = ("leg", "fault", "paid by", "lasts", "first run", "second run", "payments", "rings")
    return table(header, lines)


def _run(cell: Cell, journal_file: Path) -> Row:
    credit = Decimal(50) if cell.mode == "credits" else Decimal(0)
    journal = CallJournal(journal_file)
    with Sandbox(call_seconds=0.02, credits=credit) as sandbox:
        try:
            return _run_on(sandbox, cell, journal)
        finally:
            ENGINE.call(journal.aclose)


def _run_on(sandbox: Sandbox, cell: Cell, journal: CallJournal) -> Row:
    request = VoiceCallInput(
        objective="Ask whether the shop is open on Sunday.", target_number="+14155550100"
    )
    key = CallKey.of(request, idempotency_key="the one call")
    credential = (
        AccessToken(SecretStr(sandbox.access_token))
        if cell.mode == "token"
        else WalletKey(SecretStr(sandbox.private_key))
    )

    def run(wait: float, *, hit: bool) -> VoiceCallResult | VoiceCallError:
        def go_down(progress: CallProgress) -> None:
            if hit and cell.kind is None and progress.stage == _DOWN_AT[cell.leg]:
                sandbox.stop()

        caller = VoiceCaller(
            credential,
            base_url=sandbox.base_url,
            journal=journal,
            policy=UNLIMITED,
            max_wait=wait,
            timeouts=_TIMEOUTS,
            pace=FAST_PACE,
            patience=_PATIENCE,
            on_progress=go_down,
        )
        try:
            return caller.call(request, call_key=key)
        except VoiceCallError as error:
            return error

    _let_down(sandbox, cell)
    first = run(_OUTAGE_WAIT if cell.lasts or cell.kind is None else _HICCUP_WAIT, hit=True)
    paid_at_first = times_paid(sandbox)
    sandbox.clear_faults()
    sandbox.start()
    second = run(_CALM_WAIT, hit=False)
    return Row(
        cell=cell,
        first=_in_a_word(first),
        first_charged=first.charged if isinstance(first, VoiceCallError) else "",
        paid_at_first=paid_at_first,
        second=_in_a_word(second),
        second_is_the_placed_call=second.request_id in {call.request_id for call in sandbox.calls},
        payments=times_paid(sandbox),
        rings=times_rung(sandbox),
    )


def _let_down(sandbox: Sandbox, cell: Cell) -> None:
    if cell.leg == "poll":
        sandbox.inject(Fault("socket", "refuse", times=_FOR_EVER))
    if cell.leg == "receipts":
        sandbox.inject(Fault("paid", "drop_reply"))  # or nobody would look at the receipts
    fault = cell.fault()
    if fault is not None:
        sandbox.inject(fault)
    elif _DOWN_AT[cell.leg] is None:
        sandbox.stop()


def _in_a_word(end: VoiceCallResult | VoiceCallError) -> str:
    return end.call_status if isinstance(end, VoiceCallResult) else end.code
