"""PhoneNumber: what is known of a number before anybody calls it.

Promises that what `read_number` returns is a valid number of a country, in E.164, of a kind that an
agent may call; and that emergency, premium-rate, shared-cost and short numbers never come through,
however they are spelled. What is valid follows `phonenumbers`, so it moves with its releases.

Of the other kinds: toll-free, internet and universal-access numbers (one number for a company, at
about the price of an ordinary call) may be called. Pagers and mailboxes may not, for nobody speaks
there. Personal numbers (`+44 70`, `+1 500`) and those of no country (satellites, `+979`) may not
either: where they ring, in which time zone and at what price, can't be told from the number.

Importing this module imports `phonenumbers`; the policy does so only when a call is checked. Who
may be called, and when, is left to the policy.
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
"""The kinds of number that may be called."""

NumberRefusal = Literal[
    "invalid_number",
    "emergency_number",
    "premium_rate_number",
    "short_number",
    "unsupported_number",
]
"""Why a number can't be called.

- `invalid_number`: it is no number of any country, or of the country it claims.
- `emergency_number`: police, fire or ambulance, of any country.
- `premium_rate_number`: it charges who calls it, in full or in part.
- `short_number`: a service number that only works inside one country.
- `unsupported_number`: a real number where no one person can be reached at a known price.
"""

REGIONS: frozenset[str] = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""Every country and territory that has numbers, in ISO 3166 alpha-2."""

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
"""The region that `phonenumbers` gives to satellite and international service numbers."""

_NORTH_AMERICA = 1
_LONGEST_EMERGENCY = 6
_LONGEST_SHORT = 8
_LONGEST_DIALLED = 20
_DIALLED = re.compile(r"\+?[0-9]+")
_CHARGED = re.compile(r"[0-9]{3}(?:976[0-9]{4}|5551212)")
"""North American numbers that look like any other and charge who calls: pay-per-call exchanges and
directory assistance, in every area."""

_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")


class NumberRefusedError(ValueError):
    """A number that can't be called, whatever the policy.

    Attributes:
        code: the kind of reason.
        number: the number, masked.
        why: the rest of a sentence that starts with the number.
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
        e164: the one spelling that all spellings of the number come to.
        region: its country or territory, ISO 3166 alpha-2. Numbers that several countries of one
            calling code share, such as `+1 800`, count as the largest one's.
        kind: what it is.
        time_zones: every IANA time zone that it may ring in; empty when not known. It is where the
            number was given out: a phone can travel.
    """

    e164: str = field(repr=False)
    region: str
    kind: NumberKind
    time_zones: tuple[str, ...]


@lru_cache(maxsize=1024)  # a call's numbers are read again after its price, and after an answer
def read_number(spelled: str, *, default_region: str | None = None) -> PhoneNumber:
    """Read a number as people write it, and require one that may be called.

    Args:
        spelled: in E.164, or as dialled inside `default_region`; with spaces, dots, dashes,
            slashes and brackets, or without. Letters and extensions are refused.
        default_region: the country that numbers without a `+` belong to, ISO 3166 alpha-2.

    Raises:
        NumberRefusedError: when it can't be called.
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
    if number.country_code == _NORTH_AMERICA and _CHARGED.fullmatch(str(number.national_number)):
        raise NumberRefusedError("premium_rate_number", e164, wording.number_fault("premium_rate"))
    region = phonenumbers.region_code_for_number(number)
    if region is None or region == _NO_COUNTRY or kind not in _KINDS:
        raise NumberRefusedError("unsupported_number", e164, wording.number_fault("no_country"))
    return PhoneNumber(e164, region, _KINDS[kind], _time_zones(number, kind))


def read_prefix(spelled: str) -> str:
    """Read an entry of a list of numbers: a whole number, or how numbers start, such as `+1415`.

    Returns:
        `+` and digits, to compare with the start of a number in E.164.

    Raises:
        ValueError: when it could not be the start of a number in E.164.
    """
    prefix = SEPARATORS.sub("", spelled)
    if not _PREFIX.fullmatch(prefix) or "(0)" in spelled:
        raise ValueError(wording.setting_fault("prefix", given=spelled[:_LONGEST_DIALLED]))
    number = _parsed(prefix, None)
    return _e164(number) if number and phonenumbers.is_valid_number(number) else prefix


def _parsed(dialled: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    """The number in its one spelling, or `None` when nothing can be made of it."""
    try:
        number = phonenumbers.parse(dialled, region)
        return phonenumbers.parse(_e164(number))  # what is judged is what will be dialled
    except NumberParseException:
        return None


def _e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _refuse_emergency(
    dialled: str, number: phonenumbers.PhoneNumber | None, default_region: str | None
) -> None:
    """Refuse what is an emergency number somewhere, or reaches one.

    Some exchanges connect as soon as they have heard `911`, whatever follows; but many valid
    numbers start like that behind their country code (`+49 911` is Nuremberg, `+91 11 2` Delhi),
    so what a number starts with counts only against numbers that are not valid.
    """
    valid = number is not None and phonenumbers.is_valid_number(number)
    for rest, regions in _ways_to_dial(dialled, number, default_region):
        if _is_emergency(rest, regions) or (
            not valid and (_starts_an_emergency(rest, regions) or _is_emergency(rest, REGIONS))
        ):
            raise NumberRefusedError("emergency_number", dialled, wording.number_fault("emergency"))


def _ways_to_dial(
    dialled: str, number: phonenumbers.PhoneNumber | None, default_region: str | None
) -> list[tuple[str, tuple[str, ...]]]:
    """What the digits are once a country code or a trunk zero is taken off, and in which countries.

    The code is taken off by hand as well: `phonenumbers` reads nothing in what is too short.
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


def _starts_an_emergency(rest: str, regions: tuple[str, ...]) -> bool:
    return any(shortnumberinfo.connects_to_emergency_number(rest, region) for region in regions)


def _is_emergency(rest: str, regions: Iterable[str]) -> bool:
    """Whether an emergency number of these countries is just this. Most numbers are too long."""
    return len(rest) <= _LONGEST_EMERGENCY and any(
        shortnumberinfo.is_emergency_number(rest, region) for region in regions
    )


def _not_valid(
    dialled: str, number: phonenumbers.PhoneNumber | None, default_region: str | None
) -> NumberRefusedError:
    """Say what is wrong with a number that can't be dialled."""
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
    """Every zone the number may be in.

    In North America a mobile number has an area code like any other, and so the zones of that;
    elsewhere it can be anywhere in its country.
    """
    by_area = number.country_code == _NORTH_AMERICA and kind == PhoneNumberType.MOBILE
    zones = (
        timezone.time_zones_for_geographical_number(number)
        if by_area
        else timezone.time_zones_for_number(number)
    )
    return tuple(zone for zone in zones if zone != timezone.UNKNOWN_TIMEZONE)
