"""The states of a call in the journal, and the transitions between them.

    claimed ─ quoted ─ asking ─ signed ─ placed ─ done
                         ├ declined
                         └ edited

`refused` can follow every state before `placed`; `unknown` follows `signed` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from langchain_oneshot_voice.schemas import CallStatus

CallState = Literal[
    "claimed",
    "quoted",
    "asking",
    "signed",
    "placed",
    "done",
    "declined",
    "edited",
    "refused",
    "unknown",
]
"""The state of a call in the journal.

- `claimed`: a worker owns the call; there is no price yet.
- `quoted`: the price is known.
- `asking`: a person was asked to approve the call.
- `signed`: the exact signed bytes are stored and may have been sent.
- `placed`: the service accepted the call and returned a request id.
- `done`: the outcome is stored.
- `declined`: a person rejected the call.
- `edited`: a person replaced the call by another one; `edited_to` is the other call's key.
- `refused`: nothing was or can be charged. The same key may be claimed again.
- `unknown`: the payment got no answer; its amount stays reserved.
"""

Stage = Literal["quoted", "awaiting_approval", "paying", "placed", "in_progress", "completed"]
"""The stage of a call in progress events.

- `quoted`: the price is known; nothing is paid.
- `awaiting_approval`: a person was asked; nothing is paid before they approve.
- `paying`: the payment is signed and is sent next.
- `placed`: the service accepted the call; the phone will ring.
- `in_progress`: the call was placed and has not ended.
- `completed`: the call has ended, with success or failure.
"""


@dataclass(frozen=True, slots=True)
class StateFacts:
    """The transitions of a state, and its names in results and progress events.

    Attributes:
        follows: the possible next states.
        status: the `call_status` of a result that is made from a record in this state. The
            service's job replaces it when the call has ended (`completed` or `failed`).
        stage: the stage that is reported when the state is reached; `None` if none is.
    """

    follows: tuple[CallState, ...]
    status: CallStatus
    stage: Stage | None = None


STATES: Mapping[CallState, StateFacts] = {
    # The service may place a call without a payment, so `placed` can come without `signed`.
    # A person may reject or edit late, when the call already has a new price, so `declined` and
    # `edited` can follow every state before `signed`.
    "claimed": StateFacts(("quoted", "placed", "declined", "edited", "refused"), "quoted"),
    "quoted": StateFacts(
        ("quoted", "asking", "signed", "placed", "declined", "edited", "refused"),
        "quoted",
        "quoted",
    ),
    "asking": StateFacts(
        ("quoted", "asking", "signed", "placed", "declined", "edited", "refused"),
        "awaiting_approval",
        "awaiting_approval",
    ),
    "signed": StateFacts(("placed", "refused", "unknown"), "unknown", "paying"),
    "placed": StateFacts(("done",), "in_progress", "placed"),
    "done": StateFacts((), "completed", "completed"),
    "declined": StateFacts((), "rejected"),
    "edited": StateFacts((), "rejected"),
    "refused": StateFacts(("claimed",), "failed"),
    "unknown": StateFacts(("placed", "refused", "unknown"), "unknown"),
}
"""Each state of a call: its transitions, result status and progress stage."""

FOLLOWS: Mapping[CallState, frozenset[CallState]] = {
    state: frozenset(facts.follows) for state, facts in STATES.items()
}
"""The possible next states of each state."""

ENDED: frozenset[CallState] = frozenset({"done", "declined", "edited"})
"""Final states: later runs with the same key get the stored outcome."""

UNSIGNED: frozenset[CallState] = frozenset({"claimed", "quoted", "asking", "refused"})
"""States without a signed payment."""

UNSETTLED: frozenset[CallState] = frozenset({"signed", "placed", "unknown"})
"""States in which money may still move and the phone may still ring."""
