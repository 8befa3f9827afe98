"""VoiceCaller: places calls for one credential, under one policy, recorded in one journal.

What is common to an application's calls. The life of each call is in `calls/`; here it gets what
it needs, on the engine's loop. What belongs to the caller's graph (hearing answers, pausing with a
question) is done where the caller is.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import SecretStr

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.pause import GraphPause, can_pause
from langchain_oneshot_voice.caller_side import AsyncSide, Side, SyncSide, run_sync
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.calls.driver import CallDriver, Pending
from langchain_oneshot_voice.calls.services import Asker, CallServices
from langchain_oneshot_voice.do_not_call import list_opt_outs, read_listed
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.extraction import extract
from langchain_oneshot_voice.graph_task import GraphTask
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    JournalError,
    JournalUnavailableError,
    default_path,
)
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.feed import ResultFeed
from langchain_oneshot_voice.oneshot.transport import Transport, chosen_package
from langchain_oneshot_voice.oneshot.wallet import Credential, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import (
    DEFAULT_DURATION_MINUTES,
    VoiceCallInput,
    VoiceCallResult,
)
from langchain_oneshot_voice.settings import CallerSettings

log = logging.getLogger(__name__)

_SETTLING = 120.0
"""Seconds that an outcome may take to be told after the call's longest duration."""


@dataclass(frozen=True, slots=True)
class _Intent:
    """One intended call: what is asked for, which call it is, and where it is asked from."""

    request: VoiceCallInput
    key: CallKey
    credential: Credential
    policy: CallPolicy
    asker: Asker
    task: GraphTask | None
    config: RunnableConfig


@dataclass(frozen=True, eq=False, repr=False)
class VoiceCaller(CallerSettings):
    """Places calls, each exactly once. Frozen: `dataclasses.replace` makes one with other settings.

    Raises:
        ConfigurationError: when a setting can't be used; here, and not when a model calls.
        TypeError: when an argument is not known.

    Example:
        ```python
        caller = VoiceCaller(WalletKey(key), policy=CallPolicy(max_cost_per_day=20))
        result = caller.call(VoiceCallInput(objective="Ask when ...", target_number="+1415..."))
        ```
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.environment.base_url!r})"

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

    def recover(
        self,
        max_wait: float = 60.0,
        *,
        every_tenant: bool = False,
        config: RunnableConfig | None = None,
    ) -> list[VoiceCallResult | VoiceCallError]:
        """Finish what dead processes left: calls that were paid for, or may have been.

        Args:
            max_wait: seconds to wait for each outcome.
            every_tenant: whether to finish the calls of all tenants, not only of the policy's.
            config: what a credential or a policy that is a function is asked with.

        Returns:
            For each of this wallet's unfinished calls its result, or the error that it ends in.
            Calls that a live worker holds are left to it; those of which it turns out that
            nothing was charged are closed and not listed.
        """
        return ENGINE.call(self._recover, *self.whose(config), max_wait, every_tenant)

    async def arecover(
        self,
        max_wait: float = 60.0,
        *,
        every_tenant: bool = False,
        config: RunnableConfig | None = None,
    ) -> list[VoiceCallResult | VoiceCallError]:
        """Like `recover`, from any event loop."""
        return await ENGINE.acall(self._recover, *self.whose(config), max_wait, every_tenant)

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
        credential, usual = self.whose(config)
        policy = policy or usual
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
        return _Intent(request, key, credential, policy, asker, task, config)

    async def _call_from(self, side: Side, intent: _Intent) -> VoiceCallResult:
        """Hear the graph's answers, make the call, and pause the graph if a person is asked."""
        pause: GraphPause | None = None
        if self.approval == "interrupt" and intent.asker.can_pause and intent.task is not None:
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
        wait = minutes * 60 + _SETTLING if self.max_wait is None else self.max_wait
        services = await self._services(intent.credential, intent.policy)
        key = intent.key.on_record(
            account=services.account,
            tenant=intent.policy.tenant,
            base_url=self.environment.service,
        )
        teller = self._teller(key, request.numbers, config)
        driver = CallDriver(
            services,
            key,
            teller,
            wait,
            intent.asker,
            answers_for=intent.key.answers_for,
            former_key=intent.key.key,
        )
        try:
            result = await driver.run(request)
        finally:
            await teller.catch_up()
        if self.outcome_schema is None or isinstance(result, Pending):
            return result
        called: CallRecord | None = None
        with suppress(JournalError):  # it is for the list alone, and the call has an outcome
            called = await services.journal.read(result.call_key or "")
        result = await extract(result, self.outcome_schema, self.outcome_model, config=config)
        if result.asked_not_to_be_called is not None and result.call_key is not None:
            heard = result.asked_not_to_be_called
            numbers = called.numbers if called is not None else ()
            await list_opt_outs(services.journal, result.call_key, heard, numbers)
        return result

    async def _recover(
        self, credential: Credential, policy: CallPolicy, max_wait: float, every_tenant: bool
    ) -> list[VoiceCallResult | VoiceCallError]:
        with _journal_needed():
            services = await self._services(credential, policy)
            await list_opt_outs(services.journal)
            unfinished = await services.journal.unfinished(
                account=services.account,
                base_url=self.environment.service,
                tenant=None if every_tenant else policy.tenant,
            )

        async def finish(left: CallRecord) -> VoiceCallResult | VoiceCallError | None:
            teller = self._teller(left.call_key, left.numbers, None)
            try:
                return await CallDriver(services, left.call_key, teller, max_wait).finish()
            except VoiceCallError as error:
                return error
            except JournalUnavailableError as trouble:
                log.error("call %s not looked at: %s", left.call_key[:8], trouble)  # noqa: TRY400
                return wording.fate_unknown(left.request_id)
            finally:
                await teller.catch_up()

        ends = await asyncio.gather(*map(finish, unfinished))
        return [end for end in ends if end is not None]

    async def _pause(self, reason: str, by: str | None) -> None:
        with _journal_needed():
            await (await self._open_journal()).pause(reason, by=by or user_name())

    async def _resume(self) -> bool:
        with _journal_needed():
            return await (await self._open_journal()).resume()

    async def _suppress(self, spelled: Sequence[str], reason: str) -> None:
        numbers = read_listed(spelled, self.region)
        with _journal_needed():
            await (await self._open_journal()).suppress(numbers, reason)

    async def _unsuppress(self, spelled: Sequence[str]) -> int:
        numbers = read_listed(spelled, self.region)
        with _journal_needed():
            journal = await self._open_journal()
            return sum([await journal.unsuppress(number) for number in numbers])

    def _teller(
        self, key: str, numbers: tuple[str, ...], config: RunnableConfig | None
    ) -> ProgressTeller:
        return ProgressTeller(key, numbers, self.on_progress, config)

    async def _services(self, credential: Credential, policy: CallPolicy) -> CallServices:
        """What calls are made with, shared by all calls of this process."""
        where, package = self.environment, chosen_package()
        transport = await ENGINE.shared(("http", where, package), lambda: Transport(where, package))
        client = OneShotClient(where, credential, transport, timing=self.timing)
        account = await self._account(client)
        paid_by = credential.fingerprint
        whose = ("feed", where.base_url, package, account, paid_by, self.timing)
        journal = await self._open_journal()
        if self.retention is not None:
            journal.retain(self.retention.total_seconds(), account=account, tenant=policy.tenant)
        return CallServices(
            client=client,
            feed=await ENGINE.shared(whose, lambda: ResultFeed(client, self.timing)),
            journal=journal,
            account=account,
            policy=policy,
            approval=self.approval,
            timing=self.timing,
        )

    async def _account(self, client: OneShotClient) -> str:
        """Who pays, in lower case. Of a token the service tells it, and is believed once."""
        told = (await client.address()).lower()
        if isinstance(client.credential, WalletKey):
            return told
        known: dict[str, str] = await ENGINE.shared("accounts of tokens", dict)
        token = f"{client.credential.fingerprint} {self.environment.service}"
        if token not in known:
            journal = await self._open_journal()
            known[token] = await journal.account_of_token(token, told)
        return known[token]

    async def _open_journal(self) -> CallJournal:
        where, timing = self.journal, self.timing
        if isinstance(where, CallJournal):
            return where
        named = str(where or default_path(self.environment.sandbox_port))
        beat, lease = timing.heartbeat, timing.lease
        # A key of the engine's is shown by what shows the engine, and a URL may hold a password.
        return await ENGINE.shared(
            ("journal", SecretStr(named), beat, lease),
            lambda: CallJournal(named, heartbeat=beat, lease=lease),
        )


def _listed(numbers: str | Sequence[str]) -> Sequence[str]:
    return (numbers,) if isinstance(numbers, str) else numbers


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
