"""Turns journal records into the caller's results, and refusals by guards into errors."""

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
    """Return the call's latest quote; `None` if it has none."""
    return quote_in(record.offer) if record.offer else None


def result_of(record: CallRecord) -> VoiceCallResult:
    """Return the result of a call that was placed."""
    return with_end_time(parse_result(record), record)


def parse_result(record: CallRecord) -> VoiceCallResult:
    """Parse the result from a record's job; the end time is the service's, not checked."""
    return read_result(
        record.job or {},
        # Retention deletes the job, so the status must come from the record's state.
        on_record=None if record.job else STATES[record.state].status,
        request_id=record.request_id,
        call_key=record.call_key,
        quote=quote_of(record),
        placement=record.placement,
    )


def with_end_time(result: VoiceCallResult, record: CallRecord) -> VoiceCallResult:
    """Return the result of a record with the time at which the call ended, if it has ended."""
    if result.call_status not in {"completed", "failed"}:
        return result
    return result.model_copy(update={"ended_at": _ended_at(record, result.ended_at)})


def _ended_at(record: CallRecord, reported: datetime | None) -> datetime:
    """Return the service's end time; the record's if it is missing or off by more than a day."""
    began, last_seen = (
        datetime.fromtimestamp(t, UTC) for t in (record.created_at, record.updated_at)
    )
    return (
        reported
        if reported is not None and began - _DAY < reported < last_seen + _DAY
        else last_seen
    )


def declined_result(record: CallRecord, message: str | None) -> VoiceCallResult:
    """Return the result of a call that a person rejected."""
    quote = quote_of(record)
    return VoiceCallResult(
        call_status="rejected",
        approval_message=message,
        cost=CallCost(quoted=quote.total if quote else None),
        quote=quote,
        call_key=record.call_key,
    )


def number_busy_error(call: NewCall | CallRecord, other: CallRecord) -> VoiceCallError:
    """Return the error for a number that another call is using.

    If the other call belongs to another tenant, the error names only the numbers that both calls
    have, and no request id.
    """
    other_tenant = other.tenant != call.tenant
    numbers = (
        tuple(n for n in other.numbers if n in call.numbers) if other_tenant else other.numbers
    )
    return wording.number_busy(numbers, None if other_tenant else other.request_id)


def guard_refusal(
    call: CallRecord,
    guard: Paused | NumberBusy | NumberLimitReached | NumberSuppressed | SpendLimitReached,
) -> VoiceCallError:
    """Return the error for a call that a guard of the journal refused."""
    match guard:
        case Paused():
            return wording.calls_stopped(guard.reason, guard.by, guard.since)
        case NumberBusy():
            return number_busy_error(call, guard.record)
        case NumberSuppressed():
            return wording.number_suppressed(guard.numbers)
        case NumberLimitReached():
            return wording.number_limit_reached(guard.number, guard.cap, guard.resets_at)
        case SpendLimitReached():
            return wording.daily_cost_limit_reached(
                guard.cap, guard.spent, guard.amount, guard.resets_at
            )
