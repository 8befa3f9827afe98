"""Reading what came over the wire: whatever it is, in bounded time, and without raising."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice.oneshot import reading
from langchain_oneshot_voice.oneshot.transcript import read_transcript

LARGE = 10**99
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGE, LARGE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
GARBAGE = JSON | st.text() | st.binary() | st.floats() | st.decimals() | st.integers()

NASTY: dict[str, Callable[[int], str]] = {
    "a string that never ends": lambda n: '["' + "a" * n,
    "quotes and backslashes": lambda n: '\\"' * (n // 2),
    "strings that never end": lambda n: '"[' * (n // 2),
    "open brackets": lambda n: "[" * n,
    "open objects": lambda n: '{"a":' * (n // 5),
    "empty lists": lambda n: "[" + "[]," * (n // 3) + "[]]",
    "one long number": lambda n: "1" * n,
    "half characters": lambda n: '["' + "\\ud800" * (n // 6) + '"]',
    "blanks": lambda n: " " * n,
    "lines without a label": lambda n: "a\n" * (n // 2),
    "lines with a label": lambda n: "user: a\n" * (n // 8),
    "times without an end": lambda n: "[00:12" * (n // 6),
    "colons": lambda n: ": " * (n // 2),
    "blanks before a colon": lambda n: "user" + " " * n + ":",
    "messages": lambda n: '[{"role":"user","text":"a"}' + ',{"role":"user","text":"a"}' * (n // 27),
}
"""Texts of about n characters that are slow to read if anything is."""


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("1.75", Decimal("1.75")),
        (" $1.75 ", Decimal("1.75")),
        (1.75, Decimal("1.75")),
        (0, Decimal(0)),
        ("0.000001", Decimal("0.000001")),
    ],
)
def test_money_is_read_from_strings_and_numbers(value: object, amount: Decimal) -> None:
    """An amount may be a string or a number, with a dollar sign or without."""
    assert reading.money(value) == amount


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "free",
        "NaN",
        "sNaN",
        "Infinity",
        "-1",
        "1,75",
        "1e400",
        math.nan,
        math.inf,
        -0.01,
        [],
        {},
        pytest.param(10**5000, id="an int too long to spell out"),
    ],
)
def test_what_is_no_amount_is_none(value: object) -> None:
    """What is not a finite, non-negative number is no amount; never a default."""
    assert reading.money(value) is None


@given(JSON | st.text() | st.decimals() | st.binary())
def test_money_is_finite_and_not_negative_or_nothing(value: object) -> None:
    """No input makes an amount that is NaN, infinite or below zero."""
    amount = reading.money(value)

    assert amount is None or (amount.is_finite() and amount >= 0)


@given(JSON | st.text() | st.datetimes().map(str) | st.floats() | st.integers())
def test_moment_is_aware_or_nothing(value: object) -> None:
    """No input makes a time without a zone."""
    at = reading.moment(value)

    assert at is None or at.tzinfo is not None


@pytest.mark.parametrize(
    "value", ["2027-01-01T00:00:00Z", "2027-01-01T00:00:00", 1798761600, "2027-01-01T01:00+01:00"]
)
def test_moment_is_read_from_iso_and_epoch(value: object) -> None:
    """A time may be ISO 8601, without a zone too, or epoch seconds."""
    assert reading.moment(value) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"{",
        b"\xff\xfe",
        "[" * 65 + "]" * 65,
        "[" * 100_000,
        '{"a":' * 100_000,
        '["' + '\\"[' * 100_000 + '",' + "[" * 100_000,
    ],
    ids=lambda raw: str(raw[:9]),
)
def test_what_is_no_answer_is_a_value_error(raw: str | bytes) -> None:
    """Broken or endlessly nested JSON is refused, whatever recursion limit a library has set."""
    with pytest.raises(ValueError, match=r".*"):
        reading.read_json(raw)


@given(JSON)
def test_json_is_read_as_it_was_written(value: object) -> None:
    """Anything of an ordinary depth is read back, brackets and quotes inside strings too."""
    written = json.dumps(['[{]}"\\', value])

    assert json.dumps(reading.read_json(written.encode())) == written


@pytest.mark.parametrize("number", ["1" * 101, "-" + "1" * 101, "1" * 5000])
def test_a_number_of_more_than_a_hundred_digits_is_no_answer(number: str) -> None:
    """Whatever stands beside it."""
    with pytest.raises(ValueError, match="number"):
        reading.read_json(f'{{"status": "completed", "a": {number}}}')


def test_the_deepest_answer_is_read() -> None:
    """64 levels are an answer."""
    written = "[" * 64 + "]" * 64
    assert json.dumps(reading.read_json(written)) == written


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('["\\ud83d\\ude00 \\ud83d"]', ["\U0001f600 \ufffd"]),
        ('{"\\u0000a": "\\u0000"}', {"\ufffda": "\ufffd"}),
        ('["\\\\ud800"]', ["\\ud800"]),
        ("[NaN, Infinity, -Infinity, 1e999]", [None] * 4),
        ("[" + "1" * 100 + ", 0." + "1" * 5000 + "]", [int("1" * 100), None]),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
    ids=["half a character", "NUL", "an escaped backslash", "no numbers", "digits", "names twice"],
)
def test_what_could_not_be_stored_is_replaced(written: str, read: object) -> None:
    """What a database, a header or a log can't hold does not come out of an answer."""
    assert reading.read_json(written) == read


def test_an_answer_that_is_too_large_is_not_looked_at() -> None:
    """More than 4 MiB is no answer."""
    with pytest.raises(ValueError, match="larger"):
        reading.read_json('["' + "a" * reading.LARGEST_ANSWER + '"]')


@pytest.mark.parametrize("shape", NASTY)
def test_eight_times_the_input_takes_no_sixty_times_as_long(shape: str) -> None:
    """Reading JSON and transcripts is linear; the full size takes seconds at the most."""
    took = [seconds_to_read(NASTY[shape](n)) for n in (2**16, 2**19)]
    assert took[1] < 24 * took[0] + 0.05
    assert seconds_to_read(NASTY[shape](reading.LARGEST_ANSWER)) < 30


def seconds_to_read(written: str) -> float:
    """Read a text in every way that an answer is read; the least of three times."""
    times = []
    for _ in range(3):
        began = time.process_time()
        with contextlib.suppress(ValueError):
            reading.read_json(written)
        read_transcript(written)
        reading.line(written)
        reading.money(written)
        reading.moment(written)
        reading.name(written)
        times.append(time.process_time() - began)
        if times[0] > 1:
            break
    return min(times)


@given(GARBAGE)
def test_whatever_is_read_is_what_it_says_or_nothing(value: object) -> None:
    """No input makes any of them raise, or makes text that is too long or more than a line."""
    for read in (reading.line(value), reading.name(value), *reading.lines(value)):
        assert read is None or (
            0 < len(read) <= reading.LONGEST_LINE and len(read.splitlines()) == 1
        )
    assert isinstance(reading.fields(value), dict)
    assert isinstance(reading.items(value), list)
    number = reading.seconds(value)
    assert number is None or 0 <= number < 1e9
    json.dumps(reading.excerpt(value if not isinstance(value, bytes | Decimal) else None))


@given(GARBAGE)
def test_money_has_no_more_places_than_a_page_can_show(value: object) -> None:
    """An exponent can't make a number of a million digits."""
    amount = reading.money(value)
    assert amount is None or len(f"{amount:f}") < 60


@pytest.mark.parametrize(
    "value",
    ["1e-30", "1E-999999", "1E-1000000", "1_000", "\u0661\u0662", "0x10", "1" * 5000, 1e-30, "+5"],
)
def test_what_only_python_takes_for_a_number_is_no_amount(value: object) -> None:
    """Exponents, underscores and digits of other scripts are no way to name a price."""
    assert reading.money(value) is None


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 1e12])
def test_a_time_of_another_age_is_none(value: object) -> None:
    """Such a time would overflow where it is compared with now."""
    assert reading.moment(value) is None


@pytest.mark.parametrize(
    "value", ["angebot-\u00e4\u20ac", "a\r\nb", "a b", "", "a" * 201, "\ud800", "..", 7]
)
def test_a_name_that_is_no_header_value_is_none(value: object) -> None:
    """An id that had to be changed would be the id of something else."""
    assert reading.name(value) is None
