"""VoiceCaller: places calls for one credential, under one policy, recorded in one journal.

What is common to an application's calls. The life of each call is in `calls/`; here it gets what
it needs, on the engine's loop. What belongs to the caller's graph (hearing answers, pausing with a
question) is done where the caller is.
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
    Iterator,
    Sequence,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn

from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import ValidationError

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.pause import GraphPause, can_pause
from langchain_oneshot_voice.caller_services import CallerServices
from langchain_oneshot_voice.caller_side import (
    AsyncSide,
    Side,
    SyncSide,
    iterate_sync,
    run_sync,
)
from langchain_oneshot_voice.calls.call_key import CallKey, list_name
from langchain_oneshot_voice.calls.driver import CallDriver, Pending
from langchain_oneshot_voice.calls.many import CallEnded, Flow, Many, Placing, R, StopWhen, hand_out
from langchain_oneshot_voice.calls.services import Asker
from langchain_oneshot_voice.calls.withdrawal import Withdrawal
from langchain_oneshot_voice.do_not_call import list_opt_outs, read_listed
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
from langchain_oneshot_voice.progress import ProgressTeller
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
    credential: Credential
    policy: CallPolicy
    asker: Asker
    task: GraphTask | None
    config: RunnableConfig
    withdrawal: Withdrawal = field(default_factory=Withdrawal)


@dataclass(frozen=True, eq=False, repr=False)
class VoiceCaller(CallerServices):
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
        """Place many calls, a few at a time, and yield each as it ends, with its result or error.

        Nothing is placed for somebody who does not read on: after a `break`, or an exception, what
        is not paid is withdrawn, and `recover` reads the outcomes of what is.

        Args:
            requests: whom to call, and what for: a list, or a generator of thousands, which is
                read as places become free. Equal requests are one call.
            concurrency: how many calls there are at once.
            stop_when: told of each call when it has ended, one at a time; a function runs in a
                thread. Once it says true, nothing more is signed: calls whose payment is signed are
                seen through; all others that were read (one that waits for a person, too), and the
                rest of a list, are yielded with the error code `withdrawn`. An exception of it does
                the same and is raised at the end, as one of `requests` is, which ends only them.
            key: names the list. Whoever runs it again with the same key gets the outcomes of the
                calls that were made, and makes the others; by default made from the config: an
                idempotency key, or the place in the graph; a fresh one outside a graph.
            policy: limits on these calls, in place of the caller's.
            config: the LangChain run's config; by default the one of the running task.

        Raises:
            ConfigurationError: an argument can't be used.
            GraphInterrupt: persons have to be asked about calls; LangGraph pauses the graph, with
                all the questions at once.

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
        """Like `call_many`, from any event loop; the generator of requests may be async, too."""
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
        credential, usual = self.for_run(config)
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
            return call_key.key, partial(
                self._drive_one, replace(intent, withdrawal=many.withdrawal)
            )

        async def listen() -> GraphPause | None:
            with _journal_needed():
                return await self._listen(side, GraphTask.of(config), "voice_call")

        one_by_one = iter(requests) if isinstance(requests, Iterable) else aiter(requests)
        calls = Placing(side, many, one_by_one, prepare, concurrency)
        return hand_out(calls, listen, tell_rest=isinstance(requests, Collection))

    async def _drive_one(self, intent: _Intent) -> VoiceCallResult | Pending:
        with _journal_needed():
            return await self._drive(intent)

    async def _call_from(self, side: Side, intent: _Intent) -> VoiceCallResult:
        """Hear the graph's answers, make the call, and pause the graph if a person is asked."""
        pause = await self._listen(side, intent.task, intent.asker.tool_name)
        outcome = await side.run(self._drive, intent)
        if isinstance(outcome, VoiceCallResult):
            return outcome
        if pause is None:  # the driver refuses to ask where nothing can be paused
            raise AssertionError
        return await pause.ask((outcome.asked, outcome.question))

    async def _listen(
        self, side: Side, task: GraphTask | None, tool_name: str
    ) -> GraphPause | None:
        """Hear the answers of the caller's graph, if persons are asked through it."""
        if self.approval != "interrupt" or task is None or not can_pause(task):
            return None
        pause = GraphPause(task, await side.run(self._open_journal), side, tool_name)
        await pause.hear()
        return pause

    async def _drive(self, intent: _Intent) -> VoiceCallResult | Pending:
        """The call itself, on the engine's loop."""
        request, config = intent.request, intent.config
        minutes = request.max_duration_minutes or DEFAULT_DURATION_MINUTES
        wait = minutes * 60 + _SETTLING if self.max_wait is None else self.max_wait
        services = await self._services(intent.credential, intent.policy)
        services = replace(services, withdrawal=intent.withdrawal)
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
