"""CallerServices: opens the client, the feed and the journal that a caller's calls share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import SecretStr

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.calls.services import CallServices
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallJournal, JournalUnavailableError, default_path
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.feed import ResultFeed
from langchain_oneshot_voice.oneshot.rate_limit import RateLimit
from langchain_oneshot_voice.oneshot.transport import Transport, chosen_package
from langchain_oneshot_voice.oneshot.wallet import Credential, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.settings import CallerSettings

T = TypeVar("T")
Params = ParamSpec("Params")


def translate_journal_errors(
    flow: Callable[Params, Awaitable[T]],
) -> Callable[Params, Coroutine[Any, Any, T]]:
    """Raise a `VoiceCallError` instead of a `JournalUnavailableError`."""

    @wraps(flow)
    async def translated(*args: Params.args, **named: Params.kwargs) -> T:
        try:
            return await flow(*args, **named)
        except JournalUnavailableError as error:
            raise wording.journal_unavailable(error) from error

    return translated


@dataclass(frozen=True, eq=False, repr=False)
class CallerServices(CallerSettings):
    """A caller's settings, and the services that are opened from them on the engine's loop."""

    async def _services(self, credential: Credential, policy: CallPolicy) -> CallServices:
        """Return the services of a call; most of them are shared by all calls of this process."""
        where, package = self.environment, chosen_package()
        transport = await ENGINE.shared(("http", where, package), lambda: Transport(where, package))
        payer = credential.fingerprint
        limit = await ENGINE.shared(("rate limit", where.service, payer), RateLimit)
        client = OneShotClient(where, credential, transport, timing=self.timing, rate_limit=limit)
        account = await self._account(client)
        feed_key = ("feed", where.base_url, package, account, payer, self.timing)
        journal = await self._open_journal()
        if self.retention is not None:
            journal.retain(self.retention.total_seconds(), account=account, tenant=policy.tenant)
        return CallServices(
            client=client,
            feed=await ENGINE.shared(feed_key, lambda: ResultFeed(client, self.timing)),
            journal=journal,
            account=account,
            policy=policy,
            approval=self.approval,
            timing=self.timing,
        )

    async def _account(self, client: OneShotClient) -> str:
        """Return the account that pays, in lower case.

        For an access token, the service reports the account. The first report is stored in the
        journal and used from then on. Otherwise a service that reports changing accounts could
        bypass the limits, which count per account.
        """
        reported = (await client.address()).lower()
        if isinstance(client.credential, WalletKey):
            return reported
        known: dict[str, str] = await ENGINE.shared("accounts of tokens", dict)
        token = f"{client.credential.fingerprint} {self.environment.service}"
        if token not in known:
            journal = await self._open_journal()
            known[token] = await journal.account_of_token(token, reported)
        return known[token]

    async def _open_journal(self) -> CallJournal:
        where, timing = self.journal, self.timing
        if isinstance(where, CallJournal):
            return where
        named = str(where or default_path(self.environment.sandbox_port))
        beat, lease = timing.heartbeat, timing.lease
        # The URL may contain a password, and a repr of the engine shows its keys.
        return await ENGINE.shared(
            ("journal", SecretStr(named), beat, lease),
            lambda: CallJournal(named, heartbeat=beat, lease=lease),
        )
