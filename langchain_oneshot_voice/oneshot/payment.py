"""x402 payments: read the terms of a quote, check them, and build what is signed and sent.

Pure functions, no I/O and no keys. The rule of this module: nothing becomes a `PaymentTerms` that
may be signed except by `agree`, and a term that is missing fails the check that it belongs to.

Source: the x402 protocol, version 2, scheme `exact`, over EIP-3009 `TransferWithAuthorization`.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import PaymentTermsError
from langchain_oneshot_voice.oneshot.eip712 import Domain, Struct, digest
from langchain_oneshot_voice.oneshot.environment import Chain
from langchain_oneshot_voice.oneshot.reading import fields, read_json
from langchain_oneshot_voice.schemas import VoiceCallQuote

USDC_UNIT = Decimal(1_000_000)
"""Atomic units in one USDC."""

LONGEST_AUTHORIZATION = 600
"""Seconds. However long the service allows, an authorization is never valid for longer."""

_CLOCK_SKEW = 300
"""Seconds by which an authorization is valid before now, for a service whose clock is behind."""

_UNSIGNED = "0x"
"""In the place of a signature, when prepaid credits pay."""

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_ATOMIC = re.compile(r"0|[1-9]\d{0,29}", re.ASCII)

_TRANSFER = Struct(
    "TransferWithAuthorization",
    (
        ("from", "address"),
        ("to", "address"),
        ("value", "uint256"),
        ("validAfter", "uint256"),
        ("validBefore", "uint256"),
        ("nonce", "bytes32"),
    ),
)


@dataclass(frozen=True, slots=True)
class PaymentRequired:
    """A 402 answer's payment part, read and not yet checked.

    Attributes:
        accepts: the entries of the header, as received; one of them is to be chosen.
        resource: what is paid for, echoed in the payment.
        extensions: likewise echoed.
        requested: the body's own `payment_request`, which names payee, token and chain again.
    """

    accepts: tuple[dict[str, Any], ...]
    resource: Any
    extensions: Any
    requested: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Terms that were agreed to: every check has passed."""

    amount: int
    """Atomic units of USDC; 0 when prepaid credits cover the call."""
    pay_to: str
    chain: Chain
    valid_for: int
    """Seconds that the authorization may live."""
    required: PaymentRequired
    accepted: dict[str, Any]

    @property
    def price(self) -> Decimal:
        """The amount in US dollars."""
        return Decimal(self.amount) / USDC_UNIT


@dataclass(frozen=True, slots=True)
class Authorization:
    """One transfer, ready to be signed. Its nonce charges at most once, ever."""

    payer: str
    pay_to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: str

    def message(self) -> dict[str, Any]:
        """The EIP-712 message."""
        return {
            "from": self.payer,
            "to": self.pay_to,
            "value": self.value,
            "validAfter": self.valid_after,
            "validBefore": self.valid_before,
            "nonce": bytes.fromhex(self.nonce[2:]),
        }

    def wire(self) -> dict[str, str]:
        """The same, with numbers as decimal strings, as the protocol sends it."""
        return {
            "from": self.payer,
            "to": self.pay_to,
            "value": str(self.value),
            "validAfter": str(self.valid_after),
            "validBefore": str(self.valid_before),
            "nonce": self.nonce,
        }


def read_required(header: str | None, body: Mapping[str, Any]) -> PaymentRequired:
    """Read the payment part of a 402 answer.

    Args:
        header: the value of `PAYMENT-REQUIRED`: base64 of JSON.
        body: the answer's JSON body.

    Raises:
        PaymentTermsError: when the header is missing or is not what it should be. There is no
            default to fall back to.
    """
    if not header:
        raise _refused("no_header")
    try:
        terms = read_json(base64.b64decode(header, validate=True))
    except ValueError:
        raise _refused("garbled_header") from None
    if not isinstance(terms, dict) or terms.get("x402Version") != 2:  # noqa: PLR2004
        raise _refused("other_version")
    accepts = terms.get("accepts")
    if (
        not isinstance(accepts, list)
        or not accepts
        or not all(isinstance(a, dict) for a in accepts)
    ):
        raise _refused("no_entry")
    return PaymentRequired(
        accepts=tuple(accepts),
        resource=terms.get("resource"),
        extensions=terms.get("extensions"),
        requested=fields(body.get("payment_request")),
    )


def agree(
    required: PaymentRequired, quote: VoiceCallQuote, chain: Chain, max_cost: Decimal | None
) -> PaymentTerms:
    """Check the terms, and choose the first entry that passes.

    Args:
        required: what the service asks for.
        quote: what it said the call costs.
        chain: the chain and token that may be paid with.
        max_cost: the most that a call may cost in US dollars; `None` for no limit.

    Raises:
        PaymentTermsError: when no entry passes; the message lists what is wrong with each.
    """
    check_price(quote, max_cost)
    faults: list[str] = []
    for accepted in required.accepts:
        wrong = _faults(accepted, required.requested, quote, chain)
        if not wrong:
            seconds = cast("int", accepted["maxTimeoutSeconds"])
            return PaymentTerms(
                amount=int(accepted["amount"]),
                pay_to=accepted["payTo"],
                chain=chain,
                valid_for=min(seconds, LONGEST_AUTHORIZATION),
                required=required,
                accepted=accepted,
            )
        faults += [fault for fault in wrong if fault not in faults]
    raise wording.payment_terms_refused(faults)


def check_price(quote: VoiceCallQuote, max_cost: Decimal | None) -> None:
    """Require a price that is within the cap, whoever pays it: a wallet or prepaid credits.

    Raises:
        PaymentTermsError: when it is not.
    """
    if max_cost is not None and quote.total > max_cost:
        raise wording.price_over_limit(quote.total, max_cost)


def authorize(terms: PaymentTerms, payer: str, now: float) -> Authorization:
    """A transfer on these terms, valid from a little before `now` for as long as agreed."""
    return Authorization(
        payer=payer,
        pay_to=terms.pay_to,
        value=terms.amount,
        valid_after=int(now) - _CLOCK_SKEW,
        valid_before=int(now) + terms.valid_for,
        nonce="0x" + secrets.token_hex(32),
    )


def digest_of(chain: Chain, authorization: Authorization) -> bytes:
    """What is signed: 32 bytes that stand for this transfer of the chain's token."""
    domain = Domain(chain.token_name, chain.token_version, chain.chain_id, chain.usdc)
    return digest(domain, _TRANSFER, authorization.message())


def payment_header(terms: PaymentTerms, authorization: Authorization, signature: str) -> str:
    """The value of `payment-signature`: the terms as received, and what was signed."""
    payload: dict[str, Any] = {
        "x402Version": 2,
        "accepted": terms.accepted,
        "payload": {"signature": signature, "authorization": authorization.wire()},
    }
    if terms.required.resource is not None:
        payload["resource"] = terms.required.resource
    if terms.required.extensions is not None:
        payload["extensions"] = terms.required.extensions
    return base64.b64encode(json.dumps(payload).encode()).decode()


def credits_header(terms: PaymentTerms, payer: str) -> str:
    """The value of `payment-signature` when prepaid credits cover the call: nothing is signed."""
    nothing = Authorization(payer, terms.pay_to, 0, 0, 0, "0x" + "00" * 32)
    return payment_header(terms, nothing, _UNSIGNED)


def is_signed(header: str) -> bool:
    """Whether a payment header carries a signature, which also says whose wallet it is."""
    payload = json.loads(base64.b64decode(header))["payload"]
    return bool(payload["signature"] != _UNSIGNED)


def _faults(
    accepted: dict[str, Any], requested: Mapping[str, Any], quote: VoiceCallQuote, chain: Chain
) -> list[str]:
    """Everything that is wrong with one entry. A missing term is a wrong one."""
    extra = fields(accepted.get("extra"))
    pay_to, amount = accepted.get("payTo"), accepted.get("amount")
    seconds = accepted.get("maxTimeoutSeconds")
    checks: dict[wording.TermsFault, bool] = {
        "scheme": accepted.get("scheme") == "exact",
        "chain": accepted.get("network") == chain.network,
        "token": _same_address(accepted.get("asset"), chain.usdc),
        "token_name": extra.get("name") == chain.token_name,
        "token_version": extra.get("version") == chain.token_version,
        "payee": isinstance(pay_to, str)
        and ADDRESS.fullmatch(pay_to) is not None
        and int(pay_to, 16) != 0,
        "payees_differ": _same_address(pay_to, requested.get("recipient")),
        "tokens_differ": "token_address" not in requested
        or _same_address(requested["token_address"], chain.usdc),
        "chains_differ": "chain_id" not in requested
        or str(requested["chain_id"]) == str(chain.chain_id),
        "lifetime": isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0,
        "amount": isinstance(amount, str) and _ATOMIC.fullmatch(amount) is not None,
    }
    expected = {
        "network": chain.network,
        "usdc": chain.usdc,
        "token_name": chain.token_name,
        "token_version": chain.token_version,
    }
    faults = [wording.terms_fault(f, **expected) for f, passed in checks.items() if not passed]
    if isinstance(amount, str) and _ATOMIC.fullmatch(amount):
        asked = Decimal(amount) / USDC_UNIT
        if asked > quote.total:
            faults.append(wording.asked_over_quote(asked, quote.total))
    return faults


def _same_address(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and one.lower() == other.lower()


def _refused(fault: wording.TermsFault) -> PaymentTermsError:
    return wording.payment_terms_refused([wording.terms_fault(fault)])
