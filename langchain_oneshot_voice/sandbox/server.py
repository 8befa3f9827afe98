"""`Sandbox`: the voice service on this machine, for trying things out and for tests.

It speaks the provider's contract over real sockets on 127.0.0.1, checks real signatures, and keeps
its own books. No money moves and no phone rings. It shares no code with the client of this
package, and can be used with any other client of the service.
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
_TICK = 0.005
_PORTS = range(20_000, 32_768)
"""Below those that operating systems give to clients."""


class Sandbox:
    """The voice service on 127.0.0.1, in a thread of its own.

    Everything can be called from any thread. What it holds outlives `stop`: a sandbox that is
    started again is the same service on the same port, back from an outage.

    Args:
        port: where to listen; 0 for any free port.
        call_seconds: how long a call takes in real time, whatever duration it reports.
        chain: the chain that payments are made on.
        balance: the USDC that a wallet starts with, in US dollars.
        credits: the prepaid credits that a wallet starts with, in US dollars.
        authorization_seconds: how long a payment may be valid, as the offered terms say.
        quote_seconds: how long a quote can be used.
        receipt_delay: seconds until a new receipt appears in the list.

    Raises:
        ImportError: when the extra `sandbox` is not installed.

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
        """Listen, and serve in a thread. Does nothing when it is running.

        Raises:
            OSError: when the port is taken.
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
        """Close every connection and end the thread. Does nothing when it is stopped."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._wire is None:
            return
        self._loop.call_soon_threadsafe(self._wire.stopping.set)
        thread.join()

    @property
    def base_url(self) -> str:
        """Where it listens; known once it was started."""
        return f"http://{_HOST}:{self._port}"

    @property
    def private_key(self) -> str:
        """The key of a throwaway wallet with the starting balance, as 0x-hex."""
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
        """An access token of a second wallet, which has credits for 100 dollars."""
        return self._token

    @property
    def payments(self) -> tuple[Payment, ...]:
        """Every payment that was settled, oldest first."""
        with self._service.lock:
            return tuple(self._service.ledger.payments)

    @property
    def rings(self) -> tuple[Ring, ...]:
        """Every phone that rang, oldest first."""
        with self._service.lock:
            return tuple(self._service.switchboard.rings)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call as it stands, oldest first."""
        with self._service.lock:
            return self._service.switchboard.calls()

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """Every HTTP request and WebSocket handshake, in the order of arrival."""
        return self._log.all()

    @property
    def approvals(self) -> tuple[str, ...]:
        """The id of every approval that was asked for, oldest first."""
        with self._service.lock:
            return self._service.rules.approvals()

    def balance_of(self, address: str) -> Decimal:
        """The USDC of a wallet, in US dollars."""
        with self._service.lock:
            return self._service.ledger.wallet(address).balance

    def credits_of(self, address: str) -> Decimal:
        """The prepaid credits of a wallet, in US dollars."""
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
        """A tool that calls here: with the sandbox's wallet, at any hour.

        Its calls are recorded in memory, for as long as the sandbox is in use.

        Args:
            settings: arguments of `VoiceCallTool`; they win.
        """
        # The one place that knows the client: everything else here stands apart from it.
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
        """A token of a new wallet with these credits, or of the wallet at `address`."""
        from eth_account import Account  # noqa: PLC0415 - takes a second to import

        return self._give_token(address or str(Account.create().address), credits)

    def revoke_access_token(self, token: str | None = None) -> None:
        """Make a token worthless: this one, or `access_token`."""
        with self._service.lock:
            self._service.ledger.revoke_token(token or self._token)

    def advance(self, seconds: float) -> None:
        """Move the service's clock forward: quotes, authorizations and proofs grow old."""
        with self._service.lock:
            self._service.clock.advance(seconds)

    def expect(self, number: str, script: CallScript) -> None:
        """Say what happens at a number from now on."""
        with self._service.lock:
            self._service.line.expect(number, script)

    def require_approval(self, above: Decimal | None = Decimal(0), *, at: HoldAt = "quote") -> None:
        """Hold every call dearer than `above` until it is approved; None holds none."""
        with self._service.lock:
            self._service.rules.hold(above, at)

    def decide(self, approval_id: str, decision: Literal["approved", "denied"]) -> None:
        """Answer an approval.

        Raises:
            KeyError: when there is no such approval.
        """
        with self._service.lock:
            self._service.rules.decide(approval_id, decision)

    def deny_action(self, rule: str | None) -> None:
        """Refuse every call, naming this rule; None lifts it."""
        with self._service.lock:
            self._service.rules.deny(rule)

    def inject(self, fault: Fault) -> None:
        """Let something go wrong, behind whatever is already to go wrong at that leg."""
        self._faults.inject(fault)

    def tamper(self, leg: Leg, function: Tamper | None) -> None:
        """Pass every answer of a leg through a function; None ends it."""
        self._faults.tamper(leg, function)

    def clear_faults(self) -> None:
        """Let everything go right again."""
        self._faults.clear()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Block until a condition holds.

        Raises:
            TimeoutError: when it does not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"this did not happen within {seconds} seconds")
            time.sleep(_TICK)

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
    # With the protocol named, asyncio turns off Nagle's algorithm, and answers are not held up.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


def _listener_on_any_port() -> socket.socket:
    """Bind a free port that no client gets by itself: it has to be free after a `stop`, too."""
    for port in random.sample(_PORTS, 100):
        with suppress(OSError):
            return _listener(port)
    return _listener(0)
