"""What is signed is what eth-account would sign: every digest and signature, over random values."""

from __future__ import annotations

import random
import secrets
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from langchain_oneshot_voice.oneshot.eip712 import Domain, Kind, Struct, digest
from langchain_oneshot_voice.oneshot.wallet import WalletKey

CHOICE = random.Random(7)  # noqa: S311 - test values
VECTORS = 1000

TRANSFER: tuple[tuple[str, Kind], ...] = (
    ("from", "address"),
    ("to", "address"),
    ("value", "uint256"),
    ("validAfter", "uint256"),
    ("validBefore", "uint256"),
    ("nonce", "bytes32"),
)
PROOF: tuple[tuple[str, Kind], ...] = (
    ("agent", "address"),
    ("scope", "string"),
    ("issuedAt", "uint256"),
    ("nonce", "bytes32"),
)


def a_value(kind: Kind) -> Any:
    """A random value of a type; its edges often enough."""
    match kind:
        case "address":
            return "0x" + CHOICE.choice([b"\0" * 20, CHOICE.randbytes(20), b"\xff" * 20]).hex()
        case "uint256":
            return CHOICE.choice([0, 1, 2**256 - 1, CHOICE.getrandbits(CHOICE.randrange(1, 257))])
        case "bytes32":
            return CHOICE.choice([b"\0" * 32, CHOICE.randbytes(32)])
        case "string":
            return "".join(CHOICE.choices('aé漢🙂 "\n', k=CHOICE.randrange(40)))


def a_domain() -> tuple[Domain, dict[str, Any]]:
    """A random domain, with a contract or without one, here and as eth-account takes it."""
    name, version = a_value("string"), a_value("string")
    chain, contract = CHOICE.choice(
        [(None, None), (CHOICE.randrange(1, 2**40), a_value("address"))]
    )
    theirs = {"name": name, "version": version}
    if chain is not None:
        theirs |= {"chainId": chain, "verifyingContract": contract}
    return Domain(name, version, chain, contract), theirs


@pytest.mark.parametrize(
    ("name", "fields"), [("TransferWithAuthorization", TRANSFER), ("AgentReadAuth", PROOF)]
)
def test_signatures_are_eth_account_s(name: str, fields: tuple[tuple[str, Kind], ...]) -> None:
    """A thousand of each, with a key for every ten."""
    types = {name: [{"name": field, "type": kind} for field, kind in fields]}
    for number in range(VECTORS):
        if number % 10 == 0:
            key = "0x" + CHOICE.randbytes(32).hex()
            wallet, account = WalletKey(key), Account.from_key(key)
        values = {field: a_value(kind) for field, kind in fields}
        ours, theirs = a_domain()
        signable = encode_typed_data(theirs, types, values)
        expected = "0x" + bytes(account.sign_message(signable).signature).hex()
        assert wallet._sign(digest(ours, Struct(name, fields), values)) == expected, values
        assert wallet.address == account.address


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("address", "0x" + "ab" * 19),
        ("address", "0x" + "ab" * 21),
        ("address", "0x" + "zz" * 20),
        ("uint256", -1),
        ("uint256", 2**256),
        ("bytes32", b"short"),
    ],
)
def test_value_that_is_not_of_its_type_is_not_signed(kind: Kind, value: object) -> None:
    """Nothing is cut off, filled up or taken for something else."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its words
        digest(Domain("n", "1"), Struct("S", (("field", kind),)), {"field": value})


def test_missing_value_is_not_signed() -> None:
    """There is no default."""
    with pytest.raises(KeyError):
        digest(Domain("n", "1"), Struct("S", (("field", "uint256"),)), {})


def test_key_with_and_without_its_prefix_is_one_key() -> None:
    """Both spellings sign the same."""
    key = secrets.token_hex(32)
    assert WalletKey(key)._sign(b"\1" * 32) == WalletKey("0x" + key)._sign(b"\1" * 32)
