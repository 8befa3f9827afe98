"""Credentials: a wallet's private key or an access token, and the proofs of requests.

Promises: no repr, error or log shows a secret. `eth_keys`, which is slow to import, is imported at
the first signature.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.eip712 import Domain, Struct, digest

if TYPE_CHECKING:
    from eth_keys.datatypes import PrivateKey

Scope = Literal["read", "write"]
"""What a proof allows: `read` for lookups, `write` for quotes and for payments with credits."""

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}", re.ASCII)
_TOKEN = re.compile(r"oneshot_[0-9a-f]{64}", re.ASCII)
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_PROOF_DOMAIN = Domain("OneShot Agent Auth", "1")
_PROOF = Struct(
    "AgentReadAuth",
    (("agent", "address"), ("scope", "string"), ("issuedAt", "uint256"), ("nonce", "bytes32")),
)


@dataclass(frozen=True, slots=True)
class SignedPayment:
    """A payment to send, and the time of its expiry.

    Attributes:
        header: the exact value of `payment-signature`. Anyone who has it can send the payment, so
            the repr leaves it out.
        valid_before: epoch seconds after which the chain rejects it; `None` if prepaid credits pay
            and nothing was signed.
    """

    header: str = field(repr=False)
    valid_before: float | None


class _Secret:
    """A secret that pays for calls. Its repr hides it."""

    def __init__(self, secret: SecretStr) -> None:
        self.secret = secret
        self.fingerprint = hashlib.sha256(secret.get_secret_value().encode()).hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(**********)"


class WalletKey(_Secret):
    """A wallet's private key, which signs payments and proofs.

    Args:
        private_key: 64 hexadecimal digits, with or without `0x`.

    Attributes:
        secret: the key as given.
        fingerprint: a hash that identifies the key and does not reveal it.

    Raises:
        ConfigurationError: the value is not a private key.
    """

    def __init__(self, private_key: str | SecretStr) -> None:
        secret = _hidden(private_key)
        if secret is None or not _usable(secret):
            raise wording.private_key_unusable()
        super().__init__(secret)

    @cached_property
    def address(self) -> str:
        """The wallet's address, with its checksum. The first use imports `eth_keys`."""
        return str(self._key().public_key.to_checksum_address())

    @property
    def is_warm(self) -> bool:
        """True if the address is computed already, so that reading it is fast."""
        return "address" in self.__dict__

    def proof(self, scope: Scope, now: float) -> dict[str, str]:
        """Return a header that proves the wallet for one request.

        Args:
            scope: what the request does.
            now: epoch seconds. The proof is valid for five minutes, and once.
        """
        claim = {"agent": self.address, "scope": scope, "issuedAt": int(now)}
        nonce = secrets.token_bytes(32)
        signature = self._sign(digest(_PROOF_DOMAIN, _PROOF, claim | {"nonce": nonce}))
        proof = claim | {"nonce": "0x" + nonce.hex(), "signature": signature}
        return {"x-agent-proof": base64.b64encode(json.dumps(proof).encode()).decode()}

    def pay(self, terms: payment.PaymentTerms, now: float) -> SignedPayment:
        """Sign a payment on agreed terms. If credits cover the price, nothing is signed.

        Args:
            terms: the agreed terms.
            now: epoch seconds.
        """
        if terms.amount == 0:
            return SignedPayment(payment.credits_header(terms, self.address), None)
        transfer = payment.authorize(terms, self.address, now)
        signature = self._sign(payment.digest_of(terms.chain, transfer))
        header = payment.payment_header(terms, transfer, signature)
        return SignedPayment(header, float(transfer.valid_before))

    @cached_property
    def _key(self) -> Callable[[], PrivateKey]:
        """The key, wrapped in a function, because its own repr would show it."""
        from eth_keys.datatypes import PrivateKey  # noqa: PLC0415 - slow to import, for signers only

        key = PrivateKey(bytes.fromhex(self.secret.get_secret_value().removeprefix("0x")))
        return lambda: key

    def _sign(self, digest_bytes: bytes) -> str:
        """Sign 32 bytes. Return the signature as `0x` and the hex of r, s and v."""
        signature = self._key().sign_msg_hash(digest_bytes).to_bytes()
        # `eth_keys` ends with the parity, 0 or 1. Ethereum's v is 27 or 28.
        return "0x" + (signature[:-1] + bytes([signature[-1] + 27])).hex()


class AccessToken(_Secret):
    """A token that spends an account's prepaid credits, for machines that must not hold a key.

    Attributes:
        secret: the token as given.
        fingerprint: a hash that identifies the token and does not reveal it.

    Raises:
        ConfigurationError: the value is not an access token.
    """

    def __init__(self, token: str | SecretStr) -> None:
        secret = _hidden(token)
        if secret is None or not _TOKEN.fullmatch(secret.get_secret_value()):
            raise wording.access_token_unusable()
        super().__init__(secret)

    def bearer(self) -> dict[str, str]:
        """Return the header that identifies the account."""
        return {"Authorization": f"Bearer {self.secret.get_secret_value()}"}


Credential = WalletKey | AccessToken


def credential(
    private_key: str | SecretStr | None = None, access_token: str | SecretStr | None = None
) -> Credential:
    """Return the given credential, or else that of the environment variables.

    Args:
        private_key: a wallet's private key.
        access_token: an access token.

    Raises:
        ConfigurationError: there is no credential, there are two, or it is invalid.
    """
    if not private_key and not access_token:
        private_key = os.environ.get("ONESHOT_WALLET_PRIVATE_KEY")
        access_token = os.environ.get("ONESHOT_ACCESS_TOKEN")
    if private_key and access_token:
        raise wording.two_credentials()
    if private_key:
        return WalletKey(private_key)
    if access_token:
        return AccessToken(access_token)
    raise wording.no_credential()


def _hidden(secret: object) -> SecretStr | None:
    """Return the value as a `SecretStr`; `None` if it has a wrong type."""
    if isinstance(secret, SecretStr):
        return secret
    return SecretStr(secret) if isinstance(secret, str) else None


def _usable(private_key: SecretStr) -> bool:
    spelled = private_key.get_secret_value()
    return bool(_KEY.fullmatch(spelled)) and 0 < int(spelled, 16) < _CURVE_ORDER
