"""The fault matrix on virtual time: what faults at each leg come to for the driver.

The driver sees of a fault only whether the request was sent, acted on, refused or answered. Each of
these is tried at each leg, once and for as long as a run lasts, with each payer, alone and with two
workers. `fault_matrix.py` has the faults themselves, on real sockets; the trials in which a worker
stands still or a clock jumps are in `test_once_late.py`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from chaos.virtual_world import Plan, Process, Setting, Trouble, Wire, World
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey
from langchain_oneshot_voice.schemas import VoiceCallInput

Trial = Literal["usual", "taken", "anew"]
"""As in `fault_matrix.py`."""

_TROUBLES: tuple[tuple[Wire, Trouble], ...] = (
    ("quote", "lost"),
    ("quote", "no"),
    ("paid", "unsent"),
    ("paid", "lost"),
    ("paid", "acted"),
    ("paid", "delayed"),
    ("paid", "no"),
    ("receipts", "lost"),
)
_PAYERS: dict[str, WalletKey | AccessToken] = {
    "wallet": WalletKey(SecretStr("0x" + "11" * 32)),
    "token": AccessToken(SecretStr("oneshot_" + "0" * 64)),
}
_TRIALS: tuple[Trial, ...] = ("usual", "taken", "anew")
_REQUEST = VoiceCallInput(objective="Ask for the opening hours.", target_number="+14155550150")
_KEY = CallKey.of(_REQUEST, idempotency_key="the one call").key
_ALWAYS = 10_000


@dataclass(frozen=True)
class VirtualCell:
    """One thing that goes wrong."""

    wire: Wire
    trouble: Trouble
    lasts: bool
    payer: str
    trial: Trial

    def wrong(self) -> list[str]:
        """Run the call in the trouble, and once more without it; what must not be, and is."""
        setting = Setting(
            _PAYERS[self.payer],
            lease=0.001 if self.trial == "taken" else 4.0,
            answers_for=0.0 if self.trial == "anew" else None,
        )
        with World(setting) as world:
            world.run(self._first_round(world))
            end = world.run(world.ask_finally(_KEY, _REQUEST))
            payments, rings = len(world.service.payments), len(world.service.rings)
            status = getattr(end, "call_status", getattr(end, "code", end))
            holds = {
                f"{payments} payments": payments == 1,
                f"{rings} rings": rings == 1,
                f"the end is {status}": status == "completed",
                f"lies: {world.lies}": world.lies == [],
            }
        return [f"{self}: {what}" for what, fine in holds.items() if not fine]

    async def _first_round(self, world: World) -> None:
        workers = [world.process(self._plan()) for _ in range(2 if self.trial == "taken" else 1)]
        await asyncio.gather(*(self._ask(world, worker) for worker in workers))

    async def _ask(self, world: World, worker: Process) -> None:
        await world.ask(worker, _KEY, _REQUEST)
        worker.exit()

    def _plan(self) -> Plan:
        troubles = (self.trouble,) * (_ALWAYS if self.lasts else 1)
        # Without a lost answer nobody would look at the receipts.
        lost: Plan = {"paid": ("acted",)} if self.wire == "receipts" else {}
        return {**lost, self.wire: troubles}


def virtual_cells() -> Iterator[VirtualCell]:
    """Every cell."""
    every = itertools.product(_TROUBLES, (False, True), _PAYERS, _TRIALS)
    for (wire, trouble), lasts, payer, trial in every:
        yield VirtualCell(wire, trouble, lasts, payer, trial)
