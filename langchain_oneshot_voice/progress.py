"""CallProgress: events that report how far a running call is.

Three kinds of listeners receive them: the `on_progress` function, LangChain's custom events
(`astream_events`) and a graph's stream writer (`stream_mode="custom"`). A listener can't harm the
call: if one fails, the error is logged once per call, and the call continues.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, ConfigDict

from langchain_oneshot_voice.call_states import Stage
from langchain_oneshot_voice.engine import ENGINE, ListenerLoop, call_user_function
from langchain_oneshot_voice.schemas import VoiceCallQuote, mask_number

log = logging.getLogger(__name__)

EVENT = "voice_call_progress"
"""The name of the custom event."""


class CallProgress(BaseModel):
    """One step of a call. Phone numbers are masked."""

    model_config = ConfigDict(frozen=True)

    stage: Stage
    call_key: str
    numbers: tuple[str, ...]
    request_id: str | None = None
    cost: Decimal | None = None
    """The quoted price in US dollars."""
    quote: VoiceCallQuote | None = None
    """The complete quote; set for the stage `quoted` only."""
    elapsed_seconds: float = 0.0
    """Seconds since the call was requested."""


_LISTENER_WAIT = 0.2
"""Time limit, in seconds, for listeners to receive the last events when a call ends."""

_QUEUE_LIMIT = 100
"""Limit on queued events. While the queue is full, new events are dropped."""

OnProgress = Callable[[CallProgress], Awaitable[None] | None]


class ProgressReporter:
    """Reports the progress of one call to its listeners.

    Listeners are the user's code. A separate task notifies them of one event after the other, so
    that no listener can delay, end or cancel a call. Use a reporter on one event loop only;
    listeners' coroutines run on another loop, which they may block.
    """

    def __init__(
        self,
        call_key: str,
        numbers: tuple[str, ...],
        on_progress: OnProgress | None,
        config: RunnableConfig | None,
    ) -> None:
        self._known: dict[str, Any] = {
            "call_key": call_key,
            "numbers": tuple(mask_number(n) for n in numbers),
        }
        self._config = config
        self._listeners: list[Callable[[CallProgress], Awaitable[None]]] = []
        if on_progress is not None:
            self._listeners.append(partial(self._notify_function, on_progress))
        callbacks = (config or {}).get("callbacks")
        if getattr(callbacks, "handlers", callbacks):
            self._listeners.append(self._notify_callbacks)
        self._failed: set[int] = set()
        self._queue: deque[CallProgress] = deque()
        self._notifier: asyncio.Task[None] | None = None
        self._began_at = time.monotonic()

    async def report(self, stage: Stage, **news: Any) -> None:  # noqa: ANN401 - CallProgress's fields
        """Report a step to all listeners. Earlier fields (request id, cost) are included again."""
        self._known |= {k: v for k, v in news.items() if k != "quote"}
        write_to_graph = _graph_writer()
        if write_to_graph is None and not self._listeners:
            return
        quote = news.get("quote")
        if isinstance(quote, VoiceCallQuote):
            masked = tuple(mask_number(n) for n in quote.numbers)
            news["quote"] = quote.model_copy(update={"numbers": masked, "raw": {}})
        elapsed = round(time.monotonic() - self._began_at, 3)
        progress = CallProgress(stage=stage, elapsed_seconds=elapsed, **self._known | news)
        if write_to_graph is not None:
            _write_to_graph(write_to_graph, progress)
        if not self._listeners or len(self._queue) >= _QUEUE_LIMIT:
            return
        self._queue.append(progress)
        if self._notifier is None or self._notifier.done():
            self._notifier = asyncio.create_task(self._notify_listeners())

    async def wait_for_listeners(self, seconds: float = _LISTENER_WAIT) -> None:
        """Wait, at most this many seconds, until the listeners have received every event."""
        if self._notifier is not None:
            await asyncio.wait({self._notifier}, timeout=seconds)

    async def _notify_listeners(self) -> None:
        while self._queue:
            progress = self._queue.popleft()
            for number, listener in enumerate(self._listeners):
                try:
                    await listener(progress)
                except BaseException:  # also those that would stop the loop or cancel this task
                    if _is_cancelled():
                        raise
                    if number not in self._failed:
                        self._failed.add(number)
                        log.exception(
                            "a progress listener failed; it still receives the next events"
                        )

    async def _notify_function(self, on_progress: OnProgress, progress: CallProgress) -> None:
        await call_user_function(on_progress, progress, loop=await _listener_loop())

    async def _notify_callbacks(self, progress: CallProgress) -> None:
        data = progress.model_dump(mode="json", exclude_none=True)
        # Handlers run in the loop's default executor and may block it. On the engine's loop, the
        # same executor resolves host names.
        await (await _listener_loop()).run(adispatch_custom_event(EVENT, data, config=self._config))


def _graph_writer() -> Callable[[Any], None] | None:
    """Return the function that writes to the graph's stream; `None` outside a graph."""
    if "langgraph.config" not in sys.modules:
        return None
    from langgraph.config import get_stream_writer  # noqa: PLC0415 - an optional extra

    try:
        return get_stream_writer()
    except (RuntimeError, KeyError):  # not inside a graph
        return None


def _write_to_graph(write: Callable[[Any], None], progress: CallProgress) -> None:
    """Write to the graph's stream. The write only queues, so no thread is needed."""
    try:
        write({EVENT: progress.model_dump(mode="json", exclude_none=True)})
    except Exception:  # user's code; it must not stop a call that is being paid
        log.exception("can't write to a graph's stream")


async def _listener_loop() -> ListenerLoop:
    return await ENGINE.shared("listeners", ListenerLoop)


def _is_cancelled() -> bool:
    """True if the running task was cancelled; a listener may raise `CancelledError` by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
