"""EIP-712: computes the digest that a wallet signs.

The package signs two structures, a transfer and a proof, and all their fields are plain values. The
hashes of types and domains are cached. A test compares digests and signatures with those of
`eth-account`, over random values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Kind = Literal["address", "uint256", "bytes32", "string"]
"""Field types. An `address` is hex with `0x`, and `bytes32` is `bytes`."""

_WORD = 32


@dataclass(frozen=True, slots=True)
class Struct:
    """A structure to sign: its name, and the names and types of its fields, in order."""

    name: str
    fields: tuple[tuple[str, Kind], ...]

    def hash(self, values: Mapping[str, Any]) -> bytes:
        """Return the hash of the structure with these values: 32 bytes.

        Raises:
            KeyError: a field has no value.
            ValueError: a value does not have the type of its field.
        """
        words = [_word(kind, values[name]) for name, kind in self.fields]
        return _keccak(b"".join((_type_hash(self), *words)))


@dataclass(frozen=True, slots=True)
class Domain:
    """The domain of a signature. A field that is `None` is left out.

    Attributes:
        name: the name of the contract or the service.
        version: the version of the contract or the service.
        chain_id: the number of the chain.
        contract: the address of the contract that verifies the signature.
    """

    name: str
    version: str
    chain_id: int | None = None
    contract: str | None = None


def digest(domain: Domain, struct: Struct, values: Mapping[str, Any]) -> bytes:
    """Return the 32 bytes to sign for a structure with these values in a domain."""
    return _keccak(b"\x19\x01" + _separator(domain) + struct.hash(values))


@cache
def _separator(domain: Domain) -> bytes:
    optional: tuple[tuple[str, Kind, Any], ...] = (
        ("name", "string", domain.name),
        ("version", "string", domain.version),
        ("chainId", "uint256", domain.chain_id),
        ("verifyingContract", "address", domain.contract),
    )
    given = [(name, kind, value) for name, kind, value in optional if value is not None]
    struct = Struct("EIP712Domain", tuple((name, kind) for name, kind, _ in given))
    return struct.hash({name: value for name, _, value in given})


@cache
def _type_hash(struct: Struct) -> bytes:
    fields = ",".join(f"{kind} {name}" for name, kind in struct.fields)
    return _keccak(f"{struct.name}({fields})".encode())


def _word(kind: Kind, value: Any) -> bytes:  # noqa: ANN401 - of the field's type
    if kind == "string":
        return _keccak(value.encode())
    if kind == "uint256":
        if not 0 <= value < 1 << 256:
            raise ValueError("a uint256 is between 0 and 2**256 - 1")
        return int(value).to_bytes(_WORD)
    raw = bytes.fromhex(value.removeprefix("0x")) if kind == "address" else value
    if len(raw) != (20 if kind == "address" else _WORD):
        raise ValueError(f"{len(raw)} bytes are not a value of type {kind}")
    return bytes(raw.rjust(_WORD, b"\0"))


def _keccak(data: bytes) -> bytes:
    from eth_hash.auto import keccak  # noqa: PLC0415 - needed only for signatures

    return bytes(keccak(data))
