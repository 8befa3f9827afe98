"""The words for what the journal says no with: why there is no call, and what to do instead."""

from __future__ import annotations

from datetime import UTC, datetime

from langchain_oneshot_voice.errors import CallRefusedError, CallUnknownError, InvalidCallError
from langchain_oneshot_voice.journal import (
    CallRecord,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    SpendLimitReached,
)
from langchain_oneshot_voice.schemas import mask_number

Guard = NumberBusy | NumberLimitReached | NumberSuppressed | SpendLimitReached
"""A no of the journal's that is the model's to hear."""


def guard_refusal(guard: Guard) -> CallRefusedError:
    """The refusal that a guard of the journal amounts to. Nothing was signed."""
    match guard:
        case NumberBusy():
            return number_busy(guard.record)
        case NumberSuppressed():
            return number_suppressed(guard.numbers)
        case NumberLimitReached():
            return CallRefusedError(
                f"{mask_number(guard.number)} was called {guard.cap} times in 24 hours, as often"
                f" as is allowed.{_room_again(guard.resets_at)}",
                code="number_limit_reached",
                advice="Do not retry before then; tell the user.",
                details={"cap": guard.cap, "resets_at": guard.resets_at},
            )
        case SpendLimitReached():
            return CallRefusedError(
                f"The call costs ${guard.amount}; ${guard.spent} of the ${guard.cap} that calls"
                " may cost in 24 hours is spent or reserved."
                f"{_room_again(guard.resets_at)}",
                code="daily_cost_limit_reached",
                advice="Do not retry before then; tell the user.",
                details={
                    "cap": str(guard.cap),
                    "spent": str(guard.spent),
                    "amount": str(guard.amount),
                    "resets_at": guard.resets_at,
                },
            )


def number_busy(other: CallRecord) -> CallRefusedError:
    """Another call of ours is on one of the numbers, or may be."""
    return CallRefusedError(
        f"A call of yours to {_masked(other.numbers)} is still under way, or its fate is not known"
        " yet; the number is not rung a second time.",
        code="number_busy",
        advice="Wait for that call's outcome; do not redial.",
        request_id=other.request_id,
    )


def number_suppressed(numbers: tuple[str, ...]) -> CallRefusedError:
    """Somebody there does not want to be called."""
    return CallRefusedError(
        f"Somebody at {_masked(numbers)} has asked not to be called again.",
        code="number_suppressed",
        advice="Do not call this number, now or later; tell the user.",
    )


def held_elsewhere(record: CallRecord) -> CallUnknownError:
    """Another worker makes this very call, and has taken longer than there was time to wait."""
    return CallUnknownError(
        "Another worker is making this same call and has not finished.",
        code="held_elsewhere",
        advice="Ask for the same call again later to read its outcome.",
        safe_to_retry=True,
        request_id=record.request_id,
    )


def fate_unknown(request_id: str | None) -> CallUnknownError:
    """Paid for or not, rung or not: nobody can know."""
    return CallUnknownError(
        "The call was paid for, or was about to be, and the service's answer was lost: the phone"
        " may have rung.",
        advice="Do not place this call again, in these or other words: tell the user. Asking"
        " again under the same call key looks the first one up.",
        request_id=request_id,
    )


def key_reused() -> InvalidCallError:
    """An idempotency key that stands for another call."""
    return InvalidCallError(
        "This idempotency key was already used for a different call, or from another wallet.",
        code="idempotency_key_reused",
        advice="The program has to give each intended call a key of its own.",
    )


def _room_again(resets_at: float | None) -> str:
    if not resets_at:
        return ""
    when = datetime.fromtimestamp(resets_at, UTC).isoformat(timespec="minutes")
    return f" There is room again at {when}."


def _masked(numbers: tuple[str, ...]) -> str:
    return ", ".join(map(mask_number, numbers)) or "a number"
