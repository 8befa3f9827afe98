"""VoiceCaller: places calls for one credential, under one policy, recorded in one journal.

What is common to an application's calls. The life of each call is in `calls/`; here it gets what
it needs, on the engine's loop. What belongs to the caller's graph (hearing answers, pausing with a
question) is done where the caller is.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import SecretStr

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.approval.pause import GraphPause, can_pause
from langchain_oneshot_voice.arguments import knowing_its_arguments
from langchain_oneshot_voice.caller_side import AsyncSide, Side, SyncSide, run_sync
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.calls.driver import CallDriver, Pending
from langchain_oneshot_voice.calls.services import Asker, CallServices, Patience
from langchain_oneshot_voice.do_not_call import read_listed, record_opt_out
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.extraction import OutcomeSchema, check_schema, extract
from langchain_oneshot_voice.graph_task import GraphTask
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    JournalUnavailableError,
    address,
)
from langchain_oneshot_voice.oneshot.client import OneShotClient, Timeouts
from langchain_oneshot_voice.oneshot.environment import PRODUCTION_URL, Environment
from langchain_oneshot_voice.oneshot.feed import Pace, ResultFeed
from langchain_oneshot_voice.oneshot.transport import Transport, chosen_package
from langchain_oneshot_voice.oneshot.wallet import Credential, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import OnProgress, ProgressTeller
from langchain_oneshot_voice.schemas import (
    DEFAULT_DURATION_MINUTES,
    VoiceCallInput,
    VoiceCallResult,
)

log = logging.getLogger(__name__)

_SETTLING = 120.0
"""Seconds that an outcome may take to be told after the call's longest duration."""


@dataclass(frozen=True, slots=True)
class _Intent:
    """One intended call: what is asked for, which call it is, and where it is asked from."""

    request: VoiceCallInput
    key: CallKey
    policy: CallPolicy
    asker: Asker
    task: GraphTask | None
    config: RunnableConfig


class VoiceCaller:
    """Places calls, each exactly once.

    Args:
        credential: who pays.
        base_url: the service; production by default.
        policy: limits on calls.
        approval: who is asked before a call is paid for: `"never"`, `"interrupt"` or a function.
        journal: SQLAlchemy URL, path, `"memory"` or a `CallJournal`; by default the one named by
            `ONESHOT_VOICE_JOURNAL`, else a SQLite file in the user's data directory; a service on
            this machine, such as a sandbox, has a file of its own there.
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

    @knowing_its_arguments
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
        tool_name: str = "voice_call",
        config: RunnableConfig | None = None,
    ) -> VoiceCallResult:
        """Place a call, pay for it, and wait for its outcome.

        Args:
            request: whom to call, and what for.
            call_key: the call's identity; by default made from the config: an idempotency key,
                the tool call, or the place in the graph; a fresh one outside a graph.
            policy: limits on this call, in place of the caller's.
            tool_call_id: the tool call that asks for the call.
            tool_name: the tool's own name, for a person's question.
            config: the LangChain run's config; by default the one of the running task.

        Raises:
            VoiceCallError: the call did not happen, or nobody can know whether it did.
            GraphInterrupt: a person has to be asked; LangGraph pauses the graph.
        """
        intent = self._intent(request, call_key, policy, tool_call_id, tool_name, config)
        with _journal_needed():
            return run_sync(self._call_from(SyncSide(), intent))

    async def acall(
        self,
        request: VoiceCallInput,
        *,
        call_key: CallKey | None = None,
        policy: CallPolicy | None = None,
        tool_call_id: str | None = None,
        tool_name: str = "voice_call",
        config: RunnableConfig | None = None,
    ) -> VoiceCallResult:
        """Like `call`, from any event loop."""
        intent = self._intent(request, call_key, policy, tool_call_id, tool_name, config)
        with _journal_needed():
            return await self._call_from(AsyncSide(), intent)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(wording.not_picklable(type(self).__name__))

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

    def pause(self, reason: str, *, by: str | None = None) -> None:
        """Stop all calls, of everybody who shares the journal, until `resume`.

        Nothing is signed from now on. Calls that were signed before are seen to their end. A model
        that asks for a call is told who stopped them, and why. If calls are stopped already, the
        first reason stays.

        Args:
            reason: why.
            by: who says so; the name of this process's user by default.
        """
        ENGINE.call(self._pause, reason, by)

    async def apause(self, reason: str, *, by: str | None = None) -> None:
        """Like `pause`, from any event loop."""
        await ENGINE.acall(self._pause, reason, by)

    def resume(self) -> bool:
        """Allow calls again.

        Returns:
            Whether they were stopped.
        """
        return ENGINE.call(self._resume)

    async def aresume(self) -> bool:
        """Like `resume`, from any event loop."""
        return await ENGINE.acall(self._resume)

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

    def _intent(
        self,
        request: VoiceCallInput,
        call_key: CallKey | None,
        policy: CallPolicy | None,
        tool_call_id: str | None,
        tool_name: str,
        config: RunnableConfig | None,
    ) -> _Intent:
        """Everything that is meant by one call. Counts equal requests, so make it once a call."""
        config = ensure_config(config)
        policy = policy or self.policy
        window = policy.duplicate_window.total_seconds() if policy.duplicate_window else 0.0
        key = call_key or CallKey.from_config(
            request, config, tool_call_id=tool_call_id, window=window
        )
        task = GraphTask.of(config)
        asker = Asker(
            thread=(task.thread or "") if task else "",
            namespace=task.namespace if task else "",
            can_pause=can_pause(task),
            in_graph=task is not None,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
        )
        return _Intent(request, key, policy, asker, task, config)

    async def _call_from(self, side: Side, intent: _Intent) -> VoiceCallResult:
        """Hear the graph's answers, make the call, and pause the graph if a person is asked."""
        pause: GraphPause | None = None
        if self._approval == "interrupt" and intent.asker.can_pause and intent.task is not None:
            _require_langgraph()
            journal = await side.run(self._open_journal)
            pause = GraphPause(intent.task, journal, side, intent.asker.tool_name)
            await pause.hear()
        outcome = await side.run(self._drive, intent)
        if isinstance(outcome, VoiceCallResult):
            return outcome
        if pause is None:  # the driver refuses to ask where nothing can be paused
            raise AssertionError
        return await pause.ask(outcome.asked, outcome.question)

    async def _drive(self, intent: _Intent) -> VoiceCallResult | Pending:
        """The call itself, on the engine's loop."""
        request, config = intent.request, intent.config
        minutes = request.max_duration_minutes or DEFAULT_DURATION_MINUTES
        wait = minutes * 60 + _SETTLING if self._max_wait is None else self._max_wait
        with _journal_needed():
            services = await self._services(intent.policy)
            key = intent.key.on_record(
                account=services.account,
                tenant=intent.policy.tenant,
                base_url=self.environment.service,
            )
            teller = ProgressTeller(key, request.numbers, self._on_progress, config)
            driver = CallDriver(
                services,
                key,
                teller,
                wait,
                intent.asker,
                answers_for=intent.key.answers_for,
                former_key=intent.key.key,
            )
            result = await driver.run(request)
        if self._outcome_schema is None or isinstance(result, Pending):
            return result
        result = await extract(result, self._outcome_schema, self._outcome_model, config=config)
        if result.asked_not_to_be_called is not None and result.call_key is not None:
            heard = result.asked_not_to_be_called
            await record_opt_out(services.journal, result.call_key, heard)
        return result

    async def _recover(self, max_wait: float) -> list[VoiceCallResult | VoiceCallError]:
        services = await self._services(self.policy)

        async def finish(left: CallRecord) -> VoiceCallResult | VoiceCallError | None:
            teller = ProgressTeller(left.call_key, left.numbers, self._on_progress, None)
            try:
                return await CallDriver(services, left.call_key, teller, max_wait).finish()
            except VoiceCallError as error:
                return error
            except JournalUnavailableError as trouble:
                log.error("call %s not looked at: %s", left.call_key[:8], trouble)  # noqa: TRY400
                return wording.fate_unknown(left.request_id)

        with _journal_needed():
            unfinished = await services.journal.unfinished(
                account=services.account, base_url=self.environment.service
            )
        ends = await asyncio.gather(*map(finish, unfinished))
        return [end for end in ends if end is not None]

    async def _pause(self, reason: str, by: str | None) -> None:
        with _journal_needed():
            await (await self._open_journal()).pause(reason, by=by or user_name())

    async def _resume(self) -> bool:
        with _journal_needed():
            return await (await self._open_journal()).resume()

    async def _suppress(self, spelled: Sequence[str], reason: str) -> None:
        numbers = read_listed(spelled, self.policy.default_region)
        with _journal_needed():
            await (await self._open_journal()).suppress(numbers, reason)

    async def _unsuppress(self, spelled: Sequence[str]) -> int:
        numbers = read_listed(spelled, self.policy.default_region)
        with _journal_needed():
            journal = await self._open_journal()
            return sum([await journal.unsuppress(number) for number in numbers])

    async def _services(self, policy: CallPolicy) -> CallServices:
        """What calls are made with, shared by all calls of this process."""
        where, package = self.environment, chosen_package()
        transport = await ENGINE.shared(("http", where, package), lambda: Transport(where, package))
        client = OneShotClient(where, self._credential, transport, timeouts=self._timeouts)
        account = await self._account(client)
        paid_by = self._credential.fingerprint
        whose = ("feed", where.base_url, package, account, paid_by, self._pace)
        return CallServices(
            client=client,
            feed=await ENGINE.shared(whose, lambda: ResultFeed(client, self._pace)),
            journal=await self._open_journal(),
            account=account,
            policy=policy,
            approval=self._approval,
            patience=self._patience,
        )

    async def _account(self, client: OneShotClient) -> str:
        """Who pays, in lower case. Of a token the service tells it, and is believed once."""
        told = (await client.address()).lower()
        if isinstance(self._credential, WalletKey):
            return told
        known: dict[str, str] = await ENGINE.shared("accounts of tokens", dict)
        token = f"{self._credential.fingerprint} {self.environment.service}"
        if token not in known:
            with _journal_needed():
                journal = await self._open_journal()
                known[token] = await journal.account_of_token(token, told)
        return known[token]

    async def _open_journal(self) -> CallJournal:
        where = self._journal
        if isinstance(where, CallJournal):
            return where
        port = self.environment.port if self.environment.is_loopback else None
        named = str(address(where, sandbox_port=port))
        # A key of the engine's is shown by what shows the engine, and a URL may hold a password.
        return await ENGINE.shared(("journal", SecretStr(named)), lambda: CallJournal(named))


def _listed(numbers: str | Sequence[str]) -> Sequence[str]:
    return (numbers,) if isinstance(numbers, str) else numbers


def _require_langgraph() -> None:
    if importlib.util.find_spec("langgraph") is None:
        raise wording.approval_needs_langgraph()


@contextmanager
def _journal_needed() -> Iterator[None]:
    """Say in the caller's words that the journal can't be used, if it can't."""
    try:
        yield
    except JournalUnavailableError as trouble:
        raise wording.journal_unavailable(trouble) from trouble


def user_name() -> str:
    """The name of the user whose process this is."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "somebody"
