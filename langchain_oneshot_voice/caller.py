"""VoiceCaller: places calls for one credential, under one policy, recorded in one journal.

What is common to an application's calls. The life of each call is in `lifecycle/`; here it is
given what it needs, on the engine's loop, and its callers are given their results.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.call_key import CallKey
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.extraction import OutcomeSchema, check_schema, extract
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    JournalError,
    JournalUnavailableError,
)
from langchain_oneshot_voice.lifecycle import CallRun, Lines, Patience
from langchain_oneshot_voice.oneshot.client import OneShotClient, Timeouts
from langchain_oneshot_voice.oneshot.environment import PRODUCTION_URL, Environment
from langchain_oneshot_voice.oneshot.results import Pace, ResultFeed
from langchain_oneshot_voice.oneshot.wallet import Credential
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import OnProgress, ProgressTeller
from langchain_oneshot_voice.schemas import (
    DEFAULT_DURATION_MINUTES,
    VoiceCallInput,
    VoiceCallResult,
)
from langchain_oneshot_voice.suppression import read_listed

log = logging.getLogger(__name__)

_SETTLING = 120.0
"""Seconds that an outcome may take to be told after the call's longest duration."""

_CONNECTIONS = httpx.Limits(max_connections=32, max_keepalive_connections=32)
"""Of the whole process. More are slower: the pool's book-keeping grows with the square of them."""


class VoiceCaller:
    """Places calls, each exactly once.

    Args:
        credential: who pays.
        base_url: the service; production by default.
        policy: limits on calls.
        approval: who is asked before a call is paid for: `"never"`, `"interrupt"` or a function.
        journal: SQLAlchemy URL, path, `"memory"` or a `CallJournal`; by default the one named by
            `ONESHOT_VOICE_JOURNAL`, else a SQLite file in the user's data directory.
        on_progress: told of each step of each call.
        max_wait: seconds to wait for an outcome before an in-progress result is handed back; by
            default the longest that the call may take, and two minutes.
        timeouts: how long to wait for the service's answers.
        pace: how often to look for an outcome.
        patience: how long to bear with trouble.
        outcome_schema: a pydantic model or JSON schema to fill from each call.
        outcome_model: the chat model that fills it; without one, the service's notes do.

    Raises:
        ConfigurationError: when the address or the schema can't be used.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that a user may want to set
        self,
        credential: Credential,
        *,
        base_url: str | None = None,
        policy: CallPolicy | None = None,
        approval: Approval = "never",
        journal: str | Path | CallJournal | None = None,
        on_progress: OnProgress | None = None,
        max_wait: float | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
        patience: Patience | None = None,
        outcome_schema: OutcomeSchema | None = None,
        outcome_model: BaseChatModel | None = None,
    ) -> None:
        if outcome_schema is not None:
            check_schema(outcome_schema)
        self.environment = Environment.at(base_url or PRODUCTION_URL)
        self.policy = policy or CallPolicy()
        self._approval: Approval = approval
        self._credential = credential
        self._journal = journal
        self._on_progress = on_progress
        self._max_wait = max_wait
        self._timeouts = timeouts or Timeouts()
        self._pace = pace or Pace()
        self._patience = patience or Patience()
        self._outcome_schema = outcome_schema
        self._outcome_model = outcome_model

    def call(
        self,
        request: VoiceCallInput,
        *,
        call_key: CallKey | None = None,
        policy: CallPolicy | None = None,
        tool_call_id: str | None = None,
        config: RunnableConfig | None = None,
    ) -> VoiceCallResult:
        """Place a call, pay for it, and wait for its outcome.

        Args:
            request: whom to call, and what for.
            call_key: the call's identity; a fresh one by default.
            policy: limits on this call, in place of the caller's.
            tool_call_id: of the tool call that asks, for a person's question.
            config: of the LangChain run that asks, for its callbacks.

        Raises:
            VoiceCallError: when the call did not happen, or nobody can know whether it did.
        """
        return ENGINE.call(self._call, request, call_key, policy, tool_call_id, config)

    async def acall(
        self,
        request: VoiceCallInput,
        *,
        call_key: CallKey | None = None,
        policy: CallPolicy | None = None,
        tool_call_id: str | None = None,
        config: RunnableConfig | None = None,
    ) -> VoiceCallResult:
        """Like `call`, from any event loop."""
        return await ENGINE.acall(self._call, request, call_key, policy, tool_call_id, config)

    def recover(self, max_wait: float = 60.0) -> list[VoiceCallResult | VoiceCallError]:
        """Finish what dead processes left: calls that were paid for, or may have been.

        Args:
            max_wait: seconds to wait for each outcome.

        Returns:
            For each of this wallet's unfinished calls its result, or the error that it ends in.
            Calls that a live worker holds are left to it; those of which it turns out that
            nothing was charged are closed and not listed.
        """
        return ENGINE.call(self._recover, max_wait)

    async def arecover(self, max_wait: float = 60.0) -> list[VoiceCallResult | VoiceCallError]:
        """Like `recover`, from any event loop."""
        return await ENGINE.acall(self._recover, max_wait)

    def suppress(self, numbers: str | Sequence[str], *, reason: str = "on request") -> None:
        """Refuse calls to these numbers from now on, to everybody who shares the journal.

        Who asks on the phone not to be called again is put on the list by the call itself.

        Args:
            numbers: one or several, as people write them; national ones in the policy's
                `default_region`.
            reason: why, for whoever reads the list.

        Raises:
            InvalidCallError: when one of them can't be read; then none is put on the list.
        """
        ENGINE.call(self._suppress, _listed(numbers), reason)

    async def asuppress(self, numbers: str | Sequence[str], *, reason: str = "on request") -> None:
        """Like `suppress`, from any event loop."""
        await ENGINE.acall(self._suppress, _listed(numbers), reason)

    def unsuppress(self, numbers: str | Sequence[str]) -> int:
        """Allow calls to these numbers again.

        Returns:
            How many of them were on the list.

        Raises:
            InvalidCallError: when one of them can't be read; then none is taken off the list.
        """
        return ENGINE.call(self._unsuppress, _listed(numbers))

    async def aunsuppress(self, numbers: str | Sequence[str]) -> int:
        """Like `unsuppress`, from any event loop."""
        return await ENGINE.acall(self._unsuppress, _listed(numbers))

    async def _call(
        self,
        request: VoiceCallInput,
        call_key: CallKey | None,
        policy: CallPolicy | None,
        tool_call_id: str | None,
        config: RunnableConfig | None,
    ) -> VoiceCallResult:
        key = call_key or CallKey.of(request)
        minutes = request.max_duration_minutes or DEFAULT_DURATION_MINUTES
        wait = minutes * 60 + _SETTLING if self._max_wait is None else self._max_wait
        teller = ProgressTeller(key.key, request.numbers, self._on_progress, config)
        try:
            lines = await self._lines(policy or self.policy)
            result = await CallRun(lines, key, teller, wait, tool_call_id).run(request)
        except JournalUnavailableError as trouble:
            raise wording.journal_unavailable(trouble) from trouble
        if self._outcome_schema is None:
            return result
        result = await extract(result, self._outcome_schema, self._outcome_model, config=config)
        await self._heed(lines.journal, result)
        return result

    async def _heed(self, journal: CallJournal, result: VoiceCallResult) -> None:
        """List whom the extraction model heard asking not to be called, in words that were said."""
        words = result.asked_not_to_be_called
        if words is None or result.call_key is None:
            return
        try:
            record = await journal.read(result.call_key)
            if record is not None:
                await journal.suppress(record.numbers, f"said on the phone: {words[:200]}")
        except JournalError as trouble:  # the outcome is worth more than the list
            log.error("a wish not to be called was not written down: %s", trouble)  # noqa: TRY400

    async def _recover(self, max_wait: float) -> list[VoiceCallResult | VoiceCallError]:
        lines = await self._lines(self.policy)

        async def finish(left: CallRecord) -> VoiceCallResult | VoiceCallError | None:
            teller = ProgressTeller(left.call_key, left.numbers, self._on_progress, None)
            try:
                return await CallRun(lines, CallKey(left.call_key), teller, max_wait).finish()
            except VoiceCallError as error:
                return error

        try:
            unfinished = await lines.journal.unfinished(
                account=lines.account, base_url=self.environment.base_url
            )
            ends = await asyncio.gather(*map(finish, unfinished))
        except JournalUnavailableError as trouble:
            raise wording.journal_unavailable(trouble) from trouble
        return [end for end in ends if end is not None]

    async def _suppress(self, spelled: Sequence[str], reason: str) -> None:
        numbers = read_listed(spelled, self.policy.default_region)
        try:
            await (await self._open_journal()).suppress(numbers, reason)
        except JournalUnavailableError as trouble:
            raise wording.journal_unavailable(trouble) from trouble

    async def _unsuppress(self, spelled: Sequence[str]) -> int:
        numbers = read_listed(spelled, self.policy.default_region)
        try:
            journal = await self._open_journal()
            return sum([await journal.unsuppress(number) for number in numbers])
        except JournalUnavailableError as trouble:
            raise wording.journal_unavailable(trouble) from trouble

    async def _lines(self, policy: CallPolicy) -> Lines:
        """What calls are made with, shared by all calls of this process."""
        http = await ENGINE.shared("http", lambda: httpx.AsyncClient(limits=_CONNECTIONS))
        client = OneShotClient(self.environment, self._credential, http, timeouts=self._timeouts)
        account = await client.address()
        whose = ("feed", self.environment.base_url, account, type(self._credential), self._pace)
        return Lines(
            client=client,
            feed=await ENGINE.shared(whose, lambda: ResultFeed(client, self._pace)),
            journal=await self._open_journal(),
            account=account.lower(),  # an address is the same in either case
            policy=policy,
            approval=self._approval,
            patience=self._patience,
        )

    async def _open_journal(self) -> CallJournal:
        where = self._journal
        if isinstance(where, CallJournal):
            return where
        return await ENGINE.shared(("journal", str(where or "")), lambda: CallJournal(where))


def _listed(numbers: str | Sequence[str]) -> Sequence[str]:
    return (numbers,) if isinstance(numbers, str) else numbers
