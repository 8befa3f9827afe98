"""Why a call was not made, or why nobody can know yet: the life of a call in errors.

Each text says what happened, then whether money moved (`VoiceCallError` adds that), then what to
do. The policy's own refusals are in `policy.py`, those that the service sends in `service.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from langchain_oneshot_voice.errors import (
    CallRefusedError,
    CallUnknownError,
    ConfigurationError,
    InvalidCallError,
    ServiceUnavailableError,
)
from langchain_oneshot_voice.visible_text import plain
from langchain_oneshot_voice.wording import spelling


def number_busy(numbers: tuple[str, ...], request_id: str | None) -> CallRefusedError:
    """Another call of the same wallet may be on one of the numbers.

    Args:
        numbers: those that the other call rings.
        request_id: the service's id of the other call.
    """
    return CallRefusedError(
        f"Another call to {spelling.masked(numbers)} is still in progress, or its outcome is not"
        " known yet. This call was not placed: the number does not ring twice at once.",
        code="number_busy",
        advice="Wait for the outcome of the other call; do not redial.",
        request_id=request_id,
    )


def number_suppressed(numbers: tuple[str, ...]) -> CallRefusedError:
    """The numbers are on the do-not-call list."""
    return CallRefusedError(
        f"Somebody at {spelling.masked(numbers)} has asked not to be called again.",
        code="number_suppressed",
        advice="Do not call this number, now or later; tell the user.",
    )


def calls_stopped(reason: str, by: str, since: float) -> CallRefusedError:
    """Somebody turned the stop switch on.

    Args:
        reason: why, in their words.
        by: who they are.
        since: when, in epoch seconds.
    """
    why = spelling.words(reason)
    return CallRefusedError(
        f"{spelling.code(by)} stopped all calls at {spelling.moment(since)}"
        f"{f', saying: {why}' if why else '.'}",
        code="calls_stopped",
        advice="Do not try again before calls are allowed again; tell the user.",
        details={"reason": reason, "by": by, "since": since},
    )


def number_limit_reached(number: str, cap: int, resets_at: float | None) -> CallRefusedError:
    """The number was called as often as the policy allows in a day."""
    return CallRefusedError(
        f"{spelling.masked([number])} was called {spelling.count(cap, 'time')} in the last 24"
        f" hours, and the limit is {cap}.{_room_again(resets_at)}",
        code="number_limit_reached",
        advice=_retry_then(resets_at),
        details={"cap": cap, "resets_at": resets_at},
    )


def daily_cost_limit_reached(
    cap: Decimal, spent: Decimal, amount: Decimal, resets_at: float | None
) -> CallRefusedError:
    """The call would cost more than is left of the day's limit."""
    return CallRefusedError(
        f"The call costs {spelling.dollars(amount)}. {spelling.dollars(spent)} of the"
        f" {spelling.dollars(cap)} that calls may cost in 24 hours is spent or reserved."
        f"{_room_again(resets_at)}",
        code="daily_cost_limit_reached",
        advice=_retry_then(resets_at),
        details={
            "cap": str(cap),
            "spent": str(spent),
            "amount": str(amount),
            "resets_at": resets_at,
        },
    )


def held_elsewhere(request_id: str | None) -> CallUnknownError:
    """Another worker makes this same call and needs longer than this one may wait."""
    return CallUnknownError(
        "Another worker is making this same call and has not finished.",
        code="held_elsewhere",
        advice="Ask for the same call again later: that reads its outcome and does not call twice.",
        safe_to_retry=True,
        request_id=request_id,
    )


_LOOK_UP = (
    "Do not place this call again, in these or other words; tell the user. Asking again under the"
    " same call key looks up the first call and pays nothing new."
)


def fate_unknown(request_id: str | None) -> CallUnknownError:
    """The payment was sent, or was about to be, and no answer says what happened to it."""
    return CallUnknownError(
        "The call was paid for, or was about to be, and the service's answer was lost: the phone"
        " may have rung.",
        advice=_LOOK_UP,
        request_id=request_id,
    )


def fate_unrecorded(trouble: object) -> CallUnknownError:
    """The payment was signed, and the record of it can't be read or written any more.

    Args:
        trouble: the journal's error.
    """
    return CallUnknownError(
        "The payment for the call was signed, and then the journal, which records every call,"
        f" could not be used: {_sentence(str(trouble))} The phone may have rung.",
        advice=_LOOK_UP,
    )


def key_reused() -> InvalidCallError:
    """The application gave one idempotency key to two different calls."""
    return InvalidCallError(
        "This idempotency key was already used for a different call, or from another wallet.",
        code="idempotency_key_reused",
        advice="The program has to give each call a key of its own.",
    )


def no_stable_price() -> ServiceUnavailableError:
    """Each quote expired, or was not accepted any more, before it could be paid."""
    return ServiceUnavailableError(
        "Each price that the service gave had expired before the call could be paid.",
        advice="Try again later.",
    )


def account_approval_ended(status: str, approval_id: str) -> CallRefusedError:
    """The approval that the account's rules ask for was not given.

    Args:
        status: the service's word, such as `denied` or `expired`.
        approval_id: the approval at the provider.
    """
    return CallRefusedError(
        "The account's rules held this call for a person's approval, and the approval is"
        f" {spelling.code(status)}.",
        code=f"approval_{status}",
        advice="Do not retry; tell the user.",
        details={"approval_id": approval_id},
    )


def account_approval_pending(details: Mapping[str, Any]) -> CallRefusedError:
    """Nobody has answered yet to the approval that the account's rules ask for.

    Args:
        details: of the service's refusal, such as the approval's id.
    """
    return CallRefusedError(
        "The account's rules hold this call until a person approves it, and nobody has answered"
        " yet.",
        code="approval_required",
        advice="Tell the user that the call waits for approval at the provider. Asking for the same"
        " call again later continues from there.",
        safe_to_retry=True,
        details=details,
    )


def refused_by_application(problem: object) -> CallRefusedError:
    """The application's own check does not allow the call.

    Args:
        problem: the application's reason; anything but a text is shown as it is.
    """
    why = _sentence(str(problem)) or "no reason given."
    return CallRefusedError(
        f"The application does not allow this call: {why}",
        code="refused_by_application",
        advice="Do not retry it unchanged; tell the user.",
    )


def payment_not_sent(why: str) -> ServiceUnavailableError:
    """The service could not be reached with the payment, so it never left this machine."""
    return ServiceUnavailableError(
        f"The phone service could not be reached: {why}.",
        advice="The payment was not sent and no phone rang. Try again later.",
    )


def journal_unavailable(trouble: object) -> ConfigurationError:
    """The journal can't be opened, read or written.

    Args:
        trouble: the journal's error, which says what to set.
    """
    return ConfigurationError(
        f"The journal, which records every call, can't be used: {_sentence(str(trouble))}",
        code="journal_unavailable",
        advice="No call is placed without it; asking again does not help. Tell the user.",
    )


def approval_needs_langgraph() -> ConfigurationError:
    """`approval="interrupt"` was chosen and LangGraph is not installed."""
    return ConfigurationError(
        "approval='interrupt' needs LangGraph.",
        code="approval_unavailable",
        advice="Install it: pip install 'langchain-oneshot-voice[langgraph]'.",
    )


def approval_needs_graph(where: str) -> ConfigurationError:
    """`approval="interrupt"` was chosen and nothing can be interrupted.

    Args:
        where: what the tool runs in: `no graph`, or `a graph without a checkpointer`.
    """
    return ConfigurationError(
        f"The call needs a person's approval, and there is {where}: nothing can be paused.",
        code="approval_unavailable",
        advice="The program has to run the tool in a LangGraph graph compiled with a checkpointer,"
        " or to pass a function as approval.",
    )


def approval_unreadable(problems: str) -> ConfigurationError:
    """The application's approval function answered with something that is not a decision.

    Args:
        problems: what is wrong with the answer.
    """
    return ConfigurationError(
        f"The answer of the approval function is not a decision ({problems}).",
        code="approval_unreadable",
        advice="Answer with approve, edit, reject or respond, such as {'type': 'approve'}.",
    )


def request_unreadable(error: ValidationError) -> InvalidCallError:
    """One of many requests is not what a request has to be."""
    problems = [
        f"{found['loc'][0] if found['loc'] else 'request'}: {found['msg']}"
        for found in error.errors()
    ]
    return InvalidCallError(
        f"The request can't be used. {spelling.unnumbered('; '.join(dict.fromkeys(problems)))}.",
        advice="Correct the request.",
    )


def withdrawn() -> CallRefusedError:
    """One of many calls was not needed any more, and was not paid yet."""
    return CallRefusedError(
        "The call was withdrawn before it was placed.",
        code="withdrawn",
        advice="Ask for it again if it is needed after all.",
        safe_to_retry=True,
    )


def list_unchanged(problems: Sequence[str]) -> InvalidCallError:
    """A number for the do-not-call list can't be read, so the list stays as it was.

    Args:
        problems: what is wrong with each number; none if no number was given.
    """
    return InvalidCallError(
        f"The list was not changed: {'; '.join(problems) or 'no number was given'}.",
        code="invalid_number",
        advice="Correct the numbers and try again.",
    )


def _room_again(resets_at: float | None) -> str:
    return f" There is room again at {spelling.moment(resets_at)}." if resets_at else ""


def _retry_then(resets_at: float | None) -> str:
    if resets_at:
        return "Do not retry before then; tell the user."
    return "Do not retry; tell the user."


def _sentence(words: str) -> str:
    """One line that ends like a sentence."""
    line = plain(words)
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."
