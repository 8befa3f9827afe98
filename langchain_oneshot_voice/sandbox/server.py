"""`Sandbox`: the voice service on this machine, for experiments and tests.

It implements the provider's API over real sockets on 127.0.0.1, checks real signatures and keeps
its own accounts. No money moves and no phone rings. It shares no code with the client of this
package, and works with any other client of the service.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_oneshot_voice.arguments import reject_unknown_arguments

from .account_rules import HoldAt
from .chain import CHAINS, ChainName
from .faults import Fault, FaultBox, Leg, Tamper
from .line import CallScript
from .records import Call, Exchange, Payment, Ring
from .service import Service
from .wire import ExchangeLog, Wire

if TYPE_CHECKING:
    from langchain_oneshot_voice.journal import CallJournal
    from langchain_oneshot_voice.tool import VoiceCallTool

_HOST = "127.0.0.1"
_START_SECONDS = 10.0
_POLLING_INTERVAL = 0.005
_PORTS = range(20_000, 32_768)
"""Ports below those that operating systems assign to clients."""


class Sandbox:
    """The voice service on 127.0.0.1, in its own thread.

    All methods are thread-safe. Its data survive `stop`: a sandbox that is started again is the
    same service on the same port, as after an outage.

    Args:
        port: the port to listen on; 0 for any free port.
        call_seconds: the real duration of a call, which can differ from the reported one.
        chain: the chain of the payments.
        balance: the USDC of a new wallet, in US dollars.
        credits: the prepaid credits of a new wallet, in US dollars.
        authorization_seconds: the validity of a payment in the offered terms, in seconds.
        quote_seconds: the validity of a quote, in seconds.
        receipt_delay: seconds until a new receipt appears in the list.

    Raises:
        ImportError: the extra `sandbox` is not installed.

    Example:
        ```python
        with Sandbox() as sandbox:
            tool = VoiceCallTool(private_key=sandbox.private_key, base_url=sandbox.base_url)
        ```
    """

    @reject_unknown_arguments
    def __init__(
        self,
        *,
        port: int = 0,
        call_seconds: float = 0.2,
        chain: ChainName = "base-sepolia",
        balance: Decimal = Decimal(100),
        credits: Decimal = Decimal(0),  # noqa: A002 - the service's own word
        authorization_seconds: int = 300,
        quote_seconds: float = 600,
        receipt_delay: float = 0.0,
    ) -> None:
        try:
            import starlette  # noqa: F401, PLC0415 - fail here, not in the server's thread
            import uvicorn  # noqa: F401, PLC0415
        except ImportError as missing:
            raise ImportError(
                "The sandbox needs more packages: pip install 'langchain-oneshot-voice[sandbox]'"
            ) from missing
        from eth_account import Account  # noqa: PLC0415 - takes a second to import

        wallet, payee, token_wallet = (Account.create() for _ in range(3))
        self._port = port
        self._journal: CallJournal | None = None
        self._key = "0x" + bytes(wallet.key).hex()
        self._address = str(wallet.address)
        self._payee = str(payee.address)
        self._service = Service(
            chain=CHAINS[chain],
            payee=self._payee,
            call_seconds=call_seconds,
            balance=balance,
            credit=credits,
            authorization_seconds=authorization_seconds,
            quote_seconds=quote_seconds,
            receipt_delay=receipt_delay,
        )
        self._faults = FaultBox()
        self._log = ExchangeLog()
        self._token = self._give_token(str(token_wallet.address), Decimal(100))
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: Wire | None = None

    def __repr__(self) -> str:
        state = "running" if self._thread is not None else "stopped"
        return f"<Sandbox {_HOST}:{self._port} {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server in a thread. Does nothing if it is running.

        Raises:
            OSError: the port is in use.
        """
        if self._thread is not None:
            return
        listener = _listener(self._port) if self._port else _listener_on_any_port()
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)),
            name=f"oneshot-sandbox-{self._port}",
            daemon=True,
        )
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise RuntimeError("the sandbox did not start")

    def stop(self) -> None:
        """Close every connection and end the thread. Does nothing if it is stopped."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._wire is None:
            return
        self._loop.call_soon_threadsafe(self._wire.stopping.set)
        thread.join()

    @property
    def base_url(self) -> str:
        """The URL of the service; valid after the first start."""
        return f"http://{_HOST}:{self._port}"

    @property
    def private_key(self) -> str:
        """The private key of a temporary wallet with the starting balance, as hex with `0x`."""
        return self._key

    @property
    def address(self) -> str:
        """The address of that wallet."""
        return self._address

    @property
    def payee(self) -> str:
        """The address that payments go to."""
        return self._payee

    @property
    def access_token(self) -> str:
        """An access token of a second wallet, with 100 US dollars of credits."""
        return self._token

    @property
    def payments(self) -> tuple[Payment, ...]:
        """All payments, oldest first."""
        with self._service.lock:
            return tuple(self._service.ledger.payments)

    @property
    def rings(self) -> tuple[Ring, ...]:
        """All phones that rang, oldest first."""
        with self._service.lock:
            return tuple(self._service.switchboard.rings)

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls in their current state, oldest first."""
        with self._service.lock:
            return self._service.switchboard.calls()

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """All HTTP requests and WebSocket handshakes, in the order of arrival."""
        return self._log.all()

    @property
    def approvals(self) -> tuple[str, ...]:
        """The ids of all requested approvals, oldest first."""
        with self._service.lock:
            return self._service.rules.approvals()

    def balance_of(self, address: str) -> Decimal:
        """Return the USDC of a wallet, in US dollars."""
        with self._service.lock:
            return self._service.ledger.wallet(address).balance

    def credits_of(self, address: str) -> Decimal:
        """Return the prepaid credits of a wallet, in US dollars."""
        with self._service.lock:
            return self._service.ledger.wallet(address).credits

    def set_balance(self, address: str, amount: Decimal) -> None:
        """Set the USDC of a wallet, in US dollars."""
        with self._service.lock:
            self._service.ledger.wallet(address).balance = amount

    def set_credits(self, address: str, amount: Decimal) -> None:
        """Set the prepaid credits of a wallet, in US dollars."""
        with self._service.lock:
            self._service.ledger.wallet(address).credits = amount

    def tool(self, **settings: Any) -> VoiceCallTool:  # noqa: ANN401 - of `VoiceCallTool`
        """Return a tool for this sandbox, with its wallet and without calling hours.

        All tools of one sandbox share a journal in memory.

        Args:
            settings: arguments of `VoiceCallTool`, which replace the sandbox's own.
        """
        # Only this method imports the client: the rest of the sandbox is independent of it.
        from langchain_oneshot_voice.journal import CallJournal  # noqa: PLC0415 - slow to import
        from langchain_oneshot_voice.policy import CallPolicy  # noqa: PLC0415
        from langchain_oneshot_voice.tool import VoiceCallTool  # noqa: PLC0415

        if self._journal is None:
            self._journal = CallJournal("memory")
        if not settings.keys() & {"access_token", "credential"}:
            settings.setdefault("private_key", self.private_key)
        settings.setdefault("base_url", self.base_url)
        settings.setdefault("journal", self._journal)
        settings.setdefault("policy", CallPolicy(calling_hours=None))
        return VoiceCallTool(**settings)

    def create_access_token(
        self,
        credits: Decimal = Decimal(100),  # noqa: A002 - the service's own word
        *,
        address: str | None = None,
    ) -> str:
        """Create an access token for a wallet, and set the wallet's credits.

        Args:
            credits: the prepaid credits, in US dollars.
            address: the wallet; None for a new one.
        """
        from eth_account import Account  # noqa: PLC0415 - takes a second to import

        return self._give_token(address or str(Account.create().address), credits)

    def revoke_access_token(self, token: str | None = None) -> None:
        """Revoke a token; by default `access_token`."""
        with self._service.lock:
            self._service.ledger.revoke_token(token or self._token)

    def advance(self, seconds: float) -> None:
        """Move the service's clock forward, so that quotes, payments and proofs can expire."""
        with self._service.lock:
            self._service.clock.advance(seconds)

    def expect(self, number: str, script: CallScript) -> None:
        """Set what happens at a number from now on."""
        with self._service.lock:
            self._service.line.expect(number, script)

    def require_approval(self, above: Decimal | None = Decimal(0), *, at: HoldAt = "quote") -> None:
        """Hold every call that costs more than `above` until it is approved; None holds none."""
        with self._service.lock:
            self._service.rules.hold(above, at)

    def decide(self, approval_id: str, decision: Literal["approved", "denied"]) -> None:
        """Approve or deny a call.

        Raises:
            KeyError: there is no such approval.
        """
        with self._service.lock:
            self._service.rules.decide(approval_id, decision)

    def deny_action(self, rule: str | None) -> None:
        """Refuse every call and name this rule; None allows calls again."""
        with self._service.lock:
            self._service.rules.deny(rule)

    def inject(self, fault: Fault) -> None:
        """Inject a fault. It happens after the pending faults of its leg."""
        self._faults.inject(fault)

    def tamper(self, leg: Leg, function: Tamper | None) -> None:
        """Alter every answer of a leg with a function; None stops it."""
        self._faults.tamper(leg, function)

    def clear_faults(self) -> None:
        """Remove all faults, and all functions of `tamper`."""
        self._faults.clear()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Block until a condition is true.

        Raises:
            TimeoutError: it is still false after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"this did not happen within {seconds} seconds")
            time.sleep(_POLLING_INTERVAL)

    def _give_token(self, address: str, amount: Decimal) -> str:
        with self._service.lock:
            self._service.ledger.wallet(address).credits = amount
            return self._service.ledger.issue_token(address)

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        from .app import build_app  # noqa: PLC0415 - needs the extra
        from .http_server import serve  # noqa: PLC0415

        self._loop = asyncio.get_running_loop()
        self._wire = Wire(build_app(self._service), self._faults, self._log)
        with self._service.lock:
            self._service.switchboard.connect(self._loop)
        try:
            await serve(self._wire, listener, ready.set)
        finally:
            with self._service.lock:
                self._service.switchboard.disconnect()


def _listener(port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm only if the protocol is given. It would delay answers.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


def _listener_on_any_port() -> socket.socket:
    """Bind a free port outside the range for clients, so that it stays free after `stop`."""
    for port in random.sample(_PORTS, 100):
        with suppress(OSError):
            return _listener(port)
    return _listener(0)
