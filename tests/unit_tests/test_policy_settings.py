"""A policy from keyword arguments, a mapping or a file: read exactly, or refused with why."""

from __future__ import annotations

from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_oneshot_voice import CallPolicy, ConfigurationError

TOML = """
max_cost_per_call = 2.40
max_cost_per_day = "off"
duplicate_window = "1h30m"
calling_hours = ["09:00", "18:30"]
timezone = "America/New_York"
allowed_countries = ["us", "CA"]
allow = ["+1415", "+1 212 555 0123"]
deny = ["+1 415 555 0111"]
default_region = "us"
require_approval_above = 1
disclose_ai = false
caller_name = "Rivera's assistant"
tenant = "acme"
"""
JSON = """{
  "max_cost_per_call": 2.40, "max_cost_per_day": null, "duplicate_window": 5400,
  "calling_hours": "9:00-18:30", "timezone": "America/New_York",
  "allowed_countries": ["US", "ca"], "allow": ["+1 (415)", "+12125550123"],
  "deny": ["+14155550111"], "default_region": "US", "require_approval_above": "1",
  "disclose_ai": false, "caller_name": "Rivera's assistant", "tenant": "acme"
}"""
MEANT = CallPolicy(
    max_cost_per_call=Decimal("2.40"),
    max_cost_per_day=None,
    duplicate_window=timedelta(minutes=90),
    calling_hours=(time(9), time(18, 30)),
    timezone="America/New_York",
    allowed_countries=frozenset({"US", "CA"}),
    allow=("+1415", "+12125550123"),
    deny=("+14155550111",),
    default_region="US",
    require_approval_above=Decimal(1),
    disclose_ai=False,
    caller_name="Rivera's assistant",
    tenant="acme",
)


@pytest.mark.parametrize(("name", "written"), [("calls.toml", TOML), ("calls.JSON", JSON)])
def test_policy_is_read_from_a_file(tmp_path: Path, name: str, written: str) -> None:
    """A TOML and a JSON file can say all that keyword arguments can, `check` apart."""
    path = tmp_path / name
    path.write_text(written, encoding="utf-8")
    assert (CallPolicy.load(path), CallPolicy.load(str(path))) == (MEANT, MEANT)


def test_policy_is_read_from_a_mapping() -> None:
    """A mapping of settings, and what a policy is dumped to, make the same policy again."""
    assert CallPolicy.load(MEANT.model_dump()) == MEANT
    assert CallPolicy.load(MEANT.model_dump(mode="json")) == MEANT


@pytest.mark.parametrize(
    ("name", "written", "why"),
    [
        ("absent.toml", None, "No such file"),
        ("calls.yaml", "max_cost_per_call: 3", r"\.toml or \.json"),
        ("calls.toml", "max_cost_per_call = ", "Invalid value"),
        ("calls.json", "{'a': 1}", "property name"),
        ("calls.json", "[1]", "not contain an object"),
        ("calls.json", '{"max_cost_per_day": 1, "max_cost_per_day": 9}', "given twice"),
        ("calls.json", b"\xff\xfe", "utf-8"),
        ("calls.toml", "max_cost = 3", "no 'max_cost'"),
        ("calls.toml", "max_cost_per_call = -1\ncalling_hours = [8, 21]", "call: .*calling_hours:"),
    ],
)
def test_file_that_is_wrong_is_named_with_the_reason(
    tmp_path: Path, name: str, written: str | bytes | None, why: str
) -> None:
    """A file that can't be read or used is named, with everything that is wrong in it."""
    path = tmp_path / name
    if written is not None:
        path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(ConfigurationError, match=why) as refused:
        CallPolicy.load(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("unknown", [{"max_cost": 3}, {"Deny": ["+1415"]}, {"calling hours": None}])
def test_unknown_setting_is_named_with_the_known_ones(unknown: dict[str, Any]) -> None:
    """A misspelled limit is no limit: the error names it and what there is instead."""
    (name,) = unknown
    with pytest.raises(ValueError, match=f"no {name!r}.*calling_hours, check, default_region"):
        CallPolicy(**unknown)


def test_misspelled_setting_gets_a_suggestion() -> None:
    """The nearest known name is offered."""
    with pytest.raises(ConfigurationError, match="did you mean allowed_countries"):
        CallPolicy.load({"allowed_country": ["US"]})


@pytest.mark.parametrize(
    ("written", "window"),
    [
        (600, timedelta(minutes=10)),
        ("600", timedelta(minutes=10)),
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("1d 12h", timedelta(hours=36)),
        ("PT10M", timedelta(minutes=10)),
        ("off", None),
    ],
)
def test_duration_is_written_as_people_do(written: object, window: timedelta | None) -> None:
    """Seconds, units, ISO 8601, or off."""
    assert CallPolicy.load({"duplicate_window": written}).duplicate_window == window


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        ("08:00-21:00", (time(8), time(21))),
        ("8:00 - 21:00", (time(8), time(21))),
        ("22:00\u201306:00", (time(22), time(6))),
        (["08:30", "20:15"], (time(8, 30), time(20, 15))),
        ((time(8), time(21)), (time(8), time(21))),
        ("off", None),
        (None, None),
    ],
)
def test_hours_are_written_as_people_do(written: object, hours: tuple[time, time] | None) -> None:
    """A string with a dash, or two times, by day or over midnight."""
    assert CallPolicy.load({"calling_hours": written}).calling_hours == hours


@pytest.mark.parametrize(
    "wrong",
    [
        {"calling_hours": "08:00-08:00"},
        {"calling_hours": [8, 21]},
        {"calling_hours": "8-21"},
        {"calling_hours": "08:00"},
        {"calling_hours": "08:00-24:00"},
        {"calling_hours": ["08:00Z", "21:00Z"]},
        {"duplicate_window": "10 minutes"},
        {"duplicate_window": -1},
        {"timezone": "EST in winter"},
        {"allowed_countries": ["UK"]},
        {"allowed_countries": "US"},
        {"default_region": "USA"},
        {"allow": ["415"]},
        {"allow": "+1415"},
        {"deny": ["+44 (0)20"]},
        {"deny": "off"},
        {"require_approval_above": -1},
        {"caller_name": ""},
        {"caller_name": "x" * 101},
        {"check": "a string"},
    ],
)
def test_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """What could be misread, or would protect nobody, is an error that names the setting."""
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=name):
        CallPolicy.load(wrong)


def test_check_of_the_application_is_never_written_out() -> None:
    """A function has no place in a dump, in a repr, or in the schema of a file."""
    policy = CallPolicy(check=print)
    assert "check" not in policy.model_dump()
    assert "check" not in repr(policy)
    assert "check" not in CallPolicy.model_json_schema()["properties"]
