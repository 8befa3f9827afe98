"""Reports the outcomes of calls over time from the journal: rows, days and a plot.

`calls_frame()` only reads the journal and never asks the service. Rows and days are plain
dataclasses. `to_pandas()` returns a DataFrame if pandas is installed, and `plot()` a figure with
the extra `plot`. Numbers are masked, and no words of a call are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallJournal, CallRecord, CallState
from langchain_oneshot_voice.oneshot.results import read_result
from langchain_oneshot_voice.schemas import AnsweredBy, mask_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Outcome = Literal["success", "failure", "unclear", "open", "refused"]
"""The outcome of a call.

- `success`, `failure`: the call was placed, and did or did not achieve its objective.
- `unclear`: the call has ended, and it is not known whether it achieved its objective, or its
  outcome was erased.
- `open`: the call is in progress, waits for a person, or its end is not known.
- `refused`: the call was not placed, and nothing was charged.
"""

_COLOURS: dict[Outcome, str] = {
    "success": "#2da44e",
    "failure": "#cf222e",
    "unclear": "#bf8700",
    "open": "#0969da",
    "refused": "#8c959f",
}

_DAYS_NAMED = 6
"""Limit for the dates under a plot."""
_FEWEST_BARS = 4
"""A plot has room for at least this many bars, so that a single bar is not too wide."""

HEADINGS = ("Day", "Calls", "Came to", "Minutes", "Cost", "Credit back")
"""The headings of the columns of `cells`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One call.

    Attributes:
        asked_at: the time of the request.
        numbers: the called numbers, masked; empty after they were erased.
        state: the state in the journal.
        outcome: the outcome.
        answered_by: who answered.
        duration_seconds: the duration, in seconds; `None` if it is not known.
        cost: US dollars charged or reserved.
        credit_issued: US dollars credited back for unused minutes.
        error_code: why the call was refused, or why its end is not known.
        request_id: the service's id of the call.
    """

    asked_at: datetime
    numbers: tuple[str, ...]
    state: CallState
    outcome: Outcome
    answered_by: AnsweredBy
    duration_seconds: Decimal | None
    cost: Decimal
    credit_issued: Decimal
    error_code: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRow:
    """The calls of one day.

    Attributes:
        day: the day, in the frame's time zone.
        calls: the number of calls.
        outcomes: the number of calls with each outcome.
        minutes: the total duration of the calls.
        cost: US dollars charged or reserved.
        credit_issued: US dollars credited back.
    """

    day: date
    calls: int
    outcomes: Counter[Outcome]
    minutes: Decimal
    cost: Decimal
    credit_issued: Decimal


@dataclass(frozen=True)
class CallsFrame:
    """Calls, oldest first.

    Attributes:
        rows: one for each call.
        zone: the time zone of the days.
    """

    rows: tuple[CallRow, ...] = field(repr=False)
    zone: tzinfo = UTC

    @property
    def days(self) -> tuple[DayRow, ...]:
        """One row for each day with calls, oldest first."""
        by_day: dict[date, list[CallRow]] = {}
        for row in self.rows:
            by_day.setdefault(row.asked_at.astimezone(self.zone).date(), []).append(row)
        return tuple(_day(day, rows) for day, rows in sorted(by_day.items()))

    def to_pandas(self) -> Any:  # noqa: ANN401 - a DataFrame, of an optional package
        """Return the rows as a DataFrame.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            from pandas import DataFrame  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise wording.frame_needs_pandas() from missing
        return DataFrame(map(asdict, self.rows), columns=[f.name for f in fields(CallRow)])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Plot the spend per day, the outcomes per day and the durations.

        Args:
            path: the file to save the plot to; its extension sets the format.

        Raises:
            ConfigurationError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
        except ImportError as missing:
            raise wording.plot_needs_matplotlib() from missing
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        spend, outcomes, duration = figure.subplots(1, 3)
        _plot_spend(spend, self.days)
        _plot_outcomes(outcomes, self.days)
        _plot_duration(duration, self.rows)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _repr_html_(self) -> str:
        """Return the days as a table for a notebook."""
        # These classes keep MathJax from reading two dollar signs as a formula.
        return (
            '<table class="tex2jax_ignore mathjax_ignore"><thead>'
            f"{_html_row('th', HEADINGS)}</thead><tbody>"
            f"{''.join(_html_row('td', cells(day)) for day in self.days)}</tbody></table>"
        )


def cells(day: DayRow) -> list[str]:
    """Return the cells of a day, in the order of `HEADINGS`."""
    came_to = [f"{day.outcomes[kind]} {kind}" for kind in _COLOURS if day.outcomes[kind]]
    return [
        day.day.isoformat(),
        str(day.calls),
        ", ".join(came_to),
        f"{day.minutes:.1f}",
        f"${day.cost:.2f}",
        f"${day.credit_issued:.2f}",
    ]


def calls_frame(
    journal: CallJournal | str | Path | None = None,
    *,
    days: float | None = None,
    limit: int = 10_000,
    tenant: str | None = None,
    zone: tzinfo = UTC,
) -> CallsFrame:
    """Read the calls of a journal.

    Args:
        journal: a journal, or an address for `CallJournal`; by default the user's own journal.
        days: only calls of the last `days` days; `None` for all.
        limit: the maximum number of calls; the latest are kept.
        tenant: only calls of this tenant; `None` for all.
        zone: the time zone of the days.

    Raises:
        JournalUnavailableError: the journal is not readable.
    """
    records = ENGINE.call(_recent, journal, limit, tenant)
    since = datetime.now(UTC) - timedelta(days=days) if days is not None else None
    rows = [_row(record) for record in reversed(records)]
    return CallsFrame(tuple(r for r in rows if since is None or r.asked_at >= since), zone)


async def _recent(
    journal: CallJournal | str | Path | None, limit: int, tenant: str | None
) -> list[CallRecord]:
    if isinstance(journal, CallJournal):
        return await journal.recent(limit=limit, tenant=tenant)  # noqa: ASYNC240 - a journal, not a Path
    book = CallJournal(journal)
    try:
        return await book.recent(limit=limit, tenant=tenant)
    finally:
        await book.aclose()


def _row(record: CallRecord) -> CallRow:
    result = read_result(record.job or {}, request_id=record.request_id)
    charged = record.charged if record.charged is not None else result.cost.charged
    return CallRow(
        asked_at=datetime.fromtimestamp(record.created_at, UTC),
        numbers=tuple(map(mask_number, record.numbers)),
        state=record.state,
        outcome=_outcome(record, result.call_successful),
        answered_by=result.answered_by,
        duration_seconds=result.duration_seconds,
        cost=charged if charged is not None else record.reserved,
        credit_issued=result.cost.credit_issued or Decimal(0),
        error_code=record.error_code or result.error_code,
        request_id=record.request_id,
    )


def _outcome(record: CallRecord, successful: str) -> Outcome:
    if record.state == "refused":
        return "refused"
    if record.state != "done":
        return "open"
    if successful == "success":
        return "success"
    return "failure" if successful == "failure" else "unclear"


def _day(day: date, rows: list[CallRow]) -> DayRow:
    return DayRow(
        day=day,
        calls=len(rows),
        outcomes=Counter(row.outcome for row in rows),
        minutes=sum((r.duration_seconds or Decimal(0) for r in rows), Decimal(0)) / 60,
        cost=sum((row.cost for row in rows), Decimal(0)),
        credit_issued=sum((row.credit_issued for row in rows), Decimal(0)),
    )


def _html_row(kind: str, words: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(word)}</{kind}>' for word in words)}</tr>"


def _plot_spend(axes: Axes, days: tuple[DayRow, ...]) -> None:
    kept = [float(day.cost - day.credit_issued) for day in days]
    back = [float(day.credit_issued) for day in days]
    axes.bar(range(len(days)), kept, color="#0969da", label="kept by the service", width=0.6)
    axes.bar(range(len(days)), back, bottom=kept, color="#a5c9f5", label="credited back", width=0.6)
    axes.set(title="Spend per day", ylabel="US dollars")
    _finish(axes, days)


def _plot_outcomes(axes: Axes, days: tuple[DayRow, ...]) -> None:
    below = [0] * len(days)
    for outcome, colour in _COLOURS.items():
        counts = [day.outcomes[outcome] for day in days]
        if any(counts):
            axes.bar(range(len(days)), counts, bottom=below, color=colour, label=outcome, width=0.6)
            below = [a + b for a, b in zip(below, counts, strict=True)]
    axes.set(title="Outcomes per day", ylabel="calls")
    _finish(axes, days, whole=True)


def _plot_duration(axes: Axes, rows: tuple[CallRow, ...]) -> None:
    minutes = [float(r.duration_seconds / 60) for r in rows if r.duration_seconds is not None]
    axes.hist(minutes, bins=min(max(len(minutes), 1), 12), color="#8250df", edgecolor="white")
    axes.set(title="Duration", xlabel="minutes", ylabel="calls")
    _finish(axes, (), whole=True)


def _finish(axes: Axes, days: tuple[DayRow, ...], *, whole: bool = False) -> None:
    """Remove unneeded lines, and put dates under the plot, as many as fit."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - an optional extra

    axes.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if days:
        named = range(0, len(days), 1 + (len(days) - 1) // _DAYS_NAMED)
        axes.set_xticks(named, [f"{days[at].day:%d %b}" for at in named])
        axes.set_xlim(-0.6, max(len(days), _FEWEST_BARS) - 0.4)
        axes.legend(frameon=False, fontsize=8)
        axes.margins(y=0.35)  # room for the legend above the bars
