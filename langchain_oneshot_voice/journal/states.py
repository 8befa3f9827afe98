"""The states of a call on record, and what may follow each of them.

    claimed ─ quoted ─ asking ─ signed ─ placed ─ done
                         ├ declined
                         └ edited

`refused` can follow every state before `placed`; `unknown` follows `signed` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

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

FOLLOWS: Mapping[CallState, frozenset[CallState]] = {
    # The service may place a call without a payment, so `placed` can follow before `signed`.
    "claimed": frozenset({"quoted", "placed", "refused"}),
    "quoted": frozenset({"quoted", "asking", "signed", "placed", "refused"}),
    "asking": frozenset({"quoted", "asking", "signed", "placed", "declined", "edited", "refused"}),
    "signed": frozenset({"placed", "refused", "unknown"}),
    "placed": frozenset({"done"}),
    "done": frozenset(),
    "declined": frozenset(),
    "edited": frozenset(),
    "refused": frozenset({"claimed"}),
    "unknown": frozenset({"placed", "refused", "unknown"}),
}
"""What may follow each state."""

ENDED: frozenset[CallState] = frozenset({"done", "declined", "edited"})
"""States that answer every later run of the same key."""

UNSIGNED: frozenset[CallState] = frozenset({"claimed", "quoted", "asking", "refused"})
"""States in which nothing was signed: a call can still be left without a trace."""

UNSETTLED: frozenset[CallState] = frozenset({"signed", "placed", "unknown"})
"""States in which money may move and the phone may ring."""
