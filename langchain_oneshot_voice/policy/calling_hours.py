"""CallingHours: the hours in which a person may be called, in that person's local time.

A moment is inside only if it is inside in every given time zone. The next such moment is exact,
across clock changes and in zones with a half-hour offset.

Time zones come from `zoneinfo`, which reads the system's database. On systems without one (Windows,
some containers) the `tzdata` package provides it. `numbers.py` finds the zones of a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from langchain_oneshot_voice import wording

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_HORIZON = timedelta(days=366)
"""How far ahead to look: a year contains every regular clock change."""
_STEP = timedelta(days=7)
"""The step between two comparisons: no zone changes its clocks twice in a week."""


@dataclass(frozen=True, slots=True)
class CallingHours:
    """Hours of the day, from `start` up to, but not including, `end`.

    If `start` is after `end`, the hours include midnight.
    """

    start: time
    end: time

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M}"

    def contain(self, wall: time) -> bool:
        """Return whether the local time `wall` is inside."""
        if self.start < self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end

    def outside(self, zones: Iterable[ZoneInfo], moment: datetime) -> list[ZoneInfo]:
        """Return the zones in which `moment`, an aware datetime, is outside the hours."""
        return [zone for zone in zones if not self.contain(moment.astimezone(zone).time())]

    def next_opening(self, zones: Sequence[ZoneInfo], after: datetime) -> datetime | None:
        """Return the first moment, not before `after`, that is inside in every zone.

        Between two clock changes the UTC offset of every zone is constant, so each zone reaches
        `start` once in 24 hours. If any moment is inside in every zone, the first one is either the
        beginning of the period or one of these starts.

        Returns:
            A datetime in UTC; `after` itself if it is inside. `None` if the hours of the zones have
            no common moment within a year.
        """
        begin = after.astimezone(UTC)
        horizon = begin + _HORIZON
        while begin < horizon:
            until = _next_clock_change(zones, begin, horizon)
            offsets = set(_offsets(zones, begin))
            starts = {begin + self._time_to_start(begin + offset) for offset in offsets}
            for moment in sorted({begin, *starts}):
                if moment < until and all(
                    self.contain((moment + offset).time()) for offset in offsets
                ):
                    return moment
            begin = until
        return None

    def _time_to_start(self, wall: datetime) -> timedelta:
        return (datetime.combine(wall, self.start, UTC) - wall) % _DAY


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone with this IANA name.

    Raises:
        ValueError: this machine has no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(wording.setting_fault("time_zone", given=name)) from None


def _offsets(zones: Sequence[ZoneInfo], moment: datetime) -> list[timedelta]:
    """Return the UTC offset of each zone at a moment."""
    return [moment.astimezone(zone).utcoffset() or timedelta(0) for zone in zones]


def _next_clock_change(zones: Sequence[ZoneInfo], begin: datetime, horizon: datetime) -> datetime:
    """Return the first moment after `begin` when a zone changes its clocks, or the horizon."""
    offsets = _offsets(zones, begin)
    unchanged = begin
    while unchanged < horizon:
        ahead = unchanged + _STEP
        changed = [
            zone
            for zone, offset in zip(zones, offsets, strict=True)
            if _offsets([zone], ahead) != [offset]
        ]
        if changed:
            return min(_clock_change(zone, unchanged, ahead) for zone in changed)
        unchanged = ahead
    return horizon


def _clock_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the second when the zone changes its clocks: after `before`, at the latest `after`."""
    # A binary search over seconds: at `low` the offset is the old one, at `high` it is not.
    offset = _offsets([zone], before)
    whole = before.replace(microsecond=0)
    low, high = 0, (after - whole) // _SECOND + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _offsets([zone], whole + middle * _SECOND) == offset:
            low = middle
        else:
            high = middle
    return whole + high * _SECOND
