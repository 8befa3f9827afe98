"""Screening: finds every problem of a request under a policy, in one pass.

It returns only if every number passes every check. No message contains a whole number. It imports
`phonenumbers`, which is slow, so it is imported itself when the first call is checked.
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
"""Maximum length of the context at the service, in characters.

The service cuts a longer context off, and the disclosure is at its end.
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a request.

    Attributes:
        code: a stable code for programs.
        number: the number with the problem, masked; `None` if the whole request has it.
        message: what to change, written for a model.
    """

    code: str
    number: str | None
    message: str


class Rules(Protocol):
    """The settings that a request is checked against; `CallPolicy` has them."""

    @property
    def default_region(self) -> str | None:
        """The country of numbers without a `+`, ISO 3166 alpha-2."""

    @property
    def calling_hours(self) -> tuple[time, time] | None:
        """When people may be called, in their local time."""

    @property
    def allowed_countries(self) -> frozenset[str] | None:
        """The countries that may be called; `None` allows all."""

    @property
    def allow(self) -> tuple[str, ...]:
        """Numbers and prefixes; if there are any, no other number may be called."""

    @property
    def deny(self) -> tuple[str, ...]:
        """Numbers and prefixes that may never be called."""

    @property
    def disclose_ai(self) -> bool:
        """Whether the caller states that it is an AI."""


def screen(
    rules: Rules, request: VoiceCallInput, now: datetime, time_zone: str | None
) -> tuple[str, ...]:
    """Check the request against the rules.

    Args:
        rules: the settings of the policy.
        request: the request.
        now: the time of the call, an aware datetime.
        time_zone: the IANA time zone of everyone called, if the application knows it.

    Returns:
        The numbers in E.164.

    Raises:
        CallRefusedError: contains every problem; see `CallPolicy.read_request`.
        ConfigurationError: `time_zone` is not a time zone.
        ValueError: `now` is naive.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone: give an aware datetime")
    known, problems = _read_numbers(request.numbers, rules.default_region)
    problems += _problems_of_request(rules, request, known)
    for name, number in known.items():
        problems += _problems_of_number(rules, name, number)
    next_allowed = None
    if rules.calling_hours is not None:
        hours = CallingHours(*rules.calling_hours)
        zone = _application_zone(time_zone) if time_zone else None
        wrong_time, next_allowed = _problems_of_time(hours, known, now, zone)
        problems += wrong_time
    if problems:
        raise _refusal(problems, next_allowed)
    return tuple(number.e164 for number in known.values())


def _read_numbers(
    spelled: Sequence[str], default_region: str | None
) -> tuple[dict[str, PhoneNumber], list[Problem]]:
    """Return the valid numbers, by their name in a message, and the problems of the others.

    Two masked numbers can look the same, so the name contains the position if there are several.
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


def _problems_of_request(
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


def _problems_of_number(rules: Rules, name: str, number: PhoneNumber) -> Iterator[Problem]:
    masked = mask_number(number.e164)
    denied = number.e164.startswith(rules.deny) if rules.deny else False
    if denied or (rules.allow and not number.e164.startswith(rules.allow)):
        yield Problem("number_not_allowed", masked, wording.number_not_allowed(name))
    if rules.allowed_countries is not None and number.region not in rules.allowed_countries:
        allowed = sorted(rules.allowed_countries)
        message = wording.country_not_allowed(name, number.region, allowed)
        yield Problem("country_not_allowed", masked, message)


def _problems_of_time(
    hours: CallingHours, known: Mapping[str, PhoneNumber], now: datetime, zone: ZoneInfo | None
) -> tuple[list[Problem], datetime | None]:
    """Return the problems of calling now, and the next time when every number can be called."""
    problems: list[Problem] = []
    zones_of: dict[str, list[ZoneInfo]] = {}
    for name, number in known.items():
        try:
            zones_of[name] = _zones(number, zone)
        except ValueError as unknown:
            masked = mask_number(number.e164)
            message = wording.time_zone_unknown(name, str(unknown))
            problems.append(Problem("unknown_time_zone", masked, message))
    outside_of = {name: hours.outside(zones, now) for name, zones in zones_of.items()}
    # With an unknown zone, no time is certain to be allowed.
    if problems or not any(outside_of.values()):
        possible = None
    else:
        possible = hours.next_opening([z for zones in zones_of.values() for z in zones], now)
    for name, outside in outside_of.items():
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


def _zones(number: PhoneNumber, zone: ZoneInfo | None) -> list[ZoneInfo]:
    if zone is not None:
        return [zone]
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
