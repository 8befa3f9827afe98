"""The public face as the README uses it; type checkers that know nothing of pydantic read it.

`tests/unit_tests/test_types.py` runs mypy and pyright over it, and calls the functions that need no
service. There are no comments for type checkers in it, and nothing is cast.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, SecretStr

from langchain_oneshot_voice import (
    AccessToken,
    CallEnded,
    CallJournal,
    CallKey,
    CallPolicy,
    CallProgress,
    Sandbox,
    Timing,
    VoiceCaller,
    VoiceCallError,
    VoiceCallInput,
    VoiceCallQuote,
    VoiceCallResult,
    VoiceCallTool,
    WalletKey,
    calls_frame,
)

KEY = "0x" + "1" * 64
TOKEN = "oneshot_" + "1" * 64
HERE = "http://127.0.0.1:4402"


class Booking(BaseModel):
    """What is to be read from a call."""

    confirmation_number: str
    party_size: int
    deposit: float | None = None


def check(request: VoiceCallInput, quote: VoiceCallQuote) -> str | None:
    """An application's own rule."""
    return "Too dear at night." if quote.total > 5 and "tonight" in request.objective else None


async def check_elsewhere(request: VoiceCallInput, quote: VoiceCallQuote) -> str | None:
    """The same, of an application that has to ask somebody."""
    return check(request, quote)


def decide(request: VoiceCallInput, quote: VoiceCallQuote) -> bool:
    """An approval function."""
    return request.numbers[0].startswith("+1") and quote.total < Decimal(5)


async def decide_elsewhere(_: VoiceCallInput, quote: VoiceCallQuote) -> Mapping[str, str]:
    """The same, async, with a reason."""
    if quote.total < 5:
        return {"type": "approve"}
    return {"type": "reject", "message": "Too dear."}


def who_pays(config: RunnableConfig) -> WalletKey | AccessToken:
    """A server where each user pays for themselves."""
    return WalletKey(KEY) if "configurable" in config else AccessToken(TOKEN)


def limits_of(config: RunnableConfig) -> CallPolicy:
    """A server's limits for one user."""
    user: str = config.get("configurable", {}).get("user", "nobody")
    return CallPolicy(tenant=user, max_cost_per_day=5)


def show(progress: CallProgress) -> None:
    """Hear of each step."""
    print(progress.stage, progress.cost, progress.request_id)  # noqa: T201 - as a user would


async def show_elsewhere(progress: CallProgress) -> None:
    """The same, async."""
    show(progress)


def policies() -> list[CallPolicy]:
    """Every setting, in every way that people write it."""
    usual = CallPolicy()
    return [
        CallPolicy(
            max_cost_per_call=5,
            max_cost_per_day=20.5,
            max_calls_per_number_per_day=2,
            calling_hours="09:00-18:00",
            timezone="America/New_York",
            allowed_countries={"US", "CA"},
            allow=["+1415"],
            deny=["+14155550199"],
            default_region="US",
            duplicate_window="10m",
            require_approval_above="2.50",
            disclose_ai=False,
            caller_name="Robin",
            check=check,
            tenant="acme",
        ),
        CallPolicy(
            max_cost_per_call=Decimal("5.00"),
            max_cost_per_day="20",
            calling_hours=(time(9), time(18)),
            allowed_countries=("US", "CA"),
            allow={"+1415"},
            deny=("+14155550199",),
            duplicate_window=timedelta(minutes=10),
            require_approval_above=2.5,
            check=check_elsewhere,
        ),
        CallPolicy(
            max_cost_per_call=None,
            max_cost_per_day=None,
            max_calls_per_number_per_day=None,
            calling_hours=None,
            timezone=None,
            allowed_countries=None,
            default_region=None,
            duplicate_window=None,
            require_approval_above=None,
            caller_name=None,
            check=None,
        ),
        CallPolicy(calling_hours=("9:00", "18:00"), allowed_countries=["US"], duplicate_window=600),
        CallPolicy(  # what is read from a policy can be given to the next one
            max_cost_per_call=usual.max_cost_per_call,
            max_cost_per_day=usual.max_cost_per_day,
            max_calls_per_number_per_day=usual.max_calls_per_number_per_day,
            calling_hours=usual.calling_hours,
            timezone=usual.timezone,
            allowed_countries=usual.allowed_countries,
            allow=usual.allow,
            deny=usual.deny,
            default_region=usual.default_region,
            duplicate_window=usual.duplicate_window,
            require_approval_above=usual.require_approval_above,
            disclose_ai=usual.disclose_ai,
            caller_name=usual.caller_name,
            check=usual.check,
            tenant=usual.tenant,
        ),
        CallPolicy.load({"max_cost_per_call": 5, "calling_hours": "off"}),
    ]


def tools(folder: Path) -> list[VoiceCallTool]:
    """Every argument, in every way that people write it."""
    return [
        VoiceCallTool(private_key=KEY, base_url=HERE, journal=folder / "calls.sqlite"),
        VoiceCallTool(private_key=SecretStr(KEY), journal=str(folder / "calls.sqlite")),
        VoiceCallTool(access_token=TOKEN, journal=CallJournal("memory"), max_wait=30),
        VoiceCallTool(private_key=KEY, policy=CallPolicy(max_cost_per_call=5), approval="never"),
        VoiceCallTool(private_key=KEY, policy=limits_of, approval="interrupt"),
        VoiceCallTool(private_key=KEY, approval=decide, on_progress=show),
        VoiceCallTool(private_key=KEY, approval=decide_elsewhere, on_progress=show_elsewhere),
        VoiceCallTool(private_key=KEY, approval=lambda _, quote: quote.total < 5),
        VoiceCallTool(private_key=KEY, outcome_schema=Booking, outcome_model=None),
        VoiceCallTool(private_key=KEY, outcome_schema=Booking.model_json_schema()),
        VoiceCallTool(credential=WalletKey(SecretStr(KEY)), timing=Timing(lease=30)),
        VoiceCallTool(private_key=KEY, retention=timedelta(days=30)),
        VoiceCallTool(credential=AccessToken(TOKEN)),
        VoiceCallTool(credential=who_pays, policy=limits_of),
        VoiceCallTool(
            private_key=KEY,
            journal="memory",
            name="phone",
            description="A phone.",
            handle_tool_error=False,
            tags=["phone"],
            metadata={"team": "front desk"},
        ),
    ]


def requests() -> list[VoiceCallInput]:
    """Every argument of a call."""
    return [
        VoiceCallInput(objective="Ask when they close today.", target_number="+14155550134"),
        VoiceCallInput(
            objective="Settle when to meet tomorrow.",
            target_number=["+14155550134", "+14155550135"],
            caller_persona="A polite assistant.",
            caller_name="Robin",
            context="Both are in San Francisco.",
            max_duration_minutes=5,
        ),
    ]


def callers(folder: Path) -> list[VoiceCaller]:
    """What places calls without a model."""
    return [
        VoiceCaller(WalletKey(KEY)),
        VoiceCaller(
            AccessToken(TOKEN),
            base_url=HERE,
            policy=CallPolicy(max_cost_per_call=9),
            approval=decide,
            journal=folder / "calls.sqlite",
            on_progress=show,
            max_wait=30,
            outcome_schema=Booking,
            timing=Timing(quote=30, lease=10),
        ),
        VoiceCaller(who_pays, policy=limits_of),
    ]


def plainly(tool: VoiceCallTool) -> tuple[VoiceCallResult, str]:
    """A tool call by hand, and what it says."""
    call: ToolCall = {
        "name": "voice_call",
        "id": "call-1",
        "type": "tool_call",
        "args": {"objective": "Ask when they close today.", "target_number": "+14155550134"},
    }
    message: ToolMessage = tool.invoke(call)
    result: VoiceCallResult = message.artifact
    return result, f"{message.text}: {result.call_successful}, {result.transcript}"


def read(result: VoiceCallResult) -> list[object]:
    """Everything that a result says, as what it is."""
    status: str = result.call_status
    charged: Decimal | None = result.cost.charged
    seconds: Decimal | None = result.duration_seconds
    said: list[str] = [f"{turn.speaker}: {turn.text}" for turn in result.transcript]
    evidence: dict[str, str] = result.evidence
    missing: tuple[str, ...] = (*result.missing_fields, *result.unsupported_fields)
    ids = (result.request_id, result.receipt_id, result.call_key, result.reused)
    price: Decimal | None = result.quote.total if result.quote else None
    booking: Booking = result.extracted
    return [status, charged, seconds, said, evidence, missing, ids, price, booking.party_size]


def on_the_sandbox() -> tuple[str, int]:
    """A service on this machine."""
    with Sandbox(call_seconds=0.05, balance=Decimal(20)) as sandbox:
        tool = sandbox.tool(approval=decide, policy=CallPolicy(max_cost_per_call=5))
        address: str = sandbox.base_url
        try:
            tool.invoke(
                {"objective": "Ask when they close today.", "target_number": "+14155550134"}
            )
        except VoiceCallError as error:
            facts = (error.code, error.charged, error.safe_to_retry, error.request_id)
            raise RuntimeError(*facts) from error
        return address, len(sandbox.rings) + len(sandbox.payments)


def with_the_caller(tool: VoiceCallTool, request: VoiceCallInput) -> int:
    """What a program does without a model."""
    caller = tool.caller
    result = caller.call(request, policy=CallPolicy(calling_hours=None))
    result = caller.call(request, call_key=CallKey("order-42"))
    caller.suppress("+14155550134", reason="on request")
    caller.suppress(["+14155550134"])
    caller.pause("wrong people")
    caller.resume()
    ends = [end for end in caller.recover(max_wait=5) if isinstance(end, VoiceCallError)]
    return len(ends) + int(result.reused)


def many_calls(caller: VoiceCaller, people: list[VoiceCallInput]) -> list[str]:
    """Calls until one is enough."""

    def enough(ended: CallEnded[VoiceCallInput]) -> bool:
        return ended.succeeded and ended.request.context is None

    reached: list[str] = []
    for ended in caller.call_many(people, concurrency=3, stop_when=enough, key="leak"):
        first: str = ended.request.numbers[0]
        error: Exception | None = ended.error
        result: VoiceCallResult | None = ended.result
        reached.append(f"{ended.index} {first}: {error or result}")
    rows = ({"objective": "Ask when they close.", "target_number": n} for n in reached)
    reached += [ended.request["target_number"] for ended in caller.call_many(rows)]
    return reached


async def many_calls_in_a_loop(caller: VoiceCaller, people: AsyncIterator[VoiceCallInput]) -> int:
    """The same in an event loop."""

    async def enough(ended: CallEnded[VoiceCallInput]) -> bool:
        return ended.succeeded

    ends = caller.acall_many(people, stop_when=enough, policy=CallPolicy(max_cost_per_day=9))
    async with aclosing(ends):
        return sum([ended.index async for ended in ends])


async def with_the_caller_in_a_loop(tool: VoiceCallTool, request: VoiceCallInput) -> bool:
    """The same in an event loop."""
    result = await tool.caller.acall(request)
    await tool.ainvoke({"objective": request.objective, "target_number": "+14155550134"})
    return result.reused


def journals(folder: Path) -> list[CallJournal]:
    """Where calls can be recorded."""
    return [
        CallJournal(),
        CallJournal("memory"),
        CallJournal(folder / "calls.sqlite", heartbeat=0.5, lease=2),
        CallJournal("postgresql+psycopg://db.internal/calls"),
    ]


def report(folder: Path) -> tuple[int, Decimal]:
    """What calls came to."""
    frame = calls_frame(folder / "calls.sqlite", days=30, tenant="acme")
    frame.plot("calls.png")
    return len(frame.rows), sum((day.cost for day in frame.days), Decimal(0))
