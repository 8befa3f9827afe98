"""Amounts that are none, on each place where money is told; and claims that must not lift a cap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from hostile import honest
from hostile.attack import Attack, Change, Reply, ends, field_is, literal_is, together
from hostile.caller_process import Outcome
from hostile.service import HostileService
from hostile.trials import LONG, Withstand

pytestmark = LONG

NO_MONEY: dict[str, object] = {
    "nan": "NaN",
    "signalling-nan": "sNaN",
    "infinity": "Infinity",
    "negative": "-1.75",
    "negative-number": -1.75,
    "arabic-digits": "\u0661.\u0667\u0665",
    "fullwidth-digits": "\uff11.\uff17\uff15",
    "underscores": "0_1.75",
    "underscores-within": "1_000.00",
    "5000-digits": "9" * 5_000,
    "huge": "1E+999999",
    "words": "a dollar",
    "surrogate": "\ud800",
    "true": True,
    "list": ["1.75"],
    "object": {"amount": "1.75"},
}
"""What is no amount of US dollars."""

LITERALS = {
    "literal-nan": "NaN",
    "literal-infinity": "Infinity",
    "literal-negative-infinity": "-Infinity",
    "literal-1e400": "1e400",
    "literal-1e999999": "1e999999",
    "literal-1e-999999": "1e-999999",
    "literal-5000-decimals": "0." + "3" * 5_000,
}
TINY = {"tiny": "1E-1000000", "tinier": "1e-30", "5000-decimals": "0." + "3" * 5_000}
AMOUNTS: dict[str, object] = {
    "nan": "NaN",
    "negative": "-1750000",
    "exponent": "1e6",
    "underscores": "1_750_000",
    "arabic-digits": "\u0661",
    "5000-digits": "9" * 5_000,
    "hexadecimal": "0x1",
    "plus": "+1750000",
    "space": " 1750000",
    "number": 1_750_000,
    "decimal": "1750000.0",
    "more-than-the-quote": "1750001",
}
_TOLD = {"cost": "charged", "credit_issued": "credit_issued"}


def _unknown(field: str) -> Callable[[Outcome], None]:
    def holds(outcome: Outcome) -> None:
        assert outcome.artifact["cost"][field] is None

    return holds


def _small_or_unknown(field: str) -> Callable[[Outcome], None]:
    def holds(outcome: Outcome) -> None:
        told = outcome.artifact["cost"][field]
        assert told is None or 0 <= Decimal(told) < 1

    return holds


def _totals() -> Iterator[Attack]:
    for name, value in NO_MONEY.items():
        yield Attack(name=f"total-{name}", leg="quote", change=field_is("context.total", value))
    for name, literal in LITERALS.items():
        yield Attack(name=f"total-{name}", leg="quote", change=literal_is("context.total", literal))
    for name, value in TINY.items():  # less than the header asks for
        yield Attack(name=f"total-{name}", leg="quote", change=field_is("context.total", value))
    for name, value in AMOUNTS.items():
        yield Attack(name=f"amount-{name}", leg="quote", change=_amount(value))
    for literal in ("-1", "1e400", "NaN"):
        seconds = honest.required(honest.TERMS | {"maxTimeoutSeconds": float(literal)})
        yield Attack(name=f"lifetime-{literal}", leg="quote", change=_terms(seconds))


def _amount(value: object) -> Change:
    return _terms(honest.required(honest.TERMS | {"amount": value}))


def _terms(required: str) -> Change:
    return lambda reply: Reply(reply.status, reply.body, (("payment-required", required),))


def _other_numbers() -> Iterator[Attack]:
    """Numbers of the plan that nobody pays: taken or left, but never in the way."""
    fields = (
        "estimated_duration_minutes",
        "complexity_score",
        "pipeline_fee",
        "phone_registration_fee",
        "estimated_call_cost",
    )
    extremes = {"zero": "0", "1e-30": "1e-30", "1E-999999": "1E-999999", "1E-1000000": "1E-1000000"}
    for field in fields:
        values: dict[str, Any] = NO_MONEY | extremes
        for name, value in values.items():
            yield Attack(
                name=f"{field}-{name}",
                leg="quote",
                change=field_is(f"context.{field}", value),
                ends=ends("completed", "refused"),
            )
        for name, literal in LITERALS.items():
            yield Attack(
                name=f"{field}-{name}",
                leg="quote",
                change=literal_is(f"context.{field}", literal),
                ends=ends("completed", "refused"),
            )


def _told_amounts() -> Iterator[Attack]:
    for field, ours in _TOLD.items():
        path = f"result.{field}"
        for name, value in NO_MONEY.items():
            yield _told(f"{field}-{name}", field_is(path, value), _unknown(ours))
        for name, value in TINY.items():
            yield _told(f"{field}-{name}", field_is(path, value), _small_or_unknown(ours))
        for name, literal in LITERALS.items():
            holds = _small_or_unknown if name.startswith("literal-1e-") else _unknown
            holds = _small_or_unknown if "decimals" in name else holds
            yield _told(f"{field}-{name}", literal_is(path, literal), holds(ours))
    for name, value in (NO_MONEY | TINY).items():
        path = "result.duration_seconds"
        yield _told(f"duration-{name}", field_is(path, value), lambda _: None)


def _told(name: str, change: Change, holds: Callable[[Outcome], None]) -> Attack:
    return Attack(name=name, leg="poll", change=change, times=None, holds=holds)


def _paid_once(service: HostileService) -> None:
    assert len(service.nonces) == 1


CLAIMS: dict[str, Change] = {
    "cost-0": field_is("result.cost", "0"),
    "cost-number-0": field_is("result.cost", 0),
    "cost-a-cent": field_is("result.cost", "0.01"),
    "cost-negative": field_is("result.cost", "-100"),
    "credit-of-all": field_is("result.credit_issued", honest.TOTAL),
    "credit-of-more": field_is("result.credit_issued", "1000"),
    "cost-0-and-credit": together(
        field_is("result.cost", "0"), field_is("result.credit_issued", honest.TOTAL)
    ),
    "failed-at-no-cost": together(field_is("status", "failed"), field_is("result.cost", "0")),
}
CAPPED = [
    Attack(
        name=f"cap-{name}",
        leg="poll",
        change=change,
        times=None,
        calls=2,
        policy={"max_cost_per_day": "3"},
        ends=ends("unpaid"),
        seen=_paid_once,
    )
    for name, change in CLAIMS.items()
]
AMOUNTS_TOLD = [*_totals(), *_other_numbers(), *_told_amounts()]


def test_strange_amounts(withstand: Withstand) -> None:
    """What is no amount is no price, no cost and no credit; elsewhere it is in nobody's way."""
    withstand(AMOUNTS_TOLD)


def test_claims_lift_no_cap(withstand: Withstand) -> None:
    """A result that claims to have cost nothing leaves the day's limit where it was."""
    withstand(CAPPED)
