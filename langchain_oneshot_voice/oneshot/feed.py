"""ResultFeed: waits for the outcomes of placed calls.

One WebSocket serves all waiting calls of a wallet, and only makes results arrive sooner. When the
socket is refused, silent or closed, each call polls for itself, with backoff and jitter. Even with
an open socket each call is polled from time to time. Only a finished job ends the wait: after a
429, a 5xx, a 404, a proxy's page, broken JSON or a lost connection, the next poll may succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio

from langchain_oneshot_voice.backoff import backoff
from langchain_oneshot_voice.oneshot.answers import Job, read_job
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.reading import (
    LARGEST_ANSWER,
    fields,
    parse_in_background,
    read_json,
)
from langchain_oneshot_voice.oneshot.transport import NoVerdictError
from langchain_oneshot_voice.oneshot.wallet import AccessToken
from langchain_oneshot_voice.timing import DEFAULT_TIMING, Timing

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.client import connect as connect_type

log = logging.getLogger(__name__)


class _LogWithoutHeaders(logging.LoggerAdapter[logging.Logger]):
    """A logger that drops DEBUG records: in those, `websockets` writes headers and so the token."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the base class's name
        return level > logging.DEBUG and super().isEnabledFor(level)


_AT_ONCE, _PER_SECOND, _PER_CALL = 8 * 2**20, 2**20, 2**16
"""Limits for the bytes received on a socket: a base, and more per open second and per call."""

_SMALLEST_MESSAGE = 1024
"""Bytes that a shorter message counts as, since each message costs time to handle."""

_LARGEST_BACKLOG = 2**20
"""Bytes that may wait to be sent. A server could send pings and never read the pongs."""

_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0

_FLOOD = 50
"""A socket that sends too much counts as this many failures: it gets the longest pause."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """One `wait` for a call. All times are of the monotonic clock."""

    arrived: anyio.Event = field(default_factory=anyio.Event)
    job: Job | None = None
    updated_at: float = field(default_factory=time.monotonic)
    """Time of the last update, by socket or poll."""
    polled_at: float = field(default_factory=time.monotonic)
    """Time of the last poll, or of the start."""
    early_poll_at: float = float("-inf")
    """Time of the last poll that followed a push without an outcome."""
    reported: tuple[str, float] = ("", float("-inf"))
    """The status that was last reported, and the time of the report."""
    was_pushed: bool = False
    """True if the socket has sent an update of the call."""

    def push(self, job: Job) -> None:
        self.updated_at = time.monotonic()
        self.was_pushed = True
        self.job = job
        self.arrived.set()


class ResultFeed:
    """Waits for the calls of one wallet. Belongs to one event loop, whose tasks share it.

    Args:
        client: the client of the wallet; it also sends the polls.
        timing: the polling intervals and timeouts.
    """

    def __init__(self, client: OneShotClient, timing: Timing = DEFAULT_TIMING) -> None:
        self._client = client
        self._timing = timing
        self._waiters: dict[str, list[_Waiter]] = {}
        self._socket: ClientConnection | None = None
        self._subscribed = 0
        self._to_subscribe: list[str] = []
        self._subscribe_task: asyncio.Task[None] | None = None
        self._listen_task: asyncio.Task[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    async def wait(
        self, request_id: str, seconds: float, seen: Callable[[Job], Awaitable[None]] | None = None
    ) -> Job | None:
        """Wait until a call has ended.

        Args:
            request_id: the placed call.
            seconds: the timeout.
            seen: called with each new state of the job, and with an unchanged one once a second at
                most.

        Returns:
            The finished job (`completed` or `failed`) as the service sent it; `None` after the
            timeout.
        """
        waiter = _Waiter()
        self._cancel_close()
        self._waiters.setdefault(request_id, []).append(waiter)
        try:
            self._subscribe(request_id)
            with anyio.move_on_after(seconds):
                return await self._watch(request_id, waiter, seen)
            return None
        finally:
            remaining = self._waiters[request_id]
            remaining.remove(waiter)
            if not remaining:
                del self._waiters[request_id]
            if not self._waiters:
                # Keep the socket for the next call: opening one costs a handshake.
                loop = asyncio.get_running_loop()
                self._close_timer = loop.call_later(self._timing.socket_linger, self._close_socket)

    async def aclose(self) -> None:
        """Close the socket. Calls that still wait continue with polling."""
        task = self._listen_task
        self._close_socket()
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(
        self, request_id: str, waiter: _Waiter, seen: Callable[[Job], Awaitable[None]] | None
    ) -> Job:
        polls = 0
        retry_after = 0.0
        while True:
            # Wait for the end of a rate limit here, where a push can still arrive.
            retry_after = max(retry_after, self._client.rate_limit.left())
            pause = max(self._pause(waiter, polls), retry_after)
            with anyio.move_on_after(pause):
                await waiter.arrived.wait()
            pushed, waiter.job, waiter.arrived = waiter.job, None, anyio.Event()
            if pushed is not None:
                await self._report(waiter, pushed, seen)
                if pushed.has_outcome:
                    return pushed
                if not self._should_poll(waiter, pushed, retry_after):
                    continue
            polls += 1
            waiter.polled_at = time.monotonic()
            retry_after = 0.0
            try:
                job = await self._client.job(request_id)
            except NoVerdictError as failure:
                log.info("still waiting for call %s: %s", request_id, failure.why)
                retry_after = min(failure.retry_after or 0.0, _LONGEST_PAUSE)
                continue
            waiter.updated_at = time.monotonic()
            await self._report(waiter, job, seen)
            if job.is_final:
                return job

    async def _report(
        self, waiter: _Waiter, job: Job, seen: Callable[[Job], Awaitable[None]] | None
    ) -> None:
        """Report a new status at once, and an unchanged one at most once a second."""
        now, (status, at) = time.monotonic(), waiter.reported
        if seen is not None and (job.status != status or now > at + _SHORTEST_PAUSE):
            waiter.reported = job.status, now
            await seen(job)

    def _should_poll(self, waiter: _Waiter, pushed: Job, retry_after: float) -> bool:
        """Return True if it is time to poll after a push that has no outcome."""
        now = time.monotonic()
        # A push may state that the call has ended and leave out the result: fetch it.
        if pushed.is_final and not retry_after and now > waiter.early_poll_at + _SHORTEST_PAUSE:
            waiter.early_poll_at = now
            return True
        return now >= waiter.polled_at + self._timing.socket_trusted

    def _pause(self, waiter: _Waiter, polls: int) -> float:
        """Return the time until the next poll if nothing is pushed, in seconds."""
        pause = backoff(polls, self._timing.first_poll, self._timing.slowest_poll)
        if self._socket is None:
            return pause
        silence = (
            self._timing.socket_silence
            if waiter.was_pushed or polls
            else self._timing.socket_first_news
        )
        now = time.monotonic()
        # However often the socket sends updates, poll once in `socket_trusted` seconds.
        latest = max(waiter.polled_at + self._timing.socket_trusted - now, 0.0)
        return min(max(waiter.updated_at + silence - now, pause), latest)

    def _subscribe(self, request_id: str) -> None:
        if self._listen_task is None or self._listen_task.done():
            self._listen_task = asyncio.create_task(self._listen(), name="oneshot-voice-results")
        elif self._socket is not None:
            self._to_subscribe.append(request_id)
            # Calls that start in the same iteration of the event loop share one message.
            if len(self._to_subscribe) == 1:
                self._subscribe_task = asyncio.create_task(self._subscribe_new(self._socket))

    async def _subscribe_new(self, socket: ClientConnection) -> None:
        request_ids, self._to_subscribe = self._to_subscribe, []
        await self._send_subscription(socket, request_ids)

    def _cancel_close(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None

    def _close_socket(self) -> None:
        """Close the socket. The next call that waits opens another one."""
        self._cancel_close()
        if self._listen_task is not None:
            self._listen_task.cancel()
        self._listen_task = self._socket = None

    async def _send_subscription(
        self, socket: ClientConnection, request_ids: Iterable[str]
    ) -> None:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        subscribed = list(request_ids)
        self._subscribed += len(subscribed)
        # If the socket is closed, `_listen` subscribes to all calls after it reconnects.
        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps({"subscribe": subscribed}))

    async def _listen(self) -> None:
        """Keep a socket open while a call waits, and reconnect with backoff."""
        from websockets.asyncio.client import connect  # noqa: PLC0415 - slow to import

        failures = 0
        while self._waiters:
            try:
                url, headers = await self._address()
                async with (
                    _without_redirects(connect)(
                        url,
                        additional_headers=headers,
                        logger=_LogWithoutHeaders(log, {}),
                        open_timeout=self._timing.socket_open,
                        max_size=LARGEST_ANSWER,
                        max_queue=4,
                        compression=None,  # a small message can't expand to a huge one
                        proxy=None if self._client.environment.is_loopback else True,
                        close_timeout=1,
                    ) as socket,
                    _abort_if_not_read(socket),
                ):
                    self._socket, self._subscribed = socket, 0
                    await self._send_subscription(socket, tuple(self._waiters))
                    received, opened_at = 0, time.monotonic()
                    async for message in socket:
                        failures = 0
                        received += max(len(message), _SMALLEST_MESSAGE)
                        open_for = time.monotonic() - opened_at
                        limit = _AT_ONCE + _PER_SECOND * open_for + _PER_CALL * self._subscribed
                        if received > limit:
                            failures = _FLOOD
                            log.info("result socket: too many bytes; polling instead")
                            break
                        await self._dispatch(message)
                        await asyncio.sleep(0)  # let the other tasks run
            except Exception as error:  # noqa: BLE001 - any error only means that calls poll
                log.info("result socket: %s; polling instead", type(error).__name__)
            finally:
                # After `_close_socket`, `_socket` may already be that of a newer task.
                if self._listen_task is asyncio.current_task():
                    self._socket = None
            await asyncio.sleep(backoff(failures, _SHORTEST_PAUSE, _LONGEST_PAUSE))
            failures += 1

    async def _address(self) -> tuple[str, dict[str, str]]:
        base = self._client.environment.base_url
        scheme, _, rest = base.partition("://")
        wallet = urlencode({"wallet": await self._client.address()})
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/requests/subscribe?{wallet}"
        bearer = self._client.credential
        return url, bearer.bearer() if isinstance(bearer, AccessToken) else {}

    async def _dispatch(self, message: str | bytes) -> None:
        """Pass a message to the calls that wait for it, and ignore one that is not readable."""
        try:
            body = fields(await parse_in_background(read_json, message, len(message)))
        except ValueError:
            return
        job, request_id = read_job(body), body.get("request_id")
        if job is None:
            return
        for waiter in self._waiters.get(request_id, ()) if isinstance(request_id, str) else ():
            waiter.push(job)


@contextlib.asynccontextmanager
async def _abort_if_not_read(socket: ClientConnection) -> AsyncIterator[None]:
    """Abort the connection if the server does not read what it makes the client send."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(_SHORTEST_PAUSE)
            if socket.transport.get_write_buffer_size() > _LARGEST_BACKLOG:
                socket.transport.abort()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def _without_redirects(connect: type[connect_type]) -> type[connect_type]:
    """Return a `connect` that follows no redirect.

    A redirect would send the wallet's address, or the token, to another host.
    """

    class WithoutRedirects(connect):  # type: ignore[valid-type, misc]
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    return WithoutRedirects
