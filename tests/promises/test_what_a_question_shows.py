"""A person can say no, with the price in front of them: what a question shows."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from graphs import INPUT, THREAD, Script, in_node, tool_calls, tool_node
from langchain.agents.middleware.human_in_the_loop import ToolApprovalRequest
from langchain_core.messages import AIMessage
from person import Person, open_questions, talk
from phone import A, C, build_tool, edit_to, ledger
from placing import OBJECTIVE, arguments, at_any_hour, tool_call
from prices import priced, strings_in

from langchain_oneshot_voice import CallJournal, Sandbox

HIDDEN = (
    "\x1b[1A\x1b[2K"  # goes up a line and clears it
    "\x9b2J"  # the same in one C1 character
    "\u202egnihtemos\u202c"  # from right to left
    "\u2067x\u2069\u200f\u061c"
    "\u200b\u2060\ufeff"  # no width
    "\U000e0041\U000e0042"  # tags
    "\rFor $0.01"
)


def ask(sandbox: Sandbox, journal: CallJournal, *, name: str = "voice_call", **given: Any) -> Any:
    """Return the value of the question about one call; `policy` is the tool's."""
    policy = given.pop("policy", at_any_hour())
    tool = build_tool(sandbox, journal, approval="interrupt", policy=policy, name=name)
    args = {"objective": OBJECTIVE, "target_number": A} | given
    call = tool_call("call-1", **args) | {"name": name}
    given = {"messages": [AIMessage("", tool_calls=[call])]}
    [question] = open_questions(tool_node(tool).invoke(given, THREAD))
    return question.value


def test_question_shows_number_objective_price_and_worst_case(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """All of it is data, and all of it is in the description."""
    value = ask(sandbox, journal)
    data = (value["args"]["target_number"], value["args"]["objective"])
    prices = (value["quote"]["total"], value["quote"]["worst_case"])
    assert (data, prices) == ((A, OBJECTIVE), ("6.75", "8.50"))
    assert [w for w in (A, OBJECTIVE, "$6.75", "$8.50") if w not in value["description"]] == []


def test_question_of_a_plain_call_shows_the_same(sandbox: Sandbox, journal: CallJournal) -> None:
    """A call without a tool call id is asked about in the same words."""
    tool = build_tool(sandbox, journal, approval="interrupt")
    graph = in_node(tool, Script([arguments(A)]))
    [question] = open_questions(graph.invoke(dict(INPUT), THREAD))
    by_id = ask(sandbox, journal)
    varies = {"tool_call_id", "question", "quote"}
    plain = {key: part for key, part in question.value.items() if key not in varies}
    assert plain == {key: part for key, part in by_id.items() if key not in varies}


def test_question_has_langchain_s_keys(sandbox: Sandbox, journal: CallJournal) -> None:
    """It is a `ToolApprovalRequest`, and JSON throughout."""
    value = ask(sandbox, journal)
    assert ToolApprovalRequest.__annotations__.keys() <= value.keys()
    assert (value["type"], value["tool_call_id"]) == ("tool_approval", "call-1")
    assert json.loads(json.dumps(value)) == value


def test_what_the_package_adds_stands_apart(sandbox: Sandbox, journal: CallJournal) -> None:
    """The disclosure line is in `added`; `args` is what the model asked for."""
    value = ask(sandbox, journal, context="The guest is vegetarian.")
    asked = {
        "objective": OBJECTIVE,
        "target_number": A,
        "context": "The guest is vegetarian.",
    }
    assert (value["args"], "AI assistant" in json.dumps(value["added"])) == (asked, True)


def test_what_is_added_is_what_is_sent(sandbox: Sandbox, journal: CallJournal) -> None:
    """Every word of `added` is in the request that the service gets."""
    value = ask(sandbox, journal)
    sent = json.dumps(sandbox.requests[0].body)
    words = [text for text in strings_in(value["added"]) if "AI assistant" in text]
    assert (bool(words), [w for w in words if json.dumps(w)[1:-1] not in sent]) == (True, [])


def test_nothing_is_added_without_disclosure(sandbox: Sandbox, journal: CallJournal) -> None:
    """A policy that adds nothing leaves `added` empty."""
    assert not ask(sandbox, journal, policy=at_any_hour(disclose_ai=False)).get("added")


def test_name_that_the_policy_sets_is_shown(sandbox: Sandbox, journal: CallJournal) -> None:
    """The name that is given on the phone is in the question, whatever the model asked for."""
    value = ask(
        sandbox, journal, caller_name="Somebody", policy=at_any_hour(caller_name="Rivera & Co")
    )
    assert "Rivera & Co" in " ".join(strings_in(value))


# Nothing hides in it


def hidden_in(value: Any) -> list[str]:
    """List the strings that have control or format characters; our own line breaks may stay."""
    return [
        text
        for text in strings_in(value)
        if any(unicodedata.category(c) in {"Cc", "Cf"} and c != "\n" for c in text)
    ]


@pytest.mark.parametrize("field", ["objective", "context", "caller_name", "caller_persona"])
def test_model_s_words_hide_nothing(sandbox: Sandbox, journal: CallJournal, field: str) -> None:
    """Control and direction characters of the model reach no string of the question."""
    words = f"Ask for Rivera,{HIDDEN} at bar."
    value = ask(sandbox, journal, **{field: words})
    assert hidden_in(value) == []
    assert value["args"][field].startswith("Ask for Rivera,")
    assert value["args"][field].endswith(" at bar.")


def test_line_breaks_of_the_model_forge_no_line(sandbox: Sandbox, journal: CallJournal) -> None:
    """The description of a call has one line that names a price: the real one."""
    forged = f"{OBJECTIVE}\n\nPhone call to +14155550199 for $0.01."
    lines = ask(sandbox, journal, objective=forged)["description"].splitlines()
    priced_lines = [line for line in lines if line.lstrip().startswith("Phone call to")]
    assert [A in line for line in priced_lines] == [True]


def test_provider_s_words_hide_nothing(sandbox: Sandbox, journal: CallJournal) -> None:
    """Control and direction characters of the service reach no string of the question."""
    plan = {
        "objective_summary": f"Book{HIDDEN} a table.",
        "success_criteria": [f"The table{HIDDEN} is booked."],
        "talking_points": [f"Say{HIDDEN} hello."],
    }
    sandbox.tamper("quote", priced("2.00", **plan))
    value = ask(sandbox, journal)
    assert (hidden_in(value), value["quote"]["total"]) == ([], "2.00")


# A tool with another name


def test_renamed_tool_asks_under_its_name(sandbox: Sandbox, journal: CallJournal) -> None:
    """`VoiceCallTool(name="phone")` is called `phone` in its question."""
    assert ask(sandbox, journal, name="phone")["name"] == "phone"


@pytest.mark.parametrize("style", ["bare", "by id"])
def test_renamed_tool_can_be_edited(sandbox: Sandbox, journal: CallJournal, style: Any) -> None:
    """An edit that names the tool by its own name is made."""
    tool = build_tool(sandbox, journal, approval="interrupt", name="phone")
    person = Person(sandbox, style, {A: edit_to(C, name="phone")})
    talk(tool_node(tool), tool_calls(A, name="phone"), person)
    assert ledger(sandbox) == ([C], 1)
