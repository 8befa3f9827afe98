"""Errors for the service's refusals, failures and payment terms.

`oneshot/` parses the answers and raises or returns these errors. The service's own message is added
as a quotation, on one line and with a bounded length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from langchain_oneshot_voice.errors import (
    CallRefusedError,
    ConfigurationError,
    InvalidCallError,
    PaymentRefusedError,
    PaymentTermsError,
    ServiceUnavailableError,
)
from langchain_oneshot_voice.wording import spelling

TermsFault = Literal[
    "no_header",
    "garbled_header",
    "other_version",
    "no_entry",
    "scheme",
    "chain",
    "token",
    "token_name",
    "token_version",
    "payee",
    "payees_differ",
    "tokens_differ",
    "chains_differ",
    "lifetime",
    "amount",
]
"""A problem with payment terms."""

_TERMS_FAULTS: Mapping[TermsFault, str] = {
    "no_header": "the service named no payment terms (no PAYMENT-REQUIRED header)",
    "garbled_header": "the payment terms can't be read (the PAYMENT-REQUIRED header is garbled)",
    "other_version": "the payment terms are not x402 version 2",
    "no_entry": "the payment terms offer no way to pay",
    "scheme": "the payment scheme is not 'exact'",
    "chain": "the chain is not {network}",
    "token": "the token is not USDC ({usdc})",
    "token_name": "the token's signing name is not {token_name!r}",
    "token_version": "the token's signing version is not {token_version!r}",
    "payee": "the payee is not an address",
    "payees_differ": "header and body name different payees",
    "tokens_differ": "header and body name different tokens",
    "chains_differ": "header and body name different chains",
    "lifetime": "the authorization's lifetime is not a positive number of seconds",
    "amount": "the amount is not a whole number of atomic units",
}

_MOST_CATEGORIES = 5

_BUDGETS = {"daily": "daily budget", "per_transaction": "budget for one call"}


def terms_fault(fault: TermsFault, **facts: str) -> str:
    """A problem with payment terms, as part of a sentence.

    Args:
        fault: the problem.
        facts: expected values for the text.
    """
    return _TERMS_FAULTS[fault].format(**facts)


def asked_over_quote(asked: Decimal, quoted: Decimal) -> str:
    """The payment terms ask for more than the quote, as part of a sentence."""
    return f"it asks for {spelling.dollars(asked)}, more than the quoted {spelling.dollars(quoted)}"


def payment_terms_refused(faults: Sequence[str]) -> PaymentTermsError:
    """The payment terms failed a check, so they are not signed."""
    return PaymentTermsError(
        f"The payment terms were refused, and nothing was signed: {'; '.join(faults)}.",
        advice="Do not retry; tell the user that the service asked for something unexpected.",
    )


def price_over_limit(total: Decimal, max_cost: Decimal) -> PaymentTermsError:
    """The price is above the limit for one call."""
    return PaymentTermsError(
        f"The call would cost {spelling.dollars(total)}, and the limit for one call is"
        f" {spelling.dollars(max_cost)}.",
        code="cost_limit_exceeded",
        advice="Ask for a shorter call (max_duration_minutes), or tell the user the price.",
    )


def quote_unreadable(missing: Literal["id", "readable price"]) -> PaymentTermsError:
    """The service's quote has no id or no readable price."""
    return PaymentTermsError(
        f"The service's quote has no {missing}, and nothing was signed.",
        code="quote_unreadable",
        advice="Do not retry; tell the user that the service answered in an unexpected way.",
    )


def rate_limited(retry_after: float | None) -> ServiceUnavailableError:
    """The service received too many requests."""
    return ServiceUnavailableError(
        "The service's rate limit is reached.",
        code="rate_limited",
        advice="Wait a minute before trying again.",
        details={"retry_after": retry_after},
    )


def service_failed(status: int) -> ServiceUnavailableError:
    """The service answered with a failure that is not about the request."""
    return ServiceUnavailableError(
        f"The service failed to answer the request (HTTP {status}).",
        advice="Try again in a few minutes.",
        details={"status": status},
    )


def service_unreachable(why: str) -> ServiceUnavailableError:
    """The service did not answer a request that pays nothing."""
    return ServiceUnavailableError(
        f"The phone service could not be reached: {why}.",
        advice="No phone rang. Try again in a few minutes.",
    )


def token_without_wallet() -> ServiceUnavailableError:
    """The service did not return the wallet of an access token."""
    return ServiceUnavailableError(
        "The service does not say which wallet the access token belongs to.",
        advice="The program's access token has to be checked with the provider.",
        safe_to_retry=False,
    )


def refused_by_service(code: str, said: str | None) -> CallRefusedError:
    """The service refused for a reason that has no other function here."""
    return CallRefusedError(
        f"The service refused the call ({spelling.code(code)}).{spelling.service_says(said)}",
        code=code,
        advice="Do not retry it unchanged; tell the user.",
    )


def request_not_accepted(code: str, said: str | None, details: object) -> InvalidCallError:
    """The service found the request invalid."""
    return InvalidCallError(
        f"The service could not accept the request.{spelling.service_says(said)}",
        code=code,
        advice="Correct the request and ask again.",
        details={"details": details},
    )


def content_blocked(code: str, said: str | None, categories: Sequence[str]) -> CallRefusedError:
    """The service's content rules forbid the call.

    Args:
        code: the service's error code.
        said: the service's own message.
        categories: the service's names of the rules.
    """
    named = ", ".join(map(spelling.code, categories[:_MOST_CATEGORIES])) or "not named"
    return CallRefusedError(
        f"The service's content rules do not allow this call (categories: {named})."
        f"{spelling.service_says(said)}",
        code=code,
        advice="Do not rephrase it to get past the rules; tell the user.",
        details={"categories": list(categories)},
    )


def emergency_number_blocked(code: str, said: str | None, number: object) -> CallRefusedError:
    """The service does not call emergency numbers."""
    return CallRefusedError(
        f"Emergency numbers can't be called.{spelling.service_says(said)}",
        code=code,
        advice="Tell the user to call the emergency line in person.",
        details={"blocked_number": number},
    )


def exceeds_caller_budget(code: str, said: str | None) -> CallRefusedError:
    """The service's price is above the limit that was sent with the request."""
    return CallRefusedError(
        f"The call would cost more than the limit for one call.{spelling.service_says(said)}",
        code=code,
        advice="Ask for a shorter call (max_duration_minutes), or tell the user."
        " A wallet's first call includes a fee for its number and may need a higher limit.",
    )


def credential_not_accepted(code: str, said: str | None, reason: str | None) -> ConfigurationError:
    """The service did not accept the proof or the token.

    Args:
        code: the service's error code.
        said: the service's own message.
        reason: the service's reason code, such as `expired`; `None` if it has none.
    """
    clock = reason in {"expired", "not_yet_valid"}
    why = f": {spelling.code(reason)}" if reason else ""
    return ConfigurationError(
        f"The service did not accept the credential ({spelling.code(code)}{why})."
        f"{spelling.service_says(said)}",
        code=code,
        advice="The clock of this machine has to be checked; tell the user."
        if clock
        else "The program's credential has to be corrected; trying again does not help.",
        details={"reason": reason},
    )


def payment_not_taken(
    code: str, said: str | None, reason: str | None, details: Mapping[str, Any]
) -> PaymentRefusedError:
    """The service did not accept the wallet's payment."""
    why = spelling.code(reason) if reason else "no reason given"
    return PaymentRefusedError(
        f"The service did not accept the payment ({why}).{spelling.service_says(said)}",
        code=code,
        advice="Tell the user to check the wallet's USDC balance first.",
        details=details,
    )


def credits_too_low(
    code: str,
    said: str | None,
    required: Decimal | None,
    balance: Decimal | None,
    details: Mapping[str, Any],
) -> PaymentRefusedError:
    """The prepaid credits are less than the price."""
    amounts = ""
    if required is not None and balance is not None:
        amounts = f" ({spelling.dollars(required)} needed, {spelling.dollars(balance)} left)"
    return PaymentRefusedError(
        f"The prepaid credits do not cover the call{amounts}.{spelling.service_says(said)}",
        code=code,
        advice="Tell the user to top up the credits.",
        details=details,
    )


def account_budget_exceeded(
    code: str,
    said: str | None,
    budget: Mapping[str, Any],
    *,
    which: str | None = None,
    cap: Decimal | None = None,
    spent: Decimal | None = None,
    resets_at: datetime | None = None,
) -> CallRefusedError:
    """The account's own budget at the provider does not allow the call.

    Args:
        code: the service's error code.
        said: the service's own message.
        budget: the service's facts about the budget.
        which: the service's word for the kind of budget.
        cap: the budget in US dollars; `None` if the service does not state it.
        spent: the part of it that is spent; `None` if the service does not state it.
        resets_at: when the budget starts again; `None` if the service does not state it.
    """
    name = _BUDGETS.get(which or "", "budget")
    amounts = [f"cap {spelling.dollars(cap)}"] if cap is not None else []
    amounts += [f"spent {spelling.dollars(spent)}"] if spent is not None else []
    listed = f" ({', '.join(amounts)})" if amounts else ""
    until = f" It resets at {resets_at.isoformat()}." if resets_at else ""
    return CallRefusedError(
        f"The account's own {name} does not allow this call{listed}.{until}"
        f"{spelling.service_says(said)}",
        code=code,
        advice="Do not retry before then; tell the user."
        if resets_at
        else "Do not retry; tell the user.",
        details=budget,
    )


def held_by_account(code: str, said: str | None, details: Mapping[str, Any]) -> CallRefusedError:
    """The account's rules at the provider require a person's approval."""
    return CallRefusedError(
        "The account's rules require a person's approval for this call."
        f"{spelling.service_says(said)}",
        code=code,
        advice="Tell the user that the call waits for approval at the provider; do not retry before"
        " it is approved.",
        details=details,
    )


def denied_by_account(code: str, said: str | None, rule: object) -> CallRefusedError:
    """The account's rules at the provider forbid the call."""
    return CallRefusedError(
        f"The account's rules do not allow this call.{spelling.service_says(said)}",
        code=code,
        advice="Do not retry; tell the user.",
        details={"rule": rule},
    )
