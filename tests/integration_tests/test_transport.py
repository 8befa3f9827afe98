"""One request, one answer: what each trouble on the way is called, and what bounds an answer.

A server of raw sockets plays each trouble, over either HTTP package.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from langchain_oneshot_voice.errors import ConfigurationError
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.http_packages import PACKAGES
from langchain_oneshot_voice.oneshot.reading import LARGEST_ANSWER
from langchain_oneshot_voice.oneshot.transport import (
    Limits,
    NoVerdictError,
    OverBoundsError,
    Reply,
    Transport,
    chosen_package,
)

Deed = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
LIMITS = Limits(connect=2.0, begin=0.5, body=0.5)
BODY = {"objective": "Ask for the opening hours."}

every_package = pytest.mark.parametrize("package", PACKAGES)


def whole(body: bytes, *headers: str) -> bytes:
    """An answer with a body."""
    lines = [f"content-length: {len(body)}", *headers]
    return OK + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


async def read_all(reader: asyncio.StreamReader) -> None:
    """Read a request with a small body."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))


def answering(*parts: bytes, pause: float = 0.0) -> Deed:
    """Read the request, send these parts with a rest between them, and close."""

    async def deed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_all(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return deed


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def at_accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset at once."""
    reset(writer)


async def after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset once the request is read."""
    await read_all(reader)
    reset(writer)


async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await asyncio.sleep(5)


@asynccontextmanager
async def service(deed: Deed) -> AsyncIterator[str]:
    """A server on this machine that does this with every connection; its base URL."""
    tasks: list[asyncio.Task[None]] = []

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await deed(reader, writer)
                writer.close()
                await writer.wait_closed()
            finally:
                writer.transport.abort()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(act(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask(base_url: str, package: str, limits: Limits = LIMITS) -> Reply:
    """Send one request."""
    transport = Transport(Environment.at(base_url), package)
    try:
        return await transport.exchange("POST", "/", limits, headers={}, body=BODY)
    finally:
        await transport.aclose()


DRIP = answering(OK + b"content-length: 1000\r\n\r\n", *[b"x"] * 100, pause=0.05)
TROUBLES: dict[str, tuple[Deed, type[NoVerdictError]]] = {
    "reset at accept": (at_accept, NoVerdictError),
    "read, then reset": (after_reading, NoVerdictError),
    "read, then closed": (answering(), NoVerdictError),
    "a header cut off": (answering(OK + b"content-le"), NoVerdictError),
    "a body cut off": (answering(OK + b"content-length: 9\r\n\r\n{"), NoVerdictError),
    "garbage": (answering(b"\x00\xff not HTTP at all\r\n\r\n"), NoVerdictError),
    "silence": (silent, NoVerdictError),
    "a header that drips": (
        answering(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 99, pause=0.05),
        NoVerdictError,
    ),
    "a body that drips": (DRIP, OverBoundsError),
    "a large body": (answering(whole(b" " * (LARGEST_ANSWER + 1))), OverBoundsError),
    "a body without an end": (answering(OK + b"\r\n", *[b" " * 2**20] * 9), OverBoundsError),
    "a long header": (answering(whole(b"{}", "a: " + "b" * 8193)), OverBoundsError),
    "a gzip bomb": (
        answering(whole(gzip.compress(b" " * 2**26), "content-encoding: gzip")),
        OverBoundsError,
    ),
    "a deflate bomb": (
        answering(whole(zlib.compress(b" " * 2**26), "content-encoding: deflate")),
        OverBoundsError,
    ),
    "broken gzip": (answering(whole(b"{}", "content-encoding: gzip")), NoVerdictError),
    "brotli": (answering(whole(b"{}", "content-encoding: br")), NoVerdictError),
}


@every_package
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_request_that_may_have_arrived_is_never_called_unsent(
    package: str, trouble: str
) -> None:
    """Each trouble after the connection stood: no answer, and perhaps a payment."""
    deed, kind = TROUBLES[trouble]
    async with service(deed) as base_url:
        with pytest.raises(NoVerdictError) as caught:
            await ask(base_url, package)
    assert (type(caught.value), caught.value.unsent) == (kind, False)


@every_package
async def test_a_request_whose_body_is_not_read_ends(package: str) -> None:
    """Sending, too, has an end; a part of it may have arrived."""
    transport_limits = Limits(connect=2.0, begin=0.5, body=0.5)
    async with service(silent) as base_url:
        transport = Transport(Environment.at(base_url), package)
        body = {"context": "x" * 2**24}
        with pytest.raises(NoVerdictError) as caught:
            await transport.exchange("POST", "/", transport_limits, headers={}, body=body)
        await transport.aclose()
    assert not caught.value.unsent


@every_package
async def test_a_refused_connection_is_unsent(package: str) -> None:
    """Nothing listens there, so nothing can have arrived."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NoVerdictError) as caught:
            await ask(f"http://127.0.0.1:{taken.getsockname()[1]}", package)
    assert caught.value.unsent


@every_package
@pytest.mark.parametrize(
    "answer",
    [
        whole(b"{}"),
        whole(gzip.compress(b"{}"), "content-encoding: gzip"),
        whole(zlib.compress(b"{}"), "content-encoding: deflate"),
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        whole(b"{}", "a: " + "b" * 8192),
    ],
    ids=["plain", "gzip", "deflate", "chunked", "a header of 8 kB"],
)
async def test_an_answer_within_the_bounds_is_read(package: str, answer: bytes) -> None:
    """However it is sent."""
    async with service(answering(answer)) as base_url:
        reply = await ask(base_url, package)
    assert (reply.status, reply.body) == (200, b"{}")


@every_package
async def test_a_largest_answer_is_read_whole(package: str) -> None:
    """4 MiB are within the bounds."""
    async with service(answering(whole(b" " * LARGEST_ANSWER))) as base_url:
        reply = await ask(base_url, package, Limits(2.0, 10.0, 10.0))
    assert len(reply.body) == LARGEST_ANSWER


@every_package
async def test_a_proxy_of_the_environment_carries_what_goes_to_the_service(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real proxy: it is asked for a tunnel to the service by name, and sees no more than that."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("phone.example").configure_cert(secure)
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answering(whole(b'{"seen": true}'))(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=secure)
    port = server.sockets[0].getsockname()[1]

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(carry(reader, back), carry(there, writer))

    async with service(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        reply = await ask("https://phone.example", package, Limits(5.0, 5.0, 5.0))
        async with service(answering(whole(b"{}"))) as beside:
            monkeypatch.setenv("HTTP_PROXY", proxy)
            await ask(beside, package)
    server.close()
    assert (reply.body, asked) == (b'{"seen": true}', [b"CONNECT phone.example:443 HTTP/1.1"])


@every_package
@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
async def test_a_certificate_of_an_unknown_authority_is_refused(package: str, scheme: str) -> None:
    """However the scheme is written: nothing is sent to a service that can't prove its name."""
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(secure)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            seen.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=secure)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(NoVerdictError) as caught:
        await ask(f"{scheme}://127.0.0.1:{port}", package)
    server.close()
    assert (caught.value.unsent, [part for part in seen if part]) == (True, [])


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until they end."""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(2**16):
            writer.write(part)
            await writer.drain()
    writer.close()


@every_package
async def test_three_hundred_requests_at_once_share_small_pools(package: str) -> None:
    """Each pool has a few connections, and each request gets its own answer."""
    seen: list[int] = []

    async def deed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(1)
        while True:
            await read_all(reader)
            writer.write(whole(b"{}"))

    async with service(deed) as base_url:
        transport = Transport(Environment.at(base_url), package)
        many = Limits(10.0, 30.0, 30.0)

        async def ask_one() -> Reply:
            return await transport.exchange("POST", "/", many, headers={}, body=BODY)

        replies = await asyncio.gather(*(ask_one() for _ in range(300)))
        await transport.aclose()
    assert [reply.body for reply in replies] == [b"{}"] * 300
    assert len(seen) <= 320


@pytest.mark.parametrize(
    ("chosen", "package"), [("", "aiohttp"), ("httpx", "httpx"), (" HTTPX2 ", "httpx2")]
)
def test_the_environment_chooses_the_package(
    monkeypatch: pytest.MonkeyPatch, chosen: str, package: str
) -> None:
    """Without a choice, aiohttp where it is installed."""
    monkeypatch.setenv("ONESHOT_VOICE_HTTP", chosen)
    assert chosen_package() == package


def test_a_package_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words that say what can be chosen."""
    monkeypatch.setenv("ONESHOT_VOICE_HTTP", "curl")
    with pytest.raises(ConfigurationError, match="aiohttp or httpx2 or httpx"):
        chosen_package()


@every_package
async def test_a_time_that_runs_out_as_the_answer_begins_is_no_answer(package: str) -> None:
    """Whatever the two do to each other: there is a reply or an error, never nothing."""
    for after in range(8):
        begin = 0.02 + after * 0.005
        async with service(answering(whole(b"{}"), pause=0)) as base_url:
            transport = Transport(Environment.at(base_url), package)
            with contextlib.suppress(NoVerdictError):
                limits = Limits(2.0, begin, 0.05)
                reply = await transport.exchange("POST", "/", limits, headers={}, body=BODY)
                assert reply.status == 200
            await transport.aclose()
