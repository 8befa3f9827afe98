"""Checks `x-agent-proof`: a signed statement that a request comes from the owner of a wallet."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import deque
from typing import Any, Final, Literal

from .refusals import Refusal

Scope = Literal["read", "write"]
"""`read` for lookups, and `write` for requests that spend or change something."""

FRESH_SECONDS: Final = 300
_CLOCK_SKEW: Final = 60
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}")
_DOMAIN: Final = {"name": "OneShot Agent Auth", "version": "1"}
_TYPES: Final = {
    "AgentReadAuth": [
        {"name": "agent", "type": "address"},
        {"name": "scope", "type": "string"},
        {"name": "issuedAt", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


def recover_signer(
    domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any], signature: str
) -> str | None:
    """Return the lowercase address that signed an EIP-712 message; None if it is not valid."""
    from eth_account import Account  # noqa: PLC0415 - takes a second to import
    from eth_account.messages import encode_typed_data  # noqa: PLC0415
    from eth_keys.exceptions import BadSignature  # noqa: PLC0415
    from eth_utils.exceptions import ValidationError  # noqa: PLC0415

    if not _SIGNATURE.fullmatch(signature):
        return None
    signable = encode_typed_data(domain_data=domain, message_types=types, message_data=message)
    try:
        return str(Account.recover_message(signable, signature=signature)).lower()
    except (ValueError, TypeError, BadSignature, ValidationError):
        return None


def decode_header(value: str) -> dict[str, Any] | None:
    """Return the JSON object in a base64 header; None if there is none."""
    try:
        decoded = json.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return None
    return decoded if isinstance(decoded, dict) else None


class ProofChecker:
    """Checks proofs, and stores the nonces of accepted ones."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._used_since: deque[tuple[float, str]] = deque()

    def check(self, header: str, *, agent: str, scope: Scope, now: float) -> None:
        """Accept a proof once.

        Args:
            header: the value of `x-agent-proof`.
            agent: the lowercase address of `X-Agent-ID`.
            scope: what the route asks for.
            now: the current time, in seconds.

        Raises:
            Refusal: 401 `invalid_proof`; its `reason` is `malformed`, `agent_mismatch`,
                `wrong_scope`, `expired`, `not_yet_valid`, `bad_signature` or `already_used`.
        """
        reason = self._fault_in(header, agent=agent, scope=scope, now=now)
        if reason is not None:
            raise Refusal(
                401, "invalid_proof", f"The agent proof was refused: {reason}.", reason=reason
            )

    def _fault_in(self, header: str, *, agent: str, scope: Scope, now: float) -> str | None:
        proof = decode_header(header)
        if proof is None or not _well_formed(proof):
            return "malformed"
        if proof["agent"].lower() != agent:
            return "agent_mismatch"
        if proof["scope"] != scope:
            return "wrong_scope"
        if now - proof["issuedAt"] > FRESH_SECONDS:
            return "expired"
        if proof["issuedAt"] - now > _CLOCK_SKEW:
            return "not_yet_valid"
        nonce = proof["nonce"].lower()
        message = {
            "agent": proof["agent"],
            "scope": scope,
            "issuedAt": proof["issuedAt"],
            "nonce": bytes.fromhex(nonce[2:]),
        }
        if recover_signer(_DOMAIN, _TYPES, message, proof["signature"]) != agent:
            return "bad_signature"
        return None if self._spend(nonce, now) else "already_used"

    def _spend(self, nonce: str, now: float) -> bool:
        # A nonce has to be stored only until its proof has expired.
        while self._used_since and now - self._used_since[0][0] > FRESH_SECONDS + _CLOCK_SKEW:
            self._used.discard(self._used_since.popleft()[1])
        if nonce in self._used:
            return False
        self._used.add(nonce)
        self._used_since.append((now, nonce))
        return True


def _well_formed(proof: dict[str, Any]) -> bool:
    return (
        _matches(_ADDRESS, proof.get("agent"))
        and isinstance(proof.get("scope"), str)
        and type(proof.get("issuedAt")) is int
        and proof["issuedAt"] >= 0
        and _matches(_NONCE, proof.get("nonce"))
        and isinstance(proof.get("signature"), str)
    )


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
