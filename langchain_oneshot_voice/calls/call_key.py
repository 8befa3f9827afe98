"""CallKey: the identity of one intended call, and when two calls are the same in substance.

The key comes from the framework or the application, never from the model: it tells a retry of a
call from another call.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig

from langchain_oneshot_voice.graph_task import GraphTask
from langchain_oneshot_voice.schemas import VoiceCallInput


@dataclass(frozen=True, slots=True)
class CallKey:
    """The identity of one intended call.

    Attributes:
        key: equal for what is the same call; any text.
        answers_for: for how many seconds an ended call answers this key again; `None` for ever.
    """

    key: str
    answers_for: float | None = None

    @classmethod
    def of(
        cls,
        request: VoiceCallInput,
        *,
        thread_id: str | None = None,
        tool_call_id: str | None = None,
        idempotency_key: str | None = None,
        task: GraphTask | None = None,
        window: float = 0.0,
    ) -> CallKey:
        """The key made of the first of these that is known.

        1. `idempotency_key`: the application's own. One key is one call, whatever its words.
        2. `tool_call_id`, with the thread and the request. Without a thread the id can repeat
           (some models count from 0), so an ended call answers it for `window` seconds only.
        3. `task`: the place in the graph, the request, and how many equal requests came before
           it in this run of the task.
        4. None of them: a fresh key.
        """
        if idempotency_key is not None:
            return cls(_digest("idempotency_key", idempotency_key))
        asked = _asked(request)
        if tool_call_id is not None:
            key = _digest("tool_call", thread_id or "", tool_call_id, asked)
            return cls(key, None if thread_id is not None else window)
        if task is not None:
            place = (task.thread or "", task.position, asked, str(task.count(asked)))
            return cls(_digest("graph_task", *place))
        return cls(_digest("fresh", secrets.token_hex(16)))

    @classmethod
    def from_config(
        cls,
        request: VoiceCallInput,
        config: RunnableConfig | None,
        *,
        tool_call_id: str | None = None,
        window: float = 0.0,
    ) -> CallKey:
        """The key that a LangChain run's config makes; see `of`."""
        configurable = (config or {}).get("configurable") or {}
        return cls.of(
            request,
            thread_id=configurable.get("thread_id"),
            tool_call_id=tool_call_id,
            idempotency_key=configurable.get("idempotency_key"),
            task=GraphTask.of(config),
            window=window,
        )

    @classmethod
    def in_list(cls, request: VoiceCallInput, list_name: str) -> CallKey:
        """The key of a call of a list. Equal requests of one list are one call."""
        return cls(_digest("list", list_name, _asked(request)))

    def on_record(self, *, account: str, tenant: str, base_url: str) -> str:
        """The key in the journal: payer, tenant and service are part of it."""
        return _digest("call", self.key, account.lower(), tenant, base_url)


def edited_key(call_key: str, question_id: str, request: VoiceCallInput) -> str:
    """The journal's key of the call that a person made of another one."""
    return _digest("edited", call_key, question_id, _asked(request))


def list_name(key: str | None, config: RunnableConfig | None) -> str:
    """The name of a list of calls, from which their keys are made.

    The application's own; else the place in the graph; else a new one.
    """
    configurable = (config or {}).get("configurable") or {}
    named = configurable.get("idempotency_key") if key is None else key
    if named is not None:
        return _digest("named", named)
    task = GraphTask.of(config)
    if task is not None:
        return _digest("graph_task", task.thread or "", task.position)
    return _digest("fresh", secrets.token_hex(16))


def fingerprint(request: VoiceCallInput) -> str:
    """Equal for calls to the same numbers with the same objective, but for case and spacing."""
    objective = " ".join(request.objective.casefold().split())
    return _digest("fingerprint", *sorted(request.numbers), objective)


def _asked(request: VoiceCallInput) -> str:
    return json.dumps(request.model_dump(exclude_none=True), sort_keys=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
