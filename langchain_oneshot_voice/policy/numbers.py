"""Reading a phone number, and refusing numbers that must not be called.

`read_number` returns a valid number of a country, in E.164, of a kind that an agent may call. It
refuses emergency, premium-rate, shared-cost and short numbers in every spelling. `phonenumbers`
decides which numbers are valid, so the result can change with its releases.

Other kinds: toll-free, VoIP and universal-access numbers (one number of a company, at about the
price of an ordinary call) may be called. Pagers and mailboxes may not: nobody speaks there.
Personal numbers (`+44 70`, `+1 500`) and numbers without a country (satellites, `+979`) may not
either: such a number does not show where it rings, in which time zone, and at what price.

Importing this module imports `phonenumbers`, which is slow, so the policy imports it when a call is
checked. The policy decides who may be called, and when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType, shortnumberinfo, timezone

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.schemas import SEPARATORS, mask_number

NumberKind = Literal[
    "fixed_line", "mobile", "fixed_line_or_mobile", "toll_free", "voip", "universal_access"
]
"""The kinds of numbers that may be called."""

NumberRefusal = Literal[
    "invalid_number",
    "emergency_number",
    "premium_rate_number",
    "short_number",
    "unsupported_number",
]
"""Why a number can't be called.

- `invalid_number`: it is not a number of any country, or not of the country of its code.
- `emergency_number`: police, fire or ambulance, of any country.
- `premium_rate_number`: the caller pays an extra charge, in full or in part.
- `short_number`: a service number that works inside one country only.
- `unsupported_number`: a real number that does not reach a person at a known price.
"""

REGIONS: frozenset[str] = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""Every country and territory with phone numbers, ISO 3166 alpha-2."""

_KINDS: dict[int, NumberKind] = {
    PhoneNumberType.FIXED_LINE: "fixed_line",
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "fixed_line_or_mobile",
    PhoneNumberType.TOLL_FREE: "toll_free",
    PhoneNumberType.VOIP: "voip",
    PhoneNumberType.UAN: "universal_access",
}

_REFUSED_KINDS: dict[int, tuple[NumberRefusal, wording.NumberFault]] = {
    PhoneNumberType.PREMIUM_RATE: ("premium_rate_number", "premium_rate"),
    PhoneNumberType.SHARED_COST: ("premium_rate_number", "shared_cost"),
    PhoneNumberType.PERSONAL_NUMBER: ("unsupported_number", "forwarding"),
    PhoneNumberType.PAGER: ("unsupported_number", "pager"),
    PhoneNumberType.VOICEMAIL: ("unsupported_number", "mailbox"),
}

_NO_COUNTRY = "001"
"""The region of satellite and international service numbers in `phonenumbers`."""

_NORTH_AMERICA = 1
_LONGEST_EMERGENCY = 6
_LONGEST_SHORT = 8
_LONGEST_DIALLED = 20
_DIALLED = re.compile(r"\+?[0-9]+")
_PAY_PER_CALL = re.compile(r"[0-9]{3}(?:976[0-9]{4}|5551212)")
"""North American numbers that charge the caller but look ordinary: pay-per-call exchanges and
directory assistance, in every area code."""

_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")


class NumberRefusedError(ValueError):
    """A number that can't be called under any policy.

    Attributes:
        code: the kind of the reason.
        number: the number, masked.
        why: the reason, as the rest of a sentence that starts with the number.
    """

    def __init__(self, code: NumberRefusal, number: str, why: str) -> None:
        self.code: NumberRefusal = code
        self.number = mask_number(number[:_LONGEST_DIALLED])
        self.why = why
        super().__init__(f"{self.number} {why}")


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A valid number, of a kind that may be called.

    Attributes:
        e164: the number in E.164: the same for every spelling.
        region: its country or territory, ISO 3166 alpha-2. A number that several countries share,
            such as `+1 800`, counts as a number of the largest one.
        kind: the kind of the number.
        time_zones: every IANA time zone where it may ring; empty if unknown. They are the zones
            where the number was assigned: a phone can travel.
    """

    e164: str = field(repr=False)
    region: str
    kind: NumberKind
    time_zones: tuple[str, ...]


@lru_cache(maxsize=1024)  # a call reads its numbers again after its quote and after an answer
def read_number(spelled: str, *, default_region: str | None = None) -> PhoneNumber:
    """Read a number as people write it, and check that it may be called.

    Args:
        spelled: the number in E.164, or as dialled inside `default_region`. Spaces, dots, dashes,
            slashes and brackets are ignored. Letters and extensions are refused.
        default_region: the country of numbers without a `+`, ISO 3166 alpha-2.

    Raises:
        NumberRefusedError: it can't be called.
    """
    dialled = SEPARATORS.sub("", spelled)
    if not _DIALLED.fullmatch(dialled) or len(dialled) > _LONGEST_DIALLED:
        raise NumberRefusedError("invalid_number", dialled, wording.number_fault("not_a_number"))
    number = _parsed(dialled, default_region)
    _refuse_emergency(dialled, number, default_region)
    if number is None or not phonenumbers.is_valid_number(number):
        raise _not_valid(dialled, number, default_region)
    e164 = _e164(number)
    kind = phonenumbers.number_type(number)
    if kind in _REFUSED_KINDS:
        code, fault = _REFUSED_KINDS[kind]
        raise NumberRefusedError(code, e164, wording.number_fault(fault))
    if number.country_code == _NORTH_AMERICA and _PAY_PER_CALL.fullmatch(
        str(number.national_number)
    ):
        raise NumberRefusedError("premium_rate_number", e164, wording.number_fault("premium_rate"))
    region = phonenumbers.region_code_for_number(number)
    if region is None or region == _NO_COUNTRY or kind not in _KINDS:
        raise NumberRefusedError("unsupported_number", e164, wording.number_fault("no_country"))
    return PhoneNumber(e164, region, _KINDS[kind], _time_zones(number, kind))


def read_prefix(spelled: str) -> str:
    """Read a whole number or a prefix such as `+1415`.

    Returns:
        `+` and digits, to compare with the start of a number in E.164.

    Raises:
        ValueError: no number in E.164 can start like this.
    """
    prefix = SEPARATORS.sub("", spelled)
    if not _PREFIX.fullmatch(prefix) or "(0)" in spelled:
        raise ValueError(wording.setting_fault("prefix", given=spelled[:_LONGEST_DIALLED]))
    number = _parsed(prefix, None)
    return _e164(number) if number and phonenumbers.is_valid_number(number) else prefix


def _parsed(dialled: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    """Return the number as read back from its E.164 form; `None` if it can't be parsed."""
    try:
        number = phonenumbers.parse(dialled, region)
        return phonenumbers.parse(_e164(number))  # check the number that will be dialled
    except NumberParseException:
        return None


def _e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _refuse_emergency(
    dialled: str, number: phonenumbers.PhoneNumber | None, default_region: str | None
) -> None:
    """Refuse a number that is an emergency number somewhere, or that connects to one.

    Some exchanges connect as soon as they receive `911`, and ignore the digits after it. But many
    valid numbers start like that after their country code (`+49 911` is Nuremberg, `+91 11 2` is
    Delhi), so the start of a number is checked only if the number is not valid.
    """
    valid = number is not None and phonenumbers.is_valid_number(number)
    for rest, regions in _ways_to_dial(dialled, number, default_region):
        if _is_emergency(rest, regions) or (
            not valid and (_connects_to_emergency(rest, regions) or _is_emergency(rest, REGIONS))
        ):
            raise NumberRefusedError("emergency_number", dialled, wording.number_fault("emergency"))


def _ways_to_dial(
    dialled: str, number: phonenumbers.PhoneNumber | None, default_region: str | None
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the digits without country code and trunk zero, and the countries of that code.

    The country code is also removed without `phonenumbers`, which can't parse very short numbers.
    """
    digits = dialled.removeprefix("+")
    bare: tuple[str, ...] = (default_region,) if default_region else ()
    ways = [(digits, bare)]
    if number is not None:
        code = number.country_code or 0
        ways.append((phonenumbers.national_significant_number(number), _regions_of(code)))
    if dialled.startswith("+"):
        ways += [
            (digits[size:], _regions_of(int(digits[:size])))
            for size in (1, 2, 3)
            if len(digits) > size and _regions_of(int(digits[:size]))
        ]
    return ways + [(rest.lstrip("0"), regions) for rest, regions in ways if rest[:1] == "0"]


def _regions_of(code: int) -> tuple[str, ...]:
    return tuple(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ()))


def _connects_to_emergency(rest: str, regions: tuple[str, ...]) -> bool:
    return any(shortnumberinfo.connects_to_emergency_number(rest, region) for region in regions)


def _is_emergency(rest: str, regions: Iterable[str]) -> bool:
    """Return whether this is exactly an emergency number of one of these countries."""
    # The length is checked first because it is fast, and most numbers are too long.
    return len(rest) <= _LONGEST_EMERGENCY and any(
        shortnumberinfo.is_emergency_number(rest, region) for region in regions
    )


def _not_valid(
    dialled: str, number: phonenumbers.PhoneNumber | None, default_region: str | None
) -> NumberRefusedError:
    """Return the error for a number that can't be dialled."""
    for rest, regions in _ways_to_dial(dialled, number, default_region):
        if any(_is_short(rest, region) for region in regions):
            return NumberRefusedError("short_number", dialled, wording.number_fault("short"))
    if not dialled.startswith("+") and default_region is None:
        why = wording.number_fault("no_country_code")
    elif number is None:
        why = wording.number_fault("unknown_country_code")
    else:
        region = phonenumbers.region_code_for_country_code(number.country_code or 0)
        why = wording.number_fault("does_not_exist", code=str(number.country_code), region=region)
    return NumberRefusedError("invalid_number", dialled, why)


def _is_short(rest: str, region: str) -> bool:
    if not 1 <= len(rest) <= _LONGEST_SHORT:
        return False
    number = phonenumbers.PhoneNumber(
        country_code=phonenumbers.country_code_for_region(region),
        national_number=int(rest),
        italian_leading_zero=rest.startswith("0") or None,
    )
    return shortnumberinfo.is_valid_short_number_for_region(number, region)


def _time_zones(number: phonenumbers.PhoneNumber, kind: int) -> tuple[str, ...]:
    """Return every time zone where the number may be.

    A mobile number in North America has an area code, so it has the zones of that area. In other
    countries a mobile number has all zones of the country.
    """
    by_area = number.country_code == _NORTH_AMERICA and kind == PhoneNumberType.MOBILE
    zones = (
        timezone.time_zones_for_geographical_number(number)
        if by_area
        else timezone.time_zones_for_number(number)
    )
    return tuple(zone for zone in zones if zone != timezone.UNKNOWN_TIMEZONE)
