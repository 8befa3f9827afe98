"""Timing: every patience, pause and lease of a caller, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.arguments import is_seconds
from langchain_oneshot_voice.backoff import backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to wait for what, in seconds. The defaults suit a phone call that costs money.

    Raises:
        ConfigurationError: when a time is not a number above zero, or when a lease could lapse
            between two heartbeats.

    Example:
        ```python
        VoiceCaller(credential, timing=Timing(lease=30, account_approval=3600))
        ```
    """

    connect: float = 10.0
    """Until a connection to the service stands."""
    quote: float = 90.0
    """Until the answer to a question for a price begins: a model reads the objective first."""
    payment: float = 90.0
    """Until the answer to a payment begins; so long others wait for a call that pays for the
    wallet's number."""
    answer: float = 20.0
    """Until any other answer of the service begins."""
    answer_rest: float = 15.0
    """For the rest of an answer, once it has begun."""
    payment_rest: float = 60.0
    """For the rest of the answer to a payment, which is worth waiting for."""

    first_poll: float = 1.5
    """Before the first look at a call that has no socket to hear from."""
    slowest_poll: float = 5.0
    """Between looks, once they have backed off."""
    socket_open: float = 10.0
    """Until the socket is open."""
    socket_first_news: float = 3.0
    """Until a call is looked at that the socket says nothing of: it may have ended before."""
    socket_silence: float = 15.0
    """The same, once the socket has said something of the call."""
    socket_trusted: float = 30.0
    """Between looks at a call, whatever an open socket says."""
    socket_linger: float = 30.0
    """For which the socket stays open after the last call has ended, for the next one."""

    payment_unsent: float = 20.0
    """For which to try to send a payment that never left this machine."""
    payment_cancelled: float = 3.0
    """For which a payment on its way may still be answered after its caller is cancelled."""
    payment_expired: float = 60.0
    """After a payment has expired, before its absence among the receipts is believed."""
    account_approval: float = 300.0
    """For an approval that the account's rules at the provider ask for."""
    pause: float = 0.25
    """Before looking again at what is not known yet; it grows from here to `longest_pause`."""
    longest_pause: float = 5.0
    """See `pause`."""

    heartbeat: float = 1.0
    """Between a process's heartbeats in the journal, while it has calls."""
    lease: float = 4.0
    """Without a heartbeat, until other processes may take a process's calls over."""

    def __post_init__(self) -> None:
        """Check every time."""
        for field in fields(self):
            if not is_seconds(getattr(self, field.name)):
                raise wording.timing_unusable(field.name)
        if self.lease <= self.heartbeat:
            raise wording.lease_too_short(self.lease, self.heartbeat)

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each retry, in seconds, without end."""
        for attempt in count():
            yield backoff(attempt, self.pause, self.longest_pause)


USUAL = Timing()
