"""The errors of a call, with messages that a model can act on.

    VoiceCallError               (a langchain_core ToolException)
    ├── ConfigurationError       no credential, or a wrong address: correct the program
    ├── InvalidCallError         the request can't be sent as it is: correct the request
    ├── CallRefusedError         the service, the account or the policy does not allow the call
    ├── PaymentTermsError        the price or its terms are not as agreed: nothing was signed
    ├── PaymentRefusedError      the service did not accept the payment
    ├── ServiceUnavailableError  the service could not be reached or failed, before a payment
    └── CallUnknownError         it is not known whether the call was paid, or whether it rang

An error means that the call was not placed, or that it is not known whether it was placed. A call
that was placed and reached nobody (busy, no answer) is a result, not an error.

Beside its message, each error has `charged` (whether money moved), `safe_to_retry` (whether the
same request may be sent again unchanged) and `request_id` (the service's id of the call, if it has
one). The message tells a model what happened, whether money moved, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.tools import ToolException

Charged = Literal["no", "yes", "unknown"]
"""Whether money moved: `no` (it did not and will not), `yes`, or `unknown` (it may have)."""

_MONEY: dict[Charged, str] = {
    "no": "Nothing was charged.",
    "yes": "The call was charged.",
    "unknown": "It is not known whether money moved.",
}


class VoiceCallError(ToolException):
    """The call was not placed, or it is not known whether it was placed.

    Attributes:
        code: a stable word for programs, such as `budget_exceeded`.
        charged: whether money moved: `no`, `yes` or `unknown`.
        safe_to_retry: `True` if the same request may be sent again unchanged.
        request_id: the service's id of the call; `None` if it is not known.
        reason: what happened, in one sentence.
        advice: what to do next, in one sentence; may be empty.
        details: more facts from the service or from a rule, such as `resets_at`.

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
        """Support pickling: errors travel between processes and into a graph's checkpoint."""
        return _revive, (type(self), self.__dict__.copy())


def _revive(kind: type[VoiceCallError], state: dict[str, object]) -> VoiceCallError:
    names = ("advice", "code", "charged", "safe_to_retry", "request_id", "details")
    return kind(str(state["reason"]), **{name: state[name] for name in names})  # type: ignore[arg-type]


class ConfigurationError(VoiceCallError):
    """The tool's settings can't place calls; the program has to be corrected."""

    default_code = "configuration"


class InvalidCallError(VoiceCallError):
    """The request can't be sent as it is; the message lists every problem with it."""

    default_code = "invalid_request"


class CallRefusedError(VoiceCallError):
    """The service, the account's rules or the policy refused the call before it was paid."""

    default_code = "refused"


class PaymentTermsError(VoiceCallError):
    """The payment terms are not as agreed; nothing was signed."""

    default_code = "payment_terms_refused"


class PaymentRefusedError(VoiceCallError):
    """The service did not accept the payment: the balance is too low, or verification failed."""

    default_code = "payment_refused"


class ServiceUnavailableError(VoiceCallError):
    """The service could not be reached, or failed, before anything was paid."""

    default_code = "service_unavailable"
    default_safe_to_retry = True


class CallUnknownError(VoiceCallError):
    """The payment was sent, or was about to be sent, and the answer was lost.

    It is safe to repeat the request with the same call key: that looks up the first call. It is not
    safe to repeat it as a new call.
    """

    default_code = "unknown"
    default_charged = "unknown"
