"""The states of a call on record, and what may follow each of them.

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
"""How far a call is.

- `claimed`: a worker has the call; it has no price yet.
- `quoted`: the price is known.
- `asking`: a person was asked.
- `signed`: the exact signed bytes are stored and may be on their way.
- `placed`: the service accepted the call and gave it a request id.
- `done`: the outcome is stored.
- `declined`: a person said no.
- `edited`: a person asked for another call instead; `edited_to` is its key.
- `refused`: nothing was or can be charged. The same key may be claimed again.
- `unknown`: the payment went unanswered; its money stays reserved.
"""

Stage = Literal["quoted", "awaiting_approval", "paying", "placed", "in_progress", "completed"]
"""Where a call is, as progress tells it.

- `quoted`: the price is known, nothing is paid.
- `awaiting_approval`: a person is asked; nothing is paid before they say yes.
- `paying`: the payment is signed and about to be sent.
- `placed`: the service accepted the call; the phone is about to ring.
- `in_progress`: it was placed, and has not ended.
- `completed`: it has ended, well or not.
"""


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What a state on record is called elsewhere, and what may follow it.

    Attributes:
        follows: the states that may come next.
        status: the `call_status` of a result made from such a record, unless the service's own
            job says more (`completed` or `failed`).
        stage: the progress that is told when the state is reached; `None` if none is.
    """

    follows: tuple[CallState, ...]
    status: CallStatus
    stage: Stage | None = None


STATES: Mapping[CallState, StateFacts] = {
    # The service may place a call without a payment, so `placed` can follow before `signed`.
    # A person's no, or an edit, can come late: about a price that is not asked about any more.
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
"""The one table of how far a call is: on record, in a result and in progress events."""

FOLLOWS: Mapping[CallState, frozenset[CallState]] = {
    state: frozenset(facts.follows) for state, facts in STATES.items()
}
"""What may follow each state."""

ENDED: frozenset[CallState] = frozenset({"done", "declined", "edited"})
"""States that answer every later run of the same key."""

UNSIGNED: frozenset[CallState] = frozenset({"claimed", "quoted", "asking", "refused"})
"""States in which nothing is signed."""

UNSETTLED: frozenset[CallState] = frozenset({"signed", "placed", "unknown"})
"""States in which money may move and the phone may ring."""
