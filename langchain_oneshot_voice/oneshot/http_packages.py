"""The supported HTTP packages, behind one interface.

Only this module knows aiohttp, httpx2 and httpx, which is the predecessor of httpx2 with the same
interface. It creates and shares their connections, and lists the errors after which nothing was
sent. `transport.py` has the limits and the timeouts. `docs/decisions/transport.md` has measurements
and explains the choice of the first installed package.
"""

from __future__ import annotations

import importlib
import importlib.util
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

MOST_REQUESTS = 320
"""Limit for simultaneous requests to one service. Each uses a connection."""

_POOLS = 32
_ENOUGH = 8
"""Requests in every open pool of httpx before another pool is opened."""

_LONGEST_LINE = 16 * 1024
"""Limit for a header line in aiohttp, in bytes. The limit of `transport.py` is lower."""

_NOT_COMPRESSED = {"accept-encoding": "identity"}
"""Asks for an answer without compression. If it is compressed anyway, `transport.py` limits it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request.

    Attributes:
        method: the HTTP method.
        url: the complete URL.
        content: the bytes of the body.
        headers: the headers.
        connect: the timeout for the connection, in seconds.
    """

    method: str
    url: str
    content: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    connect: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The start of an answer: status, headers, and a body that is still arriving."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Connections(Protocol):
    """The connections of one package to one service.

    Attributes:
        unsent: errors after which no part of the request was sent. After any other error the
            request may have arrived.
    """

    unsent: tuple[type[Exception], ...]

    def stream(self, request: Request) -> AbstractAsyncContextManager[Answer]:
        """Send a request once, and yield the answer after its headers have arrived."""

    async def aclose(self) -> None:
        """Close every connection."""


@dataclass(slots=True)
class _Pool:
    client: Any
    busy: int = 0


class Httpx:
    """Connections of httpx2 or httpx, in several small pools; a request uses the least busy one.

    The cost of a pool grows with the square of the requests in it.
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
        # Loading the certificate authorities takes 20 ms: do it once, and only for TLS.
        self._verify = package.create_ssl_context() if _is_secure(base_url) else False
        self._pools = [_Pool(self._client())]

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Answer]:
        """Send a request once."""
        pool = self._least_busy()
        pool.busy += 1
        try:
            async with pool.client.stream(
                request.method,
                request.url,
                content=request.content,
                headers=request.headers,
                timeout=self._package.Timeout(None, connect=request.connect),
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
    """Connections of aiohttp, in one pool: its cost grows slowly with the requests."""

    def __init__(self, package: ModuleType, base_url: str) -> None:
        self._url = importlib.import_module("yarl").URL
        self.unsent: tuple[type[Exception], ...] = (
            package.ClientConnectorError,
            package.ConnectionTimeoutError,
        )
        self._package = package
        # Trust the same authorities as the other packages. aiohttp would trust the system's.
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
    async def stream(self, request: Request) -> AsyncIterator[Answer]:
        """Send a request once."""
        async with self._session.request(
            request.method,
            self._url(request.url, encoded=True),
            data=request.content,
            headers=request.headers,
            allow_redirects=False,
            timeout=self._package.ClientTimeout(connect=request.connect),
        ) as response:
            yield Answer(response.status, response.headers, response.content.iter_any())

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


PACKAGES = ("aiohttp", "httpx2", "httpx")
"""The supported packages. By default the first one that is installed is used."""


def connections(package: str, base_url: str, *, direct: bool) -> Connections:
    """Return connections to a service.

    Args:
        package: one of `PACKAGES`. With a proxy, httpx2 or httpx replaces aiohttp, because they
            support all the environment variables for proxies.
        base_url: the address of the service.
        direct: True to ignore the proxy of the environment variables.
    """
    if package == "aiohttp" and (direct or not _is_proxied(base_url)):
        return Aiohttp(importlib.import_module(package), base_url)
    module = _httpx() if package == "aiohttp" else importlib.import_module(package)
    return Httpx(module, base_url, direct=direct)


def is_installed(package: str) -> bool:
    """Return True if the package is installed."""
    return importlib.util.find_spec(package) is not None


def _httpx() -> ModuleType:
    return importlib.import_module("httpx2" if is_installed("httpx2") else "httpx")


def _is_secure(base_url: str) -> bool:
    return not base_url.startswith("http://")


def _is_proxied(base_url: str) -> bool:
    """Return True if the environment variables may name a proxy for this service."""
    proxies = urllib.request.getproxies()
    host = urlsplit(base_url).hostname or ""
    return any(proxies.get(kind) for kind in ("all", urlsplit(base_url).scheme)) and not (
        urllib.request.proxy_bypass(host)
    )
