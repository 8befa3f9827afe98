"""CallProgress: where a call is, told while it runs.

Told to whoever listens: the `on_progress` function, LangChain's custom events (`astream_events`)
and a graph's stream writer (`stream_mode="custom"`). Telling never harms the call: a listener that
fails is logged, once a call, and the call goes on.
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
from langchain_oneshot_voice.engine import ENGINE, Aside, call_user
from langchain_oneshot_voice.schemas import VoiceCallQuote, mask_number

log = logging.getLogger(__name__)

EVENT = "voice_call_progress"
"""The name of the custom event."""


class CallProgress(BaseModel):
    """One step of a call. Numbers are masked."""

    model_config = ConfigDict(frozen=True)

    stage: Stage
    call_key: str
    numbers: tuple[str, ...]
    request_id: str | None = None
    cost: Decimal | None = None
    """The quoted price in US dollars."""
    quote: VoiceCallQuote | None = None
    """The whole quote, with the stage `quoted`."""
    elapsed_seconds: float = 0.0
    """Since the call was asked for."""


_CATCHING_UP = 0.2
"""Seconds that a call waits at its end for listeners."""

_MOST_UNTOLD = 100
"""Steps that wait to be told to a listener that is slow; the rest it never hears of."""

OnProgress = Callable[[CallProgress], Awaitable[None] | None]


class ProgressTeller:
    """Tells one call's progress, step by step, beside the call.

    Listeners are the user's code. They are told by a task of their own, one step after the other:
    whatever a listener does, it holds up no call, ends none and cancels none. Lives on one event
    loop; coroutines of listeners run on another one, which they may block.
    """

    def __init__(
        self,
        call_key: str,
        numbers: tuple[str, ...],
        on_progress: OnProgress | None,
        config: RunnableConfig | None,
    ) -> None:
        self._about: dict[str, Any] = {
            "call_key": call_key,
            "numbers": tuple(mask_number(n) for n in numbers),
        }
        self._config = config
        self._listeners: list[Callable[[CallProgress], Awaitable[None]]] = []
        if on_progress is not None:
            self._listeners.append(partial(self._tell_function, on_progress))
        callbacks = (config or {}).get("callbacks")
        if getattr(callbacks, "handlers", callbacks):
            self._listeners.append(self._tell_callbacks)
        self._broken: set[int] = set()
        self._untold: deque[CallProgress] = deque()
        self._telling: asyncio.Task[None] | None = None
        self._began = time.monotonic()

    async def tell(self, stage: Stage, **news: Any) -> None:  # noqa: ANN401 - CallProgress's fields
        """Tell everybody. What was told before (request id, cost) is told along."""
        self._about |= {k: v for k, v in news.items() if k != "quote"}
        write_to_graph = _graph_writer()
        if write_to_graph is None and not self._listeners:
            return
        quote = news.get("quote")
        if isinstance(quote, VoiceCallQuote):
            masked = tuple(mask_number(n) for n in quote.numbers)
            news["quote"] = quote.model_copy(update={"numbers": masked, "raw": {}})
        elapsed = round(time.monotonic() - self._began, 3)
        progress = CallProgress(stage=stage, elapsed_seconds=elapsed, **self._about | news)
        if write_to_graph is not None:
            _tell_graph(write_to_graph, progress)
        if not self._listeners or len(self._untold) >= _MOST_UNTOLD:
            return
        self._untold.append(progress)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_all())

    async def catch_up(self, seconds: float = _CATCHING_UP) -> None:
        """Wait a moment, at the end of a call, for listeners that are not told everything yet."""
        if self._telling is not None:
            await asyncio.wait({self._telling}, timeout=seconds)

    async def _tell_all(self) -> None:
        while self._untold:
            progress = self._untold.popleft()
            for number, listener in enumerate(self._listeners):
                try:
                    await listener(progress)
                except BaseException:  # also what would end the loop, or cancel this task
                    if _is_cancelled():
                        raise
                    if number not in self._broken:
                        self._broken.add(number)
                        log.exception("a progress listener failed; it is told on")

    async def _tell_function(self, on_progress: OnProgress, progress: CallProgress) -> None:
        await call_user(on_progress, progress, aside=await _aside())

    async def _tell_callbacks(self, progress: CallProgress) -> None:
        data = progress.model_dump(mode="json", exclude_none=True)
        # Handlers share an executor, too, and block it: in the engine's loop it looks up hosts.
        await (await _aside()).run(adispatch_custom_event(EVENT, data, config=self._config))


def _graph_writer() -> Callable[[Any], None] | None:
    """What writes to the stream of the graph that the call is in, if it is in one."""
    if "langgraph.config" not in sys.modules:
        return None
    from langgraph.config import get_stream_writer  # noqa: PLC0415 - an optional extra

    try:
        return get_stream_writer()
    except (RuntimeError, KeyError):  # not inside a graph
        return None


def _tell_graph(write: Callable[[Any], None], progress: CallProgress) -> None:
    """Write to the graph's stream, which only takes it in."""
    try:
        write({EVENT: progress.model_dump(mode="json", exclude_none=True)})
    except Exception:  # the user's own, and no reason to stop a call that is being paid for
        log.exception("a graph's stream can't be written")


async def _aside() -> Aside:
    return await ENGINE.shared("listeners", Aside)


def _is_cancelled() -> bool:
    """Whether the running task was cancelled, and not only a listener said so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
