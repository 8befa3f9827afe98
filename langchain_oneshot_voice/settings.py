"""The settings of a caller: checked when it is created, and immutable after that."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from langchain_core.runnables import RunnableConfig, ensure_config

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.arguments import is_seconds, require_known
from langchain_oneshot_voice.extraction import OutcomeSchema, check_schema
from langchain_oneshot_voice.journal import CallJournal, address, check_address
from langchain_oneshot_voice.journal.addresses import ENVIRONMENT
from langchain_oneshot_voice.oneshot.environment import PRODUCTION_URL, Environment
from langchain_oneshot_voice.oneshot.wallet import AccessToken, Credential, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import OnProgress
from langchain_oneshot_voice.timing import DEFAULT_TIMING, Timing

if TYPE_CHECKING:  # it takes a third of the time of this package's own import
    from langchain_core.language_models import BaseChatModel


@dataclass(frozen=True, eq=False, repr=False)
class CallerSettings:
    """The settings of a `VoiceCaller`. A tool reads and changes them here."""

    credential: Credential | Callable[[RunnableConfig], Credential]
    """The wallet key or access token that pays; or a function of the run's config that returns one,
    for a server with many users."""
    _: KW_ONLY
    base_url: str | None = None
    """URL of the service: https, or a loopback address. Default: `ONESHOT_BASE_URL`, else
    production."""
    policy: CallPolicy | Callable[[RunnableConfig], CallPolicy] = field(default_factory=CallPolicy)
    """Limits on calls; or a function of the run's config that returns them."""
    approval: Approval = "never"
    """Who approves a call before it is paid: `"never"`, `"interrupt"` or a function."""
    journal: str | Path | CallJournal | None = None
    """A SQLAlchemy URL, a path, `"memory"` or a `CallJournal`. Default: `ONESHOT_VOICE_JOURNAL`,
    else a SQLite file in the user's data directory. A service on this machine, such as a sandbox,
    gets a separate file there."""
    on_progress: OnProgress | None = None
    """A function that receives each step of each call as a `CallProgress`."""
    max_wait: float | None = None
    """Seconds to wait for an outcome before an in-progress result is returned. Default: the call's
    maximum duration plus two minutes."""
    outcome_schema: OutcomeSchema | None = None
    """A pydantic model or JSON schema to fill from each call."""
    outcome_model: BaseChatModel | None = None
    """The chat model that fills the schema; without one, the service's notes fill it."""
    timing: Timing = DEFAULT_TIMING
    """Timeouts, intervals and leases."""
    retention: timedelta | None = None
    """How long the words and numbers of a call of this account and tenant are kept after it ends.
    Default: until they are removed with `forget`."""
    environment: Environment = field(init=False)
    """The service's address and the chain it is paid on."""

    # A dataclass generates its own `__init__`, so unknown arguments are checked here.
    def __new__(cls, *_settings: object, **named: object) -> Self:
        """Raise for unknown arguments, with a suggestion."""
        require_known(cls.__name__, named, [f.name for f in fields(cls) if f.init])
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every setting without opening a file or a connection."""
        base_url = self.base_url or os.environ.get("ONESHOT_BASE_URL")
        # The dataclass is frozen: only `object.__setattr__` can still set a field.
        object.__setattr__(self, "base_url", base_url)
        object.__setattr__(self, "environment", Environment.at(base_url or PRODUCTION_URL))
        self._check()
        journal = self.journal or os.environ.get(ENVIRONMENT)
        if journal and not isinstance(journal, CallJournal):
            # Resolve the address once: a later change of directory or environment has no effect.
            object.__setattr__(self, "journal", address(journal))

    def __copy__(self) -> Self:
        """Return the same object: it is immutable."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return the same object: it is immutable, and all copies must share one journal."""
        return self

    def for_run(self, config: RunnableConfig | None) -> tuple[Credential, CallPolicy]:
        """Return the credential and the policy of a run with this config.

        Raises:
            ConfigurationError: if a function returns something else.
        """
        credential, policy = self.credential, self.policy
        if callable(credential):
            credential = credential(ensure_config(config))
            if not isinstance(credential, WalletKey | AccessToken):
                raise wording.setting_unusable("credential", "a WalletKey or an AccessToken")
        if not isinstance(policy, CallPolicy):
            policy = policy(ensure_config(config))
            if not isinstance(policy, CallPolicy):
                raise wording.setting_unusable("policy", "a CallPolicy")
        return credential, policy

    @property
    def region(self) -> str | None:
        """Country of numbers without a country code; `None` if it depends on the run's config."""
        return self.policy.default_region if isinstance(self.policy, CallPolicy) else None

    def _check(self) -> None:
        credential, policy, approval = self.credential, self.policy, self.approval
        if not isinstance(credential, WalletKey | AccessToken) and not callable(credential):
            raise wording.setting_unusable(
                "credential", "a WalletKey, an AccessToken, or a function of the run's config"
            )
        if not isinstance(policy, CallPolicy) and not callable(policy):
            raise wording.setting_unusable(
                "policy", "a CallPolicy, or a function of the run's config"
            )
        if approval not in ("never", "interrupt") and not callable(approval):
            raise wording.setting_unusable("approval", '"never", "interrupt", or a function')
        if approval == "interrupt" and importlib.util.find_spec("langgraph") is None:
            raise wording.approval_needs_langgraph()
        if self.on_progress is not None and not callable(self.on_progress):
            raise wording.setting_unusable("on_progress", "a function")
        if self.max_wait is not None and not is_seconds(self.max_wait):
            raise wording.setting_unusable(
                "max_wait", "a number of seconds above zero, at most 1e9"
            )
        if not isinstance(self.journal, str | Path | CallJournal | None):
            raise wording.setting_unusable("journal", "a URL, a path, or a CallJournal")
        if not isinstance(self.journal, CallJournal):
            check_address(self.journal, sandbox_port=self.environment.sandbox_port)
        if self.retention is not None and not _is_retention(self.retention):
            raise wording.setting_unusable("retention", "a timedelta that is not negative")
        if not isinstance(self.timing, Timing):
            raise wording.setting_unusable("timing", "a Timing")
        if self.outcome_schema is not None:
            check_schema(self.outcome_schema)


def _is_retention(value: object) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)
