"""The wire: what lies between the service and a client, and where things go wrong on order.

An ASGI application around the real one. It writes down every exchange, lets tests alter answers,
and makes faults happen as they do in life: on the connection itself, not as pretended errors.
The server puts the connection's transport into each scope's state, so that it can be broken.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Final

from .faults import Fault, FaultBox
from .records import Exchange

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HTML: Final = b"<!doctype html><html><title>Error</title><h1>Something is in the way</h1></html>"
_BROKEN: Final = b'{"request_id": "req_'
_ERRORS: Final = {
    "status_500": (500, "internal_error"),
    "status_503": (503, "service_unavailable"),
    "status_429": (429, "rate_limited"),
    "status_404": (404, "not_found"),
    "status_409": (409, "conflict"),
}
_DISCONNECTED: Final = ("http.disconnect", "websocket.disconnect")
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any] | None:
        """The body as an object; None when it is not one."""
        decoded = _decode(self.body)
        return decoded if isinstance(decoded, dict) else None


class ExchangeLog:
    """Every exchange, in the order of arrival."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []

    def open(self, scope: Scope, leg: str, fault: Fault | None) -> int:
        """Write down that a request has arrived; returns its place in the log."""
        query = scope["query_string"].decode()
        self._exchanges.append(
            Exchange(
                leg=leg,
                method=scope.get("method", "GET"),
                path=scope["path"] + (f"?{query}" if query else ""),
                headers=_headers(scope),
                fault=fault.kind if fault else None,
            )
        )
        return len(self._exchanges) - 1

    def note(self, place: int, *, body: object = None, status: int | None = None) -> None:
        """Add what has become known of an exchange."""
        known = self._exchanges[place]
        self._exchanges[place] = replace(
            known,
            body=known.body if body is None else body,
            status=known.status if status is None else status,
        )

    def all(self) -> tuple[Exchange, ...]:
        """The log so far."""
        return tuple(self._exchanges)


@dataclass(frozen=True)
class _Visit:
    """One request or one socket: its two ends, and what is to go wrong."""

    leg: str
    fault: Fault | None
    place: int
    scope: Scope
    receive: Receive
    send: Send

    @property
    def kind(self) -> str | None:
        """The kind of the fault."""
        return None if self.fault is None else self.fault.kind

    @property
    def transport(self) -> asyncio.Transport:
        """The connection itself."""
        transport: asyncio.Transport = self.scope["state"]["transport"]
        return transport

    async def gone(self) -> None:
        """Wait until the connection is closed."""
        while (await self.receive())["type"] not in _DISCONNECTED:
            pass

    async def reset(self) -> None:
        """Close the connection by a reset."""
        reset(self.transport)
        await self.gone()

    async def close(self) -> None:
        """Close the connection politely, once what was written has left."""
        self.transport.close()
        await self.gone()

    async def read(self) -> bytes | None:
        """The request's body; None when the client left before it was complete."""
        chunks = []
        while (message := await self.receive())["type"] != "http.disconnect":
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)
        return None

    async def answer(self, reply: Reply, share: float = 1.0) -> None:
        """Send an answer; or a share of its body, under a length that promises all of it."""
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        part = reply.body[: int(len(reply.body) * share)]
        await self.send({"type": "http.response.body", "body": part, "more_body": share < 1})


class Wire:
    """The service as it is seen from the other end of a cable."""

    def __init__(self, app: ASGIApp, faults: FaultBox, log: ExchangeLog) -> None:
        self.faults = faults
        self.stopping = asyncio.Event()
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        leg = leg_of(scope)
        fault = self.faults.take(leg)
        place = self._log.open(scope, leg, fault)
        visit = _Visit(leg, fault, place, scope, receive, send)
        if scope["type"] == "websocket":
            await self._serve_socket(visit)
        else:
            await self._serve_request(visit)

    async def _serve_request(self, visit: _Visit) -> None:
        if visit.kind == "refuse":
            await visit.reset()
            return
        body = await visit.read()
        if body is None:
            return
        self._log.note(visit.place, body=_decode(body))
        reply = None
        if visit.fault is None or visit.fault.acting:
            reply = self._altered(visit.leg, await _ask(self._app, visit.scope, body))
        if visit.fault is not None:
            reply = await self._spoil(visit, visit.fault, reply)
        if reply is not None:
            self._log.note(visit.place, status=reply.status)
            await visit.answer(reply)

    def _altered(self, leg: str, reply: Reply) -> Reply:
        tamper = self.faults.tamper_of(leg)
        if tamper is None:
            return reply
        status, headers, body = tamper(reply.status, dict(reply.headers), reply.json())
        return Reply(status, dict(headers), b"" if body is None else json.dumps(body).encode())

    async def _spoil(self, visit: _Visit, fault: Fault, reply: Reply | None) -> Reply | None:
        """Let the fault happen. Returns the answer to send instead; None when there is none."""
        match fault.kind:
            case "reset_before" | "reset_after":
                await visit.reset()
            case "drop_reply":
                await visit.close()
            case "truncate" if reply is not None:
                await visit.answer(reply, share=0.5)
                await visit.close()
            case "hang_before" | "hang_after":
                await self._hang(visit)
            case "status_502_html":
                return Reply(502, {"content-type": "text/html"}, _HTML)
            case "html_200":
                return Reply(200, {"content-type": "text/html"}, _HTML)
            case "garbage":
                status = 202 if visit.leg == "paid" else 200
                return Reply(status, {"content-type": "application/json"}, _BROKEN)
            case kind if kind in _ERRORS:
                return _error_reply(fault)
        return None

    async def _hang(self, visit: _Visit) -> None:
        """Say nothing until the client leaves or the server stops."""
        gone = asyncio.create_task(visit.gone())
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({gone, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        visit.transport.abort()
        await gone

    async def _serve_socket(self, visit: _Visit) -> None:
        match visit.kind:
            case "reset_before":
                await visit.reset()
            case "refuse" if visit.fault is not None:
                await self._refuse_socket(visit, visit.fault.status)
            case "silent" | "close" | "reset_after":
                await self._neglect_socket(visit)
            case _:
                await self._app(visit.scope, visit.receive, self._altered_pushes(visit))

    async def _refuse_socket(self, visit: _Visit, status: int) -> None:
        await visit.receive()
        self._log.note(visit.place, status=status)
        await visit.send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await visit.send({"type": "websocket.http.response.body", "body": b""})

    async def _neglect_socket(self, visit: _Visit) -> None:
        """Accept, and then say nothing, or end the connection at the first word."""
        await visit.receive()
        await visit.send({"type": "websocket.accept"})
        self._log.note(visit.place, status=101)
        if visit.kind == "silent":
            await visit.gone()
        elif (await visit.receive())["type"] != "websocket.disconnect":
            if visit.kind == "reset_after":
                await visit.reset()
            else:
                await visit.send({"type": "websocket.close", "code": 1011})

    def _altered_pushes(self, visit: _Visit) -> Send:
        """A `send` that passes each push through the tamper function, or breaks it in half."""

        async def send(message: Message) -> None:
            if message["type"] == "websocket.accept":
                self._log.note(visit.place, status=101)
            if message["type"] == "websocket.send":
                text = message["text"]
                tamper = self.faults.tamper_of("socket")
                if tamper is not None:
                    text = json.dumps(tamper(101, {}, json.loads(text))[2])
                if visit.kind == "garbage":
                    text = text[: len(text) // 2]
                message = {**message, "text": text}
            await visit.send(message)

        return send


def leg_of(scope: Scope) -> str:
    """Which route, or which half of one, a request is for."""
    path = scope["path"]
    if scope["type"] == "websocket":
        return "socket"
    if path == "/v1/tools/voice/call":
        names = {name for name, _ in scope["headers"]}
        return "paid" if names & {b"x-quote-id", b"payment-signature"} else "quote"
    if path.startswith("/v1/requests/"):
        return "poll"
    if path.startswith("/v1/approvals/"):
        return "approval"
    return {
        "/v1/tools/balance": "balance",
        "/v1/analytics/receipts": "receipts",
        "/v1/agents/me/budgets": "budgets",
        "/v1/agents/me": "me",
        "/v1/tools/voice/numbers": "numbers",
    }.get(path, "unknown")


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a TCP reset, as when the machine at its end has died."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def _ask(app: ASGIApp, scope: Scope, body: bytes) -> Reply:
    """Let the service answer, and keep the answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
    return Reply(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]))


def _error_reply(fault: Fault) -> Reply:
    status, error = _ERRORS[fault.kind]
    headers = {"content-type": "application/json"}
    if fault.retry_after is not None:
        headers["retry-after"] = str(fault.retry_after)
    body = {"error": error, "message": "Injected by the sandbox."}
    return Reply(status, headers, json.dumps(body).encode())


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _decode(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
