"""Answers that are too much: bombs, long bodies, deep JSON, long numbers, slow patterns."""

from __future__ import annotations

import json
from collections.abc import Iterator

from full import FULL

from hostile import deeds, payloads
from hostile.attack import (
    Attack,
    Change,
    End,
    Leg,
    Reply,
    body,
    ends,
    field_is,
    header,
    literal_is,
)
from hostile.caller_process import Outcome
from hostile.service import HostileService
from hostile.trials import LONG, Withstand

pytestmark = LONG

HTTP_LEGS: tuple[Leg, ...] = ("quote", "paid", "poll", "receipts")
_PADS: dict[Leg, str] = {
    "quote": "context.pad",
    "paid": "pad",
    "poll": "result.pad",
    "receipts": "receipts.0.pad",
}
"""A field that nobody reads, on each leg."""


def _gzip_bomb(honest: Reply) -> Reply:
    return honest.with_body(
        payloads.bomb("gzip", payloads.BOMB, honest.body), content_encoding="gzip"
    )


def _deflate_bomb(honest: Reply) -> Reply:
    return honest.with_body(
        payloads.bomb("deflate", payloads.BOMB, honest.body), content_encoding="deflate"
    )


def _small_bomb(honest: Reply) -> Reply:
    return honest.with_body(payloads.bomb("gzip", 5, honest.body), content_encoding="gzip")


def _padded(size: int) -> Change:
    return lambda honest: honest.with_body(payloads.padded(honest.body, size))


def _asked_again(service: HostileService) -> None:
    """The job that was over a bound said that the call is over, and was not believed."""
    assert service.count("poll") == service.attacks + 1


def _over(leg: Leg) -> Iterator[Attack]:
    """What goes over a bound on a leg. But for the bound, each is the honest answer."""
    pad = _PADS[leg]
    told = leg == "receipts"
    over: dict[str, Change] = {
        "gzip-bomb": _gzip_bomb,
        "deflate-bomb": _deflate_bomb,
        "body-of-5-mb-in-5-kb": _small_bomb,
        "body-over-4-mib": _padded(payloads.LONGEST_BODY + 1),
        "100000-lists": literal_is(pad, payloads.nested(100_000)),
        "100000-objects": literal_is(pad, payloads.objects(100_000)),
        "65-levels": literal_is(pad, payloads.nested(payloads.DEEPEST + 1)),
        "header-over-8-kib": header("x-pad", "x" * (payloads.LONGEST_HEADER + 1)),
        "header-of-200-kb": header("x-pad", "x" * 200_000),
        "integer-of-5000-digits": literal_is(pad, "9" * 5_000),
        "integer-of-101-digits": literal_is(pad, "9" * (payloads.LONGEST_INTEGER + 1)),
        "negative-integer-of-5000-digits": literal_is(pad, "-" + "9" * 5_000),
        "unterminated-40-kb": body(payloads.unterminated(40_000)),
        "unterminated-400-kb": body(payloads.unterminated(400_000)),
        "brackets-without-end": body(b"[" * 400_000),
        "quotation-marks": body(b'"' * 400_001),
    }
    for name, change in over.items():
        yield Attack(
            name=name,
            leg=leg,
            change=change,
            receipts_tell=told,
            ends=_ends(leg),
            seen=_asked_again if leg == "poll" else None,
        )


def _ends(leg: Leg) -> frozenset[End]:
    usual: dict[Leg, frozenset[End]] = {"quote": ends("refused"), "poll": ends("completed")}
    return usual.get(leg, ends("unknown"))


OVER = [attack for leg in HTTP_LEGS for attack in _over(leg)]
ENDLESS = [
    Attack(
        name="body-without-end",
        leg=leg,
        deed=deeds.endless_body(b" " * 2**16),
        unanswered=(),
    )
    for leg in HTTP_LEGS
]
OVER_AND_RECEIPTS = [
    Attack(name=f"{attack.name}-and-receipts", leg="paid", change=attack.change, receipts_tell=True)
    for attack in _over("paid")
]


def _within(leg: Leg) -> Iterator[Attack]:
    """What is just within the bounds: the same answers would do, so it is the bound that counts."""
    pad = _PADS[leg]
    within: dict[str, Change] = {
        "body-under-4-mib": _padded(payloads.LONGEST_BODY - 1000),
        "60-levels": literal_is(pad, payloads.nested(58)),
        "header-under-8-kib": header("x-pad", "x" * (payloads.LONGEST_HEADER - 100)),
        "integer-of-100-digits": literal_is(pad, "9" * payloads.LONGEST_INTEGER),
    }
    for name, change in within.items():
        yield Attack(name=name, leg=leg, change=change, ends=ends("completed"), receipts_tell=True)


WITHIN = [attack for leg in HTTP_LEGS for attack in _within(leg)]


def _whole_in_the_journal(field: str, size: int) -> Attack:
    def holds(outcome: Outcome) -> None:
        assert outcome.raw_bytes <= 64 * 1024
        assert outcome.quote_raw_bytes <= 64 * 1024
        assert outcome.job[field] >= size

    value = {
        "structured_data": {f"fact {n}": "x" * 1000 for n in range(size // 1000)},
        "summary": "x" * size,
        "transcript": "\n".join(f"AI: turn {n}\nUser: yes" for n in range(5_000)),
        "unheard_of": ["x" * 1000] * (size // 1000),
    }[field]
    return Attack(
        name=f"{field}-of-{size}",
        leg="poll",
        change=field_is(f"result.{field}", value),
        holds=holds,
    )


def _bounded_quote(outcome: Outcome) -> None:
    assert outcome.quote_raw_bytes <= 64 * 1024


LARGE = [
    _whole_in_the_journal("structured_data", 300_000),
    _whole_in_the_journal("summary", 300_000),
    _whole_in_the_journal("transcript", 100_000),
    _whole_in_the_journal("unheard_of", 3_000_000),
    Attack(
        name="plan-of-300-kb",
        leg="quote",
        change=field_is("context.talking_points", ["x" * 1000] * 300),
        ends=ends("completed"),
        holds=_bounded_quote,
    ),
]
_PIECES = 50_000 if FULL else 12_000
"""A reading that takes the square of this takes longer than a round may."""
TRANSCRIPTS = [
    Attack(
        name=f"transcript-{name}",
        leg="poll",
        change=lambda honest, text=text: field_is("result.transcript", text)(honest),  # type: ignore[misc]
    )
    for name, text in payloads.cut_transcripts(_PIECES)
] + [
    Attack(
        name="transcript-list-of-lists",
        leg="poll",
        change=literal_is("result.transcript", payloads.nested(60)),
    ),
    Attack(
        name="transcript-many-messages",
        leg="poll",
        change=field_is("result.transcript", [{"role": "user", "content": "a"}] * _PIECES),
    ),
    Attack(
        name="transcript-json-in-json",
        leg="poll",
        change=field_is("result.transcript", json.dumps(json.dumps([{"role": "user"}]))),
    ),
]


def test_over_a_bound(withstand: Withstand) -> None:
    """What is over a bound is not read: no price, no verdict while waiting, `unknown` when paid."""
    withstand([*OVER, *ENDLESS, *OVER_AND_RECEIPTS])


def test_within_the_bounds(withstand: Withstand) -> None:
    """What is just within the bounds is read."""
    withstand(WITHIN)


def test_whole_in_the_journal(withstand: Withstand) -> None:
    """The artifact's `raw` is bounded, and the journal keeps all that was said."""
    withstand(LARGE)


def test_slow_transcripts(withstand: Withstand) -> None:
    """A transcript that has many readings, or no end, takes no longer to read than another."""
    withstand(TRANSCRIPTS)
