"""The malicious side of the result socket: the handshake and raw frames (RFC 6455, RFC 7692)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from hostile.attack import Deed, Reply
from hostile.service import Peer

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _PING, _CONTINUED = 0x1, 0x9, 0x0
_FINAL, _COMPRESSED = 0x80, 0x40


class Socket:
    """An accepted result socket."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def request_id(self) -> str:
        """The call that is waited for."""
        return self._peer.service.request_id

    async def subscription(self) -> dict[str, Any]:
        """What the client subscribes to."""
        reader = self._peer.reader
        _, size = await reader.readexactly(2)
        length = size & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await reader.readexactly(2))
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length)
        subscribed: dict[str, Any] = json.loads(
            bytes(b ^ mask[i % 4] for i, b in enumerate(masked))
        )
        return subscribed

    async def say(self, status: str, request_id: str | None = None, **more: Any) -> None:
        """Tell the state of a job: the one that is waited for, unless another is named."""
        await self.send({"request_id": request_id or self.request_id, "status": status} | more)

    async def send(self, message: object) -> None:
        """Send JSON, or bytes as they are, as one text message."""
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.send_frame(_FINAL | _TEXT, raw)

    async def send_compressed(self, deflated: bytes) -> None:
        """Send a text message that says that it is compressed."""
        await self.send_frame(_FINAL | _COMPRESSED | _TEXT, deflated)

    async def send_piece(self, piece: bytes, *, first: bool) -> None:
        """Send a part of a message that is not its last."""
        await self.send_frame(_TEXT if first else _CONTINUED, piece)

    async def ping(self) -> None:
        """Send a ping."""
        await self.send_frame(_FINAL | _PING, b"are you there?")

    async def send_frame(self, first_byte: int, payload: bytes) -> None:
        """Send one frame."""
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", first_byte, size)
        elif size < 2**16:
            head = struct.pack(">BBH", first_byte, 126, size)
        else:
            head = struct.pack(">BBQ", first_byte, 127, size)
        await self._peer.send(head + payload)


Talk = Callable[[Socket], Awaitable[None]]
"""What is said over an accepted socket. When it returns, the socket is left open and silent."""


def accepted(talk: Talk, *, compression: bool = False, then_close: bool = False) -> Deed:
    """Accept the handshake, hear the subscription, and talk."""

    async def deed(peer: Peer, _: Reply) -> None:
        await peer.send(_handshake(peer, compression=compression))
        socket = Socket(peer)
        await socket.subscription()
        await talk(socket)
        if not then_close:
            await asyncio.Event().wait()

    return deed


def repeated(message: Callable[[Socket], Awaitable[None]], pause: float = 0.0) -> Talk:
    """Say the same again and again, for ever."""

    async def talk(socket: Socket) -> None:
        while True:
            await message(socket)
            await asyncio.sleep(pause)

    return talk


def one_message(message: bytes | Callable[[Socket], object]) -> Talk:
    """Say one thing: bytes, or JSON that is made when the call is known."""

    async def talk(socket: Socket) -> None:
        await socket.send(message(socket) if callable(message) else message)

    return talk


def deflated(text: bytes) -> bytes:
    """A message's payload in the form that permessage-deflate sends."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )


def _handshake(peer: Peer, *, compression: bool) -> bytes:
    assert peer.request is not None
    key = peer.request.headers.get("sec-websocket-key", "")
    digest = hashlib.sha1((key + _GUID).encode()).digest()  # noqa: S324 - as RFC 6455 has it
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "upgrade: websocket",
        "connection: Upgrade",
        f"sec-websocket-accept: {base64.b64encode(digest).decode()}",
    ]
    if compression:
        lines.append("sec-websocket-extensions: permessage-deflate")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
