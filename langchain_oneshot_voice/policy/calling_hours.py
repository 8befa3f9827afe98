"""CallingHours: when a person may be called, by the clock on that person's wall.

Promises that a moment counts as inside only when it is inside in every zone asked about, and that
the next moment which does is found exactly, over changes of the clocks and in zones that are off by
half an hour.

Zones come from `zoneinfo`, which reads the system's database; where a system has none (Windows,
some containers) the `tzdata` package provides it. Which zones a number may be in is left to
`numbers`.
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
"""How far ahead to look: every change of the clocks comes round in a year."""
_STRIDE = timedelta(days=7)
"""No zone changes its clocks twice in a week."""


@dataclass(frozen=True, slots=True)
class CallingHours:
    """Hours of the day, from `start` up to but not including `end`.

    A start after the end reaches over midnight.
    """

    start: time
    end: time

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M}"

    def contain(self, wall: time) -> bool:
        """Whether a clock that shows `wall` is inside."""
        if self.start < self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end

    def outside(self, zones: Iterable[ZoneInfo], moment: datetime) -> list[ZoneInfo]:
        """The zones in which `moment`, an aware datetime, is outside."""
        return [zone for zone in zones if not self.contain(moment.astimezone(zone).time())]

    def next_opening(self, zones: Sequence[ZoneInfo], after: datetime) -> datetime | None:
        """The first moment, not before `after`, that is inside in every zone.

        Between two changes of the clocks every zone keeps its distance from UTC, so that all of
        them come to `start` once in 24 hours, and one of those moments is the first inside, or
        none is.

        Returns:
            A datetime in UTC; `after` itself when that is inside. `None` when within a year the
            hours of the zones have no moment in common.
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
    """The zone of an IANA name.

    Raises:
        ValueError: when this machine knows no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(wording.setting_fault("time_zone", given=name)) from None


def _offsets(zones: Sequence[ZoneInfo], moment: datetime) -> list[timedelta]:
    """How far the clocks of each zone are from UTC at a moment."""
    return [moment.astimezone(zone).utcoffset() or timedelta(0) for zone in zones]


def _next_clock_change(zones: Sequence[ZoneInfo], begin: datetime, horizon: datetime) -> datetime:
    """The first moment after `begin` at which a zone's clocks change, or the horizon."""
    offsets = _offsets(zones, begin)
    unchanged = begin
    while unchanged < horizon:
        ahead = unchanged + _STRIDE
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
    """The second at which the zone's clocks change: after `before`, not after `after`."""
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
