"""VoiceCaller: places calls with one credential, one policy and one journal.

It holds what an application's calls have in common. The steps of a call are in `calls/` and run on
the engine's loop. Steps that use the caller's graph (recording answers, pausing with a question)
run in the caller's thread or on its loop.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Collection,
    Generator,
    Iterable,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn

from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import ValidationError

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.pause import GraphPause, can_pause
from langchain_oneshot_voice.approval.questions import Pending
from langchain_oneshot_voice.caller_services import CallerServices, translate_journal_errors
from langchain_oneshot_voice.caller_side import (
    AsyncSide,
    Side,
    SyncSide,
    iterate_sync,
    run_sync,
)
from langchain_oneshot_voice.calls.call_key import CallKey, list_name
from langchain_oneshot_voice.calls.driver import CallDriver
from langchain_oneshot_voice.calls.many import (
    CallEnded,
    CallPlacer,
    Flow,
    Many,
    R,
    StopWhen,
    yield_results,
)
from langchain_oneshot_voice.calls.services import AskContext, duplicate_seconds
from langchain_oneshot_voice.calls.withdrawal import Withdrawal
from langchain_oneshot_voice.do_not_call import read_listed, record_opt_out, suppress_opt_outs
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.extraction import extract
from langchain_oneshot_voice.graph_task import GraphTask
from langchain_oneshot_voice.journal import (
    CallRecord,
    JournalError,
    JournalUnavailableError,
)
from langchain_oneshot_voice.oneshot.wallet import Credential
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressReporter
from langchain_oneshot_voice.schemas import (
    DEFAULT_DURATION_MINUTES,
    VoiceCallInput,
    VoiceCallResult,
)

log = logging.getLogger(__name__)

_OUTCOME_DELAY = 120.0
"""Time for the outcome to arrive after the call's maximum duration, in seconds."""


@dataclass(frozen=True, slots=True)
class _Intent:
    """One requested call: the request, its key, who pays, and where a person is asked."""

    request: VoiceCallInput
    key: CallKey
    credential: Credential
    policy: CallPolicy
    ask_context: AskContext
    task: GraphTask | None
    config: RunnableConfig
    withdrawal: Withdrawal = field(default_factory=Withdrawal)


@dataclass(frozen=True, eq=False, repr=False)
class VoiceCaller(CallerServices):
    """Places calls, each exactly once. Frozen: use `dataclasses.replace` to change settings.

    Raises:
        ConfigurationError: a setting can't be used. Raised here, not at the first call.
        TypeError: an argument is unknown.

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
            request: the numbers, the objective and the other fields of the call.
            call_key: the call's identity. By default it is made from the config: from an
                idempotency key, the tool call, or the position in the graph. Outside a graph it
                is random.
            policy: limits on this call; replaces the caller's policy.
            tool_call_id: id of the tool call that requested the call.
            tool_name: the tool's name, for a question to a person.
            config: the LangChain run's config; by default the one of the running task.

        Raises:
            VoiceCallError: the call did not happen, or it can't be determined whether it did.
            GraphInterrupt: a person has to be asked; LangGraph pauses the graph.
        """
        intent = self._intent(request, call_key, policy, tool_call_id, tool_name, config)
        return run_sync(self._call(SyncSide(), intent))

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
        return await self._call(AsyncSide(), intent)

    def call_many(
        self,
        requests: Iterable[R],
        *,
        concurrency: int = 10,
        stop_when: StopWhen[R] | None = None,
        key: str | None = None,
        policy: CallPolicy | None = None,
        config: RunnableConfig | None = None,
    ) -> Generator[CallEnded[R], None, None]:
        """Place many calls, a few at a time. Yield each one when it ends, with its result or error.

        Calls are placed only while the caller reads. After a `break` or an exception, calls that
        are not paid are withdrawn, and `recover` gets the outcomes of the paid ones.

        Args:
            requests: a list, or a generator of any length, of which one more is read when a
                slot is free. Equal requests are one call. If it raises an exception, no more
                requests are read, and the exception is raised at the end.
            concurrency: maximum number of calls at once.
            stop_when: receives each call when it ends, one at a time. A sync function runs in a
                thread. When it returns true, nothing more is signed. Signed calls continue to
                their end. All other calls that were read (also those that wait for a person), and
                the rest of a list, are yielded with the error code `withdrawn`. If it raises an
                exception, the same happens, and the exception is raised at the end.
            key: the name of the list. A second run with the same key returns the outcomes of the
                calls that were made, and makes the others. By default it comes from the config:
                an idempotency key, or the position in the graph. Outside a graph it is random.
            policy: limits on these calls; replaces the caller's policy.
            config: the LangChain run's config; by default the one of the running task.

        Raises:
            ConfigurationError: an argument can't be used.
            GraphInterrupt: persons have to be asked. LangGraph pauses the graph with all
                questions at once.

        Example:
            ```python
            for ended in caller.call_many(plumbers, stop_when=lambda ended: ended.succeeded):
                print(ended.request.target_number, ended.result or ended.error)
            ```
        """
        steps = self._many(SyncSide(), requests, concurrency, stop_when, key, policy, config)
        return iterate_sync(steps)

    def acall_many(
        self,
        requests: Iterable[R] | AsyncIterable[R],
        *,
        concurrency: int = 10,
        stop_when: StopWhen[R] | None = None,
        key: str | None = None,
        policy: CallPolicy | None = None,
        config: RunnableConfig | None = None,
    ) -> AsyncGenerator[CallEnded[R], None]:
        """Like `call_many`, from any event loop. The generator of requests may also be async."""
        return self._many(AsyncSide(), requests, concurrency, stop_when, key, policy, config)

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
        """Finish calls that were paid, or may have been, and whose process died.

        Args:
            max_wait: time limit for each outcome, in seconds.
            every_tenant: true to finish the calls of all tenants, not only the policy's tenant.
            config: passed to the credential and the policy if they are functions.

        Returns:
            The result, or the error, of each of this wallet's unfinished calls. Calls that a live
            worker owns are not included. Calls that were not charged are closed and not included.
        """
        return ENGINE.call(self._recover, *self.for_run(config), max_wait, every_tenant)

    async def arecover(
        self,
        max_wait: float = 60.0,
        *,
        every_tenant: bool = False,
        config: RunnableConfig | None = None,
    ) -> list[VoiceCallResult | VoiceCallError]:
        """Like `recover`, from any event loop."""
        return await ENGINE.acall(self._recover, *self.for_run(config), max_wait, every_tenant)

    def pause(self, reason: str, *, by: str | None = None) -> None:
        """Stop all calls of all processes that share the journal, until `resume`.

        Nothing is signed from now on. Signed calls continue to their end. A model that requests a
        call receives the reason and the name of the person who stopped calls. If calls are
        already stopped, the first reason stays.

        Args:
            reason: why calls are stopped.
            by: who stopped them; by default the name of this process's user.
        """
        ENGINE.call(self._pause, reason, by)

    async def apause(self, reason: str, *, by: str | None = None) -> None:
        """Like `pause`, from any event loop."""
        await ENGINE.acall(self._pause, reason, by)

    def resume(self) -> bool:
        """Allow calls again.

        Returns:
            True if calls were stopped.
        """
        return ENGINE.call(self._resume)

    async def aresume(self) -> bool:
        """Like `resume`, from any event loop."""
        return await ENGINE.acall(self._resume)

    def suppress(self, numbers: str | Sequence[str], *, reason: str = "on request") -> None:
        """Refuse calls to these numbers from now on, in all processes that share the journal.

        A person who opts out during a call is added to the list automatically.

        Args:
            numbers: one or more numbers in any usual format. National numbers are read in the
                policy's `default_region`.
            reason: the reason to store in the list.

        Raises:
            InvalidCallError: a number can't be parsed. Then no number is added.
        """
        ENGINE.call(self._suppress, _as_sequence(numbers), reason)

    async def asuppress(self, numbers: str | Sequence[str], *, reason: str = "on request") -> None:
        """Like `suppress`, from any event loop."""
        await ENGINE.acall(self._suppress, _as_sequence(numbers), reason)

    def unsuppress(self, numbers: str | Sequence[str]) -> int:
        """Allow calls to these numbers again.

        Returns:
            The number of them that were on the list.

        Raises:
            InvalidCallError: a number can't be parsed. Then no number is removed.
        """
        return ENGINE.call(self._unsuppress, _as_sequence(numbers))

    async def aunsuppress(self, numbers: str | Sequence[str]) -> int:
        """Like `unsuppress`, from any event loop."""
        return await ENGINE.acall(self._unsuppress, _as_sequence(numbers))

    def _intent(
        self,
        request: VoiceCallInput,
        call_key: CallKey | None,
        policy: CallPolicy | None,
        tool_call_id: str | None,
        tool_name: str,
        config: RunnableConfig | None,
    ) -> _Intent:
        """Collect what defines one call. This counts equal requests: call it once per call."""
        config = ensure_config(config)
        credential, default_policy = self.for_run(config)
        policy = policy or default_policy
        key = call_key or CallKey.from_config(
            request, config, tool_call_id=tool_call_id, window=duplicate_seconds(policy)
        )
        task = GraphTask.of(config)
        ask_context = AskContext(
            thread=(task.thread or "") if task else "",
            namespace=task.namespace if task else "",
            can_pause=can_pause(task),
            in_graph=task is not None,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
        )
        return _Intent(request, key, credential, policy, ask_context, task, config)

    def _many(
        self,
        side: Side,
        requests: Iterable[R] | AsyncIterable[R],
        concurrency: int,
        stop_when: StopWhen[R] | None,
        key: str | None,
        policy: CallPolicy | None,
        config: RunnableConfig | None,
    ) -> AsyncGenerator[CallEnded[R], None]:
        if concurrency < 1:
            raise wording.setting_unusable("concurrency", "a whole number above zero")
        if stop_when is not None and not callable(stop_when):
            raise wording.setting_unusable("stop_when", "a function")
        config, many = ensure_config(config), Many(stop_when)
        name = list_name(key, config)

        def prepare(request: R) -> tuple[str, Flow]:
            try:
                call = VoiceCallInput.model_validate(request)
            except ValidationError as error:
                raise wording.request_unreadable(error) from None
            call_key = CallKey.in_list(call, name)
            intent = self._intent(call, call_key, policy, None, "voice_call", config)
            return call_key.key, partial(self._drive, replace(intent, withdrawal=many.withdrawal))

        async def record_answers() -> GraphPause | None:
            return await self._read_graph_answers(side, GraphTask.of(config), "voice_call")

        one_by_one = iter(requests) if isinstance(requests, Iterable) else aiter(requests)
        calls = CallPlacer(side, many, one_by_one, prepare, concurrency)
        return yield_results(calls, record_answers, yield_rest=isinstance(requests, Collection))

    @translate_journal_errors
    async def _call(self, side: Side, intent: _Intent) -> VoiceCallResult:
        """Record the graph's answers, make the call, and pause the graph if a person is asked."""
        pause = await self._read_graph_answers(side, intent.task, intent.ask_context.tool_name)
        outcome = await side.run(self._drive, intent)
        if isinstance(outcome, VoiceCallResult):
            return outcome
        if pause is None:  # the driver refuses to ask if the graph can't pause
            raise AssertionError
        return await pause.ask(outcome)

    @translate_journal_errors
    async def _read_graph_answers(
        self, side: Side, task: GraphTask | None, tool_name: str
    ) -> GraphPause | None:
        """Record the answers in the caller's graph, if persons are asked through it."""
        if self.approval != "interrupt" or task is None or not can_pause(task):
            return None
        pause = GraphPause(task, await side.run(self._open_journal), side, tool_name)
        await pause.record_answers()
        return pause

    @translate_journal_errors
    async def _drive(self, intent: _Intent) -> VoiceCallResult | Pending:
        """Make the call on the engine's loop, then extract structured data from its outcome."""
        request, config = intent.request, intent.config
        minutes = request.max_duration_minutes or DEFAULT_DURATION_MINUTES
        wait = minutes * 60 + _OUTCOME_DELAY if self.max_wait is None else self.max_wait
        services = await self._services(intent.credential, intent.policy)
        services = replace(services, withdrawal=intent.withdrawal)
        key = intent.key.on_record(
            account=services.account,
            tenant=intent.policy.tenant,
            base_url=self.environment.service,
        )
        reporter = self._reporter(key, request.numbers, config)
        driver = CallDriver(
            services,
            key,
            reporter,
            wait,
            intent.ask_context,
            answers_for=intent.key.answers_for,
            former_key=intent.key.key,
        )
        try:
            result = await driver.run(request)
        finally:
            await reporter.wait_for_listeners()
        if self.outcome_schema is None or isinstance(result, Pending):
            return result
        record: CallRecord | None = None
        with suppress(JournalError):  # the record is needed for the opt-out list only
            record = await services.journal.read(result.call_key or "")
        result = await extract(result, self.outcome_schema, self.outcome_model, config=config)
        if result.asked_not_to_be_called is not None and result.call_key is not None:
            opt_out = result.asked_not_to_be_called
            numbers = record.numbers if record is not None else ()
            await record_opt_out(services.journal, result.call_key, opt_out, numbers)
        return result

    @translate_journal_errors
    async def _recover(
        self, credential: Credential, policy: CallPolicy, max_wait: float, every_tenant: bool
    ) -> list[VoiceCallResult | VoiceCallError]:
        services = await self._services(credential, policy)
        await suppress_opt_outs(services.journal)
        unfinished = await services.journal.unfinished(
            account=services.account,
            base_url=self.environment.service,
            tenant=None if every_tenant else policy.tenant,
        )

        async def finish(call: CallRecord) -> VoiceCallResult | VoiceCallError | None:
            reporter = self._reporter(call.call_key, call.numbers, None)
            try:
                return await CallDriver(services, call.call_key, reporter, max_wait).finish()
            except VoiceCallError as error:
                return error
            except JournalUnavailableError as error:
                log.error("call %s not looked at: %s", call.call_key[:8], error)  # noqa: TRY400
                return wording.fate_unknown(call.request_id)
            finally:
                await reporter.wait_for_listeners()

        outcomes = await asyncio.gather(*map(finish, unfinished))
        return [outcome for outcome in outcomes if outcome is not None]

    @translate_journal_errors
    async def _pause(self, reason: str, by: str | None) -> None:
        await (await self._open_journal()).pause(reason, by=by or user_name())

    @translate_journal_errors
    async def _resume(self) -> bool:
        return await (await self._open_journal()).resume()

    @translate_journal_errors
    async def _suppress(self, written: Sequence[str], reason: str) -> None:
        numbers = read_listed(written, self.region)
        await (await self._open_journal()).suppress(numbers, reason)

    @translate_journal_errors
    async def _unsuppress(self, written: Sequence[str]) -> int:
        numbers = read_listed(written, self.region)
        journal = await self._open_journal()
        return sum([await journal.unsuppress(number) for number in numbers])

    def _reporter(
        self, key: str, numbers: tuple[str, ...], config: RunnableConfig | None
    ) -> ProgressReporter:
        return ProgressReporter(key, numbers, self.on_progress, config)


def _as_sequence(numbers: str | Sequence[str]) -> Sequence[str]:
    return (numbers,) if isinstance(numbers, str) else numbers


def user_name() -> str:
    """Return the name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user in a container may have no name
        return "somebody"
