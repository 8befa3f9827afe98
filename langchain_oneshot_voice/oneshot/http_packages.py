"""The HTTP packages that requests can go over, behind one interface.

The only module that knows aiohttp, httpx2 and httpx, the second's predecessor with the same
interface. What each needs lies here: how its connections are made and shared, and which of its
errors say that nothing was sent. Bounds, times and meaning are in `transport.py`.
`docs/decisions/transport.md` has the figures, and why the first that is installed is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

MOST_REQUESTS = 320
"""Requests that may be on their way to one service at a time; each has a connection."""

_POOLS = 32
_ENOUGH = 8
"""Requests in each of httpx's pools that is open before another one is opened."""

_LONGEST_LINE = 16 * 1024
"""Bytes of a line of an answer's head, for aiohttp: more than `transport.py` lets pass."""

_NOT_COMPRESSED = {"accept-encoding": "identity"}
"""What is received may be anything: `transport.py` decompresses, within bounds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has begun: its status, its headers, and its body as it arrives."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Connections(Protocol):
    """A package's connections to one service.

    Attributes:
        unsent: errors that say that no part of the request was sent. After any other it may have
            arrived.
    """

    unsent: tuple[type[Exception], ...]

    def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        connect: float,
    ) -> AbstractAsyncContextManager[Answer]:
        """Send a request once; its answer has begun. `connect`: seconds to connect."""

    async def aclose(self) -> None:
        """Close every connection."""


@dataclass(slots=True)
class _Pool:
    client: Any
    busy: int = 0


class Httpx:
    """Over httpx2 or httpx, spread over small pools, the least busy one first.

    What waits in a pool of theirs costs the square of its number.
    """

    def __init__(self, package: ModuleType, base_url: str, *, direct: bool) -> None:
        self.unsent: tuple[type[Exception], ...] = (
            package.ConnectError,
            package.ConnectTimeout,
            package.PoolTimeout,
            package.ProxyError,
            package.UnsupportedProtocol,
        )
        self._package = package
        self._direct = direct
        # Reading the authorities takes 20 ms: once, and only for a service with TLS.
        self._verify = package.create_ssl_context() if _is_secure(base_url) else False
        self._pools = [_Pool(self._client())]

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        connect: float,
    ) -> AsyncIterator[Answer]:
        """Send a request once."""
        pool = self._least_busy()
        pool.busy += 1
        try:
            async with pool.client.stream(
                method,
                url,
                content=content,
                headers=headers,
                timeout=self._package.Timeout(None, connect=connect),
            ) as response:
                yield Answer(response.status_code, response.headers, response.aiter_raw())
        finally:
            pool.busy -= 1

    async def aclose(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, []
        for pool in pools:
            await pool.client.aclose()

    def _least_busy(self) -> _Pool:
        least = min(self._pools, key=lambda pool: pool.busy, default=None)
        if least is None or (least.busy >= _ENOUGH and len(self._pools) < _POOLS):
            least = _Pool(self._client())
            self._pools.append(least)
        return least

    def _client(self) -> Any:  # noqa: ANN401 - of either package
        connections = MOST_REQUESTS // _POOLS
        return self._package.AsyncClient(
            verify=self._verify,
            trust_env=not self._direct,
            headers=_NOT_COMPRESSED,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=self._package.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
        )


class Aiohttp:
    """Over aiohttp: one pool, whose book-keeping stays cheap."""

    def __init__(self, package: ModuleType, base_url: str) -> None:
        self._url = importlib.import_module("yarl").URL
        self.unsent: tuple[type[Exception], ...] = (
            package.ClientConnectorError,
            package.ConnectionTimeoutError,
        )
        self._package = package
        # The same authorities as with the others: aiohttp's own choice is the system's.
        trusted = _httpx().create_ssl_context() if _is_secure(base_url) else False
        self._session = package.ClientSession(
            connector=package.TCPConnector(limit=MOST_REQUESTS, ssl=trusted),
            cookie_jar=package.DummyCookieJar(),
            headers=_NOT_COMPRESSED,
            auto_decompress=False,
            trust_env=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        connect: float,
    ) -> AsyncIterator[Answer]:
        """Send a request once."""
        async with self._session.request(
            method,
            self._url(url, encoded=True),
            data=content,
            headers=headers,
            allow_redirects=False,
            timeout=self._package.ClientTimeout(connect=connect),
        ) as response:
            yield Answer(response.status, response.headers, response.content.iter_any())

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


PACKAGES = ("aiohttp", "httpx2", "httpx")
"""What can be used. The first that is installed is, if nothing is chosen."""


def connections(package: str, base_url: str, *, direct: bool) -> Connections:
    """Connections to a service, over a package of `PACKAGES`.

    Args:
        package: its name.
        base_url: where the service is.
        direct: whether no proxy of the environment is used. With one, aiohttp's place is taken by
            httpx2 or httpx, which know all the ways of naming one.
    """
    if package == "aiohttp" and (direct or not _is_proxied(base_url)):
        return Aiohttp(importlib.import_module(package), base_url)
    module = _httpx() if package == "aiohttp" else importlib.import_module(package)
    return Httpx(module, base_url, direct=direct)


def is_installed(package: str) -> bool:
    """Whether it can be used."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def _httpx() -> ModuleType:
    return importlib.import_module("httpx2" if is_installed("httpx2") else "httpx")


def _is_secure(base_url: str) -> bool:
    return base_url.startswith("https")


def _is_proxied(base_url: str) -> bool:
    """Whether the environment names a proxy that might be meant for this service."""
    proxies = urllib.request.getproxies()
    host = urlsplit(base_url).hostname or ""
    return any(proxies.get(kind) for kind in ("all", urlsplit(base_url).scheme)) and not (
        urllib.request.proxy_bypass(host)
    )
