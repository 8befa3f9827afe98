"""When two calls are the same call, and when they are two."""

from __future__ import annotations

from typing import Any

import pytest
from placing import OBJECTIVE, arguments

from langchain_oneshot_voice import VoiceCallInput
from langchain_oneshot_voice.calls.call_key import CallKey, fingerprint

REQUEST = VoiceCallInput(**arguments())


def request(**changes: Any) -> VoiceCallInput:
    """The usual request, with changes."""
    return VoiceCallInput(**arguments() | changes)


def test_same_thread_call_and_request_are_the_same_call() -> None:
    """A retry or a re-executed node has the key of the first run, for ever."""
    first, second = (CallKey.of(REQUEST, thread_id="t", tool_call_id="c") for _ in range(2))

    assert first == second
    assert first.answers_for is None


@pytest.mark.parametrize(
    "other",
    [
        CallKey.of(REQUEST, thread_id="u", tool_call_id="c"),
        CallKey.of(REQUEST, thread_id="t", tool_call_id="d"),
        CallKey.of(request(context="x"), thread_id="t", tool_call_id="c"),
        CallKey.of(REQUEST, tool_call_id="c"),
        CallKey.of(REQUEST, thread_id="tc", tool_call_id=""),
        CallKey.of(REQUEST, idempotency_key="c"),
    ],
)
def test_any_difference_is_another_call(other: CallKey) -> None:
    """Another thread, tool call or request is another key."""
    assert other.key != CallKey.of(REQUEST, thread_id="t", tool_call_id="c").key


def test_without_thread_a_call_is_answered_again_for_a_while_only() -> None:
    """A tool call's id alone repeats in some models, so its answer does not stand for ever."""
    assert CallKey.of(REQUEST, tool_call_id="0", window=600).answers_for == 600


def test_without_any_identity_each_call_is_new() -> None:
    """A plain invoke is a call of its own each time."""
    assert CallKey.of(REQUEST).key != CallKey.of(REQUEST).key


def test_idempotency_key_stands_whatever_the_words() -> None:
    """The application's own key is the call, and the thread and the words do not matter."""
    one = CallKey.of(REQUEST, thread_id="t", tool_call_id="c", idempotency_key="order-7")
    two = CallKey.of(request(context="other"), idempotency_key="order-7")

    assert one == two


def test_key_is_64_hexadecimal_digits() -> None:
    """A key fits everywhere a key has to go, and shows nothing of the request."""
    assert len(CallKey.of(REQUEST).key) == 64
    int(CallKey.of(REQUEST).key, 16)


@pytest.mark.parametrize(
    "same",
    [
        request(objective=OBJECTIVE.upper()),
        request(objective="  " + OBJECTIVE.replace(" ", "\n ")),
        request(caller_name="Ann", context="A birthday.", max_duration_minutes=3),
        request(target_number=["+1 415 555 0100"]),
    ],
)
def test_same_numbers_and_objective_are_the_same_in_substance(same: VoiceCallInput) -> None:
    """Case, spacing and everything beside objective and numbers leave the fingerprint alone."""
    assert fingerprint(same) == fingerprint(REQUEST)


@pytest.mark.parametrize(
    "other",
    [
        request(objective=OBJECTIVE.replace("2", "3")),
        request(target_number="+14155550111"),
        request(target_number=["+14155550100", "+14155550111"]),
    ],
)
def test_other_numbers_or_objective_are_another_call_in_substance(other: VoiceCallInput) -> None:
    """Another number or another objective is another fingerprint."""
    assert fingerprint(other) != fingerprint(REQUEST)


def test_order_of_numbers_does_not_matter() -> None:
    """The same people in another order are the same conference."""
    one = request(target_number=["+14155550100", "+14155550111"])
    two = request(target_number=["+14155550111", "+14155550100"])

    assert fingerprint(one) == fingerprint(two)
