"""What a call can cost at the most, and which calls are too dear."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from placing import NUMBER, OBJECTIVE

from langchain_oneshot_voice import CallPolicy, CallRefusedError, VoiceCallInput, VoiceCallQuote


def asking_for(minutes: int | None) -> VoiceCallInput:
    """A request for a call of so many minutes."""
    return VoiceCallInput(objective=OBJECTIVE, target_number=NUMBER, max_duration_minutes=minutes)


def quoted(total: str, **more: Any) -> VoiceCallQuote:
    """A quote of so many dollars."""
    return VoiceCallQuote(quote_id="quote-1", total=Decimal(total), **more)


FIVE_MINUTES = {"call_cost": "1.75", "estimated_minutes": "5"}


@pytest.mark.parametrize(
    ("minutes", "quote", "worst"),
    [
        (20, quoted("1.75", **FIVE_MINUTES), "7.00"),
        (30, quoted("6.75", phone_registration_fee="5", **FIVE_MINUTES), "15.50"),
        (20, quoted("1.85", pipeline_fee="0.10", **FIVE_MINUTES), "7.10"),
        (None, quoted("1.75", **FIVE_MINUTES), "3.50"),  # ten minutes, when none are asked for
        (2, quoted("1.75", **FIVE_MINUTES), "1.75"),  # never less than the quote
        (20, quoted("1.75"), "1.75"),  # no price of a minute
        (20, quoted("1.75", call_cost="1.75", estimated_minutes="0"), "1.75"),
        (20, quoted("0", **FIVE_MINUTES), "7.00"),  # credits pay, and run out as money does
        (20, quoted("2.75", **FIVE_MINUTES), "8.00"),  # a fee that nobody itemized
        (1, quoted("0.5", call_cost="1", estimated_minutes="3"), "0.5"),
        (7, quoted("1", call_cost="1", estimated_minutes="3"), "2.333334"),
    ],
)
def test_worst_case_is_every_minute_that_the_call_may_take(
    minutes: int | None, quote: VoiceCallQuote, worst: str
) -> None:
    """Fees, and the quote's own price of a minute for the longest that the call may take."""
    assert CallPolicy().worst_case(asking_for(minutes), quote) == Decimal(worst)


MONEY = st.decimals(0, 100, places=6)


@given(
    st.none() | st.integers(1, 30),
    MONEY,
    st.none() | MONEY,
    st.none() | st.decimals(0, 60, places=2),
    st.none() | MONEY,
)
def test_worst_case_is_never_below_the_quote(
    minutes: int | None,
    total: Decimal,
    call_cost: Decimal | None,
    estimated: Decimal | None,
    fee: Decimal | None,
) -> None:
    """No quote, however odd, makes the most that a call can cost less than its price."""
    quote = VoiceCallQuote(
        quote_id="q",
        total=total,
        call_cost=call_cost,
        estimated_minutes=estimated,
        phone_registration_fee=fee,
    )
    assert CallPolicy().worst_case(asking_for(minutes), quote) >= total


def test_call_within_the_limit_passes() -> None:
    """A worst case that is just the limit is within it."""
    CallPolicy(max_cost_per_call=7).check_quote(asking_for(20), quoted("1.75", **FIVE_MINUTES))


def test_call_that_could_cost_too_much_is_refused_with_what_would_fit() -> None:
    """The model is told how long a call the limit has room for."""
    with pytest.raises(CallRefusedError, match="max_duration_minutes of at most 8") as refused:
        CallPolicy(max_cost_per_call=3).check_quote(asking_for(20), quoted("1.75", **FIVE_MINUTES))
    assert refused.value.code == "cost_limit_exceeded"
    assert refused.value.details == {
        "worst_case": "7.000000",
        "max_cost_per_call": "3",
        "fitting_max_duration_minutes": 8,
        "number_fee": "0",
    }
    CallPolicy(max_cost_per_call=3).check_quote(asking_for(8), quoted("1.75", **FIVE_MINUTES))


@pytest.mark.parametrize(
    ("quote", "advice"),
    [
        (quoted("12"), "No length of this call fits"),
        (quoted("6.75", pipeline_fee="5", **FIVE_MINUTES), "No length of this call fits"),
        (
            quoted("6.75", phone_registration_fee="5", **FIVE_MINUTES),
            r"has to be at least \$12.00 for the first call; later calls cost up to \$7.00",
        ),
    ],
)
def test_call_that_no_length_makes_cheap_enough_is_refused_for_good(
    quote: VoiceCallQuote, advice: str
) -> None:
    """Where fees alone pass the limit, or nothing is known of minutes, no length is advised."""
    with pytest.raises(CallRefusedError, match=advice):
        CallPolicy(max_cost_per_call=5).check_quote(asking_for(20), quote)


def test_limit_that_is_off_lets_any_price_pass() -> None:
    """Without the limit a call may cost what it costs."""
    CallPolicy(max_cost_per_call=None).check_quote(asking_for(30), quoted("500"))
