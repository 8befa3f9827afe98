"""What a call imports when it needs it, imported at once: for a process that forks callers."""

from __future__ import annotations

import asyncio
import importlib
import time

from pydantic import SecretStr

from langchain_oneshot_voice.journal.store import locate
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.transport import Transport, chosen_package
from langchain_oneshot_voice.oneshot.wallet import WalletKey

_LAZY = (
    "anyio._backends._asyncio",
    "anyio.streams.memory",
    "anyio.streams.tls",
    "langchain_oneshot_voice.do_not_call.phrases",
    "langchain_oneshot_voice.policy.calling_hours",
    "langchain_oneshot_voice.policy.numbers",
    "langchain_oneshot_voice.policy.screening",
    "phonenumbers.data.region_US",
    "phonenumbers.timezone",
    "psycopg",
    "websockets.asyncio.client",
)


def warm_up() -> None:
    """Import it; no thread is started, so the process can fork."""
    for name in _LAZY:
        importlib.import_module(name)
    WalletKey(SecretStr("0x" + "11" * 32)).proof("read", time.time())
    asyncio.run(_open_and_close())
    locate("memory").connect().close()


async def _open_and_close() -> None:
    await Transport(Environment.at("http://127.0.0.1:9"), chosen_package()).aclose()
