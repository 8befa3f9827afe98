"""Where the service is, and which money it may ask for there.

Each environment has one chain and one USDC contract, written down here and nowhere taken from the
service's own answers: what is signed is checked against this page. A loopback address is the
sandbox, which lives on the test chain: a program on this machine that only poses as the service
can never obtain a signature over real money.
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
    """A chain and its USDC contract: what a payment may be signed for."""

    chain_id: int
    usdc: str
    token_name: str
    """The EIP-712 name of the contract's domain; the test token's differs from the real one's."""
    token_version: str = "2"  # noqa: S105 - a version, not a password

    @property
    def network(self) -> str:
        """The chain's CAIP-2 name, such as `eip155:8453`."""
        return f"eip155:{self.chain_id}"


BASE = Chain(8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin")
BASE_SEPOLIA = Chain(84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC")


@dataclass(frozen=True, slots=True)
class Environment:
    """A base URL that may be talked to, and the chain that its payments are on."""

    base_url: str
    chain: Chain

    @property
    def is_loopback(self) -> bool:
        """Whether the service is on this machine."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def service(self) -> str:
        """The service's one name in call keys and guards, however its host is spelled."""
        url = urlsplit(self.base_url)
        host = _LOOPBACK if self.is_loopback else (url.hostname or "").removesuffix(".")
        host = f"[{host}]" if ":" in host else host
        is_usual = self.port == _PORTS[url.scheme] and not self.is_loopback
        where = host if is_usual else f"{host}:{self.port}"
        return urlunsplit((url.scheme, where, url.path, "", ""))

    @property
    def port(self) -> int:
        """Where it listens."""
        url = urlsplit(self.base_url)
        return url.port or _PORTS[url.scheme]

    @property
    def sandbox_port(self) -> int | None:
        """Where the service listens on this machine, if it does: its calls are no real ones."""
        return self.port if self.is_loopback else None

    @classmethod
    def at(cls, base_url: str) -> Environment:
        """The environment behind a base URL.

        Loopback and the staging host are on Base Sepolia; every other host, such as a gateway of
        yours in front of the service, is held to production's terms.

        Raises:
            ConfigurationError: when the URL is neither https nor loopback, or carries more than
                scheme, host, port and path.
        """
        url = _read(base_url.strip())
        loopback = _is_loopback(url.hostname or "")
        if url.username or url.password or url.query or url.fragment:
            raise wording.base_url_too_long()
        if url.scheme != "https" and not loopback:
            raise wording.base_url_unencrypted(url.hostname)
        test = loopback or url.hostname == urlsplit(STAGING_URL).hostname
        return cls(base_url.strip().rstrip("/"), BASE_SEPOLIA if test else BASE)


def _read(base_url: str) -> SplitResult:
    try:
        url = urlsplit(base_url)
        readable = url.port != 0 and base_url.isprintable() and " " not in base_url
    except ValueError:  # brackets that do not close, a port that is none
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
