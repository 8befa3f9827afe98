"""The result feed against a socket that talks too much: it is heard, and it rules nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from placing import FAST
from pydantic import SecretStr
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from langchain_oneshot_voice.oneshot.answers import Job
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.feed import ResultFeed
from langchain_oneshot_voice.oneshot.transport import Transport
from langchain_oneshot_voice.oneshot.wallet import WalletKey

CALL = "req_1"
PROCESSING = {"request_id": CALL, "status": "processing"}
DONE = {"request_id": CALL, "status": "completed", "result": {"outcome": "reached_person"}}
Talk = Callable[[ServerConnection], Awaitable[None]]


@dataclass
class Service:
    """One port for the socket and the polls.

    Attributes:
        polls: the number of polls.
        ends_after: polls after which the call has ended.
        broken_off: whether the feed hung up on the socket while it talked.
    """

    talk: Talk
    ends_after: int = 10**6
    polls: int = 0
    broken_off: bool = False
    told: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[ResultFeed]:
        """A feed that waits for calls here."""
        async with serve(self._socket, "127.0.0.1", 0, process_request=self._answer) as server:
            where = Environment.at(f"http://127.0.0.1:{_port(server)}")
            transport = Transport(where, "httpx2")
            credential = WalletKey(SecretStr("0x" + "1" * 64))
            client = OneShotClient(where, credential, transport, timing=FAST)
            feed = ResultFeed(client, FAST)
            try:
                yield feed
            finally:
                await feed.aclose()
                await transport.aclose()

    async def tell(self, job: Job) -> None:
        """Note what the feed tells."""
        self.told.append(job.status)

    async def _socket(self, socket: ServerConnection) -> None:
        try:
            await socket.recv()
            await self.talk(socket)
        except ConnectionClosed:
            self.broken_off = True

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        if "subscribe" in request.path:
            return None
        self.polls += 1
        return socket.respond(200, json.dumps(DONE if self.polls > self.ends_after else PROCESSING))


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


def saying(message: Any, pause: float = 0.0) -> Talk:
    """Say the same for ever."""
    said = message if isinstance(message, str) else json.dumps(message)

    async def talk(socket: ServerConnection) -> None:
        while True:
            await socket.send(said)
            await asyncio.sleep(pause)

    return talk


async def test_an_end_without_an_outcome_is_asked_about_once_a_second() -> None:
    """A thousand such messages a second make no thousand polls."""
    service = Service(saying({"request_id": CALL, "status": "completed"}, 0.001))
    async with service.feed() as feed:
        assert await feed.wait(CALL, 1.5, service.tell) is None
    assert 1 <= service.polls <= 6
    assert service.told.count("completed") <= 4


async def test_the_same_news_is_told_once_a_second() -> None:
    """Progress is for people."""
    service = Service(saying(PROCESSING, 0.001))
    async with service.feed() as feed:
        assert await feed.wait(CALL, 1.5, service.tell) is None
    assert 1 <= len(service.told) <= 3


@pytest.mark.parametrize(
    "message",
    ["", json.dumps(PROCESSING | {"request_id": "another"}), "[" + "1.1," * 10**6 + "1]"],
    ids=["nothing", "about others", "large and empty"],
)
async def test_a_socket_that_floods_is_hung_up_on(message: str) -> None:
    """Each message counts for a kilobyte at the least; the outcome comes by the polls."""
    service = Service(saying(message), ends_after=3)
    async with service.feed() as feed:
        job = await feed.wait(CALL, 20.0, service.tell)
        assert job is not None
        assert job.raw == DONE
        listening = asyncio.ensure_future(feed.wait("another call", 60.0))
        async with asyncio.timeout(30):
            while not service.broken_off:  # noqa: ASYNC110 - what the server sees
                await asyncio.sleep(0.02)
        listening.cancel()
    assert service.broken_off
