"""The HTTP server: uvicorn, changed so that the sandbox can break its connections.

Importing this module needs the extra `sandbox`.
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

_POLLING_INTERVAL = 0.002
_ITERATIONS = 5
"""Iterations of the event loop after which an accepted socket has become a connection."""


class _Connection(H11Protocol):
    """A connection that the application can break, or refuse when it opens."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Each request's scope gets a copy of this state; a WebSocket takes it over.
        self.app_state = {**self.app_state, "transport": transport}
        wire = self.app
        if not isinstance(wire, Wire):
            return
        if wire.stopping.is_set():  # accepted too late for `shutdown` to close it
            transport.abort()
        elif wire.faults.take("connection") is not None:
            reset(transport)


class _Socket(WebSocketsSansIOProtocol):
    """A WebSocket that may already be closing when the server stops."""

    def shutdown(self) -> None:
        """Close the connection, even if the other side has started to close it."""
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
        """Wait for the stop event, instead of polling ten times a second like uvicorn."""
        await self.on_tick(0)
        self._on_start()
        await self._wire.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection, and return as soon as all are closed.

        uvicorn's own method always sleeps for a tenth of a second.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listening in server.sockets:
                loop.remove_reader(listening)
        # A connection that is being accepted when its server closes is never closed (CPython
        # 109564). So stop accepting first, and let the accepted sockets become connections.
        for _ in range(_ITERATIONS):
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
                    await asyncio.sleep(_POLLING_INTERVAL)
        for task in state.tasks:
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # aborted connections close in the next iteration of the loop


async def serve(wire: Wire, listener: socket.socket, on_start: Callable[[], None]) -> None:
    """Serve on a listening socket until `wire.stopping` is set."""
    await _Uvicorn(wire, on_start).serve(sockets=[listener])
