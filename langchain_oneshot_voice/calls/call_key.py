"""CallKey: the identity of one intended call. Also the fingerprint that finds equal calls.

The key comes from the framework or the application, never from the model. It distinguishes a retry
of a call from a new call.
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
        key: any text. Two requests with the same key are the same call.
        answers_for: how long, in seconds, the outcome of an ended call is reused for this key;
            `None` for no limit.
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
        """Make a key from the first of these that is given.

        1. `idempotency_key`: chosen by the application. One key is one call, even if the request
           has other words.
        2. `tool_call_id`, with the thread and the request. Without a thread the id can repeat
           (some models count from 0), so an outcome is reused for `window` seconds only.
        3. `task`: the position in the graph, the request, and the number of equal requests
           before it in this run of the task.
        4. None of them: a random key.
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
        """Make the key from a LangChain run's config; see `of`."""
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
        """Make the key of a call in a list. Equal requests in one list are one call."""
        return cls(_digest("list", list_name, _asked(request)))

    def on_record(self, *, account: str, tenant: str, base_url: str) -> str:
        """Return the key for the journal, which includes payer, tenant and service."""
        return _digest("call", self.key, account.lower(), tenant, base_url)


def edited_key(call_key: str, question_id: str, request: VoiceCallInput) -> str:
    """Return the journal's key of the call that replaces an edited one."""
    return _digest("edited", call_key, question_id, _asked(request))


def list_name(key: str | None, config: RunnableConfig | None) -> str:
    """Return the name of a list of calls, from which their keys are made.

    It comes from the application's key, or else from the position in the graph, or else it is
    random.
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
    """Return a hash of the numbers and the objective, ignoring case and spacing."""
    objective = " ".join(request.objective.casefold().split())
    return _digest("fingerprint", *sorted(request.numbers), objective)


def _asked(request: VoiceCallInput) -> str:
    return json.dumps(request.model_dump(exclude_none=True), sort_keys=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
