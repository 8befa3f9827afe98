"""Requests that must not go elsewhere: redirects, cookies, proxies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hostile.attack import Attack, Deed, Leg, Reply, ends, header
from hostile.callers import TRANSPORTS, Transport
from hostile.service import Peer
from hostile.trials import LONG, Trials, Withstand

pytestmark = LONG

LEGS: tuple[Leg, ...] = ("quote", "paid", "poll", "receipts", "socket")


def _elsewhere(status: int) -> Deed:
    """Send the request to another name of this machine. Whoever follows asks for a stray path."""

    async def deed(peer: Peer, _: Reply) -> None:
        there = peer.service.base_url.replace("127.0.0.1", "localhost") + "/elsewhere"
        reply = Reply.of(status, {"error": "moved"}, location=there, connection="close")
        await peer.send(reply.head() + reply.body)

    return deed


REDIRECTS = [
    Attack(name=f"redirect-{status}", leg=leg, deed=_elsewhere(status))
    for leg in LEGS
    for status in (301, 302, 303, 307, 308)
]
COOKIES = [
    Attack(
        name=f"cookie-{name}",
        leg=leg,
        change=header("set-cookie", cookie),
        ends=ends("completed"),
        receipts_tell=True,
    )
    for leg in LEGS
    for name, cookie in {
        "plain": "session=1; Path=/",
        "lasting": "session=1; Path=/; Max-Age=100000",
        "of-another": "session=1; Path=/; Domain=localhost",
    }.items()
]


def test_redirects_are_not_followed(withstand: Withstand) -> None:
    """A redirect is no answer: nothing is sent to where it points."""
    withstand(REDIRECTS)


def test_cookies_are_not_kept(withstand: Withstand) -> None:
    """A cookie that the service sets never comes back."""
    withstand(COOKIES)


@contextmanager
def proxy() -> Iterator[tuple[dict[str, str], list[str]]]:
    """A proxy that notes the first line of each request, and refuses it; and how to name it."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536).split(b"\r\n")[0].decode("latin-1"))
                connection.sendall(b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    unset = {"NO_PROXY": "", "no_proxy": ""}
    try:
        yield dict.fromkeys([*names, *map(str.lower, names)], url) | unset, seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_proxy_for_loopback(transport: Transport, trials: Trials) -> None:
    """A proxy of the environment sees nothing of what goes to this machine itself."""
    with proxy() as (environment, seen):
        honest = Attack(name="proxy", leg="quote", ends=ends("completed"))
        (trial,) = trials.of({transport: [honest]}, **environment)
    assert seen == []
    trial.require()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_proxy_for_the_service(transport: Transport, trials: Trials) -> None:
    """A proxy of the environment is used for a service that is not on this machine."""
    with proxy() as (environment, seen):
        outcome = trials.at("https://voice.invalid", transport, **environment)
    assert outcome.end == "refused"
    assert any(line.startswith("CONNECT voice.invalid:443") for line in seen)
