"""The wire: an ASGI application around the service, which logs exchanges and injects faults.

It lets tests alter answers. Faults are real: it resets or closes the TCP connection itself. For
that, the server puts the transport of the connection into the state of each scope.
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
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any] | None:
        """Return the body as a JSON object; None if it is not one."""
        decoded = _decode(self.body)
        return decoded if isinstance(decoded, dict) else None


class ExchangeLog:
    """All exchanges, in the order of arrival."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []

    def open(self, scope: Scope, leg: str, fault: Fault | None) -> int:
        """Log the arrival of a request, and return its index in the log."""
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

    def note(self, index: int, *, body: object = None, status: int | None = None) -> None:
        """Add the body or the status to an exchange."""
        exchange = self._exchanges[index]
        self._exchanges[index] = replace(
            exchange,
            body=exchange.body if body is None else body,
            status=exchange.status if status is None else status,
        )

    def all(self) -> tuple[Exchange, ...]:
        """Return the exchanges until now."""
        return tuple(self._exchanges)


@dataclass(frozen=True)
class _Visit:
    """One request or one socket, and its fault."""

    leg: str
    fault: Fault | None
    index: int
    scope: Scope
    receive: Receive
    send: Send

    @property
    def kind(self) -> str | None:
        """The kind of the fault."""
        return None if self.fault is None else self.fault.kind

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the connection."""
        transport: asyncio.Transport = self.scope["state"]["transport"]
        return transport

    async def gone(self) -> None:
        """Wait until the connection is closed."""
        while (await self.receive())["type"] not in _DISCONNECTED:
            pass

    async def reset(self) -> None:
        """Close the connection with a TCP reset."""
        reset(self.transport)
        await self.gone()

    async def close(self) -> None:
        """Close the connection after all written bytes are sent."""
        self.transport.close()
        await self.gone()

    async def read(self) -> bytes | None:
        """Return the body of the request; None if the client disconnected before its end."""
        chunks = []
        while (message := await self.receive())["type"] != "http.disconnect":
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)
        return None

    async def answer(self, reply: Reply, share: float = 1.0) -> None:
        """Send an answer, or only a share of its body.

        Args:
            reply: the answer.
            share: the part of the body to send; `content-length` always counts the whole body.
        """
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        part = reply.body[: int(len(reply.body) * share)]
        await self.send({"type": "http.response.body", "body": part, "more_body": share < 1})


class Wire:
    """The ASGI application that clients connect to."""

    def __init__(self, app: ASGIApp, faults: FaultBox, log: ExchangeLog) -> None:
        self.faults = faults
        self.stopping = asyncio.Event()
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        leg = leg_of(scope)
        fault = self.faults.take(leg)
        index = self._log.open(scope, leg, fault)
        visit = _Visit(leg, fault, index, scope, receive, send)
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
        self._log.note(visit.index, body=_decode(body))
        reply = None
        if visit.fault is None or visit.fault.acting:
            reply = self._altered(visit.leg, await _ask(self._app, visit.scope, body))
        if visit.fault is not None:
            reply = await self._apply_fault(visit, visit.fault, reply)
        if reply is not None:
            self._log.note(visit.index, status=reply.status)
            await visit.answer(reply)

    def _altered(self, leg: str, reply: Reply) -> Reply:
        tamper = self.faults.tamper_of(leg)
        if tamper is None:
            return reply
        status, headers, body = tamper(reply.status, dict(reply.headers), reply.json())
        return Reply(status, dict(headers), b"" if body is None else json.dumps(body).encode())

    async def _apply_fault(self, visit: _Visit, fault: Fault, reply: Reply | None) -> Reply | None:
        """Carry out a fault, and return the answer to send instead, if there is one."""
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
        """Send nothing until the client disconnects or the server stops."""
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
                await self._fail_socket(visit)
            case _:
                await self._app(visit.scope, visit.receive, self._altered_pushes(visit))

    async def _refuse_socket(self, visit: _Visit, status: int) -> None:
        await visit.receive()
        self._log.note(visit.index, status=status)
        await visit.send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await visit.send({"type": "websocket.http.response.body", "body": b""})

    async def _fail_socket(self, visit: _Visit) -> None:
        """Accept, and then send nothing, or end the connection at the first message."""
        await visit.receive()
        await visit.send({"type": "websocket.accept"})
        self._log.note(visit.index, status=101)
        if visit.kind == "silent":
            await visit.gone()
        elif (await visit.receive())["type"] != "websocket.disconnect":
            if visit.kind == "reset_after":
                await visit.reset()
            else:
                await visit.send({"type": "websocket.close", "code": 1011})

    def _altered_pushes(self, visit: _Visit) -> Send:
        """Return a `send` that alters each push, or cuts it in half for the fault `garbage`."""

        async def send(message: Message) -> None:
            if message["type"] == "websocket.accept":
                self._log.note(visit.index, status=101)
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
    """Return the leg of a request."""
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
    """Close a connection with a TCP reset, as if the other machine had crashed."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def _ask(app: ASGIApp, scope: Scope, body: bytes) -> Reply:
    """Return the answer of the service, without sending it."""
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
