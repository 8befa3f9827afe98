"""CallPolicy: who may be called, when, how often, and for how much.

Every check that needs no price runs before a quote is requested. A refusal lists every problem at
once, so that a model can correct its request in one step. A check refuses if the facts that it
needs are missing, such as an unknown time zone. The application sets the policy: no argument from a
model can loosen it.

The policy only decides. The journal counts calls and dollars, `approval` asks people, and the life
of the call runs the application's own `check`. `phonenumbers` is slow to import, so it is imported
when the first call is checked.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_FLOOR, ROUND_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypedDict, Unpack

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.policy.disclosure import disclosing
from langchain_oneshot_voice.schemas import (
    DEFAULT_DURATION_MINUTES,
    VoiceCallInput,
    VoiceCallQuote,
)

Dollars = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=6)]

PolicyCheck = Callable[[VoiceCallInput, VoiceCallQuote], str | Awaitable[str | None] | None]
"""An application's own check, sync or async: returns `None` to allow the call, else the reason why
the call is refused."""

_MICRODOLLAR = Decimal("0.000001")
_OFF = "off"
_DURATION = re.compile(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
_CLOCK = re.compile(r"\d:\d\d(:\d\d)?", re.ASCII)


_Amount = Decimal | float | str
_Strings = list[str] | tuple[str, ...] | set[str] | frozenset[str]


class PolicySettings(TypedDict, total=False):
    """The arguments of `CallPolicy`, for type checkers: more types than those of its fields."""

    max_cost_per_call: _Amount | None
    max_cost_per_day: _Amount | None
    max_calls_per_number_per_day: int | None
    duplicate_window: timedelta | float | str | None
    calling_hours: tuple[time | str, time | str] | str | None
    timezone: str | None
    allowed_countries: _Strings | None
    allow: _Strings
    deny: _Strings
    default_region: str | None
    require_approval_above: _Amount | None
    disclose_ai: bool
    caller_name: str | None
    check: PolicyCheck | None
    tenant: str


class CallPolicy(BaseModel):
    """Limits on calls. `None` turns a limit off; in a file, use the word `"off"`.

    A limit of a day counts the 24 hours before the call, for one wallet, across every thread,
    process and machine that shares the journal. Emergency, premium-rate and short numbers are
    always refused.

    Example:
        ```python
        CallPolicy(max_cost_per_call=9, calling_hours="09:00-18:00", allowed_countries={"US", "CA"})
        CallPolicy.load("calls.toml")
        ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cost_per_call: Dollars | None = Decimal(10)
    """US dollars, including the fee for the number on a wallet's first call. If a call could cost
    more, it is refused and nothing is signed."""
    max_cost_per_day: Dollars | None = Decimal(50)
    """US dollars in any 24 hours."""
    max_calls_per_number_per_day: Annotated[int, Field(ge=1)] | None = 3
    """Calls to one number in any 24 hours."""
    duplicate_window: Annotated[timedelta, Field(ge=timedelta(0))] | None = timedelta(minutes=10)
    """How long an earlier call answers a request with the same objective and numbers.

    A `timedelta`, a number of seconds, or a string such as `"10m"` or `"1h30m"`.
    """
    calling_hours: tuple[time, time] | None = (time(8), time(21))
    """The hours in which people may be called, in local time: in every time zone where the number
    may be. Also a string such as `"08:00-21:00"`. A start after the end includes midnight."""
    timezone: str | None = None
    """The IANA time zone of everyone called, used instead of the zones of their numbers."""
    allowed_countries: frozenset[str] | None = None
    """ISO 3166 alpha-2; `None` allows all. A number that several countries share, such as
    `+1 800`, counts as a number of the largest one."""
    allow: tuple[str, ...] = ()
    """Numbers in E.164, or prefixes such as `+1415`. If there are any, only these may be called."""
    deny: tuple[str, ...] = ()
    """Numbers or prefixes that may never be called, even if `allow` contains them."""
    default_region: str | None = None
    """The country of numbers without a country code, ISO 3166 alpha-2."""
    require_approval_above: Annotated[Decimal, Field(ge=0)] | None = None
    """US dollars up to which a call needs no approval, if approval is turned on."""
    disclose_ai: bool = True
    """Whether the caller is instructed to state at the start that it is an AI assistant."""
    caller_name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The name that the caller uses; it replaces the name that the model asks for."""
    check: SkipJsonSchema[PolicyCheck | None] = Field(default=None, exclude=True, repr=False)
    """The application's own check of a request and its quote."""
    tenant: Annotated[str, Field(max_length=200)] = ""
    """The tenant that calls and money are counted for, if several tenants share a wallet."""

    if TYPE_CHECKING:  # type checkers would otherwise allow only the types of the fields

        def __init__(self, **settings: Unpack[PolicySettings]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown(cls, settings: Any) -> Any:  # noqa: ANN401 - any user input
        # Not `require_known`: pydantic turns a ValueError into a ValidationError, which `load`
        # expects, but not a TypeError. And a policy file needs the list of all settings.
        if isinstance(settings, Mapping) and (unknown := set(settings) - set(cls.model_fields)):
            known = sorted(cls.model_fields)
            close = {n for u in unknown for n in difflib.get_close_matches(str(u), known, 1)}
            named = sorted(map(repr, unknown))
            raise ValueError(wording.unknown_setting(named, known, sorted(close)))
        return settings

    @field_validator("duplicate_window", mode="before")
    @classmethod
    def _parse_duration(cls, window: Any) -> Any:  # noqa: ANN401 - any user input
        found = _DURATION.fullmatch(window.replace(" ", "")) if isinstance(window, str) else None
        if not found:
            return window
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

    @field_validator("calling_hours", mode="before")
    @classmethod
    def _parse_hours(cls, hours: Any) -> Any:  # noqa: ANN401 - any user input
        if isinstance(hours, str):
            hours = re.split(r"\s*[-\u2013]\s*", hours.strip())
        if not isinstance(hours, list | tuple):
            return hours
        if any(not isinstance(hour, str | time) for hour in hours):
            # Pydantic would read 8 as eight seconds after midnight.
            raise ValueError(wording.setting_fault("hours_format"))
        # Pydantic does not accept an hour with one digit, such as `8:00`.
        return [
            f"0{hour}" if isinstance(hour, str) and _CLOCK.fullmatch(hour) else hour
            for hour in hours
        ]

    @field_validator(
        "max_cost_per_call",
        "max_cost_per_day",
        "max_calls_per_number_per_day",
        "duplicate_window",
        "calling_hours",
        "allowed_countries",
        "require_approval_above",
        mode="before",
    )
    @classmethod
    def _off_to_none(cls, limit: Any) -> Any:  # noqa: ANN401 - any user input
        """Convert `"off"` to `None`, because TOML has no null."""
        # Pydantic runs the last defined validator first, and this one must run before those above.
        return None if isinstance(limit, str) and limit.strip().lower() == _OFF else limit

    @field_validator("calling_hours")
    @classmethod
    def _check_hours(cls, hours: tuple[time, time] | None) -> tuple[time, time] | None:
        if hours and hours[0] == hours[1]:
            raise ValueError(wording.setting_fault("hours_equal"))
        if hours and any(hour.tzinfo for hour in hours):
            raise ValueError(wording.setting_fault("hours_zone"))
        return hours

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, name: str | None) -> str | None:
        if name is not None:
            from langchain_oneshot_voice.policy.calling_hours import read_zone  # noqa: PLC0415 - lazy

            read_zone(name)
        return name

    @field_validator("allowed_countries")
    @classmethod
    def _check_countries(cls, countries: frozenset[str] | None) -> frozenset[str] | None:
        return countries and frozenset(_read_region(country) for country in countries)

    @field_validator("default_region")
    @classmethod
    def _check_region(cls, region: str | None) -> str | None:
        return region and _read_region(region)

    @field_validator("allow", "deny")
    @classmethod
    def _read_prefixes(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        if not entries:
            return entries
        from langchain_oneshot_voice.policy.numbers import read_prefix  # noqa: PLC0415 - lazy

        return tuple(read_prefix(entry) for entry in entries)

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Self:
        """Read a policy from settings, or from a file of settings.

        Args:
            source: a mapping, or the path of a `.toml` or `.json` file.

        Raises:
            ConfigurationError: the file can't be read, or a setting is unknown or wrong; the
                message lists every fault.
        """
        file = None if isinstance(source, Mapping) else str(source)
        settings = source if isinstance(source, Mapping) else _read_file(Path(source))
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            faults = [
                ": ".join((*map(str, problem["loc"]), problem["msg"].removeprefix("Value error, ")))
                for problem in error.errors(include_url=False, include_input=False)
            ]
            raise wording.policy_unusable(file, faults) from None

    def read_request(
        self,
        request: VoiceCallInput,
        *,
        now: datetime | None = None,
        timezone: str | None = None,
    ) -> VoiceCallInput:
        """Run every check that needs no price, and return the request as it will be sent.

        A request that was returned once is returned unchanged.

        Args:
            request: the request of the model.
            now: the time of the call, an aware datetime; by default the current time.
            timezone: the IANA time zone of the people called, if the application knows it for this
                call.

        Returns:
            The request with its numbers in E.164, the application's caller name, and the
            disclosure at the end of its context.

        Raises:
            CallRefusedError: contains every problem. The message is for a model. `details` is for
                programs: `problems` (each with a `code`, the masked `number` or `None`, and a
                `message`) and `next_allowed` (ISO 8601 in UTC, or `None`). The `code` is the code
                of the problems if they all have the same, else `policy_refused`.
            ConfigurationError: `timezone` is not a time zone.
        """
        from langchain_oneshot_voice.policy.screening import screen  # noqa: PLC0415 - lazy

        numbers = screen(self, request, now or datetime.now(UTC), timezone or self.timezone)
        changes: dict[str, Any] = {
            "target_number": numbers[0] if len(numbers) == 1 else list(numbers)
        }
        if self.caller_name is not None:
            changes["caller_name"] = self.caller_name
        if self.disclose_ai:
            changes["context"] = disclosing(request.context)
        return request.model_copy(update=changes)

    def worst_case(self, request: VoiceCallInput, quote: VoiceCallQuote) -> Decimal:
        """Return the highest possible cost of the call, in US dollars, at its maximum duration.

        Never less than the quoted total. The price of a minute comes from the quote. If the quote
        does not contain it, the result is the quoted total.
        """
        per_minute = _per_minute(quote)
        if per_minute is None:
            return quote.total
        longest = _fees(quote) + per_minute * _minutes(request)
        return max(quote.total, longest.quantize(_MICRODOLLAR, ROUND_UP))

    def check_quote(self, request: VoiceCallInput, quote: VoiceCallQuote) -> None:
        """Refuse a call that could cost more than `max_cost_per_call`.

        Raises:
            CallRefusedError: with code `cost_limit_exceeded`; it says how long an affordable call
                can be.
        """
        cap = self.max_cost_per_call
        worst = self.worst_case(request, quote)
        if cap is None or worst <= cap:
            return
        fitting = _fitting_minutes(request, quote, cap)
        fee = quote.phone_registration_fee or Decimal(0)
        raise wording.cost_limit_exceeded(worst, _minutes(request), cap, fitting, fee)


def _read_file(path: Path) -> Mapping[str, Any]:
    """Return the settings in a TOML or JSON file, with fractions as `Decimal`."""
    try:
        return _parse(path.read_text(encoding="utf-8"), path.suffix.lower())
    except (OSError, ValueError) as error:  # TOML, JSON and UTF-8 errors are ValueErrors
        why = str(error.strerror if isinstance(error, OSError) else error)
        raise wording.policy_file_unreadable(str(path), why) from None


def _parse(text: str, suffix: str) -> Mapping[str, Any]:
    if suffix == ".toml":
        import tomllib  # noqa: PLC0415 - most policies are not in files

        return tomllib.loads(text, parse_float=Decimal)
    if suffix != ".json":
        raise ValueError(wording.setting_fault("file_type"))
    match json.loads(text, parse_float=Decimal, object_pairs_hook=_without_repeats):
        case dict() as settings:
            return settings
        case _:
            raise ValueError(wording.setting_fault("file_shape"))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse repeated settings: JSON would keep the last one silently and lose a limit."""
    settings = dict(pairs)
    if len(settings) < len(pairs):
        raise ValueError(wording.setting_fault("file_repeats"))
    return settings


def _read_region(country: str) -> str:
    from langchain_oneshot_voice.policy.numbers import REGIONS  # noqa: PLC0415 - lazy

    region = country.strip().upper()
    if region not in REGIONS:
        raise ValueError(wording.setting_fault("country", given=country))
    return region


def _minutes(request: VoiceCallInput) -> int:
    return request.max_duration_minutes or DEFAULT_DURATION_MINUTES


def _per_minute(quote: VoiceCallQuote) -> Decimal | None:
    if quote.call_cost is None or not quote.estimated_minutes or quote.estimated_minutes < 0:
        return None
    return quote.call_cost / quote.estimated_minutes


def _fees(quote: VoiceCallQuote) -> Decimal:
    """Return the part of the price that does not depend on the duration, in US dollars."""
    itemized = (quote.pipeline_fee or Decimal(0)) + (quote.phone_registration_fee or Decimal(0))
    return max(itemized, quote.total - (quote.call_cost or Decimal(0)))


def _fitting_minutes(request: VoiceCallInput, quote: VoiceCallQuote, cap: Decimal) -> int | None:
    """Return the longest affordable duration, in minutes, if the requested one is longer."""
    per_minute = _per_minute(quote)
    if not per_minute or per_minute < 0:
        return None
    fitting = int(((cap - _fees(quote)) / per_minute).to_integral_value(ROUND_FLOOR))
    return fitting if 1 <= fitting < _minutes(request) else None
