"""VoiceCallTool: what a model sees.

A LangChain tool around `VoiceCaller`: its arguments as a JSON schema, its answers as text for the
model with a `VoiceCallResult` beside it, its refusals as errors that a model can act on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config
from langchain_core.tools import ArgsSchema, BaseTool
from langchain_core.utils import from_env, secret_from_env
from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_validator,
)

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.arguments import require_known
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import OnProgress
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult
from langchain_oneshot_voice.visible_text import bounded

if TYPE_CHECKING:
    from langchain_oneshot_voice.caller import VoiceCaller  # noqa: TC004 - a private annotation
    from langchain_oneshot_voice.tool_settings import ToolSettings


class VoiceCallTool(BaseTool):
    """Lets a model place a phone call, pay for it, and read what happened.

    Setup:
        Install `langchain-oneshot-voice`, and give one credential: a wallet's private key, which
        pays in USDC, or an access token, which spends prepaid credits. To try it without either,
        run the sandbox (`oneshot-voice sandbox`) and point `base_url` at it.

        ```bash
        export ONESHOT_WALLET_PRIVATE_KEY="0x..."
        ```

    Instantiate:
        ```python
        from langchain_oneshot_voice import CallPolicy, VoiceCallTool

        tool = VoiceCallTool(policy=CallPolicy(max_cost_per_call=5))
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

    Invoke with a tool call, for a `ToolMessage` whose artifact is a `VoiceCallResult`:
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

    Raises:
        ConfigurationError: when there is no credential, or it or the address can't be used.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    name: str = "voice_call"
    description: str = wording.TOOL_DESCRIPTION
    args_schema: ArgsSchema = VoiceCallInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    handle_validation_error: Any = wording.describe_problems

    private_key: SecretStr | None = Field(
        default_factory=secret_from_env("ONESHOT_WALLET_PRIVATE_KEY", default=None)
    )
    """The paying wallet's key, 64 hexadecimal digits; `ONESHOT_WALLET_PRIVATE_KEY`."""
    access_token: SecretStr | None = Field(
        default_factory=secret_from_env("ONESHOT_ACCESS_TOKEN", default=None)
    )
    """A token that spends prepaid credits; `ONESHOT_ACCESS_TOKEN`."""
    base_url: str | None = Field(default_factory=from_env("ONESHOT_BASE_URL", default=None))
    """The service; `ONESHOT_BASE_URL`, else production. https, or a loopback address."""
    policy: CallPolicy | Callable[[RunnableConfig], CallPolicy] = Field(default_factory=CallPolicy)
    """Limits that no argument of a tool call can loosen.

    A function of the run's config gives each user or tenant of a server limits of their own.
    """
    approval: Approval = "never"
    """Who is asked, with the price in front of them, before a call is paid for.

    `"never"`; `"interrupt"`, the person behind a LangGraph graph; or a function of the request and
    the quote that answers with a decision.
    """
    journal: Any = Field(default=None, exclude=True, repr=False)  # a URL may hold a password
    """Where calls are recorded: a SQLAlchemy URL, a path, `"memory"` or a `CallJournal`."""
    on_progress: OnProgress | None = Field(default=None, exclude=True)
    """A function, sync or async, that is told each step of a call as a `CallProgress`."""
    max_wait: float | None = Field(default=None, gt=0)
    """Seconds to wait for the outcome before an in-progress result is handed back."""
    outcome_schema: Any = Field(default=None, exclude=True)
    """A pydantic model, or a JSON schema, to fill from each call: the result's `extracted`."""
    outcome_model: Any = Field(default=None, exclude=True, repr=False)
    """The chat model that fills it; without one, what the service noted does."""

    _caller: VoiceCaller = PrivateAttr()

    if TYPE_CHECKING:  # more than the types of the fields, which is all that checkers see

        def __init__(self, **settings: Unpack[ToolSettings]) -> None: ...

    @field_serializer("*", mode="wrap", when_used="json")
    def _as_json(self, value: Any, ordinary: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401 - of any field
        """Write functions and classes, which JSON has not, by their names."""
        return value.__qualname__ if callable(value) else ordinary(value)

    @model_validator(mode="before")
    @classmethod
    def _known_arguments(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the user gave
        if isinstance(given, dict):
            require_known(cls.__name__, given, list(cls.model_fields))
        return given

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Change a setting. It holds from the next call on, or is refused and nothing changes."""
        if name not in _SETTINGS:
            if not name.startswith("_"):
                require_known(type(self).__name__, [name], list(type(self).model_fields))
            super().__setattr__(name, value)
            return
        changed = self._with({name: value})
        for setting in _SETTINGS:
            super().__setattr__(setting, getattr(changed, setting))
        self._caller = changed.caller

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the tool, with these fields changed; a change is checked as at the beginning."""
        del deep  # a journal and a credential are shared in any case
        copied = super().model_copy()
        for name, value in (update or {}).items():
            setattr(copied, name, value)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the tool; a journal and a credential are shared."""
        del memo
        return self.model_copy()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(wording.not_picklable(type(self).__name__))

    def _with(self, changes: dict[str, Any]) -> VoiceCallTool:
        """A tool with the same settings, but for these."""
        settings = {name: getattr(self, name) for name in _SETTINGS} | changes
        for one, other in (("private_key", "access_token"), ("access_token", "private_key")):
            if changes.get(one) is not None:
                settings[other] = None  # what pays is changed as a whole
        return VoiceCallTool(**settings)

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's signature
        """Check the configuration at once, so that a fault shows before a model is involved."""
        super().model_post_init(context)
        from langchain_oneshot_voice.caller import VoiceCaller  # noqa: PLC0415 - pulls in httpx
        from langchain_oneshot_voice.oneshot.wallet import credential  # noqa: PLC0415

        given = {"private_key", "access_token"} & self.model_fields_set
        key, token = self.private_key, self.access_token
        if given == {"private_key"} and key:
            token = None
        elif given == {"access_token"} and token:
            key = None
        super().__setattr__("private_key", key)
        super().__setattr__("access_token", token)
        self._caller = VoiceCaller(
            credential(key, token),
            base_url=self.base_url,
            policy=self.policy if isinstance(self.policy, CallPolicy) else None,
            approval=self.approval,
            journal=self.journal,
            on_progress=self.on_progress,
            max_wait=self.max_wait,
            outcome_schema=self.outcome_schema,
            outcome_model=self.outcome_model,
        )

    @property
    def caller(self) -> VoiceCaller:
        """What places the calls; use it directly to recover or list them."""
        return self._caller

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keep the tool call's id: with the thread's it identifies the call.

        `InjectedToolCallId` would do the same, and would refuse a plain `invoke`.
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
        call = self._call(VoiceCallInput(**arguments), tool_call_id, config)
        result = self._caller.call(**call, config=patch_config(config, callbacks=callbacks))
        return _told(result)

    async def _arun(
        self,
        *,
        config: RunnableConfig,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
        tool_call_id: str | None = None,
        **arguments: Any,  # noqa: ANN401 - the fields of VoiceCallInput, validated
    ) -> tuple[str, VoiceCallResult]:
        callbacks = run_manager.get_child() if run_manager else None
        call = self._call(VoiceCallInput(**arguments), tool_call_id, config)
        result = await self._caller.acall(**call, config=patch_config(config, callbacks=callbacks))
        return _told(result)

    def _call(
        self, request: VoiceCallInput, tool_call_id: str | None, config: RunnableConfig
    ) -> dict[str, Any]:
        """The call that the framework means, and its limits."""
        policy = self.policy if isinstance(self.policy, CallPolicy) else self.policy(config)
        return {
            "request": request,
            "policy": policy,
            "tool_call_id": tool_call_id,
            "tool_name": self.name,
        }


def _told(result: VoiceCallResult) -> tuple[str, VoiceCallResult]:
    """The text for the model, and the artifact, which a graph's checkpoint is to hold."""
    from langchain_oneshot_voice.oneshot.results import LARGEST_RAW, shortened  # noqa: PLC0415 - not for a model

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


_SETTINGS = frozenset(VoiceCallTool.model_fields) - frozenset(BaseTool.model_fields)
"""The fields that say how calls are made. The others are LangChain's."""
