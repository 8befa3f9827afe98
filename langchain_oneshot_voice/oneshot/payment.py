"""x402 payments: parse the terms of a quote, check them, and build the payment.

Pure functions without I/O and without keys. Only `agree` creates `PaymentTerms`, and only those are
signed. A missing term fails its check.

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
"""Limit for the validity of an authorization, in seconds, even if the service allows more.

A lost payment stays open until its authorization expires.
"""

_CLOCK_SKEW = 300
"""An authorization starts this many seconds ago, in case the service's clock is slow."""

_UNSIGNED = "0x"
"""Placeholder for the signature when prepaid credits pay."""

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
    """The payment part of a 402 answer, parsed and not yet checked.

    Attributes:
        accepts: the entries of the header, as received; the client pays one of them.
        resource: the resource to pay for; the payment repeats it.
        extensions: protocol extensions; the payment repeats them.
        requested: the `payment_request` of the body, which names payee, token and chain again.
    """

    accepts: tuple[dict[str, Any], ...]
    resource: Any
    extensions: Any
    requested: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Terms that passed every check."""

    amount: int
    """Atomic units of USDC; 0 when prepaid credits cover the call."""
    pay_to: str
    chain: Chain
    valid_for: int
    """Seconds that the authorization is valid."""
    required: PaymentRequired
    accepted: dict[str, Any]

    @property
    def price(self) -> Decimal:
        """The amount in US dollars."""
        return Decimal(self.amount) / USDC_UNIT


@dataclass(frozen=True, slots=True)
class Authorization:
    """A transfer to sign. The chain accepts its nonce once."""

    payer: str
    pay_to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: str

    def message(self) -> dict[str, Any]:
        """Return the EIP-712 message."""
        return {
            "from": self.payer,
            "to": self.pay_to,
            "value": self.value,
            "validAfter": self.valid_after,
            "validBefore": self.valid_before,
            "nonce": bytes.fromhex(self.nonce[2:]),
        }

    def wire(self) -> dict[str, str]:
        """Return the JSON of the protocol, with numbers as decimal strings."""
        return {
            "from": self.payer,
            "to": self.pay_to,
            "value": str(self.value),
            "validAfter": str(self.valid_after),
            "validBefore": str(self.valid_before),
            "nonce": self.nonce,
        }


def read_required(header: str | None, body: Mapping[str, Any]) -> PaymentRequired:
    """Parse the payment part of a 402 answer.

    Args:
        header: the value of `PAYMENT-REQUIRED`: JSON in base64.
        body: the answer's JSON body.

    Raises:
        PaymentTermsError: the header is missing or invalid. There is no default for it.
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
        required: the terms of the service.
        quote: the price of the call.
        chain: the only chain and token that may pay.
        max_cost: the limit for the price, in US dollars; `None` for no limit.

    Raises:
        PaymentTermsError: no entry passes. The message lists the faults of all entries.
    """
    check_price(quote, max_cost)
    faults: list[str] = []
    for accepted in required.accepts:
        found = _faults(accepted, required.requested, quote, chain)
        if not found:
            seconds = cast("int", accepted["maxTimeoutSeconds"])
            return PaymentTerms(
                amount=int(accepted["amount"]),
                pay_to=accepted["payTo"],
                chain=chain,
                valid_for=min(seconds, LONGEST_AUTHORIZATION),
                required=required,
                accepted=accepted,
            )
        faults += [fault for fault in found if fault not in faults]
    raise wording.payment_terms_refused(faults)


def check_price(quote: VoiceCallQuote, max_cost: Decimal | None) -> None:
    """Check that the price is within the limit, for USDC and for prepaid credits alike.

    Raises:
        PaymentTermsError: the price exceeds the limit.
    """
    if max_cost is not None and quote.total > max_cost:
        raise wording.price_over_limit(quote.total, max_cost)


def authorize(terms: PaymentTerms, payer: str, now: float) -> Authorization:
    """Return a transfer on these terms with a new nonce.

    Args:
        terms: the agreed terms.
        payer: the address of the wallet.
        now: epoch seconds; the transfer is valid from a little earlier.
    """
    return Authorization(
        payer=payer,
        pay_to=terms.pay_to,
        value=terms.amount,
        valid_after=int(now) - _CLOCK_SKEW,
        valid_before=int(now) + terms.valid_for,
        nonce="0x" + secrets.token_hex(32),
    )


def digest_of(chain: Chain, authorization: Authorization) -> bytes:
    """Return the 32 bytes to sign for this transfer of the chain's token."""
    domain = Domain(chain.token_name, chain.token_version, chain.chain_id, chain.usdc)
    return digest(domain, _TRANSFER, authorization.message())


def payment_header(terms: PaymentTerms, authorization: Authorization, signature: str) -> str:
    """Return the value of `payment-signature`: the received terms and the signed transfer."""
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
    """Return the value of `payment-signature` for a call that credits pay, without a signature."""
    empty = Authorization(payer, terms.pay_to, 0, 0, 0, "0x" + "00" * 32)
    return payment_header(terms, empty, _UNSIGNED)


def is_signed(header: str) -> bool:
    """Return True if a payment header has a signature, which also identifies the wallet."""
    payload = json.loads(base64.b64decode(header))["payload"]
    return bool(payload["signature"] != _UNSIGNED)


def _faults(
    accepted: dict[str, Any], requested: Mapping[str, Any], quote: VoiceCallQuote, chain: Chain
) -> list[str]:
    """Return all faults of one entry. A missing term counts as a fault."""
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
        # The body repeats payee, token and chain. The payee has to be there and agree.
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
