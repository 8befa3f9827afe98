"""VoiceCaller: places calls for one credential, under one policy, recorded in one journal.

What is common to an application's calls. The life of each call is in `lifecycle.py`; here it is
given what it needs, on the engine's loop, and its callers are given their results.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from langchain_core.runnables import RunnableConfig

from langchain_oneshot_voice.call_key import CallKey
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import ConfigurationError, VoiceCallError
from langchain_oneshot_voice.journal import CallJournal, CallRecord, JournalUnavailableError
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
        journal: SQLAlchemy URL, path, `"memory"` or a `CallJournal`; by default the one named by
            `ONESHOT_VOICE_JOURNAL`, else a SQLite file in the user's data directory.
        on_progress: told of each step of each call.
        max_wait: seconds to wait for an outcome before an in-progress result is handed back; by
            default the longest that the call may take, and two minutes.
        timeouts: how long to wait for the service's answers.
        pace: how often to look for an outcome.
        patience: how long to bear with trouble.

    Raises:
        ConfigurationError: when the address can't be used.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that a user may want to set
        self,
        credential: Credential,
        *,
        base_url: str | None = None,
        policy: CallPolicy | None = None,
        journal: str | Path | CallJournal | None = None,
        on_progress: OnProgress | None = None,
        max_wait: float | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.environment = Environment.at(base_url or PRODUCTION_URL)
        self.policy = policy or CallPolicy()
        self._credential = credential
        self._journal = journal
        self._on_progress = on_progress
        self._max_wait = max_wait
        self._timeouts = timeouts or Timeouts()
        self._pace = pace or Pace()
        self._patience = patience or Patience()

    def call(
        self,
        request: VoiceCallInput,
        *,
        call_key: CallKey | None = None,
        config: RunnableConfig | None = None,
    ) -> VoiceCallResult:
        """Place a call, pay for it, and wait for its outcome.

        Args:
            request: whom to call, and what for.
            call_key: the call's identity; a fresh one by default.
            config: of the LangChain run that asks, for its callbacks.

        Raises:
            VoiceCallError: when the call did not happen, or nobody can know whether it did.
        """
        return ENGINE.call(self._call, request, call_key, config)

    async def acall(
        self,
        request: VoiceCallInput,
        *,
        call_key: CallKey | None = None,
        config: RunnableConfig | None = None,
    ) -> VoiceCallResult:
        """Like `call`, from any event loop."""
        return await ENGINE.acall(self._call, request, call_key, config)

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

    async def _call(
        self, request: VoiceCallInput, call_key: CallKey | None, config: RunnableConfig | None
    ) -> VoiceCallResult:
        key = call_key or CallKey.of(request)
        minutes = request.max_duration_minutes or DEFAULT_DURATION_MINUTES
        wait = minutes * 60 + _SETTLING if self._max_wait is None else self._max_wait
        teller = ProgressTeller(key.key, request.numbers, self._on_progress, config)
        try:
            return await CallRun(await self._lines(), key, teller, wait).run(request)
        except JournalUnavailableError as trouble:
            raise _no_journal(trouble) from trouble

    async def _recover(self, max_wait: float) -> list[VoiceCallResult | VoiceCallError]:
        lines = await self._lines()

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
            raise _no_journal(trouble) from trouble
        return [end for end in ends if end is not None]

    async def _lines(self) -> Lines:
        """What calls are made with, shared by all calls of this process."""
        http = await ENGINE.shared("http", lambda: httpx.AsyncClient(limits=_CONNECTIONS))
        client = OneShotClient(self.environment, self._credential, http, timeouts=self._timeouts)
        account = await client.address()
        whose = ("feed", self.environment.base_url, account, type(self._credential), self._pace)
        return Lines(
            client=client,
            feed=await ENGINE.shared(whose, lambda: ResultFeed(client, self._pace)),
            journal=await self._open_journal(),
            account=account,
            policy=self.policy,
            patience=self._patience,
        )

    async def _open_journal(self) -> CallJournal:
        where = self._journal
        if isinstance(where, CallJournal):
            return where
        return await ENGINE.shared(("journal", str(where or "")), lambda: CallJournal(where))


def _no_journal(trouble: JournalUnavailableError) -> ConfigurationError:
    return ConfigurationError(
        f"The record of calls can't be kept: {trouble}", code="journal_unavailable"
    )
