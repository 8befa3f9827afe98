"""Transport: one HTTP request, one answer, bounded in size and time.

The only module that knows httpx, or httpx2, its successor by the same author, which is used where
it is installed; `ONESHOT_VOICE_HTTP` chooses. `docs/decisions/transport.md` has the figures.

Nothing is followed, kept or repeated here: no redirect, no cookie, no second try. An answer that
can't be had is a `WeatherError`, which says whether the request may have been sent.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import ModuleType
from typing import Any

import anyio

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.reading import LARGEST_ANSWER

log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "ONESHOT_VOICE_HTTP"
PACKAGES = ("httpx2", "httpx")
"""What can be used; the first that is installed is, if nothing is chosen."""

UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
"""Errors that say that no part of the request was sent. After any other it may have arrived."""

_LONGEST_HEADER = 8 * 1024
_POOLS, _CONNECTIONS = 32, 10
_ENOUGH = 8
"""Requests in each pool that is open before another one is opened."""

_GZIP_OR_ZLIB = 47
"""zlib's `wbits` for either form."""


class WeatherError(Exception):
    """No answer that says anything: a dropped connection, a proxy's page, a 5xx, a 429.

    Attributes:
        why: what was seen, in a few words.
        retry_after: seconds that the service asks to wait, where it does.
        unsent: the request surely never reached the service.
    """

    def __init__(self, why: str, *, retry_after: float | None = None, unsent: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after
        self.unsent = unsent


class OverBoundsError(WeatherError):
    """The answer is larger, or takes longer, than any answer has to. Asking again is no help."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status, the headers under lower-case names, and the body's bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that one request may take.

    Attributes:
        connect: to connect.
        begin: until the answer begins, its headers included.
        body: for the rest of the answer, however it drips.
    """

    connect: float
    begin: float
    body: float


@dataclass(slots=True)
class _Pool:
    """A few connections. What waits in httpx's pool costs the square of its number: many, small."""

    client: Any
    busy: int = 0


class Transport:
    """The connections to one service. Lives on one event loop.

    Args:
        environment: where the service is. A proxy that the environment variables name is used,
            except for a loopback address.
        package: `"httpx"` or `"httpx2"`.
    """

    def __init__(self, environment: Environment, package: str) -> None:
        self._base_url = environment.base_url
        self._direct = environment.is_loopback
        self._package: ModuleType = importlib.import_module(package)
        self._unsent = tuple(getattr(self._package, name) for name in UNSENT)
        self._pools: list[_Pool] = []
        self._slots = anyio.Semaphore(_POOLS * _CONNECTIONS)
        self._certificates: Any = None
        try:
            self._pools.append(_Pool(self._client()))
        except Exception as fault:  # noqa: BLE001 - a proxy or a certificate of the environment
            raise wording.http_not_set_up(type(fault).__name__) from None
        log.info("requests to %s go over %s", environment.base_url, package)

    async def exchange(
        self,
        method: str,
        path: str,
        limits: Limits,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Send a request once, and read its answer.

        Args:
            method: `GET` or `POST`.
            path: from the service's base URL on.
            limits: how long it may take.
            headers: what goes along beside the transport's own headers.
            query: the URL's query.
            body: sent as JSON.

        Raises:
            OverBoundsError: the answer is over a bound.
            WeatherError: there is no answer.
        """
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        seconds = self._package.Timeout(limits.begin, connect=limits.connect)
        begun, reply = False, None
        async with self._slots:
            try:
                pool = self._least_busy()
            except Exception as fault:  # noqa: BLE001 - the environment may have changed
                raise WeatherError(f"no connection ({type(fault).__name__})", unsent=True) from None
            pool.busy += 1
            try:
                with anyio.fail_after(limits.begin) as scope:
                    async with pool.client.stream(
                        method,
                        self._base_url + path,
                        params=query,
                        content=content,
                        headers={**kind, **headers},
                        timeout=seconds,
                    ) as response:
                        begun = True
                        scope.deadline = anyio.current_time() + limits.body
                        reply = await _read(response)
            except WeatherError:
                raise
            except TimeoutError:
                if begun:
                    raise OverBoundsError(f"an answer of over {limits.body:g} seconds") from None
                raise WeatherError(f"no answer in {limits.begin:g} seconds") from None
            except self._unsent as error:
                raise WeatherError(f"no connection ({type(error).__name__})", unsent=True) from None
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
                raise WeatherError(f"no answer ({type(error).__name__})") from None
            finally:
                pool.busy -= 1
        if reply is None:  # the time ran out at the very moment in which the answer began
            raise WeatherError(f"no answer in {limits.begin:g} seconds")
        return reply

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
        if self._certificates is None and self._base_url.startswith("https"):
            self._certificates = self._package.create_ssl_context()
        return self._package.AsyncClient(
            verify=self._certificates or True,
            trust_env=not self._direct,
            # What is received may be anything: decompression is bounded in `_read`.
            headers={"accept-encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=self._package.Limits(
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS
            ),
        )


def chosen_package() -> str:
    """The package that requests go over.

    Raises:
        ConfigurationError: the one that `ONESHOT_VOICE_HTTP` names is not known or not installed.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower()
    if chosen and chosen not in PACKAGES:
        raise wording.http_package_unknown(chosen, PACKAGES)
    for package in [chosen] if chosen else PACKAGES:
        if importlib.util.find_spec(package) is not None:
            return package
    raise wording.http_package_missing(chosen)


async def _read(response: Any) -> Reply:  # noqa: ANN401 - of either package
    """Read an answer's body, as much as an answer may have."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    if any(len(value) > _LONGEST_HEADER for value in headers.values()):
        raise OverBoundsError(f"a header of over {_LONGEST_HEADER // 1024} kB")
    body = bytearray()
    async for chunk in _decompressed(response.aiter_raw(), headers.get("content-encoding", "")):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise OverBoundsError(f"an answer of over {LARGEST_ANSWER // 2**20} MiB")
    return Reply(response.status_code, headers, bytes(body))


async def _decompressed(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """The body itself, a bounded piece at a time; nothing was asked to be compressed."""
    match encoding.strip().lower():
        case "" | "identity":
            async for chunk in chunks:
                yield chunk
        case "gzip" | "x-gzip" | "deflate":
            inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
            async for chunk in chunks:
                rest = chunk
                while rest and not inflating.eof:
                    yield inflating.decompress(rest, 2**16)
                    rest = inflating.unconsumed_tail
        case _:
            raise WeatherError("an answer in an encoding that was not asked for")
