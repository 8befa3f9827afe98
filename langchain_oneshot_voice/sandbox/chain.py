"""The two chains of the service, their USDC contracts, and the units of money.

The sandbox uses `Decimal` US dollars. Payments use an integer string of millionths ("atomic").
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

ChainName = Literal["base", "base-sepolia"]
"""`base` is the chain of production, and `base-sepolia` the test chain of staging."""

_DECIMALS: Final = Decimal(10) ** 6


@dataclass(frozen=True)
class Chain:
    """A chain and its USDC contract."""

    chain_id: int
    asset: str
    token_name: str
    token_version: str = "2"  # noqa: S105 - the version of a token contract

    @property
    def network(self) -> str:
        """The CAIP-2 name, which payments use."""
        return f"eip155:{self.chain_id}"


CHAINS: Final[dict[ChainName, Chain]] = {
    "base": Chain(8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin"),
    "base-sepolia": Chain(84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC"),
}


def atomic(amount: Decimal) -> str:
    """Format US dollars as an integer string of millionths."""
    return str(int(amount * _DECIMALS))


def usd(amount: Decimal) -> str:
    """Format US dollars like the service: two decimals, or more if they are needed."""
    cents = amount.quantize(Decimal("0.01"))
    return str(cents if cents == amount else amount.quantize(Decimal("0.000001")).normalize())
