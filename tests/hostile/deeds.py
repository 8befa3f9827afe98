"""Attacks on the connection itself: what a service can do instead of answering."""

from __future__ import annotations

import asyncio

from hostile.attack import Deed, Reply
from hostile.service import Peer

_DROP = 0.1
"""Seconds between two bytes of a drip."""


async def reset(peer: Peer, _: Reply) -> None:
    """End the connection with a RST."""
    peer.reset()


async def close(peer: Peer, _: Reply) -> None:
    """End the connection with a FIN, and say nothing."""
    peer.close()


async def stay_silent(_peer: Peer, _: Reply) -> None:
    """Say nothing, and keep the connection."""
    await asyncio.Event().wait()


async def never_read(peer: Peer, _: Reply) -> None:
    """Leave the request unread, and keep the connection."""
    peer.stop_reading()
    await asyncio.Event().wait()


async def cut_in_header(peer: Peer, honest: Reply) -> None:
    """Close in the middle of a header."""
    await peer.send(honest.head()[:40])


async def cut_in_body(peer: Peer, honest: Reply) -> None:
    """Close in the middle of the body."""
    await peer.send(honest.head() + honest.body[: len(honest.body) // 2])


async def garbage(peer: Peer, _: Reply) -> None:
    """Send what is no HTTP."""
    await peer.send(bytes(range(256)) * 16)


async def drip_body(peer: Peer, honest: Reply) -> None:
    """Send a right header, and then a space of the body at a time, for ever."""
    await peer.send(honest.head(length=10**6))
    while True:
        await peer.send(b" ")
        await asyncio.sleep(_DROP)


async def drip_header(peer: Peer, honest: Reply) -> None:
    """Send a header that goes on, a letter at a time, for ever."""
    await peer.send(honest.head()[:-2] + b"x-long: ")
    while True:
        await peer.send(b"x")
        await asyncio.sleep(_DROP)


def endless_body(piece: bytes) -> Deed:
    """Send a body in chunks that never ends, as fast as it is taken."""

    async def deed(peer: Peer, honest: Reply) -> None:
        head = honest.head().replace(b"content-length:", b"x-length:")
        await peer.send(head[:-2] + b"transfer-encoding: chunked\r\n\r\n")
        chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        while True:
            await peer.send(chunk)

    return deed
