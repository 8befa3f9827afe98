"""Carries attacks out against processes of callers, and judges how each of them ended."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import pytest
from full import FULL

from hostile.attack import Attack, Leg
from hostile.caller_process import FRIENDS, Order, Outcome, Report, Target
from hostile.callers import TRANSPORTS, Callers, Transport
from hostile.service import HostileService, Loop
from langchain_oneshot_voice import Sandbox

Shares = Mapping[Transport, Sequence[Attack]]
"""The attacks to make over each transport."""

log = logging.getLogger(__name__)

_LEGS: tuple[Leg, ...] = get_args(Leg)

_ALONE = "HOSTILE_ALONE" in os.environ
_AT_ONCE = 30 if FULL else 150
"""Attacks on one process at most."""

_MOST_MEMORY = 150 * 10**6
_UNDISTURBED = 15.0
"""Seconds within which the friendly calls must be over."""
_MOST_BUSY, _MOST_BUSY_EACH = 8.0 if FULL else 2.5, 0.05
"""Processor seconds for a round and for each attack in it; a busy machine takes no more of them."""
_LONGEST_TEXT = 10_000
"""Characters that a model may be told of a call."""
_GRACE = 15.0
"""Seconds beyond a round's own end in which a process must answer, or it is ended."""


@dataclass(frozen=True)
class Trial:
    """One attack that was carried out.

    Attributes:
        transport: what the call went over.
        outcome: how the call ended.
        service: the service that attacked, stopped by now.
        report: the round that it was part of; `None` when the process died or stopped answering.
    """

    transport: Transport
    outcome: Outcome
    service: HostileService
    report: Report | None

    def __str__(self) -> str:
        return f"{self.transport}-{self.attack}"

    @property
    def attack(self) -> Attack:
        """The attack."""
        return self.service.attack

    @property
    def harm(self) -> str | None:
        """What the round shows that any of its attacks may have done."""
        report = self.report
        if report is None:
            return "no answer"
        harms = {
            f"{report.grown / 1e6:.0f} MB": report.grown >= _MOST_MEMORY,
            f"friendly calls {report.friends}": report.friends != ["completed"] * FRIENDS,
            f"friendly calls of {report.friends_seconds:.1f} s": (
                report.friends_seconds >= _UNDISTURBED
            ),
            f"{report.busy:.1f} processor seconds": self._too_busy,
            "a call without an end": any(outcome.end == "hung" for outcome in report.outcomes),
            "a cookie that came back": self._cookies,  # one jar for all services of this machine
        }
        return ", ".join(harm for harm, seen in harms.items() if seen) or None

    @property
    def overpaid(self) -> bool:
        """Whether more payments were presented than may be."""
        return len(self.service.nonces) > self.attack.payments

    @property
    def _too_busy(self) -> bool:
        report = self.report
        if report is None:
            return False
        return report.busy >= _MOST_BUSY + _MOST_BUSY_EACH * len(report.outcomes)

    @property
    def _missed(self) -> bool:
        return self.service.attacks == 0 and not self.attack.harmless

    @property
    def hurried(self) -> bool:
        """Whether the time ran out before the attack, or before the end that it may have."""
        early = self.outcome.end == "in_progress" and "in_progress" not in self.attack.ends
        return early or self._missed

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
        assert not self.overpaid, f"{len(service.nonces)} payments"
        assert service.strays == [], f"asked for {service.strays}"
        assert not self._missed, "the attack was never carried out"
        assert not self._cookies, "a cookie came back"
        _require_safe_text(outcome.text)
        assert outcome.unsaved == "", outcome.unsaved
        assert report.grown < _MOST_MEMORY, f"{report.grown / 1e6:.0f} MB"
        assert report.friends == ["completed"] * FRIENDS, report.friends
        assert report.friends_seconds < _UNDISTURBED, report.friends_seconds
        assert not self._too_busy, f"{report.busy:.1f} processor seconds"
        if attack.holds:
            attack.holds(outcome)
        if attack.seen:
            attack.seen(service)


def _require_safe_text(text: str) -> None:
    """What a model is told is bounded, can be written down, and shows every character it has."""
    assert len(text) <= _LONGEST_TEXT, f"{len(text)} characters for the model"
    hidden = {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Co", "Cs"}}
    assert hidden == set(), f"for the model: {hidden}"


class Trials:
    """Carries attacks out, against processes that live until an attack has harmed one of them."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._friendly = Sandbox(call_seconds=0.05, balance=Decimal(10**9))
        self._callers: Callers | None = None
        self._warmed = False
        self._open = ExitStack()
        self._log = Path()

    def __enter__(self) -> Self:
        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        self._log = Path(folder) / "stderr.txt"
        self._callers = Callers(self._log)  # they import while the services start
        self._open.enter_context(self._loop)
        self._open.enter_context(self._friendly)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_callers()
        self._open.close()

    def of(self, attacks: Shares, **environment: str) -> Iterator[Trial]:
        """Carry attacks out, many at once, with these variables set.

        When a round shows harm, each of its attacks is carried out again alone, to find whose it
        was. So is an attack that a busy machine left no time for.
        """
        for several in _rounds(attacks):
            for transport, trials in self._round(several, environment).items():
                harm = next(filter(None, (trial.harm for trial in trials)), None)
                if harm is not None:
                    log.warning("%d attacks over %s: %s", len(trials), transport, harm)
                for trial in trials:
                    # No busy machine excuses a second payment.
                    clear = trial.overpaid or (harm is None and not trial.hurried)
                    if len(trials) == 1 or clear:
                        yield trial
                    else:
                        yield from self._round({transport: [trial.attack]}, environment)[transport]

    def at(self, base_url: str, transport: Transport, **environment: str) -> Outcome:
        """Return how a call to this address ends, with these variables set."""
        order = Order([Target(base_url, 1.0)], 30.0, self._friendly.base_url, environment)
        report = self._warm().play({transport: order}, 60.0)[transport]
        assert isinstance(report, Report), report
        return report.outcomes[0]

    def _round(self, attacks: Shares, environment: dict[str, str]) -> dict[Transport, list[Trial]]:
        callers = self._warm()
        services = {t: [HostileService(one) for one in share] for t, share in attacks.items()}
        with ExitStack() as running:
            for service in itertools.chain(*services.values()):
                self._loop.run(service.start())
                running.callback(self._stop, service)
            seconds = max(one.seconds for one in itertools.chain(*attacks.values()))
            url = self._friendly.base_url
            orders = {
                transport: Order(list(map(_target, share)), seconds, url, environment)
                for transport, share in services.items()
                if share
            }
            try:
                reports = callers.play(orders, seconds + _GRACE)
            except BaseException:  # somebody's patience has ended: their answers come too late
                self._end_callers()
                raise
        trials = {t: _trials(t, services[t], report) for t, report in reports.items()}
        if any(trial.harm for trial in itertools.chain(*trials.values())):
            self._end_callers()
        return trials

    def _stop(self, service: HostileService) -> None:
        self._loop.run(service.stop())

    def _warm(self) -> Callers:
        """Return processes that have imported all that they need before anything is measured."""
        if self._callers is None:
            self._callers = Callers(self._log)
        if not self._warmed:
            nobody = Order([], 30.0, self._friendly.base_url)
            for report in self._callers.play(dict.fromkeys(TRANSPORTS, nobody), 60.0).values():
                assert isinstance(report, Report), self._log.read_text()[-4000:]
                assert report.friends == ["completed"] * FRIENDS, report.friends
            self._warmed = True
        return self._callers

    def _end_callers(self) -> None:
        callers, self._callers, self._warmed = self._callers, None, False
        if callers is not None:
            callers.end()


def _target(service: HostileService) -> Target:
    attack = service.attack
    return Target(
        service.base_url,
        attack.max_wait,
        dict(attack.policy),
        attack.calls,
        attack.unanswered or (),
        attack.unended,
    )


def _rounds(attacks: Shares) -> Iterator[Shares]:
    """Each round is over all transports; where all attacks are made over each, over one."""
    at_once = 1 if _ALONE else _AT_ONCE
    for several in [{t: share} for t, share in attacks.items()] if FULL else [attacks]:
        for start in range(0, max(map(len, several.values())), at_once):
            yield {t: share[start : start + at_once] for t, share in several.items()}


def _trials(
    transport: Transport,
    services: Sequence[HostileService],
    report: Report | Literal["died", "silent"],
) -> list[Trial]:
    if isinstance(report, Report):
        pairs = zip(report.outcomes, services, strict=True)
        return [Trial(transport, outcome, service, report) for outcome, service in pairs]
    nothing = Outcome("died" if report == "died" else "hung")
    return [Trial(transport, nothing, service, None) for service in services]


def shares_of(attacks: Sequence[Attack]) -> Shares:
    """Return the attacks to make over each transport: with `CHAOS=full` all, else a third.

    An attack that is made on several legs is made over each transport on some of them, and on each
    leg each transport has some of the attacks.
    """
    if FULL:
        return dict.fromkeys(TRANSPORTS, attacks)
    names = list(dict.fromkeys(attack.name for attack in attacks))
    shares: dict[Transport, list[Attack]] = {transport: [] for transport in TRANSPORTS}
    for attack in attacks:
        turn = names.index(attack.name) + _LEGS.index(attack.leg)
        shares[TRANSPORTS[turn % len(TRANSPORTS)]].append(attack)
    return shares


LONG = pytest.mark.timeout(900)
"""For a test whose attacks may be carried out again, one after the other."""

Withstand = Callable[[Sequence[Attack]], None]
"""What the fixture `withstand` does."""
