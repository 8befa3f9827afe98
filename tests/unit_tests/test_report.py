"""What calls came to over time: rows, days, a table and a plot, out of the journal."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langchain_oneshot_voice import CallJournal, ConfigurationError
from langchain_oneshot_voice.commands import app
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import NewCall
from langchain_oneshot_voice.report import CallRow, CallsFrame, calls_frame

NUMBER = "+14155550100"
JOB = {
    "status": "completed",
    "result": {
        "outcome": "reached_person",
        "success_evaluation": "pass",
        "duration_seconds": 90,
        "cost": "1.75",
        "credit_issued": "1.05",
        "transcript": "User: my secret is 1234",
    },
}
FAILED = {"status": "failed", "error_code": "provider_unavailable"}


def row(day: int, hour: int = 12, **changes: Any) -> CallRow:
    """A call of a day in November."""
    usual: dict[str, Any] = {
        "asked_at": datetime(2026, 11, day, hour, tzinfo=UTC),
        "numbers": ("+14*******00",),
        "state": "done",
        "outcome": "success",
        "answered_by": "person",
        "duration_seconds": Decimal(90),
        "cost": Decimal("1.75"),
        "credit_issued": Decimal("1.05"),
        "error_code": None,
        "request_id": "req_1",
    }
    return CallRow(**usual | changes)


async def _make(journal: CallJournal, key: str, job: dict[str, Any] | None) -> None:
    call = NewCall(
        call_key=key,
        account="0xa",
        base_url="http://127.0.0.1",
        numbers=(NUMBER,),
        fingerprint=key,
        request={"objective": "a secret errand"},
    )
    await journal.claim(call, owner="w", duplicate_window=0)
    if job is None:
        await journal.move(key, owner="w", to="refused", error_code="budget_exceeded")
        return
    await journal.move(key, owner="w", to="placed", request_id=f"req_{key}")
    charged = Decimal("1.75") if job is JOB else None
    await journal.move(key, owner="w", to="done", job=job, answered=True, charged=charged)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A journal of three calls: one good, one failed, one refused."""
    path = tmp_path / "calls.sqlite"

    async def fill() -> None:
        journal = CallJournal(path)
        for key, job in (("a", JOB), ("b", FAILED), ("c", None)):
            await _make(journal, key, job)
        await journal.aclose()

    ENGINE.call(fill)
    return path


def test_rows_say_what_each_call_came_to(filled: Path) -> None:
    """A row for each call, oldest first, with its outcome, cost and duration."""
    rows = calls_frame(filled).rows

    assert [r.outcome for r in rows] == ["success", "failure", "refused"]
    assert (rows[0].cost, rows[0].credit_issued) == (Decimal("1.75"), Decimal("1.05"))
    assert (rows[0].duration_seconds, rows[0].answered_by) == (Decimal(90), "person")
    assert [r.error_code for r in rows] == [None, "provider_unavailable", "budget_exceeded"]


def test_rows_repeat_no_number_and_no_speech(filled: Path) -> None:
    """A report can be shown around: numbers are masked, and what was said stays in the journal."""
    shown = repr(calls_frame(filled)) + calls_frame(filled)._repr_html_()

    assert NUMBER not in shown
    assert "secret" not in shown


async def test_frame_can_be_read_inside_a_running_loop(filled: Path) -> None:
    """As in a notebook, and from a journal that is open already."""
    journal = CallJournal(filled)

    assert len(calls_frame(journal).rows) == 3
    await journal.aclose()


def test_days_before_are_left_out(filled: Path) -> None:
    """Only the last so many days are looked at, where that is asked for."""
    assert calls_frame(filled, days=0).rows == ()
    assert len(calls_frame(filled, days=1).rows) == 3


def test_days_add_up() -> None:
    """A day has the sums of its calls."""
    frame = CallsFrame((row(1), row(1, outcome="failure", cost=Decimal(2)), row(3)))
    first, second = frame.days

    assert (first.day, second.day) == (date(2026, 11, 1), date(2026, 11, 3))
    assert first.outcomes == Counter(success=1, failure=1)
    assert (first.calls, first.cost, first.minutes) == (2, Decimal("3.75"), Decimal(3))


def test_days_begin_in_the_zone_asked_for() -> None:
    """Late in the evening in UTC is the next day further east."""
    east = timezone(timedelta(hours=9))

    assert CallsFrame((row(1, hour=20),), east).days[0].day == date(2026, 11, 2)


def test_plot_is_saved(tmp_path: Path) -> None:
    """The plot is a picture of three panels."""
    frame = CallsFrame((row(1), row(2, outcome="failure"), row(3, duration_seconds=None)))
    figure = frame.plot(tmp_path / "calls.png")

    assert (tmp_path / "calls.png").read_bytes().startswith(b"\x89PNG")
    assert [a.get_title() for a in figure.axes] == ["Spend per day", "Outcomes per day", "Duration"]


def test_empty_frame_can_be_shown_and_plotted(tmp_path: Path) -> None:
    """No calls are no error."""
    CallsFrame(()).plot(tmp_path / "none.svg")

    assert "<table" in CallsFrame(())._repr_html_()


@pytest.mark.parametrize(("package", "method"), [("matplotlib", "plot"), ("pandas", "to_pandas")])
def test_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, method: str
) -> None:
    """Without the optional package, an error says what to install."""
    for module in [package, f"{package}.figure"]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigurationError, match="pip install"):
        getattr(CallsFrame(()), method)()


def test_command_prints_the_days(filled: Path, tmp_path: Path) -> None:
    """`oneshot-voice report` has a line a day, and saves the plot where it is told to."""
    plot = tmp_path / "calls.svg"
    done = CliRunner().invoke(app, ["report", "--journal", str(filled), "--plot", str(plot)])

    assert done.exit_code == 0
    assert all(words in done.output for words in ("1 success", "1 failure", "refused"))
    assert "$1.75" in done.output
    assert "<svg" in plot.read_text()


def test_command_says_when_there_is_nothing(tmp_path: Path) -> None:
    """An empty journal is no error."""
    done = CliRunner().invoke(app, ["report", "--journal", str(tmp_path / "none.sqlite")])

    assert (done.exit_code, done.output.strip()) == (0, "No calls in this time.")


def test_command_refuses_a_plot_that_it_can_not_save(filled: Path, tmp_path: Path) -> None:
    """A format that does not exist, or a folder that does not, is said in one line."""
    for name in ("calls.nonsense", "no/such/folder.png"):
        command = ["report", "--journal", str(filled), "--plot", str(tmp_path / name)]
        assert CliRunner().invoke(app, command).exit_code == 2
