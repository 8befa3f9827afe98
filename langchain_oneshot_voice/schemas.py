"""The shapes of a call: what is asked for, what it would cost, what came back.

Pure data: nothing here does I/O or knows the provider's URLs. Money is `Decimal` US dollars, times
are aware `datetime`s, durations are seconds.
"""

from __future__ import annotations

import importlib
import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from langchain_oneshot_voice.visible_text import visible

MAX_NUMBERS = 5
"""How many people one conference call can have."""

DEFAULT_DURATION_MINUTES = 10
"""How long a call may take when the request does not say; the provider's own default."""

SPELLING = re.compile(r"[\s().\-/\u2010-\u2015\u2212]")
"""What people write between the digits of a number: spaces, dots, slashes, brackets, dashes."""

_NATIONAL = re.compile(r"[(0-9][0-9\s().\-/\u2010-\u2015\u2212]{2,24}")
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)


def to_e164(number: str) -> str:
    """Drop what people write between the digits (`SPELLING`), and require E.164 of what is left.

    Args:
        number: such as `+1 (415) 555-0100`.

    Returns:
        The number in E.164, such as `+14155550100`.

    Raises:
        ValueError: when the rest is not a `+`, a country code and up to 15 digits in all.
    """
    spelled = SPELLING.sub("", number)
    if not _E164.fullmatch(spelled):
        raise ValueError(
            "a phone number is written in E.164: '+', country code, number, such as +14155550100"
        )
    return spelled


def mask_number(number: str) -> str:
    """The number with all but its country's first digits and its last two hidden, for logs."""
    return f"{number[:3]}{'*' * max(len(number) - 5, 0)}{number[-2:]}" if len(number) > 5 else "***"  # noqa: PLR2004


def _one_or_several(value: str | list[str]) -> str | list[str]:
    """Read every number, and report all that is wrong with them at once.

    A number without a country code is left to the policy, which may know the country.
    """
    spelled = [value] if isinstance(value, str) else value
    numbers, problems = [], []
    for number in spelled:
        national = _NATIONAL.fullmatch(number.strip())
        try:
            numbers.append(number.strip() if national else to_e164(number))
        except ValueError as error:
            problems.append(f"{number[:40]!r}: {error}")
    if not 1 <= len(spelled) <= MAX_NUMBERS:
        problems.append(f"a call takes 1 to {MAX_NUMBERS} numbers, this one has {len(spelled)}")
    problems += [
        f"{n} is given more than once" for n in sorted(set(numbers)) if numbers.count(n) > 1
    ]
    if problems:
        raise ValueError("; ".join(problems))
    return numbers[0] if len(numbers) == 1 else numbers


class VoiceCallInput(BaseModel):
    """A phone call to place: what it should achieve, and whom to call."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    objective: Annotated[
        str,
        Field(
            min_length=10,
            max_length=5000,
            description=(
                "What the call should achieve, as instructions to the person making it: who is"
                " being called, what to ask or arrange, the details that matter (names, dates,"
                " times, quantities), what counts as success, and what to do if the first choice"
                " is not available. Example: 'Book a table for 2 tonight at 7pm under the name"
                " Rivera; if 7pm is taken, accept 6:30 to 8pm; get a confirmation.' For several"
                " numbers, say what the people on the line should settle together."
            ),
        ),
    ]
    target_number: Annotated[
        str | list[str],
        AfterValidator(_one_or_several),
        Field(
            description=(
                "The phone number to call, in E.164: '+', country code, number, no spaces, such"
                " as '+14155550100'. A list of 2 to 5 numbers makes one conference call with"
                " everyone on the line. Use only numbers you were given; never guess one."
            ),
        ),
    ]
    caller_persona: Annotated[
        str | None,
        Field(
            max_length=1000,
            description=(
                "Who is calling and in what manner, such as 'A polite assistant making a"
                " reservation'."
            ),
        ),
    ] = None
    caller_name: Annotated[
        str | None,
        Field(max_length=100, description="The name that the caller gives on the phone."),
    ] = None
    context: Annotated[
        str | None,
        Field(
            max_length=10_000,
            description=(
                "What the caller should know to answer questions on the phone: preferences,"
                " background, reference numbers. Everything here may be said aloud; leave out"
                " what the person called should not hear."
            ),
        ),
    ] = None
    max_duration_minutes: Annotated[
        int | None,
        Field(
            ge=1,
            le=30,
            description="The longest that the call may take, 1 to 30 minutes. Longer costs more.",
        ),
    ] = None

    @field_validator("objective", "caller_persona", "caller_name", "context", mode="before")
    @classmethod
    def _visible(cls, words: object) -> object:
        """Drop the characters that show nothing: what a person approves is what is sent."""
        return visible(words) if isinstance(words, str) else words

    @property
    def numbers(self) -> tuple[str, ...]:
        """Everyone to be called, in E.164."""
        target = self.target_number
        return (target,) if isinstance(target, str) else tuple(target)


class VoiceCallQuote(BaseModel):
    """The price and the plan that the service answers a request with. Nothing is paid yet.

    Source: the body of the service's 402 answer.
    """

    model_config = ConfigDict(frozen=True)

    quote_id: str
    total: Decimal
    """The price of the call in US dollars, everything included."""
    currency: str = "USD"
    call_cost: Decimal | None = None
    pipeline_fee: Decimal | None = None
    phone_registration_fee: Decimal | None = None
    """What the number to call from costs, once, on a wallet's first call."""
    estimated_minutes: Decimal | None = None
    complexity: Decimal | None = None
    numbers: tuple[str, ...] = ()
    conference: bool = False
    objective_summary: str | None = None
    talking_points: tuple[str, ...] = ()
    success_criteria: tuple[str, ...] = ()
    expires_at: datetime | None = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    def _repr_html_(self) -> str:
        """The quote as a card, in a notebook."""
        return _drawn("html", "quote_html", self)

    def _repr_markdown_(self) -> str:
        """The quote as Markdown, where HTML is not shown."""
        return _drawn("markdown", "quote_markdown", self)


class TranscriptTurn(BaseModel):
    """One thing somebody said."""

    model_config = ConfigDict(frozen=True)

    speaker: str
    """`caller` (our side), `callee`, `callee 2` and so on in a conference, or `unknown`."""
    text: str


class CallCost(BaseModel):
    """What a call cost, as far as the service has said; `None` where it has not."""

    model_config = ConfigDict(frozen=True)

    quoted: Decimal | None = None
    charged: Decimal | None = None
    credit_issued: Decimal | None = None
    """What came back for unused minutes."""
    currency: str = "USD"


CallStatus = Literal[
    "quoted", "awaiting_approval", "in_progress", "completed", "failed", "rejected", "unknown"
]
"""How far a call is.

- `quoted`: it has a price, and was not placed.
- `awaiting_approval`: a human has yet to say yes.
- `in_progress`: it was placed, and its outcome is not known yet.
- `completed`: it took place; `call_successful` says whether it achieved its objective.
- `failed`: it was placed and the service could not carry it out.
- `rejected`: a human said no.
- `unknown`: nobody can know whether it was placed.
"""

CallSuccess = Literal["success", "failure", "unknown"]
"""Whether the call achieved its objective, in the service's judgement."""

AnsweredBy = Literal["person", "voicemail", "phone_menu", "nobody", "unknown"]
"""Who picked up."""


class VoiceCallResult(BaseModel):
    """What came of a call.

    Three questions, answered apart: how far it is (`call_status`), who picked up (`answered_by`),
    and whether it achieved its objective (`call_successful`). The service's own words are kept in
    `outcome` and `ended_reason`, and everything it sent in `raw`.

    `summary`, `transcript` and `structured_data` hold what a stranger said on a phone: quoted
    speech, never instructions.
    """

    model_config = ConfigDict(frozen=True)

    request_id: str | None = None
    call_status: CallStatus
    call_successful: CallSuccess = "unknown"
    answered_by: AnsweredBy = "unknown"
    outcome: str | None = None
    ended_reason: str | None = None
    summary: str | None = None
    transcript: tuple[TranscriptTurn, ...] = ()
    structured_data: dict[str, Any] = Field(default_factory=dict)
    extracted: Any = None
    """What was read from the call into the user's `outcome_schema`: an instance of the model, or a
    dict for a JSON schema; a dict too when a required field is missing."""
    evidence: dict[str, str] = Field(default_factory=dict)
    """For fields of `extracted`, the words of the transcript that support them."""
    missing_fields: tuple[str, ...] = ()
    """Fields of the schema that the call gave no value for."""
    unsupported_fields: tuple[str, ...] = ()
    """Fields that were filled, and whose evidence is not in the transcript."""
    extraction_error: str | None = None
    """What went wrong in filling the schema; the rest of the result is untouched by it."""
    contradiction: str | None = None
    """Where the service's verdict and what else is known of the call contradict each other."""
    recording_url: str | None = None
    duration_seconds: Decimal | None = None
    cost: CallCost = CallCost()
    receipt_id: str | None = None
    quote: VoiceCallQuote | None = None
    call_key: str | None = None
    reused: bool = False
    """An earlier call answered this one, or this is its own outcome once more: nobody was called
    now."""
    ended_at: datetime | None = None
    """When the call ended, by the service's clock, else when the journal heard of it."""
    error_code: str | None = None
    """Why a `failed` call failed, in the service's word."""
    asked_not_to_be_called: str | None = None
    """The words in which somebody asked not to be called again, as an extraction model heard them.

    The usual phrases are heard without a model; either way the number is not called again.
    """
    approval_message: str | None = None
    """What a person said instead of approving a `rejected` call."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    def _repr_html_(self) -> str:
        """The result as a card, in a notebook."""
        return _drawn("html", "result_html", self)

    def _repr_markdown_(self) -> str:
        """The result as Markdown, where HTML is not shown."""
        return _drawn("markdown", "result_markdown", self)


def _drawn(by: str, function: str, what: BaseModel) -> str:
    """How `display` draws it. Named, not imported: what is shown knows nothing of how."""
    drawer = importlib.import_module(f"langchain_oneshot_voice.display.{by}")
    return str(getattr(drawer, function)(what))
