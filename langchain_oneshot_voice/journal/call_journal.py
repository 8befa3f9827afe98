"""The durable record of calls: who works on which, what was signed, what it cost, how it ended.

A phone call can't be taken back and a payment can't either, so every step of a call is written here
before, or the moment after, it happens in the world. The journal promises:

- one worker at a time: a call is claimed with a lease, and a worker that lost its lease can't
  write, however late it wakes (`LeaseLost`);
- only legal steps: `claimed` → `quoted` → `signed` → `placed` → `done`, with `refused` and
  `unknown` beside them; anything else is refused and changes nothing;
- no cap that two workers pass together: limits are checked and money is reserved in the
  transaction that stores the signed bytes, and writers take turns;
- what it answered is on disk.

It talks to no service, signs nothing, and doesn't decide what to do about a call: the caller does.
The database is SQLite (a file, or memory) or PostgreSQL; `store.py` knows the difference.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from langchain_oneshot_voice.journal import calls as rows
from langchain_oneshot_voice.journal import suppressions
from langchain_oneshot_voice.journal.records import (
    CallRecord,
    Claim,
    NewCall,
    SpendLimits,
    Suppression,
)
from langchain_oneshot_voice.journal.schema import to_json, to_micro
from langchain_oneshot_voice.journal.store import display, locate
from langchain_oneshot_voice.journal.writer import JournalWriter

T = TypeVar("T")


class CallJournal:
    """The calls of one or many workers, on disk.

    Opening is lazy: the first operation connects, creates what is missing and brings the schema up
    to date. Every operation is one transaction. All of them raise `JournalUnavailableError` when
    the database can't be used. An operation whose task is cancelled before its turn is not carried
    out, except those that record what has already happened in the world (`placed`, `done`,
    `refused`, `unknown`, `release`): those are carried out all the same.

    A forked child goes on with a connection and a thread of its own; a journal in memory is empty
    there.

    Args:
        url: an SQLAlchemy URL of SQLite or PostgreSQL, the path of an SQLite file, or `"memory"`
            for a record that ends with the process. By default what `ONESHOT_VOICE_JOURNAL` says,
            else `calls.sqlite` in the user's data directory. Files are created with mode 0600.

    Example:
        ```python
        journal = CallJournal("postgresql://worker@db.internal/calls")
        claim = await journal.claim(call, owner="worker-1", lease=30, duplicate_window=600)
        if claim.kind == "mine":
            ...
        ```
    """

    def __init__(self, url: str | Path | None = None) -> None:
        self._store = locate(url)
        self._start()
        _JOURNALS.add(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url_for_display!r})"

    @property
    def url_for_display(self) -> str:
        """The database's URL, without a password."""
        return display(self._store.url)

    # Leases

    async def claim(
        self,
        call: NewCall,
        *,
        owner: str,
        lease: float,
        duplicate_window: float,
        answers_for: float | None = None,
    ) -> Claim:
        """Ask to work on a call; one transaction decides.

        A call that was refused starts over as a new attempt. A call that is new, or starts over,
        is refused as `duplicate` or `number_busy` when another one stands in its way.

        Args:
            call: the call; its key is its identity.
            owner: who asks; different for every worker and every run.
            lease: seconds for which the call is the owner's alone.
            duplicate_window: seconds for which an answered call answers the same call again; 0
                turns the guard off.
            answers_for: seconds for which an outcome answers its own key; after that the old record
                is put aside under another key. `None` means for ever.
        """
        return await self._write(
            lambda connection, now: rows.claim(
                connection,
                now,
                call,
                owner=owner,
                lease=lease,
                duplicate_window=duplicate_window,
                answers_for=answers_for,
            )
        )

    async def take(self, call_key: str, *, owner: str, lease: float) -> CallRecord | None:
        """Lease a call that someone left unfinished; `None` when it is held, finished or absent."""
        return await self._write(
            lambda connection, now: rows.take(connection, now, call_key, owner, lease)
        )

    async def renew(self, call_key: str, *, owner: str, lease: float) -> None:
        """Keep the lease for `lease` seconds from now.

        Raises:
            LeaseLost: someone else has taken the call over, or the lease was dropped.
        """
        await self._write(
            lambda connection, now: rows.renew(connection, now, call_key, owner, lease)
        )

    async def release(self, call_key: str, *, owner: str) -> None:
        """Drop the lease and keep the state; nothing happens when the lease is not the owner's."""
        await self._record(lambda connection, _now: rows.release(connection, call_key, owner))

    # Steps: each raises LeaseLost or IllegalMoveError, and then nothing has changed

    async def quoted(
        self,
        call_key: str,
        *,
        owner: str,
        quote: dict[str, Any],
        quote_id: str | None,
        quote_expires_at: float | None,
        request: dict[str, Any] | None = None,
        numbers: tuple[str, ...] | None = None,
    ) -> CallRecord:
        """Record the price; from `claimed`, or from `quoted` for a fresh quote.

        A request and numbers that a person has edited since the claim replace the claimed ones.
        """
        values: dict[str, Any] = {
            "quote": to_json(quote),
            "quote_id": quote_id,
            "quote_expires_at": quote_expires_at,
        }
        if request is not None:
            values["request"] = to_json(request)
        return await self._write(
            lambda connection, now: rows.quote(connection, now, call_key, owner, values, numbers)
        )

    async def signed(
        self,
        call_key: str,
        *,
        owner: str,
        payment: str | None,
        quote_id: str | None,
        valid_before: float | None,
        amount: Decimal,
        limits: SpendLimits,
    ) -> CallRecord:
        """Store the exact signed bytes and reserve their amount; from `claimed` or `quoted`.

        Return from this is the permission to send. The guards are asked again, since two keys may
        have passed `claim` together.

        Args:
            call_key: the call.
            owner: the holder of its lease.
            payment: the payment header to send; `None` when nothing is signed.
            quote_id: the quote that it pays for.
            valid_before: when the authorization ends, in epoch seconds.
            amount: US dollars; a fraction of a micro-dollar counts as a whole one.
            limits: what may not be passed.

        Raises:
            DuplicateCall: another key is, or just was, the same call.
            NumberBusy: another call of ours is on one of the numbers.
            SpendLimitReached: the day's money does not reach.
            NumberLimitReached: a number was called often enough today.
            NumberSuppressed: somebody there has asked not to be called.
        """
        reserved = to_micro(amount)
        values = {
            "payment": payment,
            "quote_id": quote_id,
            "valid_before": valid_before,
            "reserved": reserved,
        }
        return await self._write(
            lambda connection, now: rows.sign(connection, now, call_key, owner, values, limits)
        )

    async def placed(
        self, call_key: str, *, owner: str, request_id: str, receipt_id: str | None = None
    ) -> CallRecord:
        """Record that the service accepted the call; again with the same request id is fine."""
        return await self._record(
            lambda connection, now: rows.place(
                connection, now, call_key, owner, request_id, receipt_id
            )
        )

    async def done(
        self,
        call_key: str,
        *,
        owner: str,
        job: dict[str, Any],
        answered: bool | None,
        charged: Decimal | None = None,
    ) -> CallRecord:
        """Store the outcome and drop the lease; from `placed`."""
        values = {
            "job": to_json(job),
            "answered": answered,
            "charged": None if charged is None else to_micro(charged),
        }
        return await self._record(
            lambda connection, now: rows.move(connection, now, call_key, owner, "done", values)
        )

    async def refused(self, call_key: str, *, owner: str, error_code: str) -> CallRecord:
        """Record that nothing was or can be charged; frees the reservation, drops the lease.

        From any state before `placed`, and from `unknown`.
        """
        values = {"error_code": error_code, "payment": None, "valid_before": None, "reserved": 0}
        return await self._record(
            lambda connection, now: rows.move(connection, now, call_key, owner, "refused", values)
        )

    async def unknown(self, call_key: str, *, owner: str, error_code: str) -> CallRecord:
        """Record that nobody can know yet; keeps the reservation and the bytes, drops the lease.

        From `signed`, or from `unknown` when it still can't be known.
        """
        values = {"error_code": error_code}
        return await self._record(
            lambda connection, now: rows.move(connection, now, call_key, owner, "unknown", values)
        )

    # Reading

    async def read(self, call_key: str) -> CallRecord | None:
        """The call of this key."""
        return await self._read(lambda connection, _now: rows.read(connection, call_key))

    async def find(self, request_id: str) -> CallRecord | None:
        """The call that the service knows by this id."""
        return await self._read(lambda connection, _now: rows.find(connection, request_id))

    async def recent(self, *, limit: int = 50, tenant: str | None = None) -> list[CallRecord]:
        """The latest calls, newest first; of every tenant by default."""
        return await self._read(lambda connection, _now: rows.recent(connection, limit, tenant))

    async def unfinished(
        self, *, account: str | None = None, base_url: str | None = None
    ) -> list[CallRecord]:
        """Calls that were signed, placed or left unknown and that nobody works on, oldest first."""
        return await self._read(
            lambda connection, now: rows.unfinished(connection, now, account, base_url)
        )

    async def spent(self, *, account: str, tenant: str, seconds: float = 86400) -> Decimal:
        """US dollars charged or reserved in the last `seconds`."""
        return await self._read(
            lambda connection, now: rows.spent(connection, account, tenant, now - seconds)
        )

    # People who do not want to be called

    async def suppress(self, numbers: Sequence[str], reason: str) -> None:
        """Refuse these numbers from now on, to everyone who shares the journal."""
        await self._record(
            lambda connection, now: suppressions.suppress(connection, now, numbers, reason)
        )

    async def unsuppress(self, number: str) -> bool:
        """Allow a number again; whether it was listed."""
        return await self._write(
            lambda connection, _now: suppressions.unsuppress(connection, number)
        )

    async def suppressed(self, numbers: Sequence[str]) -> tuple[str, ...]:
        """Those of the numbers that are not to be called."""
        return await self._read(
            lambda connection, _now: suppressions.suppressed(connection, numbers)
        )

    async def suppressions(self) -> list[Suppression]:
        """Every number that is not to be called, newest first."""
        return await self._read(lambda connection, _now: suppressions.listed(connection))

    # Housekeeping

    async def forget(self, older_than: float) -> int:
        """Remove what was said and to whom from calls that ended `older_than` seconds ago.

        Requests, numbers, quotes, payments and outcomes go; states, times and amounts stay. Until
        a call is a day old, keyed hashes of its numbers stay too, so that forgetting makes no room
        under a daily limit.

        Returns:
            how many calls were forgotten.
        """
        return await self._write(lambda connection, now: rows.forget(connection, now, older_than))

    async def aclose(self) -> None:
        """Finish what is queued and close the connection; the journal can't be used afterwards."""
        await asyncio.wrap_future(self._writer.stop())

    def _start(self) -> None:
        self._writer = JournalWriter(self._store)
        self._at_exit = weakref.finalize(self, self._writer.stop_at_exit)

    def _start_in_fork(self) -> None:
        self._at_exit.detach()
        _INHERITED.append(self._writer)
        closed = self._writer.closed
        self._start()
        if closed:
            self._writer.stop()

    async def _read(self, operation: Callable[[Connection, float], T]) -> T:
        return await asyncio.wrap_future(self._writer.submit(operation, writing=False))

    async def _write(self, operation: Callable[[Connection, float], T]) -> T:
        return await asyncio.wrap_future(self._writer.submit(operation, writing=True))

    async def _record(self, operation: Callable[[Connection, float], T]) -> T:
        # What has happened has happened: it is written down even if nobody waits any more.
        return await asyncio.shield(
            asyncio.wrap_future(self._writer.submit(operation, writing=True))
        )


_JOURNALS: weakref.WeakSet[CallJournal] = weakref.WeakSet()

_INHERITED: list[JournalWriter] = []
"""What a forked child got of its parent's connections. They are the parent's: closing one here,
even by dropping the last reference, would end it for both."""


def _after_fork_in_child() -> None:
    for journal in list(_JOURNALS):
        journal._start_in_fork()  # noqa: SLF001 - the module's own class


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
