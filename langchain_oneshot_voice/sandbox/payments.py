"""x402: builds payment terms, and checks signed payments against them.

The only scheme is `exact` by EIP-3009: the wallet signs a transfer of USDC, and the service submits
it to the chain. The sandbox submits nothing, but it checks signature, terms, dates and balance like
the chain. The ledger checks that a nonce is used once.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from .chain import Chain, atomic
from .proofs import decode_header, recover_signer
from .refusals import Refusal

ZERO_NONCE: Final = "0x" + "00" * 32
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_UINT: Final = re.compile(r"[0-9]{1,77}")
_TYPES: Final = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


@dataclass(frozen=True)
class SignedPayment:
    """A payment as received. Only its format is checked."""

    accepted: dict[str, Any]
    signature: str
    payer: str
    payee: str
    value: int
    valid_after: int
    valid_before: int
    nonce: str

    @property
    def is_stub(self) -> bool:
        """True if it is the unsigned placeholder for a call that credits pay."""
        return self.signature == "0x"


def offer(chain: Chain, *, amount: Decimal, payee: str, timeout_seconds: int) -> dict[str, Any]:
    """Return one entry of `accepts`: the amount, the chain and the payee."""
    return {
        "scheme": "exact",
        "network": chain.network,
        "amount": atomic(amount),
        "asset": chain.asset,
        "payTo": payee,
        "maxTimeoutSeconds": timeout_seconds,
        "extra": {"name": chain.token_name, "version": chain.token_version},
    }


def payment_required_header(accepts: dict[str, Any], url: str) -> str:
    """Return the value of `PAYMENT-REQUIRED`."""
    terms = {
        "x402Version": 2,
        "error": "Payment required",
        "resource": {
            "url": url,
            "description": "Place a phone call",
            "mimeType": "application/json",
        },
        "accepts": [accepts],
    }
    return base64.b64encode(json.dumps(terms).encode()).decode()


def read_payment(header: str) -> SignedPayment:
    """Decode `payment-signature`.

    Raises:
        Refusal: 402 `payment_verification_failed` with reason `invalid_payload`.
    """
    decoded = decode_header(header) or {}
    payload = decoded.get("payload")
    stated = payload.get("authorization") if isinstance(payload, dict) else None
    accepted = decoded.get("accepted")
    if (
        decoded.get("x402Version") != 2  # noqa: PLR2004 - the version of the protocol
        or not isinstance(payload, dict)
        or not isinstance(stated, dict)
        or not isinstance(accepted, dict)
        or not isinstance(payload.get("signature"), str)
        or not _well_formed(stated)
    ):
        raise refuse_payment("invalid_payload", accepted if isinstance(accepted, dict) else {})
    return SignedPayment(
        accepted=accepted,
        signature=payload["signature"],
        payer=stated["from"].lower(),
        payee=stated["to"].lower(),
        value=int(stated["value"]),
        valid_after=int(stated["validAfter"]),
        valid_before=int(stated["validBefore"]),
        nonce=stated["nonce"].lower(),
    )


def verify_payment(
    payment: SignedPayment,
    terms: dict[str, Any],
    *,
    chain: Chain,
    agent: str,
    balance: Decimal,
    now: float,
) -> None:
    """Check a signed payment against the offered terms.

    Raises:
        Refusal: 402 `payment_verification_failed`, with the first fault as its `reason`.
    """
    reason = _fault_in(payment, terms, chain=chain, agent=agent, now=now)
    if reason is None and balance * 10**6 < payment.value:
        reason = "insufficient_funds"
    if reason is not None:
        raise refuse_payment(reason, terms, payment)


def refuse_payment(
    reason: str, terms: dict[str, Any], payment: SignedPayment | None = None
) -> Refusal:
    """Return the refusal of a payment, with the expected and the received values."""
    return Refusal(
        402,
        "payment_verification_failed",
        f"The payment was refused: {reason}.",
        reason=reason,
        expected={
            "amount": terms.get("amount"),
            "asset": terms.get("asset"),
            "network": terms.get("network"),
            "pay_to": terms.get("payTo"),
        },
        received={"amount": str(payment.value) if payment else None},
        payment_attempt_id=f"pay_{secrets.token_hex(8)}",
    )


def _fault_in(
    payment: SignedPayment, terms: dict[str, Any], *, chain: Chain, agent: str, now: float
) -> str | None:
    if payment.accepted != terms:
        return "terms_mismatch"
    if payment.payer != agent:
        return "payer_mismatch"
    if payment.payee != str(terms["payTo"]).lower():
        return "recipient_mismatch"
    if payment.value != int(terms["amount"]):
        return "amount_mismatch"
    if payment.valid_after > now:
        return "authorization_not_yet_valid"
    if payment.valid_before <= now:
        return "authorization_expired"
    domain = {
        "name": chain.token_name,
        "version": chain.token_version,
        "chainId": chain.chain_id,
        "verifyingContract": chain.asset,
    }
    message = {
        "from": payment.payer,
        "to": payment.payee,
        "value": payment.value,
        "validAfter": payment.valid_after,
        "validBefore": payment.valid_before,
        "nonce": bytes.fromhex(payment.nonce[2:]),
    }
    if recover_signer(domain, _TYPES, message, payment.signature) != payment.payer:
        return "invalid_signature"
    return None


def _well_formed(stated: dict[str, Any]) -> bool:
    forms = {
        "from": _ADDRESS,
        "to": _ADDRESS,
        "value": _UINT,
        "validAfter": _UINT,
        "validBefore": _UINT,
        "nonce": _NONCE,
    }
    return all(
        isinstance(stated.get(name), str) and form.fullmatch(stated[name])
        for name, form in forms.items()
    )
