"""CallProgress: where a call is, told while it runs.

Told to whoever listens: the `on_progress` function, LangChain's custom events (`astream_events`)
and a graph's stream writer (`stream_mode="custom"`). Telling never harms the call: a listener that
fails is logged, and the call goes on.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, ConfigDict

from langchain_oneshot_voice.call_states import Stage
from langchain_oneshot_voice.engine import call_user
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


OnProgress = Callable[[CallProgress], Awaitable[None] | None]


class ProgressTeller:
    """Tells one call's progress. A stage is told once, except `in_progress`."""

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
        self._on_progress = on_progress
        self._config = config
        self._began = time.monotonic()

    async def tell(self, stage: Stage, **news: Any) -> None:  # noqa: ANN401 - CallProgress's fields
        """Tell everybody. What was told before (request id, cost) is told along."""
        quote = news.get("quote")
        if isinstance(quote, VoiceCallQuote):
            masked = tuple(mask_number(n) for n in quote.numbers)
            news["quote"] = quote.model_copy(update={"numbers": masked, "raw": {}})
        self._about |= {k: v for k, v in news.items() if k != "quote"}
        elapsed = round(time.monotonic() - self._began, 3)
        progress = CallProgress(stage=stage, elapsed_seconds=elapsed, **self._about | news)
        for listener in (self._tell_function, self._tell_callbacks, self._tell_graph):
            try:
                await listener(progress)
            except Exception:  # a listener's fault must not stop a call that is being paid for
                log.exception("a progress listener failed")

    async def _tell_function(self, progress: CallProgress) -> None:
        function = self._on_progress
        if function is not None:
            await call_user(function, progress)

    async def _tell_callbacks(self, progress: CallProgress) -> None:
        if self._config is not None and self._config.get("callbacks") is not None:
            data = progress.model_dump(mode="json", exclude_none=True)
            await adispatch_custom_event(EVENT, data, config=self._config)

    async def _tell_graph(self, progress: CallProgress) -> None:
        if "langgraph.config" not in sys.modules:
            return
        from langgraph.config import get_stream_writer  # noqa: PLC0415 - an optional extra

        try:
            write = get_stream_writer()
        except (RuntimeError, KeyError):  # not inside a graph
            return
        write({EVENT: progress.model_dump(mode="json", exclude_none=True)})
