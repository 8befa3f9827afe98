"""The durable record of calls: who works on which, what was signed, what it cost, how it ended.

A phone call can't be taken back and a payment can't either, so every step of a call is written here
before, or right after, it happens in the world. The journal promises:

- one run at a time: a call belongs to one run of a live worker, and a run that lost its call can't
  write, however late it wakes;
- only legal steps, from `claimed` to `done`; anything else is an error and changes nothing;
- no cap that two workers pass together: limits are checked and money is reserved in the
  transaction that stores the signed bytes, and writers take turns;
- what it answered is on disk.

It talks to no service, signs nothing, and doesn't decide what to do about a call: the caller does.
The database is SQLite (a file, or memory) or PostgreSQL; `store.py` knows the difference.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from langchain_oneshot_voice.arguments import is_seconds
from langchain_oneshot_voice.call_states import CallState
from langchain_oneshot_voice.journal import (
    accounts,
    calls,
    forgetting,
    guards,
    questions,
    stop_switch,
    suppressions,
    workers,
)
from langchain_oneshot_voice.journal.forgetting import Retention, Whose
from langchain_oneshot_voice.journal.records import (
    AskedQuestion,
    CallRecord,
    Claim,
    Guard,
    JournalUnavailableError,
    NewCall,
    NumberSuppressed,
    Paused,
    SpendLimits,
    Suppression,
)
from langchain_oneshot_voice.journal.schema import whole_micros
from langchain_oneshot_voice.journal.store import display, locate
from langchain_oneshot_voice.journal.workers import Worker
from langchain_oneshot_voice.journal.writer import JournalWriter

T = TypeVar("T")
P = ParamSpec("P")
Operation = Callable[Concatenate[Connection, float, P], T]
"""A function that runs inside a transaction: it gets the connection and the journal's time."""

_PLANS: frozenset[CallState] = frozenset({"quoted", "asking"})
"""Steps in which nothing has happened in the world: cancelled before their turn, they are left."""


class CallJournal:
    """The calls of one or many workers, on disk.

    Opening is lazy: the first operation connects, creates what is missing and brings the schema up
    to date. Every operation is one transaction. All of them raise `JournalUnavailableError` when
    the database can't be used. An operation whose task is cancelled before its turn is not carried
    out, except those that record what has already happened in the world (a step to `placed` or to
    an end, `release`, `answer`): those are carried out all the same.

    A forked child goes on with a connection, a thread and a worker of its own; a journal in memory
    is empty there.

    Args:
        url: an SQLAlchemy URL of SQLite or PostgreSQL, the path of an SQLite file, or `"memory"`
            for a record that ends with the process. By default what `ONESHOT_VOICE_JOURNAL` says,
            else `calls.sqlite` in the user's data directory. Files are created with mode 0600.
        heartbeat: seconds between the heartbeats that this process writes while it has calls.
        lease: seconds without a heartbeat after which other processes may take its calls.

    Raises:
        ValueError: a time is no number of seconds greater than zero, or more than 1e9.

    Example:
        ```python
        journal = CallJournal("postgresql://worker@db.internal/calls")
        claim = await journal.claim(call, owner="run-1", duplicate_window=600)
        if claim.kind == "mine":
            ...
        ```
    """

    def __init__(
        self, url: str | Path | None = None, *, heartbeat: float = 1.0, lease: float = 4.0
    ) -> None:
        if not (is_seconds(heartbeat) and is_seconds(lease)):
            raise ValueError("heartbeat and lease must be greater than zero, and at most 1e9")
        self._store = locate(url)
        self._retention = Retention()
        self._heartbeat = heartbeat
        self._lease = lease
        self._start()
        _JOURNALS.add(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url_for_display!r})"

    @property
    def url_for_display(self) -> str:
        """The database's URL, without a password."""
        return display(self._store.url)

    # Who has a call

    async def claim(
        self,
        call: NewCall,
        *,
        owner: str,
        duplicate_window: float,
        answers_for: float | None = None,
        asked_at: float | None = None,
        former_key: str | None = None,
    ) -> Claim:
        """Ask to work on a call; one transaction decides.

        A call that was refused starts over as a new attempt. A call that is new, or starts over,
        is refused as `duplicate` or `number_busy` when another one stands in its way. A claim that
        is cancelled, or that fails, is given back.

        Args:
            call: the call; its key is its identity.
            owner: who asks; different for every run.
            duplicate_window: seconds for which an answered call answers the same call again; 0
                turns the guard off.
            answers_for: seconds for which a call that ended answers its own key; after that the old
                record is put aside under another key. `None` means for ever.
            asked_at: the time of this run's first claim (`Claim.now`): an end that was recorded
                since then always answers.
            former_key: another key of the same call, used when there is no record under its own;
                the record keeps the key that it has.
        """
        keys = [call.call_key] if former_key is None else [call.call_key, former_key]
        return await self._claiming(
            keys,
            owner,
            self._write(
                calls.claim,
                self._worker,
                call,
                owner=owner,
                duplicate_window=duplicate_window,
                answers_for=answers_for,
                asked_at=asked_at,
                former_key=former_key,
            ),
        )

    async def take(self, call_key: str, *, owner: str) -> CallRecord | None:
        """Work on a call that someone left unfinished.

        Returns:
            its record; `None` when it is absent, has ended, or belongs to a live worker.
        """
        taking = self._write(calls.take, self._worker, call_key, owner)
        return await self._claiming([call_key], owner, taking)

    async def holds(self, call_key: str, *, owner: str) -> bool:
        """Tell whether a call is still the owner's."""
        return await self._read(calls.holds, call_key, owner)

    async def release(self, call_key: str, *, owner: str) -> None:
        """Give a call back and keep its state; nothing happens when it is not the owner's.

        A release that could not be written is repeated with the next heartbeats.
        """
        await asyncio.shield(asyncio.wrap_future(self._release(call_key, owner)))

    # Steps

    async def move(
        self,
        call_key: str,
        *,
        owner: str,
        to: CallState,
        **columns: Any,  # noqa: ANN401 - values of the columns of `calls`
    ) -> CallRecord | None:
        """Take a call to its next state and write columns of its record with it.

        `quoted` may replace the request and its numbers. `placed` again with the same request id
        only replaces the placement. `refused` frees the reservation and removes the signed bytes.
        After `done`, `declined`, `edited`, `refused` and `unknown` the call is nobody's.

        Returns:
            the record; `None` when the call is not the owner's any more: then nothing was written.

        Raises:
            IllegalMoveError: the state of the call does not allow the step.
            TypeError: the step does not write one of the columns.
            ValueError: `charged` is not an amount of money.
        """
        if to not in calls.WRITES or columns.keys() - calls.WRITES[to]:
            raise TypeError(f"move to {to} can't write {', '.join(sorted(columns)) or 'anything'}")
        if columns.get("charged") is not None:
            columns["charged"] = whole_micros(columns["charged"])
        moving = self._submit(
            partial(self._worker.stepped, (call_key, owner)),
            calls.move,
            call_key,
            owner,
            to,
            columns,
        )
        waiting = asyncio.wrap_future(moving)
        # What has happened has happened: it is written down even if nobody waits any more.
        return await (waiting if to in _PLANS else asyncio.shield(waiting))

    async def sign(
        self,
        call_key: str,
        *,
        owner: str,
        payment: str | None,
        valid_before: float | None,
        amount: Decimal,
        limits: SpendLimits,
        number_fee: Decimal | None = None,
    ) -> CallRecord | Guard | None:
        """Store the exact signed bytes and reserve their amount.

        A record in return is the permission to send. The guards are asked again, since two keys may
        have passed `claim` together.

        Args:
            call_key: the call.
            owner: whose it is.
            payment: the payment header to send; `None` when nothing is signed.
            valid_before: when the authorization ends, in epoch seconds.
            amount: US dollars; a fraction of a micro-dollar counts as a whole one.
            limits: what may not be passed.
            number_fee: US dollars of it that are for the number the wallet calls from.

        Returns:
            the record; or the guard that does not allow it; or `None` when the call is not the
            owner's any more. Only in the first case was anything written.

        Raises:
            IllegalMoveError: the state of the call does not allow it.
            ValueError: the amount is not an amount of money.
        """
        columns = {
            "payment": payment,
            "valid_before": valid_before,
            "reserved": whole_micros(amount),
            "number_fee": whole_micros(number_fee) if number_fee else None,
        }
        signing = self._submit(
            partial(self._worker.stepped, (call_key, owner)),
            calls.sign,
            call_key,
            owner,
            columns,
            limits,
        )
        return await asyncio.wrap_future(signing)

    # Questions to people

    async def ask(self, question: AskedQuestion, *, owner: str) -> CallRecord | None:
        """Record a question before it is asked, and that its call waits for the answer.

        Returns:
            the call's record; `None` when the call is not the owner's any more.

        Raises:
            IllegalMoveError: the state of the call does not allow a question.
        """
        asking = self._submit(
            partial(self._worker.stepped, (question.call_key, owner)),
            questions.ask,
            question,
            owner,
        )
        return await asyncio.wrap_future(asking)

    async def questions(self, call_key: str) -> tuple[AskedQuestion, ...]:
        """Return the questions about a call, by number."""
        return await self._read(questions.of_call, call_key)

    async def questions_of(
        self, question_ids: Sequence[str], thread: str
    ) -> tuple[AskedQuestion, ...]:
        """Return those of the questions that were asked in a thread, oldest first."""
        return await self._read(questions.of_thread, question_ids, thread)

    async def answer(self, question_id: str, answer: dict[str, Any]) -> bool:
        """Record the answer to a question; `False` when it has one, which stays."""
        return await asyncio.shield(self._write(questions.answer, question_id, answer))

    async def note(
        self, question_id: str, *, bare_ok: bool | None = None, note: str | None = None
    ) -> None:
        """Record how a question is to be asked again; what is `None` stays as it is."""
        await self._write(questions.note, question_id, bare_ok, note)

    # Reading

    async def read(self, call_key: str) -> CallRecord | None:
        """Return the call of this key."""
        return await self._read(calls.read, call_key)

    async def find(
        self, request_id: str, *, account: str, tenant: str, base_url: str
    ) -> CallRecord | None:
        """Return the payer's call that the service knows by this id."""
        return await self._read(calls.find, request_id, account, tenant, base_url)

    async def recent(self, *, limit: int = 50, tenant: str | None = None) -> list[CallRecord]:
        """Return the latest calls, newest first; of every tenant by default."""
        return await self._read(calls.recent, limit, tenant)

    async def unfinished(
        self,
        *,
        account: str | None = None,
        base_url: str | None = None,
        tenant: str | None = None,
    ) -> list[CallRecord]:
        """Return signed, placed and unknown calls that no live worker has, oldest first.

        What is `None` may be anything.
        """
        wanted = {"account": account, "base_url": base_url, "tenant": tenant}
        return await self._read(calls.unfinished, self._worker, wanted)

    async def spent(self, *, account: str, tenant: str, seconds: float = 86400) -> Decimal:
        """Return the US dollars charged or reserved in the last `seconds`."""
        return await self._read(calls.spent, account, tenant, seconds)

    # People who do not want to be called

    async def suppress(self, numbers: Sequence[str], reason: str) -> None:
        """Refuse these numbers from now on, to everyone who shares the journal."""
        await asyncio.shield(self._write(suppressions.suppress, numbers, reason))

    async def list_opt_outs(self, call_key: str | None = None, words: str | None = None) -> None:
        """Put the numbers of calls on which somebody asked for it on the list.

        Args:
            call_key: a call of which that has been heard just now, besides those that are noted.
            words: what was said there.
        """
        if call_key is not None and words is not None:
            await asyncio.shield(self._write(suppressions.hear, call_key, words))
        await asyncio.shield(self._write(suppressions.list_opt_outs))

    async def unsuppress(self, number: str) -> bool:
        """Allow a number again; return whether it was listed."""
        return await self._write(suppressions.unsuppress, number)

    async def suppressed(self, numbers: Sequence[str]) -> tuple[str, ...]:
        """Return those of the numbers that are not to be called."""
        return await self._read(suppressions.suppressed, numbers)

    async def suppressions(self) -> list[Suppression]:
        """Return every number that is not to be called, newest first."""
        return await self._read(suppressions.listed)

    # The stop switch

    async def pause(self, reason: str, *, by: str) -> Paused:
        """Stop all calls: from now on nobody who shares the journal signs anything.

        Calls that were signed before are seen to their end. If calls are stopped already, the
        first reason stays.
        """
        return await asyncio.shield(self._write(stop_switch.pause, reason, by))

    async def resume(self) -> bool:
        """Allow calls again; return whether they were stopped."""
        return await self._write(stop_switch.resume)

    async def paused(self) -> Paused | None:
        """Return who stopped all calls, when and why; `None` if nobody did."""
        return await self._read(stop_switch.paused)

    async def barred(self, numbers: tuple[str, ...]) -> Paused | NumberSuppressed | None:
        """Return what forbids calls to these numbers at any price: the switch, or the list."""
        return await self._read(guards.barred, numbers)

    # Access tokens

    async def account_of_token(self, fingerprint: str, told: str) -> str:
        """Return the account of an access token: the first that the service told is kept.

        Limits and call keys are the account's: a service that tells of another one each time would
        lift them all.

        Args:
            fingerprint: stands for the token; not the token itself.
            told: the account that the service tells now.
        """
        return await self._write(accounts.of_token, fingerprint, told)

    # Housekeeping

    async def forget(self, older_than: float) -> int:
        """Remove what was said and to whom from calls that ended `older_than` seconds ago.

        Requests, numbers, offers, questions, payments and outcomes go; states, times and amounts
        stay. Until a call is a day old, keyed hashes of its numbers stay too, so that forgetting
        makes no room under a daily limit.

        Returns:
            how many calls were forgotten.
        """
        count = 0
        for whose in await self._read(forgetting.each):
            more = True
            while more:
                forgotten, more = await self._write(forgetting.forget, whose, older_than)
                count += forgotten
        return count

    def retain(self, seconds: float, *, account: str, tenant: str) -> None:
        """Forget calls by itself from now on: those of an account and tenant, after their end.

        The first time soon, and then about once an hour while this process uses the journal; a few
        calls at a time. Everybody's other calls stay: who shares the journal may want to keep them.
        Where the same calls are given several times, here or in other processes, the shortest time
        holds.

        Args:
            seconds: how long a call's words are kept after it has ended.
            account: the account that pays, as it is on record.
            tenant: the tenant; empty where that does not matter.

        Raises:
            ValueError: the time is negative or not a number.
        """
        if not seconds >= 0:
            raise ValueError("calls can't be forgotten before they end")
        self._retention.set(Whose(account, tenant), seconds)

    async def aclose(self) -> None:
        """Finish what is queued and close the connection; the journal can't be used afterwards."""
        await asyncio.wrap_future(self._writer.stop())

    def _start(self) -> None:
        self._worker = Worker(self._heartbeat, self._lease)
        self._writer = JournalWriter(self._store, self._worker, self._retention)
        self._at_end = weakref.finalize(self, self._writer.stop_at_exit)
        self._at_end.atexit = False  # `_stop_all` does that, at a moment that is known

    def _start_in_fork(self) -> None:
        self._at_end.detach()
        _INHERITED.append(self._writer)
        closed = self._writer.closed
        self._start()
        if closed:
            self._writer.stop()

    async def _claiming(self, keys: list[str], owner: str, claiming: asyncio.Future[T]) -> T:
        try:
            return await claiming
        except BaseException:
            # Nobody hears that the claim was granted: give it back.
            with suppress(JournalUnavailableError):
                for key in keys:
                    self._release(key, owner)
            raise

    def _release(self, call_key: str, owner: str) -> Future[None]:
        then = partial(self._worker.released, (call_key, owner))
        return self._submit(then, workers.release, call_key, owner)

    def _read(
        self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        reading = self._writer.submit(
            lambda connection, now: operation(connection, now, *args, **kwargs), writing=False
        )
        return asyncio.wrap_future(reading)

    def _write(
        self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        return asyncio.wrap_future(self._submit(None, operation, *args, **kwargs))

    def _submit(
        self,
        then: Callable[[Future[T]], None] | None,
        operation: Operation[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        return self._writer.submit(
            lambda connection, now: operation(connection, now, *args, **kwargs),
            writing=True,
            then=then,
        )


_JOURNALS: weakref.WeakSet[CallJournal] = weakref.WeakSet()

_INHERITED: list[JournalWriter] = []
"""What a forked child got of its parent's connections. They are the parent's: closing one here,
even by dropping the last reference, would end it for both."""


@atexit.register
def _stop_all() -> None:
    """Stop the journals that are still open at exit.

    Registered when this is imported, so that it runs after all that is registered later, when
    calls are placed: what calls in flight have to write comes first.
    """
    for journal in list(_JOURNALS):
        journal._at_end()  # noqa: SLF001 - the module's own class


def _after_fork_in_child() -> None:
    for journal in list(_JOURNALS):
        journal._start_in_fork()  # noqa: SLF001 - the module's own class


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
