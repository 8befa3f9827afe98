"""A function of the application's is asked before a call is paid for."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from approving import edit
from conftest import MakeTool
from full import FULL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placing import NUMBER, at_any_hour, legs, signatures, tool_call

from langchain_oneshot_voice import (
    ConfigurationError,
    Sandbox,
    VoiceCallInput,
    VoiceCallQuote,
)
from langchain_oneshot_voice.approval import Approve, Reject, Respond

YES: list[Any] = [True, "approve", {"type": "approve"}, Approve()]
NO: list[Any] = [
    False,
    "reject",
    {"type": "reject", "message": "No."},
    Reject(),
    Respond(message="-"),
]
GARBAGE: list[Any] = [
    None,
    1,
    "yes",
    "",
    "APPROVE",
    {},
    {"type": "ok"},
    [True],
    object(),
    b"approve",
]


def answering(decision: Any) -> Callable[[VoiceCallInput, VoiceCallQuote], Any]:
    """A sync function that always answers this."""
    return lambda _request, _quote: decision


class Desk:
    """An object whose call is a coroutine, and which remembers what it was shown."""

    def __init__(self, *decisions: Any) -> None:
        self.decisions = list(decisions)
        self.prices: list[Decimal] = []

    async def __call__(self, request: VoiceCallInput, quote: VoiceCallQuote) -> Any:
        """Answer with the next decision."""
        assert isinstance(request, VoiceCallInput)
        self.prices.append(quote.total)
        return self.decisions.pop(0)


@pytest.mark.parametrize("yes", YES, ids=str)
def test_yes_in_any_spelling_is_paid(make_tool: MakeTool, sandbox: Sandbox, yes: Any) -> None:
    """`True`, the word, the mapping and the decision itself approve."""
    message = make_tool(approval=answering(yes)).invoke(tool_call())
    assert (message.artifact.call_status, len(sandbox.rings)) == ("completed", 1)


@pytest.mark.parametrize("no", NO, ids=str)
def test_no_in_any_spelling_pays_nothing(make_tool: MakeTool, sandbox: Sandbox, no: Any) -> None:
    """The model is told that a person said no."""
    message = make_tool(approval=answering(no)).invoke(tool_call())
    assert (message.artifact.call_status, signatures(sandbox)) == ("rejected", [])
    assert "must not be retried" in message.content


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda v: repr(v)[:16])
def test_garbage_is_no_yes(make_tool: MakeTool, sandbox: Sandbox, garbage: Any) -> None:
    """An answer that is no decision is an error of the program's, and nothing is paid."""
    tool = make_tool(approval=answering(garbage), handle_tool_error=False)
    with pytest.raises(ConfigurationError) as unreadable:
        tool.invoke(tool_call())
    assert (unreadable.value.code, signatures(sandbox)) == ("approval_unreadable", [])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(
    max_examples=40 if FULL else 15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answer=ANYTHING.filter(lambda a: a is not True and a != "approve"))
def test_no_other_answer_is_paid(make_tool: MakeTool, sandbox: Sandbox, answer: Any) -> None:
    """Whatever a function returns, only a clear yes is followed by a payment."""
    make_tool(approval=answering(answer)).invoke(tool_call())
    assert (legs(sandbox, "paid"), signatures(sandbox)) == ([], [])


async def test_coroutine_function_is_awaited(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """An async function is asked, from an async tool call."""

    async def approve(_: VoiceCallInput, __: VoiceCallQuote) -> bool:
        return True

    message = await make_tool(approval=approve).ainvoke(tool_call())
    assert (message.artifact.call_status, len(sandbox.rings)) == ("completed", 1)


def test_function_is_shown_the_request_as_it_is_sent_and_the_price_that_is_paid(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """What was approved is what the service got: the same body, the same price."""
    shown: list[tuple[VoiceCallInput, VoiceCallQuote]] = []

    def approve(request: VoiceCallInput, quote: VoiceCallQuote) -> bool:
        shown.append((request, quote))
        return True

    make_tool(approval=approve).invoke(tool_call())
    [(request, quote)] = shown
    sent = dict(sandbox.calls[0].body)
    del sent["decisionContext"]
    assert request.model_dump(exclude_none=True) == sent
    assert [quote.total] == [payment.amount for payment in sandbox.payments]


def test_exception_in_the_function_is_no_yes(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The program's own error comes out as it is; nothing was paid, and a later try can be."""
    decisions = iter([RuntimeError("the desk is closed"), None])

    def approve(_: VoiceCallInput, __: VoiceCallQuote) -> bool:
        error = next(decisions)
        if error is not None:
            raise error
        return True

    tool = make_tool(approval=approve)
    with pytest.raises(RuntimeError, match="the desk is closed"):
        tool.invoke(tool_call())
    assert signatures(sandbox) == []
    assert tool.invoke(tool_call()).artifact.call_status == "completed"


def test_dearer_edit_is_shown_to_the_function_again(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A changed call that costs more needs a second yes, at its own price."""
    desk = Desk(edit(NUMBER, max_duration_minutes=9), "approve")
    make_tool(approval=desk).invoke(tool_call())
    assert desk.prices == [Decimal("6.75"), Decimal("8.15")]
    assert [payment.amount for payment in sandbox.payments] == [Decimal("8.15")]


def test_function_is_not_asked_twice_about_a_quote_that_was_gone(
    make_tool: MakeTool,
) -> None:
    """The service forgot the quote between the yes and the payment: same price, no new question."""
    desk = Desk("approve")
    with Sandbox(call_seconds=0.05, quote_seconds=60) as hasty:

        async def slowly(request: VoiceCallInput, quote: VoiceCallQuote) -> Any:
            hasty.advance(100)
            return await desk(request, quote)

        tool = make_tool(approval=slowly, base_url=hasty.base_url, private_key=hasty.private_key)
        message = tool.invoke(tool_call())
        assert (message.artifact.call_status, len(hasty.rings)) == ("completed", 1)
    assert desk.prices == [Decimal("6.75")]


def test_quote_that_is_nearly_over_when_the_function_answers_is_not_paid(
    make_tool: MakeTool,
) -> None:
    """A new one of the same price is, so that no payment is lost on one that ends on its way."""
    desk = Desk("approve")
    with Sandbox(call_seconds=0.05, quote_seconds=5) as hasty:
        tool = make_tool(approval=desk, base_url=hasty.base_url, private_key=hasty.private_key)
        assert tool.invoke(tool_call()).artifact.call_status == "completed"
        assert (len(legs(hasty, "quote")), len(legs(hasty, "paid"))) == (2, 1)
    assert desk.prices == [Decimal("6.75")]


def test_edit_outlives_a_quote_that_was_gone(make_tool: MakeTool) -> None:
    """The service forgot the quote of the edited call: that one is made, not the model's."""
    desk = Desk(edit("+14155550133", max_duration_minutes=9), "approve")
    with Sandbox(call_seconds=0.05, quote_seconds=60) as hasty:

        async def slowly(request: VoiceCallInput, quote: VoiceCallQuote) -> Any:
            hasty.advance(100)
            return await desk(request, quote)

        tool = make_tool(approval=slowly, base_url=hasty.base_url, private_key=hasty.private_key)
        message = tool.invoke(tool_call())
        assert message.artifact.call_status == "completed"
        assert [ring.number for ring in hasty.rings] == ["+14155550133"]
    assert desk.prices == [Decimal("6.75"), Decimal("8.15")]


@pytest.mark.parametrize(("above", "asked"), [("8.49", 1), ("8.50", 0)])
def test_small_call_is_not_asked_about(make_tool: MakeTool, above: str, asked: int) -> None:
    """`require_approval_above` is about what the call can cost at the most, $8.50 here."""
    desk = Desk("approve")
    policy = at_any_hour(require_approval_above=above)
    message = make_tool(approval=desk, policy=policy).invoke(tool_call())
    assert (message.artifact.call_status, len(desk.prices)) == ("completed", asked)


def test_function_is_not_asked_about_what_the_policy_refuses(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Nobody's time is taken for a call that could not be made anyway."""
    desk = Desk("approve")
    message = make_tool(approval=desk, policy=at_any_hour(max_cost_per_call=2)).invoke(tool_call())
    assert (message.status, desk.prices, signatures(sandbox)) == ("error", [], [])
