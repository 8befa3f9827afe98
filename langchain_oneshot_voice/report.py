"""What calls came to, over time: rows, days and a plot, from the journal.

`calls_frame()` reads; nothing here writes or asks the service. Rows and days are plain dataclasses;
`to_pandas()` makes a DataFrame where pandas is installed, and `plot()` a figure with the extra
`plot`. Numbers are masked, and nothing that was said on the phone is repeated.
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
"""What a call came to.

- `success`, `failure`: it took place or was tried, and achieved its objective or not.
- `unclear`: it took place, and whether it achieved its objective is not known; or it is over and
  its outcome was forgotten.
- `open`: it is still under way, waits for someone, or nobody knows its end.
- `refused`: it was not made, and nothing was charged.
"""

_COLOURS: dict[Outcome, str] = {
    "success": "#2da44e",
    "failure": "#cf222e",
    "unclear": "#bf8700",
    "open": "#0969da",
    "refused": "#8c959f",
}

_DAYS_NAMED = 6
"""Days that have their name under a plot."""
_FEWEST_BARS = 4
"""Bars that a plot has room for; with fewer it stays empty rather than broad."""

HEADINGS = ("Day", "Calls", "Came to", "Minutes", "Cost", "Credit back")
"""What `cells` has a word for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One call.

    Attributes:
        asked_at: when it was asked for.
        numbers: who was called, masked; empty once forgotten.
        state: how far it has come.
        outcome: what it came to.
        answered_by: who picked up.
        duration_seconds: how long it took.
        cost: US dollars charged or reserved for it.
        credit_issued: US dollars that came back for unused minutes.
        error_code: why it was refused or is unknown.
        request_id: the service's id of it.
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
        calls: how many were asked for.
        outcomes: how many came to what.
        minutes: on the phone, all calls together.
        cost: US dollars charged or reserved.
        credit_issued: US dollars that came back.
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
        zone: the time zone in which days begin.
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

    def to_pandas(self) -> Any:  # noqa: ANN401 - a DataFrame, of a package that may not be there
        """The rows as a DataFrame.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        try:
            from pandas import DataFrame  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise wording.frame_needs_pandas() from missing
        return DataFrame(map(asdict, self.rows), columns=[f.name for f in fields(CallRow)])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Spend per day, outcomes per day, and how long calls take.

        Args:
            path: where to save it; the ending names the format.

        Raises:
            ConfigurationError: when matplotlib is not installed.
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
        """The days as a table, in a notebook."""
        # The name keeps MathJax from reading two dollar signs as a formula.
        return (
            '<table class="tex2jax_ignore mathjax_ignore"><thead>'
            f"{_html_row('th', HEADINGS)}</thead><tbody>"
            f"{''.join(_html_row('td', cells(day)) for day in self.days)}</tbody></table>"
        )


def cells(day: DayRow) -> list[str]:
    """A day as words, under `HEADINGS`."""
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
    """The calls that a journal knows.

    Args:
        journal: a journal, or what `CallJournal` takes to open one; by default the user's own.
        days: only calls of the last so many days.
        limit: at most so many, the latest.
        tenant: only calls of this tenant.
        zone: the time zone in which days begin.

    Raises:
        JournalUnavailableError: when the journal can't be read.
    """
    records = ENGINE.call(_recent, journal, limit, tenant)
    since = datetime.now(UTC) - timedelta(days=days) if days is not None else None
    rows = [_row(record) for record in reversed(records)]
    return CallsFrame(tuple(r for r in rows if since is None or r.asked_at >= since), zone)


async def _recent(
    journal: CallJournal | str | Path | None, limit: int, tenant: str | None
) -> list[CallRecord]:
    if isinstance(journal, CallJournal):
        return await journal.recent(limit=limit, tenant=tenant)  # noqa: ASYNC240 - no Path at all
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
    """Only the lines that are needed; days along the bottom, as many of them named as fit."""
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
