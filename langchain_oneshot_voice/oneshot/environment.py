"""The address of the service, and the money that it may charge.

Each environment has one chain and one USDC contract. They are constants in this module and never
come from the service's answers, so the client can check the terms of a payment against them. A
loopback address is the sandbox, which uses the test chain: a local program that imitates the
service can never obtain a signature over real money.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

from langchain_oneshot_voice import wording

PRODUCTION_URL = "https://win.oneshotagent.com"
STAGING_URL = "https://api-stg.oneshotagent.com"

_LOOPBACK = "127.0.0.1"
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its USDC contract."""

    chain_id: int
    usdc: str
    token_name: str
    """The EIP-712 name of the contract's domain, which differs between the chains."""
    token_version: str = "2"  # noqa: S105 - a version, not a password

    @property
    def network(self) -> str:
        """The CAIP-2 name of the chain, such as `eip155:8453`."""
        return f"eip155:{self.chain_id}"


BASE = Chain(8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin")
BASE_SEPOLIA = Chain(84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC")


@dataclass(frozen=True, slots=True)
class Environment:
    """A valid base URL, and the chain of its payments."""

    base_url: str
    chain: Chain

    @property
    def is_loopback(self) -> bool:
        """True if the service is on this machine."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def service(self) -> str:
        """The name of the service in call keys and guards: one for all spellings of its host."""
        url = urlsplit(self.base_url)
        host = _LOOPBACK if self.is_loopback else (url.hostname or "").removesuffix(".")
        host = f"[{host}]" if ":" in host else host
        is_usual = self.port == _PORTS[url.scheme] and not self.is_loopback
        where = host if is_usual else f"{host}:{self.port}"
        return urlunsplit((url.scheme, where, url.path, "", ""))

    @property
    def port(self) -> int:
        """The port of the service."""
        url = urlsplit(self.base_url)
        return url.port or _PORTS[url.scheme]

    @property
    def sandbox_port(self) -> int | None:
        """The port of a service on this machine, whose calls are not real; otherwise `None`."""
        return self.port if self.is_loopback else None

    @classmethod
    def at(cls, base_url: str) -> Environment:
        """Return the environment of a base URL.

        Loopback and the staging host use Base Sepolia. Every other host, such as your own gateway
        to the service, has to use the chain of production.

        Raises:
            ConfigurationError: the URL is neither https nor loopback, or has other parts than
                scheme, host, port and path.
        """
        url = _read(base_url.strip())
        loopback = _is_loopback(url.hostname or "")
        if url.username or url.password or url.query or url.fragment:
            raise wording.base_url_too_long()
        if url.scheme != "https" and not loopback:
            raise wording.base_url_unencrypted(url.hostname)
        test = loopback or url.hostname == urlsplit(STAGING_URL).hostname
        # The scheme decides about encryption, so every reader has to see it in one spelling.
        _, _, rest = base_url.strip().rstrip("/").partition("://")
        return cls(f"{url.scheme}://{rest}", BASE_SEPOLIA if test else BASE)


def _read(base_url: str) -> SplitResult:
    try:
        url = urlsplit(base_url)
        readable = url.port != 0 and base_url.isprintable() and " " not in base_url
    except ValueError:  # such as an open bracket or an invalid port
        readable = False
    if not readable or not url.hostname or url.scheme not in {"http", "https"}:
        raise wording.base_url_unreadable(PRODUCTION_URL)
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
