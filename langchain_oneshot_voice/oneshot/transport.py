"""Transport: sends one HTTP request and reads its answer, within limits of size and time.

It follows no redirects, keeps no cookies and retries nothing. Without an answer it raises
`NoVerdictError`, which states whether the request may have been sent. `http_packages.py` knows the
HTTP packages.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.http_packages import (
    MOST_REQUESTS,
    PACKAGES,
    Answer,
    Request,
    connections,
    is_installed,
)
from langchain_oneshot_voice.oneshot.reading import LARGEST_ANSWER

log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "ONESHOT_VOICE_HTTP"

_LONGEST_HEADER = 8 * 1024

_GZIP_OR_ZLIB = 47
"""The `wbits` with which zlib accepts both formats."""


class NoVerdictError(Exception):
    """The service did not answer the question: a lost connection, a proxy's page, a 5xx, a 429.

    Attributes:
        why: the reason, in a few words.
        retry_after: seconds that the service asks to wait; `None` if it did not say.
        unsent: True if the request certainly never reached the service.
    """

    def __init__(self, why: str, *, retry_after: float | None = None, unsent: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after
        self.unsent = unsent


class OverBoundsError(NoVerdictError):
    """The answer is too large or too slow. A retry would not help."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer: status, headers with lower-case names, and the bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts of one request, in seconds.

    Attributes:
        connect: for the connection.
        begin: until the headers of the answer have arrived.
        body: for the whole body, even if bytes keep arriving.
    """

    connect: float
    begin: float
    body: float


class Transport:
    """The connections to one service. Belongs to one event loop.

    Args:
        environment: the address of the service. Requests use the proxy of the environment
            variables, unless the address is loopback.
        package: one of `PACKAGES`.
    """

    def __init__(self, environment: Environment, package: str) -> None:
        self._base_url = environment.base_url
        self._slots = asyncio.Semaphore(MOST_REQUESTS)
        try:
            self._connections = connections(
                package, environment.base_url, direct=environment.is_loopback
            )
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
            path: the path after the service's base URL.
            limits: the timeouts.
            headers: headers besides the transport's own.
            query: the query of the URL.
            body: the body, which is sent as JSON.

        Raises:
            OverBoundsError: the answer is too large or too slow.
            NoVerdictError: no answer arrived.
        """
        url = self._base_url + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        request = Request(method, url, content, {**kind, **headers}, limits.connect)
        has_begun, reply = False, None
        async with self._slots:
            try:
                async with (
                    asyncio.timeout(limits.begin) as time_left,
                    self._connections.stream(request) as answer,
                ):
                    has_begun = True
                    time_left.reschedule(asyncio.get_running_loop().time() + limits.body)
                    reply = await _read(answer)
            except NoVerdictError:
                raise
            except self._connections.unsent as error:
                raise NoVerdictError(
                    f"no connection ({type(error).__name__})", unsent=True
                ) from None
            except TimeoutError:
                if has_begun:
                    raise OverBoundsError(f"an answer of over {limits.body:g} seconds") from None
                raise NoVerdictError(f"no answer in {limits.begin:g} seconds") from None
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
                raise NoVerdictError(f"no answer ({type(error).__name__})") from None
        if reply is None:  # the timeout was reached at the moment when the answer began
            raise NoVerdictError(f"no answer in {limits.begin:g} seconds")
        return reply

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()


def chosen_package() -> str:
    """Return the name of the HTTP package to use.

    Raises:
        ConfigurationError: `ONESHOT_VOICE_HTTP` names a package that is unknown or not installed.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower()
    if chosen and chosen not in PACKAGES:
        raise wording.http_package_unknown(chosen, PACKAGES)
    for package in [chosen] if chosen else PACKAGES:
        if is_installed(package):
            return package
    raise wording.http_package_missing(chosen)


async def _read(answer: Answer) -> Reply:
    """Read the body of an answer, up to the limit."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if any(len(value) > _LONGEST_HEADER for value in headers.values()):
        raise OverBoundsError(f"a header of over {_LONGEST_HEADER // 1024} kB")
    body = bytearray()
    async for chunk in _decompressed(answer.chunks, headers.get("content-encoding", "")):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise OverBoundsError(f"an answer of over {LARGEST_ANSWER // 2**20} MiB")
    return Reply(answer.status, headers, bytes(body))


async def _decompressed(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Yield the decompressed body in pieces of limited size.

    Requests ask for no compression, but a hostile server can send it anyway.
    """
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
            raise NoVerdictError("an answer in an encoding that was not asked for")
