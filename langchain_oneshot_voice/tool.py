"""VoiceCallTool: a LangChain tool around `VoiceCaller`.

The arguments are a JSON schema. An answer is text for the model, with a `VoiceCallResult` as the
artifact. A refusal is an error that the model can act on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypedDict, Unpack

from langchain_core.callbacks import (
    AsyncCallbackManagerForToolRun,
    CallbackManagerForToolRun,
    Callbacks,
)
from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, patch_config
from langchain_core.runnables.utils import AnyConfigurableField
from langchain_core.tools import ArgsSchema, BaseTool
from pydantic import (
    ConfigDict,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_serializer,
)

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.arguments import require_known
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import OnProgress
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult
from langchain_oneshot_voice.timing import DEFAULT_TIMING, Timing
from langchain_oneshot_voice.visible_text import bounded

if TYPE_CHECKING:
    # It takes a third of the time of this package's own import.
    from langchain_core.language_models import BaseChatModel

    from langchain_oneshot_voice.caller import VoiceCaller  # noqa: TC004 - a private annotation
    from langchain_oneshot_voice.extraction import OutcomeSchema
    from langchain_oneshot_voice.journal import CallJournal
    from langchain_oneshot_voice.oneshot.wallet import Credential


class _LangChainSettings(TypedDict, total=False):
    """Fields that every LangChain tool has."""

    name: str
    description: str
    args_schema: ArgsSchema
    return_direct: bool
    verbose: bool
    callbacks: Callbacks
    tags: list[str] | None
    metadata: dict[str, Any] | None
    handle_tool_error: Any
    handle_validation_error: Any
    response_format: Literal["content", "content_and_artifact"]
    extras: dict[str, Any] | None


class VoiceCallTool(BaseTool):
    """Lets a model place a phone call, pay for it, and read the outcome.

    Setup:
        Install `langchain-oneshot-voice` and pass one credential: a wallet's private key, which
        pays in USDC, or an access token, which spends prepaid credits. To try it without a
        credential, run the sandbox (`oneshot-voice sandbox`) and set `base_url` to its address.

        ```bash
        export ONESHOT_WALLET_PRIVATE_KEY="0x..."
        ```

    Instantiate:
        ```python
        from langchain_oneshot_voice import CallPolicy, VoiceCallTool

        tool = VoiceCallTool(policy=CallPolicy(max_cost_per_day=20))
        ```

    Invoke:
        ```python
        tool.invoke(
            {
                "objective": "Book a table for 2 tonight at 7pm under the name Rivera.",
                "target_number": "+14155550100",
            }
        )
        ```

    Invoke with a tool call to get a `ToolMessage` with a `VoiceCallResult` as artifact:
        ```python
        message = tool.invoke(
            {"name": "voice_call", "args": {...}, "id": "call-1", "type": "tool_call"}
        )
        message.artifact.call_successful
        ```

    In an agent:
        ```python
        from langchain.agents import create_agent

        agent = create_agent(model, [VoiceCallTool()])
        ```

    Args:
        private_key: the paying wallet's key, 64 hexadecimal digits. Default:
            `ONESHOT_WALLET_PRIVATE_KEY`.
        access_token: a token that spends prepaid credits. Default: `ONESHOT_ACCESS_TOKEN`.
        credential: a `WalletKey` or an `AccessToken` in place of these two; or a function of the
            run's config that returns one, for a server where each user pays.
        base_url: URL of the service, https or a loopback address. Default: `ONESHOT_BASE_URL`, else
            production.
        policy: limits that no argument of a tool call can loosen; or a function of the run's config
            that returns them, for a server with limits for each user or tenant.
        approval: who approves the price before a call is paid: `"never"`; `"interrupt"` for a
            person behind a LangGraph graph; or a function of the request and the quote that returns
            a decision.
        journal: where calls are recorded: a SQLAlchemy URL, a path, `"memory"` or a `CallJournal`.
            Default: `ONESHOT_VOICE_JOURNAL`, else a SQLite file in the user's data directory.
        on_progress: a sync or async function that receives each step as a `CallProgress`.
        max_wait: seconds to wait for the outcome before an in-progress result is returned. Default:
            the call's maximum duration plus two minutes.
        outcome_schema: a pydantic model or a JSON schema to fill from each call.
        outcome_model: the chat model that fills the schema; without one, the service's notes fill
            it.
        timing: timeouts, intervals and leases. Default: `Timing()`.
        retention: how long a call's words and numbers are kept after it ends. Default: until they
            are removed with `forget`.
        langchain: fields that every LangChain tool has, such as `name` and `callbacks`.

    Raises:
        ConfigurationError: if there is no credential, or if a setting can't be used.
        TypeError: if an argument is not known.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    name: str = "voice_call"
    description: str = wording.TOOL_DESCRIPTION
    args_schema: ArgsSchema = VoiceCallInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    handle_validation_error: Any = wording.describe_problems

    _caller: VoiceCaller = PrivateAttr()

    if TYPE_CHECKING:  # `__getattr__` and `__setattr__` read and change them on the caller
        private_key: SecretStr | None
        access_token: SecretStr | None
        credential: Credential | Callable[[RunnableConfig], Credential]
        base_url: str | None
        policy: CallPolicy | Callable[[RunnableConfig], CallPolicy]
        approval: Approval
        journal: str | Path | CallJournal | None
        on_progress: OnProgress | None
        max_wait: float | None
        outcome_schema: OutcomeSchema | None
        outcome_model: BaseChatModel | None
        timing: Timing
        retention: timedelta | None

    def __init__(  # noqa: PLR0913 - one argument for each setting
        self,
        *,
        private_key: str | SecretStr | None = None,
        access_token: str | SecretStr | None = None,
        credential: Credential | Callable[[RunnableConfig], Credential] | None = None,
        base_url: str | None = None,
        policy: CallPolicy | Callable[[RunnableConfig], CallPolicy] | None = None,
        approval: Approval = "never",
        journal: str | Path | CallJournal | None = None,
        on_progress: OnProgress | None = None,
        max_wait: float | None = None,
        outcome_schema: OutcomeSchema | None = None,
        outcome_model: BaseChatModel | None = None,
        timing: Timing | None = None,
        retention: timedelta | None = None,
        **langchain: Unpack[_LangChainSettings],
    ) -> None:
        from langchain_oneshot_voice.caller import VoiceCaller  # noqa: PLC0415 - pulls in httpx
        from langchain_oneshot_voice.oneshot import wallet  # noqa: PLC0415 - not for a schema alone

        known = [*type(self).model_fields, *_SETTINGS, *_SECRETS]
        require_known(type(self).__name__, langchain, known)
        if credential is None:
            credential = wallet.credential(private_key, access_token)
        elif private_key or access_token:
            raise wording.two_credentials()
        caller = VoiceCaller(
            credential,
            base_url=base_url,
            policy=CallPolicy() if policy is None else policy,
            approval=approval,
            journal=journal,
            on_progress=on_progress,
            max_wait=max_wait,
            outcome_schema=outcome_schema,
            outcome_model=outcome_model,
            timing=DEFAULT_TIMING if timing is None else timing,
            retention=retention,
        )
        super().__init__(**langchain)
        self._caller = caller

    @property
    def caller(self) -> VoiceCaller:
        """The `VoiceCaller` that places the calls and holds their settings.

        Use it to recover or list calls. Assigning a setting of the tool replaces the caller for all
        later calls.
        """
        return self._caller

    def __repr_args__(self) -> Iterable[tuple[str, Any]]:
        """Yield the name, the address and the approval mode, and no secret."""
        approval = self.approval if isinstance(self.approval, str) else "a function"
        yield from (("name", self.name), ("base_url", self.caller.environment.base_url))
        yield "approval", approval

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Change a setting for all later calls; an invalid value raises and changes nothing."""
        if name in _SECRETS:
            from langchain_oneshot_voice.oneshot.wallet import credential  # noqa: PLC0415 - as above

            self.credential = credential(**{name: value})
        elif name in _SETTINGS:
            self._caller = dataclasses.replace(self._caller, **{name: value})
        else:
            if not name.startswith("_"):
                known = [*type(self).model_fields, *_SETTINGS, *_SECRETS]
                require_known(type(self).__name__, [name], known)
            super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the tool and change some settings of the copy; the constructor's checks apply."""
        copied = super().model_copy(deep=deep)
        for name, value in (update or {}).items():
            setattr(copied, name, value)
        return copied

    def configurable_fields(self, **_fields: AnyConfigurableField) -> NoReturn:
        """Raise `TypeError`: LangChain would build a tool without this tool's settings."""
        raise TypeError(wording.not_configurable(type(self).__name__))

    def run(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as LangChain's
        """Run the tool. Raise `TypeError` for a setting, which a run would ignore."""
        _reject_settings(kwargs)
        return super().run(*args, **kwargs)

    async def arun(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as LangChain's
        """Like `run`, for async callers."""
        _reject_settings(kwargs)
        return await super().arun(*args, **kwargs)

    def batch(
        self,
        inputs: list[str | dict[str, Any] | ToolCall],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        **kwargs: Any,  # noqa: ANN401 - as LangChain's
    ) -> list[Any]:
        """Place all calls at once, each in a thread, unless `max_concurrency` limits them.

        LangChain's own default limit fits threads that compute; these threads only wait.
        """
        return super().batch(inputs, _all_at_once(config, len(inputs)), **kwargs)

    def batch_as_completed(
        self,
        inputs: Sequence[str | dict[str, Any] | ToolCall],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        **kwargs: Any,  # noqa: ANN401 - as LangChain's
    ) -> Iterator[tuple[int, Any]]:
        """Like `batch`, but yield each answer with its index as soon as it is ready."""
        return super().batch_as_completed(inputs, _all_at_once(config, len(inputs)), **kwargs)

    def __reduce__(self) -> NoReturn:
        """Raise `TypeError`: a tool holds a secret and open connections."""
        raise TypeError(wording.not_picklable(type(self).__name__))

    @field_serializer("*", mode="wrap", when_used="json")
    def _as_json(self, value: Any, default: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401 - of any field
        """Serialize functions and classes by name; JSON has no type for them."""
        return value.__qualname__ if callable(value) else default(value)

    if not TYPE_CHECKING:
        # Pydantic's deprecated `copy` would bypass `__setattr__` and keep the old caller.
        copy = model_copy

        # Hidden from type checkers: with `__getattr__` they accept any attribute name.
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of any setting
            """Return a setting of the caller."""
            if name in _SECRETS:
                credential = self._caller.credential
                return credential.secret if _SECRETS[name] == type(credential).__name__ else None
            if name in _SETTINGS:
                return getattr(self._caller, name)
            return super().__getattr__(name)

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Pass the tool call's id to `_run`: it is part of the call key.

        `InjectedToolCallId` is not used because it raises on a plain `invoke`.
        """
        args, kwargs = super()._to_args_and_kwargs(tool_input, tool_call_id)
        return args, kwargs | {"tool_call_id": tool_call_id}

    def _run(
        self,
        *,
        config: RunnableConfig,
        run_manager: CallbackManagerForToolRun | None = None,
        tool_call_id: str | None = None,
        **arguments: Any,  # noqa: ANN401 - the fields of VoiceCallInput, validated
    ) -> tuple[str, VoiceCallResult]:
        callbacks = run_manager.get_child() if run_manager else None
        result = self._caller.call(
            VoiceCallInput(**arguments),
            tool_call_id=tool_call_id,
            tool_name=self.name,
            config=patch_config(config, callbacks=callbacks),
        )
        return _content_and_artifact(result)

    async def _arun(
        self,
        *,
        config: RunnableConfig,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
        tool_call_id: str | None = None,
        **arguments: Any,  # noqa: ANN401 - the fields of VoiceCallInput, validated
    ) -> tuple[str, VoiceCallResult]:
        callbacks = run_manager.get_child() if run_manager else None
        result = await self._caller.acall(
            VoiceCallInput(**arguments),
            tool_call_id=tool_call_id,
            tool_name=self.name,
            config=patch_config(config, callbacks=callbacks),
        )
        return _content_and_artifact(result)


def _content_and_artifact(result: VoiceCallResult) -> tuple[str, VoiceCallResult]:
    """Return the text for the model, and the artifact with bounded fields."""
    from langchain_oneshot_voice.oneshot.results import LARGEST_RAW, shortened  # noqa: PLC0415 - not for a model

    # The artifact is stored in a graph's checkpoints; the journal keeps the whole result.
    quote = result.quote
    if quote is not None:
        quote = quote.model_copy(update={"raw": shortened(quote.raw)})
    changes = {
        "raw": shortened(result.raw),
        "structured_data": shortened(result.structured_data),
        "summary": result.summary and bounded(result.summary, LARGEST_RAW),
        "quote": quote,
    }
    artifact = result.model_copy(update=changes)
    return wording.text_for_model(result), artifact


def _all_at_once(
    config: RunnableConfig | Sequence[RunnableConfig] | None, count: int
) -> list[RunnableConfig]:
    """Return the config of each run, with enough threads for all runs at once."""
    configs = get_config_list(config, count)
    # LangChain reads the number of threads from the first config only.
    if configs and configs[0].get("max_concurrency") is None:
        configs[0]["max_concurrency"] = min(count, _MOST_THREADS)
    return configs


def _reject_settings(given: Mapping[str, object]) -> None:
    """Raise if a run is given a setting of the tool, for example by `bind`."""
    for name in sorted(given.keys() & (_SETTINGS | _SECRETS.keys())):
        raise TypeError(wording.setting_of_the_tool(name))


_MOST_THREADS = 1000
"""Largest number of threads of one batch. `VoiceCaller.call_many` needs no threads."""

_SECRETS = {"private_key": "WalletKey", "access_token": "AccessToken"}
"""Arguments that hold a secret, and the class of the credential that each one makes."""

_SETTINGS = frozenset(
    {"credential", "base_url", "policy", "approval", "journal", "on_progress", "max_wait"}
    | {"outcome_schema", "outcome_model", "timing", "retention"}
)
"""Settings of the caller that are also arguments and attributes of the tool."""
