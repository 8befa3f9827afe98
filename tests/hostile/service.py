"""HostileService: a OneShot service over raw sockets that attacks one leg of each call.

It does not check signatures or proofs. It counts: requests, payments by their nonce, connections.
An attack on the connection is played before a request is read when `at_accept` says so: the leg
that is due next is known from the one that was answered last, and every answer before it closes its
connection, so that the next request has to open a new one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from hostile import honest
from hostile.attack import Attack, Leg, Reply

T = TypeVar("T")

CALL_ROUTE = "/v1/tools/voice/call"
JOBS = "/v1/requests/"
SOCKET_ROUTE = "/v1/requests/subscribe"
RECEIPTS_ROUTE = "/v1/analytics/receipts"

_GONE = (ConnectionError, asyncio.IncompleteReadError, TimeoutError, OSError)
"""What a connection ends in whose other side has left."""


@dataclass(frozen=True)
class Request:
    """A request as it was received. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The other side of one connection."""

    def __init__(
        self,
        service: HostileService,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.service = service
        self.reader = reader
        self.request: Request | None = None
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send, and wait until most of it has left."""
        self._writer.write(data)
        await self._writer.drain()

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffers."""
        with suppress(RuntimeError):
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def reset(self) -> None:
        """End the connection with a RST."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        """End the connection with a FIN."""
        self._writer.close()

    async def receive(self) -> Request | None:
        """The next request; `None` when there is none."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        self.request = Request(method, path, headers, body)
        return self.request


@dataclass(eq=False)
class HostileService:
    """One service, with one attack, on a free port of 127.0.0.1.

    Attributes:
        attack: what it does.
        requests: every request that was read, oldest first.
        nonces: the nonces of the payments that were presented.
        connections: how many connections were accepted.
        attacks: how often the attack was carried out.
    """

    attack: Attack
    requests: list[Request] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)
    connections: int = 0
    attacks: int = 0

    _due: Leg = "quote"
    _paid: list[tuple[str, object]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _port: int = 0

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def request_id(self) -> str:
        """The id of the last call that was placed."""
        return self._paid[-1][0] if self._paid else "req_0"

    def count(self, leg: Leg) -> int:
        """How many requests of a leg were read."""
        return sum(_leg_of(request) == leg for request in self.requests)

    @property
    def strays(self) -> list[str]:
        """The paths that were asked for, and that no call has a use for."""
        return [request.path for request in self.requests if _leg_of(request) is None]

    async def start(self) -> None:
        """Listen, unless the attack begins with being out of reach."""
        self._port = _free_port()
        await self._listen()
        await self._reach("quote")

    async def stop(self) -> None:
        """Stop listening, and end every connection."""
        await self._deafen()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._port, reuse_address=True, limit=2**20
        )

    async def _deafen(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _reach(self, leg: Leg) -> None:
        """The call has come to this leg."""
        self._due = leg
        if leg == self.attack.leg and self.attack.down is not None and not self.attacks:
            self.attacks += 1
            await self._deafen()
            if self.attack.down:
                self._spawn(self._come_back(self.attack.down))

    async def _come_back(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._spawn(self._serve(Peer(self, reader, writer)))

    async def _serve(self, peer: Peer) -> None:
        attack = self.attack
        try:
            if attack.at_accept and attack.deed and self._due == attack.leg and self._may_attack():
                await attack.deed(peer, Reply(0))
                return
            while await peer.receive() and await self._answer(peer):
                pass
        except _GONE:
            pass
        finally:
            peer.close()

    def _may_attack(self) -> bool:
        times = self.attack.times
        if isinstance(times, int) and self.attacks >= times:
            return False
        self.attacks += 1
        return True

    async def _answer(self, peer: Peer) -> bool:
        """Answer one request; returns whether the connection goes on."""
        request = peer.request
        assert request is not None
        self.requests.append(request)
        leg = _leg_of(request)
        reply = self._honest(leg, request)
        attack, closes = self.attack, False
        if leg == "paid" and attack.loses_payment and attack.leg != "paid":
            await self._reach("receipts")
            return False
        if leg == attack.leg and not attack.at_accept and attack.down is None:
            if attack.deed and self._may_attack():
                await attack.deed(peer, reply)
                return False
            if attack.change and self._may_attack():
                reply = attack.change(reply)
        elif attack.at_accept or attack.down is not None:
            closes = True
            reply = Reply(reply.status, reply.body, (*reply.headers, ("connection", "close")))
            following: dict[Leg | None, Leg] = {"quote": "paid", "paid": "poll"}
            await self._reach(following.get(leg, self._due))
        await peer.send(reply.head() + reply.body)
        return not closes

    def _honest(self, leg: Leg | None, request: Request) -> Reply:
        match leg:
            case "quote":
                return honest.quote(self.count("quote"), _target(request))
            case "paid":
                return self._take_payment(request)
            case "poll":
                request_id = urlsplit(request.path).path.removeprefix(JOBS)
                unready = self.count("poll") <= self.attack.unready
                return honest.unready(request_id) if unready else honest.job(request_id)
            case "receipts":
                return honest.receipts(self._paid if self.attack.receipts_tell else [])
            case _:
                return honest.no_socket()

    def _take_payment(self, request: Request) -> Reply:
        payment = json.loads(base64.b64decode(request.headers["payment-signature"]))
        nonce = payment["payload"]["authorization"]["nonce"]
        if nonce in self.nonces and self.attack.leg != "paid":
            return honest.used()
        if nonce in self.nonces:
            return honest.placed(self.request_id, _target(request))
        self.nonces.append(nonce)
        request_id = f"req_{len(self.nonces)}"
        self._paid.append((request_id, json.loads(request.body).get("decisionContext")))
        return honest.placed(request_id, _target(request))


class Loop:
    """An event loop in a thread of its own, on which services run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostile", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _leg_of(request: Request) -> Leg | None:
    path = urlsplit(request.path).path
    if path == CALL_ROUTE and request.method == "POST":
        return "paid" if "payment-signature" in request.headers else "quote"
    if path == SOCKET_ROUTE:
        return "socket"
    if path == RECEIPTS_ROUTE:
        return "receipts"
    one = path.removeprefix(JOBS)
    return "poll" if path.startswith(JOBS) and one and "/" not in one else None


def _target(request: Request) -> str:
    target = json.loads(request.body)["target_number"]
    return str(target[0] if isinstance(target, list) else target)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
