"""Runs attacks against processes of callers, and judges how each of them ended."""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pytest

import langchain_oneshot_voice
from hostile.attack import Attack
from hostile.caller_process import FRIENDS, Order, Outcome, Report, Target
from hostile.service import HostileService, Loop
from langchain_oneshot_voice import Sandbox

Transport = Literal["httpx", "httpx2"]
TRANSPORTS: tuple[Transport, ...] = ("httpx", "httpx2")

FULL = os.environ.get("CHAOS") == "full"
"""Whether the attacks that last longer than a minute run too."""

_ROUND = 1 if os.environ.get("HOSTILE_ALONE") else 24
"""Attacks at once."""

_MOST_MEMORY = 150 * 10**6
_UNDISTURBED = 6.0
"""Seconds within which the ten friendly calls must be over."""
_LONGEST_TEXT = 10_000
"""Characters that a model may be told of a call."""
_GRACE = 15.0
"""Seconds beyond a round's own end in which a process must answer, or it is ended."""


@dataclass(frozen=True)
class Trial:
    """One attack that was carried out.

    Attributes:
        outcome: how the call ended.
        service: the service that attacked, stopped by now.
        report: the round that it was part of; `None` when the process died or stopped answering.
    """

    attack: Attack
    outcome: Outcome
    service: HostileService
    report: Report | None

    @property
    def disturbed(self) -> bool:
        """Whether the round shows more harm than one attack is known to have done."""
        report = self.report
        return (
            report is None
            or report.grown >= _MOST_MEMORY
            or report.friends != ["completed"] * FRIENDS
            or report.friends_seconds >= _UNDISTURBED
            or any(outcome.end == "hung" for outcome in report.outcomes)
            or self._cookies  # one jar for all services of this machine
        )

    @property
    def _cookies(self) -> bool:
        return any("cookie" in request.headers for request in self.service.requests)

    def require(self) -> None:
        """Assert everything that must be true after any attack, and what this one asks for."""
        attack, outcome, service, report = self.attack, self.outcome, self.service, self.report
        assert outcome.end != "died", "the process died"
        assert report is not None, "the process stopped answering"
        assert outcome.end != "raw", outcome.trace
        assert outcome.end != "hung", f"no end within {attack.seconds} seconds"
        assert outcome.seconds < attack.seconds, f"an end after {outcome.seconds:.1f} seconds"
        end = "unpaid" if outcome.end == "refused" and service.nonces else outcome.end
        assert end in attack.ends, (end, outcome.text)
        assert len(service.nonces) <= attack.payments, f"{len(service.nonces)} payments"
        assert service.strays == [], f"asked for {service.strays}"
        assert service.attacks > 0 or attack.harmless, "the attack was never carried out"
        assert not self._cookies, "a cookie came back"
        _require_safe_text(outcome.text)
        assert outcome.unsaved == "", outcome.unsaved
        assert report.grown < _MOST_MEMORY, f"{report.grown / 1e6:.0f} MB"
        assert report.friends == ["completed"] * FRIENDS, report.friends
        assert report.friends_seconds < _UNDISTURBED, report.friends_seconds
        if attack.holds:
            attack.holds(outcome)
        if attack.seen:
            attack.seen(service)


def _require_safe_text(text: str) -> None:
    """What a model is told is bounded, can be written down, and shows every character it has."""
    assert len(text) <= _LONGEST_TEXT, f"{len(text)} characters for the model"
    hidden = {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Co", "Cs"}}
    assert hidden == set(), f"for the model: {hidden}"


class CallerProcess:
    """One process in which calls are placed, over one transport."""

    def __init__(self, transport: Transport, log: Path, environment: dict[str, str]) -> None:
        tests = Path(__file__).parents[1]
        package = Path(langchain_oneshot_voice.__file__).parents[1]
        clean = {name: v for name, v in os.environ.items() if not name.startswith("ONESHOT_")}
        paths = os.pathsep.join([str(package), str(tests)])
        settings = {"PYTHONPATH": paths, "ONESHOT_VOICE_HTTP": transport}
        settings |= {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hostile.caller_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=clean | settings | environment,
            )

    def play(self, order: Order, seconds: float) -> Report | Literal["died", "silent"]:
        """Play a round; a process that does not answer in time is ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return "died"
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            return "died" if ready else "silent"
        fields = json.loads(line)
        outcomes = [Outcome(**outcome) for outcome in fields["outcomes"]]
        return Report(**fields | {"outcomes": outcomes})

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


@dataclass
class Trials:
    """All trials of one run of the tests, each carried out once, when it is first asked for."""

    chosen: Collection[tuple[Attack | None, Transport | None]] = ()
    """The attacks, and over what, whose tests were chosen; the others are in no round."""

    _loop: Loop = field(default_factory=Loop)
    _friendly: Sandbox = field(
        default_factory=lambda: Sandbox(call_seconds=0.05, balance=Decimal(10**9))
    )
    _processes: dict[Transport, CallerProcess] = field(default_factory=dict)
    _done: dict[tuple[Attack, Transport], Trial] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)
    _log: Path = Path()

    def __enter__(self) -> Self:
        self._open.enter_context(self._loop)
        self._open.enter_context(self._friendly)
        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        self._log = Path(folder) / "stderr.txt"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes.values():
            process.end()
        self._open.close()

    def of(self, attack: Attack, transport: Transport, among: Sequence[Attack] = ()) -> Trial:
        """The trial of one attack, carried out in a round with others of its list."""
        if (attack, transport) not in self._done:
            others = [one for one in among if (one, transport) in self.chosen]
            self._play_round(_round_of(attack, others), transport)
        return self._done[attack, transport]

    def alone(self, attack: Attack, transport: Transport, **environment: str) -> Trial:
        """The trial of one attack in a process of its own, with these variables set."""
        process = CallerProcess(transport, self._log, environment)
        try:
            self._warm_up(process)
            return self._play([attack], process)[0]
        finally:
            process.end()

    def at(self, base_url: str, transport: Transport, **environment: str) -> Outcome:
        """How a call to this address ends, in a process of its own, with these variables set."""
        process = CallerProcess(transport, self._log, environment)
        try:
            report = process.play(self._order([Target(base_url, 1.0, {})], 30.0), 60.0)
        finally:
            process.end()
        assert isinstance(report, Report), report
        return report.outcomes[0]

    def _play_round(self, attacks: Sequence[Attack], transport: Transport) -> None:
        if transport not in self._processes:
            self._processes[transport] = CallerProcess(transport, self._log, {})
            self._warm_up(self._processes[transport])
        trials = self._play(attacks, self._processes[transport])
        if any(trial.disturbed for trial in trials):
            self._processes.pop(transport).end()
            if len(attacks) > 1:
                for attack in attacks:
                    self._play_round([attack], transport)
                return
        for trial in trials:
            self._done[trial.attack, transport] = trial

    def _play(self, attacks: Sequence[Attack], process: CallerProcess) -> list[Trial]:
        services = [HostileService(attack) for attack in attacks]
        for service in services:
            self._loop.run(service.start())
        seconds = max(attack.seconds for attack in attacks)
        targets = [
            Target(service.base_url, attack.max_wait, dict(attack.policy), attack.calls)
            for attack, service in zip(attacks, services, strict=True)
        ]
        report = process.play(self._order(targets, seconds), seconds + _GRACE)
        for service in services:
            self._loop.run(service.stop())
        if isinstance(report, str):
            outcome = Outcome("died" if report == "died" else "hung")
            return [Trial(a, outcome, s, None) for a, s in zip(attacks, services, strict=True)]
        ended = zip(attacks, report.outcomes, services, strict=True)
        return [Trial(attack, outcome, service, report) for attack, outcome, service in ended]

    def _order(self, targets: list[Target], seconds: float) -> Order:
        return Order(targets, seconds, self._friendly.base_url)

    def _warm_up(self, process: CallerProcess) -> None:
        """Let it import all that it needs before anything is measured."""
        report = process.play(self._order([], 30.0), 60.0)
        assert isinstance(report, Report), self._log.read_text()[-4000:]
        assert report.friends == ["completed"] * FRIENDS, report.friends


def _round_of(attack: Attack, among: Sequence[Attack]) -> Sequence[Attack]:
    """The attack and its neighbours in the list, as far as they run, and run together."""
    if attack.alone:
        return [attack]
    sociable = [a for a in among if not a.alone and a.full == attack.full] or [attack]
    start = sociable.index(attack) // _ROUND * _ROUND
    return sociable[start : start + _ROUND]


def cases(attacks: Sequence[Attack]) -> pytest.MarkDecorator:
    """Parametrize a test with attacks; the long ones run with `CHAOS=full` only."""
    return pytest.mark.parametrize(
        "attack", [pytest.param(attack, id=str(attack), marks=_marks(attack)) for attack in attacks]
    )


def cases_on_either_transport(attacks: Sequence[Attack]) -> pytest.MarkDecorator:
    """Parametrize with attacks on what is read, whichever transport brought it.

    The transports take turns; with `CHAOS=full` each attack is made on both.
    """
    turns = itertools.cycle(TRANSPORTS)
    pairs = (
        itertools.product(attacks, TRANSPORTS)
        if FULL
        else ((attack, next(turns)) for attack in attacks)
    )
    return pytest.mark.parametrize(
        ("attack", "transport"),
        [
            pytest.param(attack, transport, id=f"{transport}-{attack}", marks=_marks(attack))
            for attack, transport in pairs
        ],
    )


def _marks(attack: Attack) -> list[pytest.MarkDecorator]:
    skipped = pytest.mark.skipif(not FULL, reason="lasts longer than a minute: CHAOS=full")
    marks = [pytest.mark.timeout(400)]
    return [*marks, skipped] if attack.full else marks


on_both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
