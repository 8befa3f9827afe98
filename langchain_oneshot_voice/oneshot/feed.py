"""ResultFeed: waiting for the outcomes of placed calls.

One WebSocket serves every waiting call of a wallet; polling stands behind it. The socket is only
ever a faster way to hear: when it is refused, silent or closed, each call polls for itself, with
backoff and jitter, and whatever it says each call is polled now and then. While waiting nothing but
a finished job ends the wait: a 429, a 5xx, a 404, a proxy's page, broken JSON or a dropped
connection is weather, and the next look may be better.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio

from langchain_oneshot_voice.oneshot.answers import Job, read_job
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.reading import LARGEST_ANSWER, beside_others, fields, read_json
from langchain_oneshot_voice.oneshot.transport import WeatherError
from langchain_oneshot_voice.oneshot.wallet import AccessToken
from langchain_oneshot_voice.timing import DEFAULT_TIMING, Timing

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.client import connect as connect_type

log = logging.getLogger(__name__)


class _HeaderlessLog(logging.LoggerAdapter[logging.Logger]):
    """A log for the socket that is never at DEBUG: there it writes every header, a token's too."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the base class's name
        return level > logging.DEBUG and super().isEnabledFor(level)


_AT_ONCE, _PER_SECOND, _PER_CALL = 8 * 2**20, 2**20, 2**16
"""Bytes that a socket may say at once, in each second that it is open, and of each call."""

_LEAST = 1024
"""Bytes that a message counts for at the least."""

_MOST_UNSENT = 2**20
"""Bytes that may wait to be sent: answers to a flood of pings that the other side doesn't read."""

_SHORTEST_REST = 1.0
_LONGEST_REST = 60.0


@dataclass(eq=False, slots=True)
class _Waiter:
    news: anyio.Event = field(default_factory=anyio.Event)
    job: Job | None = None
    heard: float = field(default_factory=time.monotonic)
    """When anything was last learned of the call."""
    polled: float = field(default_factory=time.monotonic)
    """When it was last polled, or the waiting began."""
    hurried: float = float("-inf")
    """When it was last polled because of a word that it has ended."""
    told: tuple[str, float] = ("", float("-inf"))
    """What was last told of it, and when."""
    settled: bool = False
    """Whether the socket has said anything of the call yet."""

    def hear(self, job: Job) -> None:
        self.heard = time.monotonic()
        self.job = job
        self.news.set()


class ResultFeed:
    """Outcomes of one wallet's calls. Lives on one event loop, shared by all who wait there.

    Args:
        client: whose calls; it also does the polling.
        timing: how often to look.
    """

    def __init__(self, client: OneShotClient, timing: Timing = DEFAULT_TIMING) -> None:
        self._client = client
        self._timing = timing
        self._waiters: dict[str, list[_Waiter]] = {}
        self._socket: ClientConnection | None = None
        self._subscribed = 0
        self._joining: list[str] = []
        self._sending: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None

    async def wait(
        self, request_id: str, seconds: float, seen: Callable[[Job], Awaitable[None]] | None = None
    ) -> Job | None:
        """Wait until a call has ended.

        Args:
            request_id: the placed call.
            seconds: how long to wait at the longest.
            seen: called with every state of the job that is learned on the way.

        Returns:
            The finished job (`completed` or `failed`) as the service tells it; `None` when the
            time ran out first.
        """
        waiter = _Waiter()
        self._stop_lingering()
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
                loop = asyncio.get_running_loop()
                self._lingering = loop.call_later(self._timing.socket_linger, self._hang_up)

    async def aclose(self) -> None:
        """End the socket; calls that still wait go on polling."""
        listening = self._listening
        self._hang_up()
        if listening is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _watch(
        self, request_id: str, waiter: _Waiter, seen: Callable[[Job], Awaitable[None]] | None
    ) -> Job:
        polls = 0
        asked_to_wait = 0.0
        while True:
            # A rate limit is waited for here, where the socket is heard meanwhile.
            asked_to_wait = max(asked_to_wait, self._client.rate_limit.left())
            rest = max(self._rest(waiter, polls), asked_to_wait)
            with anyio.move_on_after(rest):
                await waiter.news.wait()
            pushed, waiter.job, waiter.news = waiter.job, None, anyio.Event()
            if pushed is not None:
                await self._tell(waiter, pushed, seen)
                if pushed.is_whole:
                    return pushed
                if not self._is_due(waiter, pushed, asked_to_wait):
                    continue
            polls += 1
            waiter.polled = time.monotonic()
            asked_to_wait = 0.0
            try:
                job = await self._client.job(request_id)
            except WeatherError as weather:
                log.info("still waiting for call %s: %s", request_id, weather.why)
                asked_to_wait = min(weather.retry_after or 0.0, _LONGEST_REST)
                continue
            waiter.heard = time.monotonic()
            await self._tell(waiter, job, seen)
            if job.is_final:
                return job

    async def _tell(
        self, waiter: _Waiter, job: Job, seen: Callable[[Job], Awaitable[None]] | None
    ) -> None:
        """Tell what is new, and the same again only after a second."""
        now, (status, at) = time.monotonic(), waiter.told
        if seen is not None and (job.status != status or now > at + _SHORTEST_REST):
            waiter.told = job.status, now
            await seen(job)

    def _is_due(self, waiter: _Waiter, pushed: Job, asked_to_wait: float) -> bool:
        """Whether to poll now, since the socket says no outcome."""
        now = time.monotonic()
        if pushed.is_final and not asked_to_wait and now > waiter.hurried + _SHORTEST_REST:
            waiter.hurried = now
            return True
        return now >= waiter.polled + self._timing.socket_trusted

    def _rest(self, waiter: _Waiter, polls: int) -> float:
        """Seconds until the next poll, should the socket say nothing before."""
        backoff = min(self._timing.first_poll * 1.5 ** min(polls, 20), self._timing.slowest_poll)
        rest = backoff * random.uniform(0.7, 1.3)  # noqa: S311 - jitter, not a secret
        if self._socket is None:
            return rest
        patience = (
            self._timing.socket_silence
            if waiter.settled or polls
            else self._timing.socket_first_news
        )
        now = time.monotonic()
        due = max(waiter.polled + self._timing.socket_trusted - now, 0.0)
        return min(max(waiter.heard + patience - now, rest), due)

    def _subscribe(self, request_id: str) -> None:
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen(), name="oneshot-voice-results")
        elif self._socket is not None:
            self._joining.append(request_id)
            if len(self._joining) == 1:  # one message for all that join in this turn of the loop
                self._sending = asyncio.create_task(self._send_joining(self._socket))

    async def _send_joining(self, socket: ClientConnection) -> None:
        joining, self._joining = self._joining, []
        await self._send_subscription(socket, joining)

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def _hang_up(self) -> None:
        """Let go of the socket; whoever waits next opens another."""
        self._stop_lingering()
        if self._listening is not None:
            self._listening.cancel()
        self._listening = self._socket = None

    async def _send_subscription(
        self, socket: ClientConnection, request_ids: Iterable[str]
    ) -> None:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        wanted = list(request_ids)
        self._subscribed += len(wanted)
        # If it is closed, the listener subscribes to all when it is back.
        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps({"subscribe": wanted}))

    async def _listen(self) -> None:
        """Keep a socket open for as long as anyone waits."""
        from websockets.asyncio.client import connect  # noqa: PLC0415 - slow to import

        rest = _SHORTEST_REST
        while self._waiters:
            try:
                url, headers = await self._address()
                async with (
                    _without_redirects(connect)(
                        url,
                        additional_headers=headers,
                        logger=_HeaderlessLog(log, {}),
                        open_timeout=self._timing.socket_open,
                        max_size=LARGEST_ANSWER,
                        max_queue=4,
                        compression=None,  # a message is as large as it was sent
                        proxy=None if self._client.environment.is_loopback else True,
                        close_timeout=1,
                    ) as socket,
                    _read_by_the_other_side(socket),
                ):
                    self._socket, self._subscribed = socket, 0
                    await self._send_subscription(socket, tuple(self._waiters))
                    said, opened = 0, time.monotonic()
                    async for message in socket:
                        rest = _SHORTEST_REST
                        said += max(len(message), _LEAST)
                        open_for = time.monotonic() - opened
                        if said > _AT_ONCE + _PER_SECOND * open_for + _PER_CALL * self._subscribed:
                            rest = _LONGEST_REST
                            log.info("result socket: too much of it; polling meanwhile")
                            break
                        await self._dispatch(message)
                        await asyncio.sleep(0)  # the other calls' turn
            except Exception as trouble:  # noqa: BLE001 - whatever it is, there are the polls
                log.info("result socket: %s; polling meanwhile", type(trouble).__name__)
            finally:
                if self._listening is asyncio.current_task():
                    self._socket = None
            await asyncio.sleep(rest * random.uniform(0.7, 1.3))  # noqa: S311 - jitter
            rest = min(rest * 2, _LONGEST_REST)

    async def _address(self) -> tuple[str, dict[str, str]]:
        base = self._client.environment.base_url
        scheme, _, rest = base.partition("://")
        wallet = urlencode({"wallet": await self._client.address()})
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/requests/subscribe?{wallet}"
        bearer = self._client.credential
        return url, bearer.bearer() if isinstance(bearer, AccessToken) else {}

    async def _dispatch(self, message: str | bytes) -> None:
        """Hand one message to whoever waits for it. What can't be read is not news."""
        try:
            said = fields(await beside_others(read_json, message, len(message)))
        except ValueError:
            return
        job, request_id = read_job(said), said.get("request_id")
        if job is None:
            return
        for waiter in self._waiters.get(request_id, ()) if isinstance(request_id, str) else ():
            waiter.settled = True
            waiter.hear(job)


@contextlib.asynccontextmanager
async def _read_by_the_other_side(socket: ClientConnection) -> AsyncIterator[None]:
    """Break off when the other side does not read the answers that it asks for."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(_SHORTEST_REST)
            if socket.transport.get_write_buffer_size() > _MOST_UNSENT:
                socket.transport.abort()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def _without_redirects(connect: type[connect_type]) -> type[connect_type]:
    """A redirect would take the wallet's address, or the token, to another host."""

    class Straight(connect):  # type: ignore[valid-type, misc]
        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    return Straight
