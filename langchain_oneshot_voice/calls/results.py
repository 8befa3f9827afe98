"""What a record of a call amounts to for the caller."""

from __future__ import annotations

from langchain_oneshot_voice.call_states import STATES
from langchain_oneshot_voice.journal import CallRecord
from langchain_oneshot_voice.oneshot.answers import quote_in
from langchain_oneshot_voice.oneshot.results import read_result
from langchain_oneshot_voice.schemas import CallCost, VoiceCallQuote, VoiceCallResult


def quote_of(record: CallRecord) -> VoiceCallQuote | None:
    """The quote that the call was last offered."""
    return quote_in(record.offer) if record.offer else None


def result_of(record: CallRecord) -> VoiceCallResult:
    """The result of a call that was placed."""
    return read_result(
        record.job or {},
        # A forgotten call has an end and no job any more.
        on_record=None if record.job else STATES[record.state].status,
        request_id=record.request_id,
        call_key=record.call_key,
        quote=quote_of(record),
        placement=record.placement,
    )


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
