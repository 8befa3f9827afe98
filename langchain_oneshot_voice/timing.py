"""Timing: every timeout, polling interval, backoff and lease of a caller, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.arguments import is_seconds
from langchain_oneshot_voice.backoff import backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Timeouts, intervals and leases, in seconds.

    Raises:
        ConfigurationError: if a time is not a number above 0 and at most 1e9, or if the lease is
            not longer than the heartbeat interval.

    Example:
        ```python
        VoiceCaller(credential, timing=Timing(lease=30, account_approval=3600))
        ```
    """

    connect: float = 10.0
    """Timeout for a connection to the service."""
    quote: float = 90.0
    """Timeout until the answer to a quote request begins. The service runs a model to make it."""
    payment: float = 90.0
    """Timeout until the answer to a payment begins. A wallet's other first calls wait as long for
    the call that pays for its number."""
    answer: float = 20.0
    """Timeout until any other answer of the service begins."""
    answer_rest: float = 15.0
    """Timeout for the rest of an answer after it has begun."""
    payment_rest: float = 60.0
    """Timeout for the rest of the answer to a payment after it has begun."""

    first_poll: float = 1.5
    """Delay before the first poll of a call while the result socket is closed."""
    slowest_poll: float = 5.0
    """Longest polling interval after backoff, while the result socket is closed."""
    socket_open: float = 10.0
    """Timeout for opening the result socket."""
    socket_first_news: float = 3.0
    """How long the open socket may report nothing about a new call before the call is polled: it
    may have ended before the subscription."""
    socket_silence: float = 15.0
    """The same for a call that the socket has reported before, or that was polled before."""
    socket_trusted: float = 30.0
    """Longest polling interval of a call, whatever the open socket reports."""
    socket_linger: float = 30.0
    """How long the socket stays open for a next call after the last one has ended."""

    payment_unsent: float = 20.0
    """How long to retry a payment that never left this machine."""
    payment_cancelled: float = 3.0
    """Grace period for an in-flight payment after its caller is cancelled."""
    payment_expired: float = 60.0
    """How long after a payment's expiry its absence from the receipts is taken as proof that it was
    not charged."""
    account_approval: float = 300.0
    """How long to wait for an approval that the account's rules at the provider require."""
    pause: float = 0.25
    """First pause between retries and polls in the life of a call; it grows to `longest_pause`."""
    longest_pause: float = 5.0
    """Longest pause between these retries and polls."""

    heartbeat: float = 1.0
    """Interval between a process's heartbeats in the journal while it has calls."""
    lease: float = 4.0
    """Time without a heartbeat after which other processes may take over a process's calls."""

    def __post_init__(self) -> None:
        """Check every value."""
        for field in fields(self):
            if not is_seconds(getattr(self, field.name)):
                raise wording.timing_unusable(field.name)
        if self.lease <= self.heartbeat:
            raise wording.lease_too_short(self.lease, self.heartbeat)

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each retry, in seconds, without end."""
        for attempt in count():
            yield backoff(attempt, self.pause, self.longest_pause)


DEFAULT_TIMING = Timing()
