"""What a caller's calls are made with, shared by all calls of the process."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from langchain_oneshot_voice.calls.services import CallServices
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallJournal, default_path
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.feed import ResultFeed
from langchain_oneshot_voice.oneshot.rate_limit import RateLimit
from langchain_oneshot_voice.oneshot.transport import Transport, chosen_package
from langchain_oneshot_voice.oneshot.wallet import Credential, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.settings import CallerSettings


@dataclass(frozen=True, eq=False, repr=False)
class CallerServices(CallerSettings):
    """A caller's settings, and what they amount to on the engine's loop."""

    async def _services(self, credential: Credential, policy: CallPolicy) -> CallServices:
        """What calls are made with, shared by all calls of this process."""
        where, package = self.environment, chosen_package()
        transport = await ENGINE.shared(("http", where, package), lambda: Transport(where, package))
        paid_by = credential.fingerprint
        limit = await ENGINE.shared(("rate limit", where.service, paid_by), RateLimit)
        client = OneShotClient(where, credential, transport, timing=self.timing, rate_limit=limit)
        account = await self._account(client)
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
