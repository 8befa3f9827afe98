"""What can go wrong with a call, in words a model can act on.

    VoiceCallError               (a langchain_core ToolException)
    ├── ConfigurationError       no credential, a bad address: mend the program
    ├── InvalidCallError         the request can't be sent as it is: mend the request
    ├── CallRefusedError         the service, the account or a policy said no
    ├── PaymentTermsError        the price or its terms were not what was agreed: nothing signed
    ├── PaymentRefusedError      the service did not take the payment
    ├── ServiceUnavailableError  the service was out of reach or failed, before anything was paid
    └── CallUnknownError         paid or not, rung or not: nobody can know yet

An error stands for a call that did not happen, or of which nobody can know whether it did. A call
that was placed and came to nothing (busy, no answer) is a result, not an error.

Each error says three things beside its message: `charged` (did money move), `safe_to_retry` (may
the same call be asked for again, as it is), and `request_id` (the service's own id of the call, if
there is one). The message itself tells a model what happened, whether money moved, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.tools import ToolException

Charged = Literal["no", "yes", "unknown"]
"""Whether money moved: `no` (none did and none will), `yes`, or `unknown` (it may have)."""

_MONEY: dict[Charged, str] = {
    "no": "Nothing was charged.",
    "yes": "The call was charged.",
    "unknown": "It is not known whether money moved.",
}


class VoiceCallError(ToolException):
    """A call that did not happen, or of which nobody can know whether it did.

    Attributes:
        code: a stable word for programs, such as `budget_exceeded`.
        charged: whether money moved: `no`, `yes` or `unknown`.
        safe_to_retry: whether the same call, unchanged, may be asked for again.
        request_id: the service's id of the call, where one is known.
        reason: what happened, in a sentence.
        advice: what to do next, in a sentence; may be empty.
        details: what the service or a rule said beside its code, such as `resets_at`.

    Example:
        ```python
        try:
            tool.invoke({"objective": "...", "target_number": "+14155550100"})
        except VoiceCallError as error:
            if error.charged != "no":
                alert(error.code, error.request_id)
        ```
    """

    default_code = "voice_call_failed"
    default_charged: Charged = "no"
    default_safe_to_retry = False

    def __init__(
        self,
        reason: str,
        *,
        advice: str = "",
        code: str | None = None,
        charged: Charged | None = None,
        safe_to_retry: bool | None = None,
        request_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.reason = reason
        self.advice = advice
        self.code = code or self.default_code
        self.charged: Charged = charged or self.default_charged
        self.safe_to_retry = self.default_safe_to_retry if safe_to_retry is None else safe_to_retry
        self.request_id = request_id
        self.details = dict(details or {})
        known = f"Request id: {request_id}." if request_id else ""
        super().__init__(" ".join(p for p in (reason, _MONEY[self.charged], advice, known) if p))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling: between processes, and into a graph's checkpoint."""
        return _revive, (type(self), self.__dict__.copy())


def _revive(kind: type[VoiceCallError], state: dict[str, object]) -> VoiceCallError:
    names = ("advice", "code", "charged", "safe_to_retry", "request_id", "details")
    return kind(str(state["reason"]), **{name: state[name] for name in names})  # type: ignore[arg-type]


class ConfigurationError(VoiceCallError):
    """The tool was set up in a way that can't place calls; the program has to be mended."""

    default_code = "configuration"


class InvalidCallError(VoiceCallError):
    """The request can't be sent as it is; the message lists every problem with it."""

    default_code = "invalid_request"


class CallRefusedError(VoiceCallError):
    """The service, the account's rules or the application's policy said no before paying."""

    default_code = "refused"


class PaymentTermsError(VoiceCallError):
    """The terms of the payment were not what was agreed; nothing was signed."""

    default_code = "payment_terms_refused"


class PaymentRefusedError(VoiceCallError):
    """The service did not take the payment: the balance is short, or it would not verify."""

    default_code = "payment_refused"


class ServiceUnavailableError(VoiceCallError):
    """The service could not be reached, or failed, before anything was paid."""

    default_code = "service_unavailable"
    default_safe_to_retry = True


class CallUnknownError(VoiceCallError):
    """The call was paid for, or was about to be, and the answer was lost.

    Asking for the same call again with the same call key is safe: it looks the first one up.
    Asking for it as a new call is not.
    """

    default_code = "unknown"
    default_charged = "unknown"
