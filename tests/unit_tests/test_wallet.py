"""Who pays: keys and tokens, what they sign, and what they never show."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from pydantic import SecretStr

from langchain_oneshot_voice import ConfigurationError, VoiceCallQuote
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.environment import BASE
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey, credential

TOKEN = "oneshot_" + "ab" * 32
PAYEE = "0x" + "ab" * 20


@pytest.fixture
def key() -> str:
    """A wallet's key that nobody else has."""
    return "0x" + bytes(Account.create().key).hex()


def terms(amount: str = "1750000", **changes: Any) -> payment.PaymentTerms:
    """Terms that were agreed to."""
    accepted: dict[str, Any] = {
        "scheme": "exact",
        "network": BASE.network,
        "amount": amount,
        "asset": BASE.usdc,
        "payTo": PAYEE,
        "maxTimeoutSeconds": 300,
        "extra": {"name": "USD Coin", "version": "2"},
    }
    header = base64.b64encode(
        json.dumps({"x402Version": 2, "accepts": [accepted | changes]}).encode()
    ).decode()
    required = payment.read_required(header, {"payment_request": {"recipient": PAYEE}})
    quote = VoiceCallQuote(quote_id="quote_1", total=Decimal("1.75"))
    return payment.agree(required, quote, BASE, None)


def decoded(header: str) -> dict[str, Any]:
    """The JSON in a header."""
    read: dict[str, Any] = json.loads(base64.b64decode(header))
    return read


def test_address_is_the_keys_own(key: str) -> None:
    """The address is the one that belongs to the key, with its checksum."""
    assert WalletKey(SecretStr(key)).address == Account.from_key(key).address


def test_key_may_lack_its_prefix(key: str) -> None:
    """A key is the same with and without `0x`."""
    assert WalletKey(SecretStr(key[2:])).address == WalletKey(SecretStr(key)).address


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "0x",
        "0x" + "1" * 63,
        "0x" + "1" * 65,
        "g" * 64,
        "0x" + "1" * 63 + "\n",
        " 0x" + "1" * 64,
        "0x" + "\u0661" * 64,
        "0x" + "0" * 64,
        "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141",
        "f" * 64,
        "legal winner thank year wave sausage worth useful legal winner thank yellow",
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(bad: str) -> None:
    """A key of a wrong length, alphabet or range is refused at once, and not shown."""
    with pytest.raises(ConfigurationError) as refused:
        WalletKey(SecretStr(bad))

    assert len(bad) < 3 or bad not in str(refused.value)


@pytest.mark.parametrize(
    "bad", ["", "oneshot_", "oneshot_" + "AB" * 32, "oneshot_" + "ab" * 31, TOKEN + "\n", "sk-1"]
)
def test_what_is_no_token_is_refused_and_not_repeated(bad: str) -> None:
    """A token that is not `oneshot_` and 64 lowercase hexadecimal digits is refused, unseen."""
    with pytest.raises(ConfigurationError) as refused:
        AccessToken(SecretStr(bad))

    assert len(bad) < 9 or bad not in str(refused.value)


def test_one_credential_is_needed(key: str) -> None:
    """None is an error that names the sandbox; both is an error that asks for one."""
    with pytest.raises(ConfigurationError, match="sandbox"):
        credential(None, None)
    with pytest.raises(ConfigurationError, match="only one"):
        credential(SecretStr(key), SecretStr(TOKEN))


def test_the_credential_that_was_given_is_taken(key: str) -> None:
    """A key makes a wallet; a token makes a token's holder."""
    assert isinstance(credential(SecretStr(key), None), WalletKey)
    assert isinstance(credential(None, SecretStr(TOKEN)), AccessToken)


def test_proof_is_signed_by_the_wallet(key: str) -> None:
    """A proof's signature over agent, scope, time and nonce recovers to the wallet's address."""
    wallet = WalletKey(SecretStr(key))
    proof = decoded(wallet.proof("read", 1_700_000_000.9)["x-agent-proof"])
    claim = {name: proof[name] for name in ("agent", "scope", "issuedAt")}
    signable = encode_typed_data(
        {"name": "OneShot Agent Auth", "version": "1"},
        {
            "AgentReadAuth": [
                {"name": "agent", "type": "address"},
                {"name": "scope", "type": "string"},
                {"name": "issuedAt", "type": "uint256"},
                {"name": "nonce", "type": "bytes32"},
            ]
        },
        claim | {"nonce": bytes.fromhex(proof["nonce"][2:])},
    )

    assert claim == {"agent": wallet.address, "scope": "read", "issuedAt": 1_700_000_000}
    assert Account.recover_message(signable, signature=proof["signature"]) == wallet.address


def test_every_proof_is_new(key: str) -> None:
    """Two proofs of one moment have two nonces, because each can be used once."""
    wallet = WalletKey(SecretStr(key))
    nonces = {decoded(wallet.proof("read", 1e9)["x-agent-proof"])["nonce"] for _ in range(5)}

    assert len(nonces) == 5


def test_payment_is_signed_by_the_wallet_over_the_agreed_terms(key: str) -> None:
    """A payment's signature recovers to the wallet over exactly the token, payee and amount."""
    wallet = WalletKey(SecretStr(key))
    signed = wallet.pay(terms(), 1_700_000_000.0)
    payload = decoded(signed.header)["payload"]
    sent = payload["authorization"]
    fields = ("value", "validAfter", "validBefore")
    message = sent | {n: int(sent[n]) for n in fields} | {"nonce": bytes.fromhex(sent["nonce"][2:])}
    signable = encode_typed_data(
        {
            "name": "USD Coin",
            "version": "2",
            "chainId": 8453,
            "verifyingContract": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        },
        {
            "TransferWithAuthorization": [
                {"name": "from", "type": "address"},
                {"name": "to", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "validAfter", "type": "uint256"},
                {"name": "validBefore", "type": "uint256"},
                {"name": "nonce", "type": "bytes32"},
            ]
        },
        message,
    )

    assert Account.recover_message(signable, signature=payload["signature"]) == wallet.address
    assert (sent["from"], sent["to"], sent["value"]) == (wallet.address, PAYEE, "1750000")
    assert signed.valid_before == float(sent["validBefore"]) == 1_700_000_300.0


def test_payment_of_nothing_is_not_signed(key: str) -> None:
    """When credits cover the call there is no signature, and nothing that could expire."""
    signed = WalletKey(SecretStr(key)).pay(terms("0"), 1e9)

    assert not payment.is_signed(signed.header)
    assert signed.valid_before is None


def test_signed_payment_is_kept_out_of_repr(key: str) -> None:
    """A signed payment is worth money to whoever reads it, so a repr does not show it."""
    signed = WalletKey(SecretStr(key)).pay(terms(), 1e9)

    assert signed.header not in repr(signed)


def test_credentials_do_not_show_themselves(key: str) -> None:
    """Neither a wallet's nor a token's repr, str or formatting holds the secret."""
    wallet, token = WalletKey(SecretStr(key)), AccessToken(SecretStr(TOKEN))
    wallet.proof("read", 1e9)
    shown = f"{wallet!r} {wallet} {token!r} {token} {vars(wallet)} {vars(token)}"

    assert key[2:] not in shown
    assert "ab" * 32 not in shown


def test_token_is_sent_as_a_bearer() -> None:
    """A token goes into the Authorization header, and nowhere else."""
    assert AccessToken(SecretStr(TOKEN)).bearer() == {"Authorization": f"Bearer {TOKEN}"}


def test_key_is_checked_without_the_signing_library() -> None:
    """`eth_keys` is imported when something is signed, not when a tool is made."""
    script = """
import sys
from langchain_oneshot_voice import VoiceCallTool
VoiceCallTool(private_key="0x" + "1" * 64, journal="memory")
assert "eth_keys" not in sys.modules, "eth_keys is imported too early"
assert "httpx" not in sys.modules, "loaded before the first request"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)  # noqa: S603 - own text


def test_signing_leaves_the_program_alone() -> None:
    """It does without `eth_account`, which raises the recursion limit of whoever imports it."""
    script = """
import sys
from pydantic import SecretStr
from langchain_oneshot_voice.oneshot.wallet import WalletKey
before = sys.getrecursionlimit()
WalletKey(SecretStr("0x" + "1" * 64)).proof("read", 1e9)
assert "eth_account" not in sys.modules
assert sys.getrecursionlimit() == before, sys.getrecursionlimit()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)  # noqa: S603 - own text
