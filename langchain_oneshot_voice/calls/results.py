"""What a record of a call, or what stands in its way, amounts to for the caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.call_states import STATES
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import (
    CallRecord,
    NewCall,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    Paused,
    SpendLimitReached,
)
from langchain_oneshot_voice.oneshot.answers import quote_in
from langchain_oneshot_voice.oneshot.results import read_result
from langchain_oneshot_voice.schemas import CallCost, VoiceCallQuote, VoiceCallResult

_DAY = timedelta(days=1)


def quote_of(record: CallRecord) -> VoiceCallQuote | None:
    """The quote that the call was last offered."""
    return quote_in(record.offer) if record.offer else None


def result_of(record: CallRecord) -> VoiceCallResult:
    """The result of a call that was placed."""
    result = read_result(
        record.job or {},
        # A forgotten call has an end and no job any more.
        on_record=None if record.job else STATES[record.state].status,
        request_id=record.request_id,
        call_key=record.call_key,
        quote=quote_of(record),
        placement=record.placement,
    )
    if result.call_status not in {"completed", "failed"}:
        return result
    return result.model_copy(update={"ended_at": _ended_at(record, result.ended_at)})


def _ended_at(record: CallRecord, told: datetime | None) -> datetime:
    """When the call ended: by the service's clock, unless that is off by more than a day."""
    began, heard = (datetime.fromtimestamp(t, UTC) for t in (record.created_at, record.updated_at))
    return told if told is not None and began - _DAY < told < heard + _DAY else heard


def declined_result(record: CallRecord, message: str | None) -> VoiceCallResult:
    """The result of a call that a person said no to."""
    quote = quote_of(record)
    return VoiceCallResult(
        call_status="rejected",
        approval_message=message,
        cost=CallCost(quoted=quote.total if quote else None),
        quote=quote,
        call_key=record.call_key,
    )


def busy(call: NewCall | CallRecord, other: CallRecord) -> VoiceCallError:
    """Another call is on a number of this one. Of another tenant's call nothing else is told."""
    theirs = other.tenant != call.tenant
    numbers = tuple(n for n in other.numbers if n in call.numbers) if theirs else other.numbers
    return wording.number_busy(numbers, None if theirs else other.request_id)


def guard_refusal(
    call: CallRecord,
    guard: Paused | NumberBusy | NumberLimitReached | NumberSuppressed | SpendLimitReached,
) -> VoiceCallError:
    """What stands in the way of a call, as the error that it is."""
    match guard:
        case Paused():
            return wording.calls_stopped(guard.reason, guard.by, guard.since)
        case NumberBusy():
            return busy(call, guard.record)
        case NumberSuppressed():
            return wording.number_suppressed(guard.numbers)
        case NumberLimitReached():
            return wording.number_limit_reached(guard.number, guard.cap, guard.resets_at)
        case SpendLimitReached():
            return wording.daily_cost_limit_reached(
                guard.cap, guard.spent, guard.amount, guard.resets_at
            )
