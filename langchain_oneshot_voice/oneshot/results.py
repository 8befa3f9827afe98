"""Converts a job of the service into a `VoiceCallResult`.

The conversion never fails: an unknown word becomes `unknown`, and the raw job is kept. Only a clear
word of success makes a call a success. `wording/results.py` has the text that a model reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.oneshot.reading import (
    LONGEST_LINE,
    LONGEST_NAME,
    fields,
    line,
    moment,
    money,
    name,
    text,
)
from langchain_oneshot_voice.oneshot.transcript import read_transcript
from langchain_oneshot_voice.schemas import (
    AnsweredBy,
    CallCost,
    CallStatus,
    CallSuccess,
    VoiceCallQuote,
    VoiceCallResult,
)
from langchain_oneshot_voice.visible_text import web_link

LARGEST_RAW = 64 * 1024
"""Limit for `raw` in a graph's checkpoint, in characters of JSON. The journal keeps all of it."""

_ANSWERED_BY: dict[str, AnsweredBy] = {
    "reached_person": "person",
    "refused": "person",
    "wrong_number": "person",
    "voicemail_left": "voicemail",
    "phone_menu_dead_end": "phone_menu",
    "no_answer": "nobody",
}
_REACHED_NOBODY = {"no_answer", "refused", "phone_menu_dead_end", "wrong_number"}

_SUCCESS = {"pass", "passed", "success", "successful", "succeeded", "true", "yes"}
_FAILURE = {"fail", "failed", "failure", "unsuccessful", "false", "no"}

_DOUBT = frozenset(
    re.findall(
        r"\w+",
        "not cannot t unable but however partial partially although though except unless if maybe"
        " perhaps possibly almost nearly would unclear unsure unknown never nobody nothing none"
        " criteria criterion rate score chance probability",
    )
)
"""Words that make a word of success unclear. `t` is the rest of `couldn't`."""

_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,3}):(\d{2})", re.ASCII)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(?:s|sec|seconds?)", re.IGNORECASE | re.ASCII)

_UNANSWERED = ("busy", "no-answer", "no_answer", "did-not-answer")
"""Parts of an `ended_reason` that mean that nobody answered."""


def read_result(
    job: Mapping[str, Any],
    *,
    request_id: str | None,
    call_key: str | None = None,
    quote: VoiceCallQuote | None = None,
    placement: Mapping[str, Any] | None = None,
    on_record: CallStatus | None = None,
) -> VoiceCallResult:
    """Return the result in a job, in any state of the job.

    Args:
        job: the service's answer about a placed call.
        request_id: the service's id of the call.
        call_key: the client's key of the call.
        quote: the quote that was accepted.
        placement: the service's answer when it accepted the call.
        on_record: the status in the journal, if there is no job that states one.
    """
    result = fields(job.get("result"))
    status = on_record or _status(job.get("status"))
    outcome = line(result.get("outcome"), LONGEST_NAME)
    structured = fields(result.get("structured_data"))
    ended_reason = line(result.get("ended_reason"), LONGEST_NAME)
    answered_by = _answered_by(outcome, ended_reason)
    evaluation = result.get("success_evaluation")
    numbers = quote.numbers if quote else ()
    return VoiceCallResult(
        request_id=request_id,
        call_status=status,
        call_successful=_success(status, outcome, answered_by, evaluation),
        answered_by=answered_by,
        outcome=outcome,
        ended_reason=ended_reason,
        summary=text(result.get("summary")) or line(job.get("error")),
        transcript=tuple(read_transcript(result.get("transcript"), numbers)),
        structured_data=dict(structured),
        contradiction=_contradiction(
            status, outcome, answered_by, structured, _evaluated(evaluation)
        ),
        recording_url=web_link(result.get("recording_url")),
        duration_seconds=_duration(result.get("duration_seconds")),
        cost=CallCost(
            quoted=quote.total if quote else None,
            charged=money(result.get("cost")),
            credit_issued=money(result.get("credit_issued")),
        ),
        receipt_id=name(result.get("receipt_id"))
        or name(job.get("receipt_id"))
        or name(fields(placement).get("receipt_id")),
        quote=quote,
        call_key=call_key,
        ended_at=moment(job.get("updated_at")) if status in {"completed", "failed"} else None,
        error_code=line(job.get("error_code"), LONGEST_NAME),
        raw=dict(job),
    )


def shortened(raw: Mapping[str, Any], longest: int = LARGEST_RAW) -> dict[str, Any]:
    """Return the JSON of the service, without its longest parts if it exceeds the limit.

    Args:
        raw: JSON as the service sent it.
        longest: the limit, in characters of JSON.
    """
    return dict(raw) if _length(raw) <= longest else _parts(raw, longest, depth=3)


def _parts(value: Mapping[str, Any], room: int, depth: int) -> dict[str, Any]:
    """Return the shortest entries of an object that fit, with nested objects shortened too."""
    kept: dict[str, Any] = {}
    for key, item in sorted(value.items(), key=lambda entry: _length(entry[1])):
        part = item
        if isinstance(item, dict) and depth and _length(item) > room:
            part = _parts(item, room - len(key) - 10, depth - 1)
        room -= _length({key: part})
        if room < 0:
            break
        kept[key] = part
    return kept


def _length(value: object) -> int:
    return len(json.dumps(value))


def was_answered(result: VoiceCallResult) -> bool:
    """Return True if a person or a machine answered, so that a repeat would be a second call."""
    if result.call_status == "failed":
        return result.answered_by not in {"nobody", "unknown"} or bool(result.transcript)
    return result.answered_by != "nobody"


def _answered_by(outcome: str | None, ended_reason: str | None) -> AnsweredBy:
    """Return who answered, from the outcome or else from the reason for the end."""
    if outcome in _ANSWERED_BY:
        return _ANSWERED_BY[outcome]
    reason = (ended_reason or "").lower()
    return "nobody" if any(part in reason for part in _UNANSWERED) else "unknown"


def _reached_nobody(outcome: str | None, answered_by: AnsweredBy) -> bool:
    return outcome in _REACHED_NOBODY or answered_by == "nobody"


def _status(word: object) -> CallStatus:
    if word == "completed":
        return "completed"
    return "failed" if word == "failed" else "in_progress"


def _success(
    status: CallStatus, outcome: str | None, answered_by: AnsweredBy, evaluation: object
) -> CallSuccess:
    if status not in {"completed", "failed"}:
        return "unknown"
    if status == "failed":
        return "failure"
    stated = _evaluated(evaluation)
    if _reached_nobody(outcome, answered_by):
        # A success without anybody reached is a contradiction, so it stays unknown.
        return "unknown" if stated == "success" else "failure"
    return stated


def _evaluated(evaluation: object) -> CallSuccess:
    """Read `True`, `pass`, `Success: the table is booked` and the like; the rest is unknown."""
    if isinstance(evaluation, bool):
        return "success" if evaluation else "failure"
    if isinstance(evaluation, str) and len(evaluation) > LONGEST_LINE:
        return "unknown"  # the part that `line` cuts off may express doubt
    message = line(evaluation) or ""
    words = re.findall(r"[a-z]+", message.lower())
    first = words[0] if words else ""
    if first in _FAILURE:
        return "failure"
    doubted = (_DOUBT | _FAILURE) & set(words) or "?" in message
    return "success" if first in _SUCCESS and not doubted else "unknown"


def _contradiction(
    status: CallStatus,
    outcome: str | None,
    answered_by: AnsweredBy,
    structured: Mapping[str, Any],
    stated: CallSuccess,
) -> str | None:
    """Describe a success that other fields of the same job contradict."""
    if stated != "success" or status == "in_progress":
        return None
    if status == "failed":
        return wording.conflict("failed_yet_success")
    if _reached_nobody(outcome, answered_by):
        return wording.conflict("nobody_yet_success")
    if structured.get("objective_met") is False:
        return wording.conflict("not_met_yet_success")
    return None


def _duration(value: object) -> Decimal | None:
    """Parse seconds from a number, `"94"`, `"94 s"` or `"1:34"`."""
    spelled = value[:LONGEST_NAME].strip() if isinstance(value, str) else ""
    if clock := _CLOCK.fullmatch(spelled):
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return Decimal(hours * 3600 + minutes * 60 + seconds)
    unit = _SECONDS.fullmatch(spelled)
    return money(unit[1] if unit else value)
