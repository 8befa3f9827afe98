"""When a person may be called: at the edges of the hours, over midnight, and when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice.policy.calling_hours import CallingHours, read_zone

DAY = CallingHours(time(8), time(21))
NIGHT = CallingHours(time(22), time(6))


def utc(text: str) -> datetime:
    """A moment, written in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def zones(*names: str) -> list[ZoneInfo]:
    """The zones of these names."""
    return [read_zone(name) for name in names]


@pytest.mark.parametrize(
    ("hours", "wall", "inside"),
    [
        (DAY, "07:59:59.999999", False),
        (DAY, "08:00", True),
        (DAY, "20:59:59.999999", True),
        (DAY, "21:00", False),
        (NIGHT, "21:59:59", False),
        (NIGHT, "22:00", True),
        (NIGHT, "23:59:59", True),
        (NIGHT, "00:00", True),
        (NIGHT, "05:59:59", True),
        (NIGHT, "06:00", False),
        (NIGHT, "12:00", False),
    ],
)
def test_hours_hold_their_start_and_not_their_end(
    hours: CallingHours, wall: str, inside: bool
) -> None:
    """The first moment is inside and the last is not, over midnight as by day."""
    assert hours.contain(time.fromisoformat(wall)) is inside


@pytest.mark.parametrize(
    ("hours", "places", "now", "expected"),
    [
        # inside already
        (DAY, ["America/New_York"], "2026-11-22T13:00", "2026-11-22T13:00"),
        # one microsecond too late: tomorrow
        (DAY, ["Europe/London"], "2026-11-22T21:00", "2026-11-23T08:00"),
        # before the start: today
        (DAY, ["America/Los_Angeles"], "2026-11-22T15:59:59", "2026-11-22T16:00"),
        # over midnight
        (NIGHT, ["Europe/London"], "2026-11-22T06:00", "2026-11-22T22:00"),
        (NIGHT, ["Europe/London"], "2026-11-22T00:30", "2026-11-22T00:30"),
        # 30 minutes off: India, Newfoundland, Adelaide in summer, Lord Howe Island
        (DAY, ["Asia/Kolkata"], "2026-11-22T02:00", "2026-11-22T02:30"),
        (DAY, ["America/St_Johns"], "2026-11-22T05:00", "2026-11-22T11:30"),
        (DAY, ["Australia/Adelaide"], "2026-11-22T12:00", "2026-11-22T21:30"),
        (DAY, ["Australia/Lord_Howe"], "2026-07-01T12:00", "2026-07-01T21:30"),
        # 45 minutes off: Nepal, Chatham Islands, Eucla
        (DAY, ["Asia/Kathmandu"], "2026-11-22T00:00", "2026-11-22T02:15"),
        (DAY, ["Pacific/Chatham"], "2026-11-22T08:00", "2026-11-22T18:15"),
        (DAY, ["Australia/Eucla"], "2026-11-22T13:00", "2026-11-22T23:15"),
        # several zones: the last to open, while the first has not closed
        (DAY, ["America/New_York", "America/Los_Angeles"], "2026-11-22T13:00", "2026-11-22T16:00"),
        (DAY, ["America/New_York", "America/Los_Angeles"], "2026-11-23T02:00", "2026-11-23T16:00"),
        (DAY, ["Europe/London", "Asia/Kathmandu"], "2026-11-22T16:00", "2026-11-23T08:00"),
        # over a change of the clocks: 8:00 is an hour earlier or later in UTC than the day before
        (DAY, ["America/New_York"], "2026-03-08T02:00", "2026-03-08T12:00"),
        (DAY, ["America/New_York"], "2026-03-07T02:00", "2026-03-07T13:00"),
        (DAY, ["Europe/Berlin"], "2026-10-24T20:00", "2026-10-25T07:00"),
        (DAY, ["Europe/Berlin"], "2026-10-23T20:00", "2026-10-24T06:00"),
    ],
)
def test_next_opening_is_exact(
    hours: CallingHours, places: list[str], now: str, expected: str
) -> None:
    """The next moment that suits every zone, to the minute."""
    assert hours.next_opening(zones(*places), utc(now)) == utc(expected)


def test_start_that_the_clocks_skip_opens_at_the_change() -> None:
    """At 2:00 it is 3:00 in New York that night: hours from 2:30 open then."""
    hours = CallingHours(time(2, 30), time(4))
    assert hours.next_opening(zones("America/New_York"), utc("2026-03-08T05:00")) == utc(
        "2026-03-08T07:00"
    )


def test_hours_that_the_clocks_repeat_open_again_at_the_change() -> None:
    """At 2:00 it is 1:00 again in New York: hours until 2:00 are open for another hour."""
    hours = CallingHours(time(0, 30), time(2))
    assert hours.next_opening(zones("America/New_York"), utc("2026-11-01T05:59:59")) == utc(
        "2026-11-01T05:59:59"
    )
    assert not hours.outside(zones("America/New_York"), utc("2026-11-01T06:30"))


def test_start_that_the_clocks_repeat_opens_twice() -> None:
    """Hours from 1:30 are open from the first 1:30, shut at the change, open from the second."""
    hours = CallingHours(time(1, 30), time(4))
    places = zones("America/New_York")
    assert hours.next_opening(places, utc("2026-11-01T05:00")) == utc("2026-11-01T05:30")
    assert hours.next_opening(places, utc("2026-11-01T06:00")) == utc("2026-11-01T06:30")


def test_zones_that_never_open_together_have_no_next_time() -> None:
    """Office hours of London and Auckland have no moment in common, all year."""
    office = CallingHours(time(9), time(17))
    assert (
        office.next_opening(zones("Europe/London", "Pacific/Auckland"), utc("2026-11-22T00:00"))
        is None
    )


def test_zones_that_only_meet_in_winter_meet_when_the_clocks_change() -> None:
    """Phoenix keeps its clocks: it shares these hours with Chicago in winter only."""
    hours = CallingHours(time(9), time(10, 30))
    places = zones("America/Phoenix", "America/Chicago")
    assert hours.next_opening(places, utc("2026-03-10T00:00")) == utc("2026-11-01T16:00")


@pytest.mark.parametrize("name", ["Mars/Olympus", "America", "", "../etc/passwd", "Etc/Unknown"])
def test_unknown_zone_is_refused_with_an_example(name: str) -> None:
    """A zone that the machine does not know can't be taken for one."""
    with pytest.raises(ValueError, match="America/New_York"):
        read_zone(name)


PLACES = st.lists(
    st.sampled_from(
        [
            "America/New_York",
            "America/St_Johns",
            "America/Los_Angeles",
            "Europe/London",
            "Europe/Berlin",
            "Asia/Kathmandu",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "Pacific/Chatham",
        ]
    ),
    min_size=1,
    max_size=3,
    unique=True,
)
CLOCK = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
MOMENT = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(  # noqa: DTZ001 - made aware
    lambda moment: moment.replace(tzinfo=UTC, second=0, microsecond=0)
)


@given(PLACES, st.tuples(CLOCK, CLOCK).filter(lambda pair: pair[0] != pair[1]), MOMENT)
def test_next_opening_agrees_with_looking_every_quarter_hour(
    places: list[str], pair: tuple[time, time], now: datetime
) -> None:
    """The opening is inside everywhere, and no earlier moment of the two days before it is."""
    hours, where = CallingHours(*pair), zones(*places)
    opening = hours.next_opening(where, now)
    until = opening or now + timedelta(days=2)
    assert opening is None or not hours.outside(where, opening)
    moment = now
    while moment < min(until, now + timedelta(days=2)):
        assert hours.outside(where, moment)
        moment += timedelta(minutes=1 if moment.minute % 15 else 15)
