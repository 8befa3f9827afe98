"""Errors that a model can act on and a program can tell apart."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from langchain_core.tools import ToolException

from langchain_oneshot_voice import (
    CallRefusedError,
    CallUnknownError,
    ConfigurationError,
    InvalidCallError,
    PaymentRefusedError,
    PaymentTermsError,
    ServiceUnavailableError,
    VoiceCallError,
    errors,
)

KINDS: list[tuple[type[VoiceCallError], str, str, bool]] = [
    (ConfigurationError, "configuration", "no", False),
    (InvalidCallError, "invalid_request", "no", False),
    (CallRefusedError, "refused", "no", False),
    (PaymentTermsError, "payment_terms_refused", "no", False),
    (PaymentRefusedError, "payment_refused", "no", False),
    (ServiceUnavailableError, "service_unavailable", "no", True),
    (CallUnknownError, "unknown", "unknown", False),
]


@pytest.mark.parametrize(("kind", "code", "charged", "retry"), KINDS)
def test_each_kind_has_its_defaults(
    kind: type[VoiceCallError], code: str, charged: str, retry: bool
) -> None:
    """A kind says by itself whether money moved and whether it may be tried again."""
    error = kind("What happened.")

    assert (error.code, error.charged, error.safe_to_retry) == (code, charged, retry)


def test_tree_is_the_one_drawn_in_the_docstring() -> None:
    """The kinds are exactly those of the module's docstring, right under `VoiceCallError`."""
    drawn = re.findall(r"^    [├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)

    assert drawn == [kind.__name__ for kind, *_ in KINDS]
    assert {kind.__name__ for kind in VoiceCallError.__subclasses__()} == set(drawn)
    assert all(kind.__bases__ == (VoiceCallError,) for kind, *_ in KINDS)


def test_error_is_a_tool_exception() -> None:
    """LangChain hands these errors to the model when `handle_tool_error` is on."""
    assert VoiceCallError.__bases__ == (ToolException,)


@pytest.mark.parametrize(
    ("charged", "words"),
    [
        ("no", "Nothing was charged."),
        ("yes", "The call was charged."),
        ("unknown", "It is not known whether money moved."),
    ],
)
def test_message_says_whether_money_moved(charged: errors.Charged, words: str) -> None:
    """A message is: what happened, whether money moved, what to do, which request."""
    error = VoiceCallError("It broke.", advice="Wait.", charged=charged, request_id="req_1")

    assert str(error) == f"It broke. {words} Wait. Request id: req_1."


@pytest.mark.parametrize("kind", [kind for kind, *_ in KINDS])
def test_error_survives_pickling_and_copying(kind: type[VoiceCallError]) -> None:
    """Between processes, and through a graph's checkpoint, nothing is lost."""
    error = kind(
        "It broke.",
        advice="Wait.",
        code="c",
        charged="yes",
        safe_to_retry=True,
        request_id="req_1",
        details={"resets_at": "noon"},
    )
    for revived in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301 - own bytes
        assert type(revived) is kind
        assert vars(revived) == vars(error)
        assert str(revived) == str(error)


def test_details_are_the_errors_own() -> None:
    """Changing what was given does not change the error."""
    given = {"rule": "r1"}
    error = VoiceCallError("x", details=given)
    given["rule"] = "r2"

    assert error.details == {"rule": "r1"}
