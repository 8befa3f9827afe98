"""Screening: every problem that a policy has with a request, found at once.

Promises that nothing is returned unless every number passed every check, and that no message holds
a whole number. It imports `phonenumbers`, and is itself imported when the first call is checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time
from typing import Protocol
from zoneinfo import ZoneInfo

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import CallRefusedError
from langchain_oneshot_voice.policy.calling_hours import CallingHours, read_zone
from langchain_oneshot_voice.policy.disclosure import disclosing
from langchain_oneshot_voice.policy.numbers import NumberRefusedError, PhoneNumber, read_number
from langchain_oneshot_voice.schemas import MAX_NUMBERS, VoiceCallInput, mask_number

_LONGEST_CONTEXT = 10_000
"""Characters that the service takes; what is beyond would be lost, the disclosure first."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request.

    Attributes:
        code: a stable word for programs.
        number: the number it is about, masked; `None` when it is about the whole request.
        message: what to change, in words for a model.
    """

    code: str
    number: str | None
    message: str


class Rules(Protocol):
    """What a request is checked against; the attributes are those of `CallPolicy`."""

    @property
    def default_region(self) -> str | None:
        """The country of numbers without a `+`."""

    @property
    def calling_hours(self) -> tuple[time, time] | None:
        """When people may be called, by their own clocks."""

    @property
    def allowed_countries(self) -> frozenset[str] | None:
        """Where they may be."""

    @property
    def allow(self) -> tuple[str, ...]:
        """Numbers and beginnings of numbers: no other is called, if there is one."""

    @property
    def deny(self) -> tuple[str, ...]:
        """Numbers and beginnings of numbers that are never called."""

    @property
    def disclose_ai(self) -> bool:
        """Whether the caller says that it is an AI."""


def screen(
    rules: Rules, request: VoiceCallInput, now: datetime, time_zone: str | None
) -> tuple[str, ...]:
    """Check the request against the rules.

    Args:
        rules: the limits; a `CallPolicy` is one.
        request: what was asked for.
        now: when the call would be placed; aware.
        time_zone: where everybody called is, when the application says; IANA.

    Returns:
        The numbers in E.164.

    Raises:
        CallRefusedError: with every problem; see `CallPolicy.read_request`.
        ConfigurationError: when `time_zone` is not a time zone.
        ValueError: when `now` is naive.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone: give an aware datetime")
    known, problems = _read(request.numbers, rules.default_region)
    problems += _about_the_whole(rules, request, known)
    for name, number in known.items():
        problems += _about_whom(rules, name, number)
    next_allowed = None
    if rules.calling_hours is not None:
        hours = CallingHours(*rules.calling_hours)
        here = _application_zone(time_zone) if time_zone else None
        late, next_allowed = _about_when(hours, known, now, here)
        problems += late
    if problems:
        raise _refusal(problems, next_allowed)
    return tuple(number.e164 for number in known.values())


def _read(
    spelled: Sequence[str], default_region: str | None
) -> tuple[dict[str, PhoneNumber], list[Problem]]:
    """The numbers that can be called, by what a message calls them, and what is wrong with others.

    Masked numbers can look alike, so where there are several each is told by its place.
    """
    known: dict[str, PhoneNumber] = {}
    problems: list[Problem] = []
    for place, written in enumerate(spelled, 1):
        which = f"Number {place} of {len(spelled)}, " if len(spelled) > 1 else ""
        try:
            number = read_number(written, default_region=default_region)
        except NumberRefusedError as refused:
            message = f"{which}{refused.number} {refused.why}."
            problems.append(Problem(refused.code, refused.number, message))
        else:
            known[f"{which}{mask_number(number.e164)}"] = number
    return known, problems


def _about_the_whole(
    rules: Rules, request: VoiceCallInput, known: Mapping[str, PhoneNumber]
) -> Iterator[Problem]:
    if not 1 <= len(request.numbers) <= MAX_NUMBERS:
        yield Problem(
            "too_many_numbers" if request.numbers else "no_number",
            None,
            wording.wrong_number_count(len(request.numbers)),
        )
    for e164, times in Counter(number.e164 for number in known.values()).items():
        if times > 1:
            message = wording.number_given_twice(e164, times)
            yield Problem("duplicate_number", mask_number(e164), message)
    excess = len(disclosing(request.context)) - _LONGEST_CONTEXT if rules.disclose_ai else 0
    if excess > 0:
        yield Problem("context_too_long", None, wording.context_too_long(excess))


def _about_whom(rules: Rules, name: str, number: PhoneNumber) -> Iterator[Problem]:
    masked = mask_number(number.e164)
    denied = number.e164.startswith(rules.deny) if rules.deny else False
    if denied or (rules.allow and not number.e164.startswith(rules.allow)):
        yield Problem("number_not_allowed", masked, wording.number_not_allowed(name))
    if rules.allowed_countries is not None and number.region not in rules.allowed_countries:
        allowed = sorted(rules.allowed_countries)
        message = wording.country_not_allowed(name, number.region, allowed)
        yield Problem("country_not_allowed", masked, message)


def _about_when(
    hours: CallingHours, known: Mapping[str, PhoneNumber], now: datetime, here: ZoneInfo | None
) -> tuple[list[Problem], datetime | None]:
    """What is wrong with calling now, and when all of the numbers can next be called at once."""
    problems: list[Problem] = []
    zones_of: dict[str, list[ZoneInfo]] = {}
    for name, number in known.items():
        try:
            zones_of[name] = _zones(number, here)
        except ValueError as unknown:
            masked = mask_number(number.e164)
            message = wording.time_zone_unknown(name, str(unknown))
            problems.append(Problem("unknown_time_zone", masked, message))
    late = {name: hours.outside(zones, now) for name, zones in zones_of.items()}
    if problems or not any(late.values()):
        possible = None
    else:
        possible = hours.next_opening([z for zones in zones_of.values() for z in zones], now)
    for name, outside in late.items():
        if outside:
            when = (
                wording.never_possible(together=len(known) > 1)
                if possible is None
                else wording.possible_from(possible, outside[0])
            )
            message = wording.outside_calling_hours(name, str(hours), outside, now, when)
            masked = mask_number(known[name].e164)
            problems.append(Problem("outside_calling_hours", masked, message))
    return problems, possible


def _application_zone(name: str) -> ZoneInfo:
    try:
        return read_zone(name)
    except ValueError as unknown:
        raise wording.call_time_zone_unusable(str(unknown)) from None


def _zones(number: PhoneNumber, here: ZoneInfo | None) -> list[ZoneInfo]:
    if here is not None:
        return [here]
    if not number.time_zones:
        raise ValueError(wording.no_time_zone())
    return [read_zone(name) for name in number.time_zones]


def _refusal(problems: Sequence[Problem], next_allowed: datetime | None) -> CallRefusedError:
    codes = {problem.code for problem in problems}
    return wording.request_refused(
        [problem.message for problem in problems],
        code=codes.pop() if len(codes) == 1 else "policy_refused",
        details={
            "problems": [asdict(problem) for problem in problems],
            "next_allowed": next_allowed.isoformat() if next_allowed else None,
        },
    )
