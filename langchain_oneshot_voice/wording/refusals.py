"""Errors for a call that was not placed, or of which this is not known.

Each message says what happened, whether money moved (`VoiceCallError` adds that), and what to do
next. Refusals by the policy are in `policy.py`, refusals by the service in `service.py`.
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
    """Another call of the same wallet may be in progress with one of the numbers.

    Args:
        numbers: the numbers of the other call.
        request_id: the service's id of the other call; `None` if it is not known.
    """
    return CallRefusedError(
        f"Another call to {spelling.masked(numbers)} is still in progress, or its outcome is not"
        " known yet. This call was not placed: a number is never called twice at the same time.",
        code="number_busy",
        advice="Wait for the outcome of the other call; do not redial.",
        request_id=request_id,
    )


def number_suppressed(numbers: tuple[str, ...]) -> CallRefusedError:
    """The numbers are on the do-not-call list."""
    return CallRefusedError(
        f"A person at {spelling.masked(numbers)} has asked not to be called again.",
        code="number_suppressed",
        advice="Do not call this number again; tell the user.",
    )


def calls_stopped(reason: str, by: str, since: float) -> CallRefusedError:
    """The stop switch is on.

    Args:
        reason: the reason given by the person who turned it on; may be empty.
        by: that person's name.
        since: when it was turned on, in epoch seconds.
    """
    why = spelling.words(reason)
    return CallRefusedError(
        f"{spelling.code(by)} stopped all calls at {spelling.moment(since)}"
        f"{f', saying: {why}' if why else '.'}",
        code="calls_stopped",
        advice="Do not try again until calls are allowed again; tell the user.",
        details={"reason": reason, "by": by, "since": since},
    )


def number_limit_reached(number: str, cap: int, resets_at: float | None) -> CallRefusedError:
    """The number has reached the policy's limit of calls in 24 hours.

    Args:
        number: the number, unmasked.
        cap: the limit.
        resets_at: when the next call is allowed, in epoch seconds; `None` if the limit is zero.
    """
    return CallRefusedError(
        f"{spelling.masked([number])} was called {spelling.count(cap, 'time')} in the last 24"
        f" hours, and the limit is {cap}.{_possible_again(resets_at)}",
        code="number_limit_reached",
        advice=_retry_advice(resets_at),
        details={"cap": cap, "resets_at": resets_at},
    )


def daily_cost_limit_reached(
    cap: Decimal, spent: Decimal, amount: Decimal, resets_at: float | None
) -> CallRefusedError:
    """The call costs more than the rest of the limit for 24 hours.

    Args:
        cap: the limit, in US dollars.
        spent: the part of it that is spent or reserved.
        amount: the price of the call.
        resets_at: when the call fits the limit, in epoch seconds; `None` if it costs more than the
            whole limit.
    """
    return CallRefusedError(
        f"The call costs {spelling.dollars(amount)}. Calls may cost {spelling.dollars(cap)} in 24"
        f" hours, and {spelling.dollars(spent)} of this is spent or reserved."
        f"{_possible_again(resets_at)}",
        code="daily_cost_limit_reached",
        advice=_retry_advice(resets_at),
        details={
            "cap": str(cap),
            "spent": str(spent),
            "amount": str(amount),
            "resets_at": resets_at,
        },
    )


def held_elsewhere(request_id: str | None) -> CallUnknownError:
    """Another worker is making the same call and did not finish within this worker's timeout."""
    return CallUnknownError(
        "Another worker is making this same call and has not finished.",
        code="held_elsewhere",
        advice="Repeat the same request later: it returns the outcome and does not call twice.",
        safe_to_retry=True,
        request_id=request_id,
    )


_LOOK_UP = (
    "Do not place this call again, not even in other words; tell the user. A request with the same"
    " call key only looks up the first call and pays nothing."
)


def fate_unknown(request_id: str | None) -> CallUnknownError:
    """The payment was sent, or was about to be sent, and its answer is not known."""
    return CallUnknownError(
        "The payment was sent, or was about to be sent, and the service's answer was lost. The"
        " phone may have rung.",
        advice=_LOOK_UP,
        request_id=request_id,
    )


def fate_unrecorded(trouble: object) -> CallUnknownError:
    """The payment was signed, and then its record could not be read or written.

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
        advice="The program has to use a different key for each call.",
    )


def no_stable_price() -> ServiceUnavailableError:
    """Every quote expired or was no longer accepted before it could be paid."""
    return ServiceUnavailableError(
        "Every price from the service expired before the call could be paid.",
        advice="Try again later.",
    )


def account_approval_ended(status: str, approval_id: str) -> CallRefusedError:
    """The approval that the account's rules require was not given.

    Args:
        status: the service's word, such as `denied` or `expired`.
        approval_id: the provider's id of the approval.
    """
    return CallRefusedError(
        "The account's rules require a person's approval for this call, and the approval is"
        f" {spelling.code(status)}.",
        code=f"approval_{status}",
        advice="Do not retry; tell the user.",
        details={"approval_id": approval_id},
    )


def account_approval_pending(details: Mapping[str, Any]) -> CallRefusedError:
    """The approval that the account's rules require is still open.

    Args:
        details: facts from the service's refusal, such as the approval's id.
    """
    return CallRefusedError(
        "The account's rules require a person's approval for this call, and nobody has answered"
        " yet.",
        code="approval_required",
        advice="Tell the user that the call waits for approval at the provider. Repeat the same"
        " request later: it continues from there.",
        safe_to_retry=True,
        details=details,
    )


def refused_by_application(problem: object) -> CallRefusedError:
    """The application's own check does not allow the call.

    Args:
        problem: the application's reason; a value that is not a `str` is converted to one.
    """
    why = _sentence(str(problem)) or "no reason given."
    return CallRefusedError(
        f"The application does not allow this call: {why}",
        code="refused_by_application",
        advice="Do not retry it unchanged; tell the user.",
    )


def payment_not_sent(why: str) -> ServiceUnavailableError:
    """The service could not be reached, so the payment never left this machine."""
    return ServiceUnavailableError(
        f"The phone service could not be reached: {why}.",
        advice="The payment was not sent and no phone rang. Try again later.",
    )


def journal_unavailable(trouble: object) -> ConfigurationError:
    """The journal can't be opened, read or written.

    Args:
        trouble: the journal's error, which says what to do.
    """
    return ConfigurationError(
        f"The journal, which records every call, can't be used: {_sentence(str(trouble))}",
        code="journal_unavailable",
        advice="No call is placed without it, and trying again does not help. Tell the user.",
    )


def approval_needs_langgraph() -> ConfigurationError:
    """`approval="interrupt"` is set, but LangGraph is not installed."""
    return ConfigurationError(
        "approval='interrupt' needs LangGraph.",
        code="approval_unavailable",
        advice="Install it: pip install 'langchain-oneshot-voice[langgraph]'.",
    )


def approval_needs_graph(where: str) -> ConfigurationError:
    """`approval="interrupt"` is set, but nothing can be interrupted.

    Args:
        where: `no graph`, or `a graph without a checkpointer`.
    """
    return ConfigurationError(
        f"The call needs a person's approval, and there is {where}: nothing can be paused.",
        code="approval_unavailable",
        advice="The program has to run the tool in a LangGraph graph compiled with a checkpointer,"
        " or pass a function as approval.",
    )


def approval_unreadable(problems: str) -> ConfigurationError:
    """The application's approval function returned something that is not a decision.

    Args:
        problems: the problems with the returned value.
    """
    return ConfigurationError(
        f"The approval function returned something that is not a decision ({problems}).",
        code="approval_unreadable",
        advice="Return approve, edit, reject or respond, such as {'type': 'approve'}.",
    )


def request_unreadable(error: ValidationError) -> InvalidCallError:
    """One of many requests is invalid."""
    problems = [
        f"{found['loc'][0] if found['loc'] else 'request'}: {found['msg']}"
        for found in error.errors()
    ]
    return InvalidCallError(
        f"The request can't be used. {spelling.unnumbered('; '.join(dict.fromkeys(problems)))}.",
        advice="Correct the request.",
    )


def withdrawn() -> CallRefusedError:
    """One of many calls was withdrawn before it was paid, because it is no longer needed."""
    return CallRefusedError(
        "The call was withdrawn before it was placed.",
        code="withdrawn",
        advice="Request it again if it is still needed.",
        safe_to_retry=True,
    )


def list_unchanged(problems: Sequence[str]) -> InvalidCallError:
    """A number for the do-not-call list is invalid, so the list was not changed.

    Args:
        problems: the problem of each number; empty if no number was given.
    """
    return InvalidCallError(
        f"The list was not changed: {'; '.join(problems) or 'no number was given'}.",
        code="invalid_number",
        advice="Correct the numbers and try again.",
    )


def _possible_again(resets_at: float | None) -> str:
    return f" A call is possible again at {spelling.moment(resets_at)}." if resets_at else ""


def _retry_advice(resets_at: float | None) -> str:
    if resets_at:
        return "Do not retry before then; tell the user."
    return "Do not retry; tell the user."


def _sentence(words: str) -> str:
    """Return the text on one line, with punctuation at its end."""
    line = plain(words)
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."
