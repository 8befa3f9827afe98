"""The durable record of calls: who works on a call, what was signed, what it cost, how it ended.

A phone call and a payment can't be undone, so each step of a call is written here before, or right
after, it happens. The journal promises:

- One run at a time. A call belongs to one run of a live worker. A run that lost its call can't
  write, even if it continues much later.
- Legal steps only, from `claimed` to `done`. Any other step is an error and changes nothing.
- Two workers can't exceed a limit together. The transaction that stores the signed bytes also
  checks the limits and reserves the money, and there is one writer at a time.
- A result that it returned is on disk.

It calls no service and signs nothing. What to do about a call is decided by its caller. The
database is SQLite (a file, or memory) or PostgreSQL; `store.py` contains what differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from langchain_oneshot_voice.call_states import CallState
from langchain_oneshot_voice.journal import (
    accounts,
    calls,
    forgetting,
    guards,
    questions,
    stop_switch,
    suppressions,
)
from langchain_oneshot_voice.journal.database_access import DatabaseAccess
from langchain_oneshot_voice.journal.forgetting import Scope
from langchain_oneshot_voice.journal.records import (
    AskedQuestion,
    CallRecord,
    Claim,
    Guard,
    NewCall,
    NumberSuppressed,
    Paused,
    SpendLimits,
    Suppression,
)
from langchain_oneshot_voice.journal.schema import whole_micros
from langchain_oneshot_voice.journal.store import display, locate

_PLANS: frozenset[CallState] = frozenset({"quoted", "asking"})
"""States that record a plan, not an event. A step to one of them may be cancelled before its turn:
nothing has happened yet that would be lost."""


class CallJournal(DatabaseAccess):
    """The calls of one or many workers, on disk.

    Opening is lazy: the first operation connects, and creates or migrates the schema. Every
    operation is one transaction. Every operation raises `JournalUnavailableError` when the database
    can't be used. If its task is cancelled before its turn, an operation is not carried out. The
    exceptions record what has already happened (a step to `placed` or to an end, `release`,
    `answer`): those are always carried out.

    A forked child gets its own connection, thread and worker. A journal in memory is empty in the
    child.

    Args:
        url: an SQLAlchemy URL of SQLite or PostgreSQL, the path of an SQLite file, or `"memory"`
            for a record that ends with the process. By default the value of
            `ONESHOT_VOICE_JOURNAL`, else `calls.sqlite` in the user's data directory. Files are
            created with mode 0600.
        heartbeat: seconds between the heartbeats that this process writes while it has calls.
        lease: seconds without a heartbeat after which other processes may take its calls.

    Raises:
        ValueError: a time is not a number of seconds above zero, or is more than 1e9.

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
        super().__init__(locate(url), heartbeat=heartbeat, lease=lease)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url_for_display!r})"

    @property
    def url_for_display(self) -> str:
        """The database's URL, without a password."""
        return display(self._store.url)

    # Claims

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
        """Claim a call for a run, in one transaction.

        A refused call starts again as a new attempt. A call that is new, or starts again, gets the
        answer `duplicate` or `number_busy` when another call conflicts with it. A claim that fails
        or is cancelled is released.

        Args:
            call: the call; its key is its identity.
            owner: the id of the run; different for every run.
            duplicate_window: seconds for which an answered call answers the same call again; 0
                turns the guard off.
            answers_for: seconds for which an ended call answers its own key. After that the old
                record is renamed and the call starts again. `None` means for ever.
            asked_at: the time of this run's first claim (`Claim.now`). An end that was recorded
                after it always answers.
            former_key: another key of the same call, used when there is no record under its own
                key. The record keeps the key that it has.

        Returns:
            the decision, with the record that it is about.
        """
        keys = [call.call_key] if former_key is None else [call.call_key, former_key]
        return await self._claim_or_release(
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
        """Take over a call that another run left unfinished.

        Returns:
            its record; `None` if it does not exist, has ended, or belongs to a live worker.
        """
        taking = self._write(calls.take, self._worker, call_key, owner)
        return await self._claim_or_release([call_key], owner, taking)

    async def holds(self, call_key: str, *, owner: str) -> bool:
        """Return whether the call still belongs to the owner."""
        return await self._read(calls.holds, call_key, owner)

    async def release(self, call_key: str, *, owner: str) -> None:
        """Release a call and keep its state; does nothing if the call is not the owner's.

        A release that could not be written is retried with the next heartbeats.
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
        """Move a call to its next state and write columns of its record with it.

        `quoted` may replace the request and its numbers. `placed` again with the same request id
        only replaces the placement. `refused` frees the reservation and removes the signed bytes.
        `done`, `declined`, `edited`, `refused` and `unknown` remove the owner.

        Returns:
            the record; `None` if the call no longer belongs to the owner: then nothing was written.

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
            partial(self._worker.on_step, (call_key, owner)),
            calls.move,
            call_key,
            owner,
            to,
            columns,
        )
        waiting = asyncio.wrap_future(moving)
        # The other states record an event, which is written even if the caller is cancelled.
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

        Send the payment only if this returns a record. The guards are checked again, because two
        keys can pass `claim` at the same time.

        Args:
            call_key: the call.
            owner: the run that has it.
            payment: the payment header to send; `None` if nothing is signed.
            valid_before: when the authorization ends, in epoch seconds.
            amount: US dollars; a fraction of a micro-dollar is rounded up.
            limits: the limits that must hold.
            number_fee: US dollars of the amount that pay for the number the wallet calls from.

        Returns:
            the record; or the guard that forbids it; or `None` if the call no longer belongs to
            the owner. Something was written only in the first case.

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
            partial(self._worker.on_step, (call_key, owner)),
            calls.sign,
            call_key,
            owner,
            columns,
            limits,
        )
        return await asyncio.wrap_future(signing)

    # Questions to people

    async def ask(self, question: AskedQuestion, *, owner: str) -> CallRecord | None:
        """Record a question before it is asked, and move its call to `asking`.

        Returns:
            the call's record; `None` if the call no longer belongs to the owner.

        Raises:
            IllegalMoveError: the state of the call does not allow a question.
        """
        asking = self._submit(
            partial(self._worker.on_step, (question.call_key, owner)),
            questions.ask,
            question,
            owner,
        )
        return await asyncio.wrap_future(asking)

    async def questions(self, call_key: str) -> tuple[AskedQuestion, ...]:
        """Return the questions about a call, ordered by number."""
        return await self._read(questions.of_call, call_key)

    async def questions_of(
        self, question_ids: Sequence[str], thread: str
    ) -> tuple[AskedQuestion, ...]:
        """Return those of the questions that were asked in the thread, oldest first."""
        return await self._read(questions.of_thread, question_ids, thread)

    async def answer(self, question_id: str, answer: dict[str, Any]) -> bool:
        """Record the answer to a question; return `False` if it already has one, which stays."""
        return await asyncio.shield(self._write(questions.answer, question_id, answer))

    async def note(
        self, question_id: str, *, bare_ok: bool | None = None, note: str | None = None
    ) -> None:
        """Change how a question is asked again; a value of `None` is left as it is."""
        await self._write(questions.note, question_id, bare_ok, note)

    # Reading

    async def read(self, call_key: str) -> CallRecord | None:
        """Return the call with this key."""
        return await self._read(calls.read, call_key)

    async def find(
        self, request_id: str, *, account: str, tenant: str, base_url: str
    ) -> CallRecord | None:
        """Return the payer's call with this id at the service."""
        return await self._read(calls.find, request_id, account, tenant, base_url)

    async def recent(self, *, limit: int = 50, tenant: str | None = None) -> list[CallRecord]:
        """Return the latest calls, newest first; by default of every tenant."""
        return await self._read(calls.recent, limit, tenant)

    async def unfinished(
        self,
        *,
        account: str | None = None,
        base_url: str | None = None,
        tenant: str | None = None,
    ) -> list[CallRecord]:
        """Return signed, placed and unknown calls that no live worker has, oldest first.

        An argument of `None` matches every value.
        """
        wanted = {"account": account, "base_url": base_url, "tenant": tenant}
        return await self._read(calls.unfinished, self._worker, wanted)

    async def spent(self, *, account: str, tenant: str, seconds: float = 86400) -> Decimal:
        """Return the US dollars charged or reserved in the last `seconds`."""
        return await self._read(calls.spent, account, tenant, seconds)

    # The do-not-call list

    async def suppress(self, numbers: Sequence[str], reason: str) -> None:
        """Refuse these numbers from now on, to everyone who shares the journal."""
        await asyncio.shield(self._write(suppressions.suppress, numbers, reason))

    async def suppress_opt_outs(self) -> None:
        """Suppress the numbers of every call with a noted opt-out."""
        await asyncio.shield(self._write(suppressions.suppress_opt_outs))

    async def record_opt_out(self, call_key: str, words: str, numbers: Sequence[str]) -> None:
        """Note an opt-out in a call's record, then suppress the call's numbers.

        Args:
            call_key: the call.
            words: what the person said.
            numbers: the numbers of the call, in case its record no longer has them.
        """
        # Two transactions: if the list can't be written, the note remains, and a later
        # `suppress_opt_outs` finds it.
        await asyncio.shield(self._write(suppressions.note_opt_out, call_key, words))
        await asyncio.shield(self._write(suppressions.suppress_opt_outs, words, numbers))

    async def unsuppress(self, number: str) -> bool:
        """Allow a number again; return whether it was suppressed."""
        return await self._write(suppressions.unsuppress, number)

    async def suppressions(self) -> list[Suppression]:
        """Return every suppressed number, newest first."""
        return await self._read(suppressions.listed)

    # The stop switch

    async def pause(self, reason: str, *, by: str) -> Paused:
        """Stop all calls: from now on, nobody who shares the journal can sign.

        Calls that were signed before continue to their end. If calls are stopped already, the
        first reason stays.
        """
        return await asyncio.shield(self._write(stop_switch.pause, reason, by))

    async def resume(self) -> bool:
        """Allow calls again; return whether they were stopped."""
        return await self._write(stop_switch.resume)

    async def paused(self) -> Paused | None:
        """Return who stopped all calls, when and why; `None` if calls are allowed."""
        return await self._read(stop_switch.paused)

    async def barred(self, numbers: tuple[str, ...]) -> Paused | NumberSuppressed | None:
        """Return the stop switch or the do-not-call entry that forbids calls to these numbers."""
        return await self._read(guards.barred, numbers)

    # Access tokens

    async def account_of_token(self, fingerprint: str, reported: str) -> str:
        """Return the account of an access token: the first one that the service reported.

        Limits and call keys depend on the account. If each new report counted, a service could lift
        every limit by reporting another account each time.

        Args:
            fingerprint: identifies the token; not the token itself.
            reported: the account that the service reports now.
        """
        return await self._write(accounts.of_token, fingerprint, reported)

    # Housekeeping

    async def forget(self, older_than: float) -> int:
        """Erase personal data from calls that ended more than `older_than` seconds ago.

        Erases requests, numbers, offers, questions, payments and outcomes. Keeps states, times and
        amounts. Keeps keyed hashes of the numbers until the call is a day old, so that the call
        still counts against a daily limit.

        Returns:
            the number of calls that were forgotten.
        """
        count = 0
        for scope in await self._read(forgetting.scopes):
            more = True
            while more:
                forgotten, more = await self._write(forgetting.forget, scope, older_than)
                count += forgotten
        return count

    def retain(self, seconds: float, *, account: str, tenant: str) -> None:
        """Forget the calls of an account and tenant automatically from now on.

        Runs soon, and then about once an hour while this process has the journal open, a few calls
        at a time. Other calls stay, because the users who share the journal may want to keep them.
        If the retention of an account and tenant is set more than once, here or in other processes,
        the shortest one applies.

        Args:
            seconds: how long personal data is kept after the call has ended.
            account: the account that pays, as recorded.
            tenant: the tenant; empty if there is only one.

        Raises:
            ValueError: the time is negative or not a number.
        """
        if not seconds >= 0:
            raise ValueError("calls can't be forgotten before they end")
        self._retention.set(Scope(account, tenant), seconds)

    async def aclose(self) -> None:
        """Run what is queued, then close the connection; the journal can't be used afterwards."""
        await asyncio.wrap_future(self._writer.stop())
