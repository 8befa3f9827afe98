"""The fault matrix: each leg of a call, let down in each way, once and for as long as it lasts.

Every cell is a call on a sandbox and a journal of its own, over real sockets. After the first
run the fault is lifted and the call is asked for again under the same key. A cell tells what the
runs answered and what the service's books say; `Row.faults` judges it.

Some cells are tried under more than a fault: two workers that take the call from each other, a key
that no old end answers, a worker that is not heard of for a while, a clock that jumps an hour.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal, get_args

from placing import FAST
from pydantic import SecretStr

from chaos.callers import UNLIMITED, CallerByClock, MovedClock
from chaos.ledger import table, times_paid, times_rung
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey
from langchain_oneshot_voice.progress import CallProgress
from langchain_oneshot_voice.sandbox import Fault, Sandbox
from langchain_oneshot_voice.sandbox.faults import Kind
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

Leg = Literal["quote", "paid", "poll", "receipts"]
Mode = Literal["wallet", "credits", "token"]
"""Who pays: a signed transfer, a proven wallet's prepaid credits, or an access token."""

Trial = Literal["usual", "taken", "anew", "late", "ahead", "back"]
"""What is so besides the fault.

`taken`: two workers run the call at the same time, and each takes the other for dead at once.
`anew`: an old end does not answer the key. `late`: the first worker's heartbeats and writes come to
a stop until a second worker has made the call. `ahead`, `back`: the clock jumps an hour, and is set
right after the first run.
"""

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
_TRIED_ELSEWHERE = ("reset_after", "hang_before", "status_503")
"""Of the other legs, these faults are tried by every trial."""

_DOWN_AT = {"quote": None, "paid": "paying", "poll": "placed"}
_TRIED_AT = {"quote": "quoted", "paid": "paying", "poll": "placed", "receipts": "paying"}

_TIMING = replace(
    FAST,
    connect=1.0,
    quote=0.7,
    payment=0.7,
    answer=0.7,
    payment_cancelled=1.0,
    payment_expired=0.5,
    account_approval=300.0,
    pause=0.03,
)
_HICCUP_WAIT, _OUTAGE_WAIT, _CALM_WAIT = 15.0, 0.8, 30.0
_FOR_EVER = 10**6
_HOUR = 3600.0

Ends = list[VoiceCallResult | VoiceCallError]


@dataclass(frozen=True)
class Cell:
    """One thing that goes wrong. `kind` None is a service that is not there at all."""

    leg: Leg
    kind: Kind | None
    acts: bool = False
    retry_after: int | None = None
    lasts: bool = False
    mode: Mode = "wallet"
    trial: Trial = "usual"

    @property
    def name(self) -> str:
        """The kind, and what sets it apart from others of the kind."""
        extras = (" acted" if self.acts else "", " Retry-After" if self.retry_after else "")
        return (self.kind or "down") + "".join(extras)

    @property
    def tried_at(self) -> str:
        """The stage at which its trial begins."""
        # A transfer signed by a clock that is ahead can be made later, but not now.
        signs = self.mode == "wallet"
        return _TRIED_AT[self.leg] if signs or self.leg != "receipts" else "quoted"

    def fault(self) -> Fault | None:
        """As the sandbox takes it."""
        if self.kind is None:
            return None
        times = _FOR_EVER if self.lasts else 1
        return Fault(self.leg, self.kind, times, self.acts, self.retry_after)


@dataclass(frozen=True)
class Row:
    """What came of a cell.

    Attributes:
        firsts: how each run of the first round ended, and what it said of money.
        paid_at_first: payments when they had.
        second: how the last run ended.
    """

    cell: Cell
    firsts: tuple[tuple[str, str], ...]
    paid_at_first: int
    second: str
    second_is_a_placed_call: bool
    payments: int
    rings: int

    def faults(self) -> list[str]:
        """What must not be, and is."""
        anew = self.cell.trial == "anew" and self.firsts[0][0] == "completed"
        calls = 2 if anew else 1
        wrong = {
            f"{self.payments} payments": self.payments != calls,
            f"{self.rings} rings": self.rings != calls,
            f"the second run ended as {self.second}": self.second != "completed",
            "the second run tells of another call": not self.second_is_a_placed_call,
            f"the first round ended as {self.firsts}": not all(map(self._honest, self.firsts)),
        }
        return [f"{self.cell}: {what}" for what, holds in wrong.items() if holds]

    def _honest(self, end: tuple[str, str]) -> bool:
        """No run says that nothing was charged when it was."""
        word, charged = end
        if word in {"completed", "in_progress"}:
            return self.paid_at_first == 1
        return charged == "unknown" or (charged == "no" and self.paid_at_first == 0)


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
    yield from tried_cells()


def tried_cells() -> Iterator[Cell]:
    """The cells with a trial."""
    trials: tuple[Trial, ...] = get_args(Trial)[1:]
    modes: tuple[Mode, ...] = ("wallet", "token")
    every = itertools.product((False, True), _WAYS, _LEGS, modes, trials)
    for lasts, way, leg, mode, trial in every:
        kind, acts, retry_after = way
        # The second worker of `late` has to come to an end.
        if (leg == "paid" or kind in _TRIED_ELSEWHERE) and not (lasts and trial == "late"):
            yield Cell(leg, kind, acts, retry_after, lasts, mode, trial)


def some_cells() -> Iterator[Cell]:
    """The short form: few cells, in which everything occurs that `_parts` names.

    `virtual_matrix.py` has every leg's troubles under every trial on virtual time.
    """
    every = sorted(cells(), key=lambda cell: cell.leg != "paid")  # the leg that matters most
    missing = {part for cell in every for part in _parts(cell)}
    while missing:
        best = max(every, key=lambda cell: len(_parts(cell) & missing))
        missing -= _parts(best)
        yield best


def _parts(cell: Cell) -> set[object]:
    """Its fault, and what else is so in it."""
    return {cell.name, (cell.leg, cell.lasts), (cell.mode, cell.lasts), cell.trial}


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
            row.cell.trial,
            ", ".join(
                word + (f" (charged: {charged})" if charged else "") for word, charged in row.firsts
            ),
            row.second,
            row.payments,
            row.rings,
        )
        for row in rows
    ]
    header = (
        *("leg", "fault", "paid by", "lasts", "trial"),
        *("first run", "second run", "payments", "rings"),
    )
    return table(header, lines)


def _run(cell: Cell, journal_file: Path) -> Row:
    credit = Decimal(50) if cell.mode == "credits" else Decimal(0)
    with Sandbox(call_seconds=0.02, credits=credit) as sandbox:
        round_ = _Round(sandbox, cell, journal_file)
        try:
            return round_.run()
        finally:
            round_.close()


class _Round:
    """A cell at work: a first worker, and a second one for the trials that need it."""

    def __init__(self, sandbox: Sandbox, cell: Cell, journal_file: Path) -> None:
        lease = {"taken": 0.001, "late": 0.2}.get(cell.trial, 4.0)
        self._sandbox = sandbox
        self._cell = cell
        self._journals = [CallJournal(journal_file, heartbeat=0.05, lease=lease) for _ in range(2)]
        self._clock = MovedClock(*self._journals)
        self._pool = ThreadPoolExecutor(2)
        self._waking = threading.Event()
        self._other: Future[VoiceCallResult | VoiceCallError] | None = None
        self._tried = False

    def close(self) -> None:
        """End what is open."""
        self._waking.set()
        self._pool.shutdown()
        for journal in self._journals:
            ENGINE.call(journal.aclose)

    def run(self) -> Row:
        """Both rounds, and what the books say."""
        cell, sandbox = self._cell, self._sandbox
        _let_down(sandbox, cell)
        firsts = self._first_round()
        paid_at_first = times_paid(sandbox)
        sandbox.clear_faults()
        sandbox.start()
        if cell.trial in {"ahead", "back"} and self._tried:
            self._clock.move(-_HOUR if cell.trial == "ahead" else _HOUR)
        second = self._place(0, _CALM_WAIT)
        return Row(
            cell=cell,
            firsts=tuple(map(_in_words, firsts)),
            paid_at_first=paid_at_first,
            second=_in_words(second)[0],
            second_is_a_placed_call=second.request_id
            in {call.request_id for call in sandbox.calls},
            payments=times_paid(sandbox),
            rings=times_rung(sandbox),
        )

    def _first_round(self) -> Ends:
        wait = _OUTAGE_WAIT if self._cell.lasts or self._cell.kind is None else _HICCUP_WAIT
        if self._cell.trial == "taken":
            self._other = self._pool.submit(self._place, 1, wait)
        ends: Ends = [self._place(0, wait, self._go_wrong)]
        return ends if self._other is None else [*ends, self._other.result()]

    def _go_wrong(self, stage: str) -> None:
        """Hear of the first worker's progress, and let the trial begin."""
        cell = self._cell
        if cell.kind is None and stage == _DOWN_AT[cell.leg]:
            self._sandbox.stop()
        if stage != cell.tried_at or self._tried:
            return
        self._tried = True
        if cell.trial in {"ahead", "back"}:
            self._clock.move(_HOUR if cell.trial == "ahead" else -_HOUR)
        if cell.trial == "late":
            self._journals[0]._writer.submit(lambda *_: self._waking.wait(30), writing=False)
            self._other = self._pool.submit(self._place, 1, _HICCUP_WAIT)
            self._other.add_done_callback(lambda _: self._waking.set())

    def _place(
        self, worker: int, wait: float, hear: Callable[[str], None] | None = None
    ) -> VoiceCallResult | VoiceCallError:
        def on_progress(progress: CallProgress) -> None:
            if hear is not None:
                hear(progress.stage)

        caller = CallerByClock(
            self._credential(),
            base_url=self._sandbox.base_url,
            journal=self._journals[worker],
            policy=UNLIMITED,
            max_wait=wait,
            timing=_TIMING,
            on_progress=on_progress,
            clock=self._clock,
        )
        request = VoiceCallInput(
            objective="Ask whether the shop is open on Sunday.", target_number="+14155550100"
        )
        key = CallKey.of(request, idempotency_key="the one call")
        if self._cell.trial == "anew":
            key = CallKey(key.key, answers_for=0.0)
        try:
            return caller.call(request, call_key=key)
        except VoiceCallError as error:
            return error

    def _credential(self) -> AccessToken | WalletKey:
        if self._cell.mode == "token":
            return AccessToken(SecretStr(self._sandbox.access_token))
        return WalletKey(SecretStr(self._sandbox.private_key))


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


def _in_words(end: VoiceCallResult | VoiceCallError) -> tuple[str, str]:
    """How a run ended, and what it says of money."""
    if isinstance(end, VoiceCallResult):
        return end.call_status, ""
    return end.code, end.charged
