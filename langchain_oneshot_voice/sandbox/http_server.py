"""The HTTP server under the wire: uvicorn, with the connections within reach.

Importing this needs the extra `sandbox`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from .wire import Wire, reset

_MOMENT = 0.002
_TURNS = 5
"""Turns of the loop within which an accepted socket is a connection."""


class _Connection(H11Protocol):
    """A connection that the application can break, and that can be refused at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Each request's scope gets a copy of this state; a WebSocket takes it over.
        self.app_state = {**self.app_state, "transport": transport}
        wire = self.app
        if not isinstance(wire, Wire):
            return
        if wire.stopping.is_set():  # it was on its way in, and nobody would close it
            transport.abort()
        elif wire.faults.take("connection") is not None:
            reset(transport)


class _Socket(WebSocketsSansIOProtocol):
    """A socket that may be closing already when the server stops."""

    def shutdown(self) -> None:
        """Close, unless the other side is ahead of us."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()


class _Uvicorn(uvicorn.Server):
    def __init__(self, wire: Wire, on_start: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                wire,
                interface="asgi3",
                http=_Connection,
                ws=_Socket,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=2,
                backlog=2048,
            )
        )
        self._wire = wire
        self._on_start = on_start

    async def main_loop(self) -> None:
        """Wait for the end without looking for it ten times a second."""
        await self.on_tick(0)
        self._on_start()
        await self._wire.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection, and wait for them only as long as they take.

        uvicorn's own way rests for a tenth of a second, each time.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                loop.remove_reader(listening)
        # A connection that is being accepted when its server closes is never closed (CPython
        # 109564): nothing is accepted any more, and what was has become a connection.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn has no event
                    await asyncio.sleep(_MOMENT)
        for task in state.tasks:
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the last ones are closed when the loop comes round again


async def serve(wire: Wire, listener: socket.socket, on_start: Callable[[], None]) -> None:
    """Serve on a listening socket until `wire.stopping` is set."""
    await _Uvicorn(wire, on_start).serve(sockets=[listener])
