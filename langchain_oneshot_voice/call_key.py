"""CallKey: the identity of one intended call, and when two calls are the same in substance.

The key comes from the framework or the application, never from the model: it is what tells a retry
of a call from another call.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

from langchain_oneshot_voice.schemas import VoiceCallInput


@dataclass(frozen=True, slots=True)
class CallKey:
    """The identity of one intended call.

    Attributes:
        key: equal for what is the same call; 64 hexadecimal digits.
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
        window: float = 0.0,
    ) -> CallKey:
        """The key that the framework's own identities make.

        An idempotency key of the application's stands for one call, whatever its words. Else the
        thread, the tool call and the request make the key. Without a thread, a tool call's id is
        told from a later one's only by time (some models count theirs from 0), so it is answered
        again for no longer than `window` seconds. With neither, the key is fresh.
        """
        if idempotency_key is not None:
            return cls(_digest("idempotency_key", idempotency_key))
        if tool_call_id is None:
            return cls(_digest("fresh", secrets.token_hex(16)))
        asked = json.dumps(request.model_dump(exclude_none=True), sort_keys=True)
        key = _digest("tool_call", thread_id or "", tool_call_id, asked)
        return cls(key, None if thread_id is not None else window)


def fingerprint(request: VoiceCallInput) -> str:
    """Equal for calls to the same numbers with the same objective, but for case and spacing."""
    objective = " ".join(request.objective.casefold().split())
    return _digest("fingerprint", *sorted(request.numbers), objective)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
