"""Never twice: a call in a graph's node is recognised without a tool call id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from graphs import (
    INPUT,
    RETRIED,
    STYLES,
    THREAD,
    BrokenNodeError,
    Fails,
    Script,
    around_subgraph,
    in_node,
    sends,
)
from langchain_core.runnables import RunnableConfig
from langgraph.types import RetryPolicy
from person import Person, Style, open_questions, talk
from phone import APPROVE, REJECT, A, B, C, build_tool, ledger, says_that_nobody_rang
from placing import arguments, at_any_hour, signatures

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallResult, VoiceCallTool

Tools = Callable[..., VoiceCallTool]
CALL_A, CALL_B = arguments(A), arguments(B)
BOTH_STYLES: tuple[Style, ...] = ("bare", "by id")
BUILDS = pytest.mark.parametrize("build", sorted(STYLES))
BUILDS_AND_WINDOWS = pytest.mark.parametrize(
    ("build", "window"), [*((build, None) for build in sorted(STYLES)), ("node", 600)]
)
"""The duplicate guard would hide a forgotten call, so nearly all of them do without."""
BUILDS_AND_STYLES = pytest.mark.parametrize(
    ("build", "style"),
    [
        *((build, "by id") for build in sorted(STYLES)),
        ("node", "bare"),
        ("async node", "bare"),
        ("subgraph node", "bare"),
        ("entrypoint", "bare"),
    ],
)
ONE_AT_A_TIME: RunnableConfig = {**THREAD, "max_concurrency": 1}


@pytest.fixture
def tools(sandbox: Sandbox, journal: CallJournal) -> Tools:
    """Build a tool; `window` is the policy's duplicate window."""

    def build(approval: str = "never", window: float | None = 600) -> VoiceCallTool:
        policy = at_any_hour(
            duplicate_window=window, max_cost_per_day=None, max_calls_per_number_per_day=None
        )
        return build_tool(sandbox, journal, approval=approval, policy=policy)

    return build


def listener(sandbox: Sandbox, approval: str = "never") -> Person:
    """Build a person who answers by id, and is asked about calls where `approval` says so."""
    return Person(sandbox, may_ring=() if approval == "interrupt" else (A, B, C))


def retry(times: int = 3) -> RetryPolicy:
    """Retry a broken node at once."""
    return RetryPolicy(
        initial_interval=0.001, max_attempts=times, jitter=False, retry_on=BrokenNodeError
    )


# A node that runs again for questions of its own


@BUILDS_AND_WINDOWS
def test_own_questions_after_the_call_ring_nobody_again(
    tools: Tools, sandbox: Sandbox, build: str, window: float | None
) -> None:
    """A node calls and then asks two questions of its own: it runs three times and rings once."""
    script = Script([CALL_A, "first", "second"])
    talk(STYLES[build](tools(window=window), script), dict(INPUT), listener(sandbox))
    assert (script.runs, script.heard_wrongly(), ledger(sandbox)) == (3, [], ([A], 1))


@BUILDS_AND_STYLES
def test_approved_call_is_paid_once(
    tools: Tools, sandbox: Sandbox, build: str, style: Style
) -> None:
    """A node's plain call asks once, and the approval pays it once."""
    person, script = Person(sandbox, style), Script([CALL_A])
    talk(STYLES[build](tools("interrupt"), script), dict(INPUT), person)
    assert (person.asked_numbers, ledger(sandbox)) == ([A], ([A], 1))


@BUILDS_AND_STYLES
def test_rejected_call_is_not_asked_about_again(
    tools: Tools, sandbox: Sandbox, build: str, style: Style
) -> None:
    """The graph ends after one rejection, and nothing was signed."""
    person, script = Person(sandbox, style, {A: REJECT}), Script([CALL_A])
    talk(STYLES[build](tools("interrupt"), script), dict(INPUT), person)
    assert (person.asked_numbers, signatures(sandbox), ledger(sandbox)) == ([A], [], ([], 0))


@pytest.mark.parametrize(
    ("build", "decision"),
    [
        *((build, APPROVE) for build in sorted(STYLES)),
        *((build, REJECT) for build in ("node", "async node", "subgraph node", "task")),
    ],
)
def test_question_between_own_questions_is_asked_once(
    tools: Tools, sandbox: Sandbox, build: str, decision: dict[str, Any]
) -> None:
    """Own questions stand before and after the call; by id, each question is asked once."""
    person, script = (
        Person(sandbox, "by id", {A: decision}),
        Script(["one", CALL_A, "two", "three"]),
    )
    talk(STYLES[build](tools("interrupt", None), script), dict(INPUT), person)
    rings = ([A], 1) if decision is APPROVE else ([], 0)
    seen = (person.asked_numbers, person.asked_own, script.heard_wrongly(), ledger(sandbox))
    assert seen == ([A], ["one", "two", "three"], [], rings)


@pytest.mark.parametrize(
    ("build", "decision"),
    [
        *((build, APPROVE) for build in ("node", "async node", "subgraph node", "task")),
        ("node", REJECT),
        ("entrypoint", REJECT),
    ],
)
def test_bare_answers_between_own_questions_reach_the_right_question(
    tools: Tools, sandbox: Sandbox, build: str, decision: dict[str, Any]
) -> None:
    """Bare answers, in sequence: none is mixed up, and the call is asked about twice at most."""
    person, script = Person(sandbox, "bare", {A: decision}), Script(["one", CALL_A, "two", "three"])
    talk(STYLES[build](tools("interrupt"), script), dict(INPUT), person)
    rings = ([A], 1) if decision is APPROVE else ([], 0)
    assert (script.heard_wrongly(), ledger(sandbox)) == ([], rings)
    assert len(person.asked_numbers) <= 2


@pytest.mark.parametrize(
    ("build", "approval"), [*((build, "interrupt") for build in sorted(STYLES)), ("node", "never")]
)
def test_two_calls_in_sequence_are_two_calls(
    tools: Tools, sandbox: Sandbox, build: str, approval: str
) -> None:
    """One node calls two numbers, with own questions around them: each rings once."""
    person = listener(sandbox, approval)
    script = Script(["one", CALL_A, "two", CALL_B, "three"])
    talk(STYLES[build](tools(approval, None), script), dict(INPUT), person)
    asked = [A, B] if approval == "interrupt" else []
    seen = (person.asked_numbers, person.asked_own, script.heard_wrongly(), ledger(sandbox))
    assert seen == (asked, ["one", "two", "three"], [], ([A, B], 2))


@pytest.mark.parametrize("style", BOTH_STYLES)
@pytest.mark.parametrize(
    ("decisions", "rings"),
    [
        ({A: APPROVE, B: REJECT}, ([A], 1)),
        ({A: REJECT, B: APPROVE}, ([B], 1)),
        ({A: REJECT, B: REJECT}, ([], 0)),
    ],
    ids=["first", "second", "none"],
)
def test_of_two_calls_in_sequence_only_the_approved_ring(
    tools: Tools, sandbox: Sandbox, style: Style, decisions: dict[str, Any], rings: Any
) -> None:
    """Each call of a node has its own answer, with the node's own questions between."""
    person, script = Person(sandbox, style, decisions), Script([CALL_A, "one", CALL_B, "two"])
    talk(in_node(tools("interrupt"), script), dict(INPUT), person)
    assert (script.heard_wrongly(), ledger(sandbox)) == ([], rings)


@pytest.mark.parametrize("approval", ["never", "interrupt"])
def test_equal_calls_of_one_node_ring_as_often_as_it_calls(
    tools: Tools, sandbox: Sandbox, approval: str
) -> None:
    """Without a duplicate window, two equal calls ring twice; a re-run of the node rings nobody."""
    person, script = listener(sandbox, approval), Script([CALL_A, CALL_A, "one", "two"])
    talk(in_node(tools(approval, None), script), dict(INPUT), person)
    assert (script.runs > 2, person.asked_own, ledger(sandbox)) == (
        True,
        ["one", "two"],
        ([A, A], 2),
    )


def test_equal_calls_of_one_node_ring_once_within_the_window(
    tools: Tools, sandbox: Sandbox
) -> None:
    """With the default duplicate window, the second of two equal calls gets the first one's."""
    script = Script([CALL_A, CALL_A, "one"])
    talk(in_node(tools(), script), dict(INPUT), listener(sandbox))
    assert (len(script.results), ledger(sandbox)) == (4, ([A], 1))


@pytest.mark.parametrize("approval", ["never", "interrupt"])
@pytest.mark.parametrize("calls", [(A, B, C), (A, B, A)], ids=["different", "two equal"])
def test_calls_are_recognised_in_another_order(
    tools: Tools, sandbox: Sandbox, approval: str, calls: tuple[str, ...]
) -> None:
    """Every second run of the node places its calls in reverse order: no number rings again."""
    script = Script([*map(arguments, calls), "one", "two"], turns=True)
    talk(in_node(tools(approval, None), script), dict(INPUT), listener(sandbox, approval))
    assert (script.runs > 2, ledger(sandbox)) == (True, (sorted(calls), 3))


# A node that runs again for its retry policy


@pytest.mark.parametrize(
    ("build", "window"), [*((build, None) for build in sorted(RETRIED)), ("node", 600)]
)
def test_node_that_fails_after_the_call_rings_once(
    tools: Tools, sandbox: Sandbox, build: str, window: float | None
) -> None:
    """The node fails twice behind its call, and its retry policy runs it again: one payment."""
    script = Script([CALL_A, Fails(2)])
    graph = RETRIED[build](tools(window=window), script, retry_policy=retry())
    graph.invoke(dict(INPUT), THREAD)
    assert (script.runs, ledger(sandbox)) == (3, ([A], 1))


@pytest.mark.parametrize("fails_inside", [True, False], ids=["inside", "outside"])
def test_retried_node_around_a_subgraph_rings_once(
    tools: Tools, sandbox: Sandbox, *, fails_inside: bool
) -> None:
    """A node invokes a subgraph whose node calls; the outer node is retried twice: one payment."""
    inner = Script([CALL_A, Fails(2 * fails_inside)])
    outer = Script([Fails(2 * (not fails_inside))])
    graph = around_subgraph(tools(window=None), inner, outer, retry_policy=retry())
    graph.invoke(dict(INPUT), THREAD)
    assert ledger(sandbox) == ([A], 1)


@pytest.mark.parametrize("approval", ["never", "interrupt"])
def test_own_question_behind_a_subgraph_rings_nobody_again(
    tools: Tools, sandbox: Sandbox, approval: str
) -> None:
    """The outer node asks questions after its subgraph has called: one payment."""
    person, outer = listener(sandbox, approval), Script(["one", "two"])
    graph = around_subgraph(tools(approval, None), Script([CALL_A]), outer)
    talk(graph, dict(INPUT), person)
    asked = [A] if approval == "interrupt" else []
    assert (person.asked_numbers, outer.heard_wrongly(), ledger(sandbox)) == (asked, [], ([A], 1))


def test_retried_node_asks_once(tools: Tools, sandbox: Sandbox) -> None:
    """The node asks about its call, and fails twice behind it: one question, one payment."""
    person, script = Person(sandbox), Script([CALL_A, Fails(2)])
    graph = in_node(tools("interrupt", None), script, retry_policy=retry())
    talk(graph, dict(INPUT), person)
    assert (person.asked_numbers, ledger(sandbox)) == ([A], ([A], 1))


def test_run_after_a_crash_of_the_node_rings_once(tools: Tools, sandbox: Sandbox) -> None:
    """A node without a retry policy fails behind its call; `invoke(None)` runs it again."""
    script = Script([CALL_A, Fails(1)])
    graph = in_node(tools(window=None), script)
    with pytest.raises(BrokenNodeError):
        graph.invoke(dict(INPUT), THREAD)
    graph.invoke(None, THREAD)
    assert (script.runs, ledger(sandbox)) == (2, ([A], 1))


# Send


@pytest.mark.parametrize("approval", ["never", "interrupt"])
@pytest.mark.parametrize(
    ("calls", "window", "rings"),
    [
        ((A, B), 600, [A, B]),
        ((A, B), None, [A, B]),
        ((A, A), None, [A, A]),
        ((A, A), 600, [A]),
    ],
    ids=["different", "different, no window", "equal, no window", "equal"],
)
def test_each_task_of_a_send_is_a_call_of_its_own(
    tools: Tools, sandbox: Sandbox, approval: str, calls: Any, window: float | None, rings: Any
) -> None:
    """Two tasks call, then each asks a question of its own: no re-run of a task rings again."""
    after = Script(["one", "two"])
    graph = sends(tools(approval, window), *map(arguments, calls), after=after)
    # One task at a time: the line of a number is busy while a call to it goes on.
    talk(graph, dict(INPUT), listener(sandbox, approval), ONE_AT_A_TIME)
    assert (after.heard_wrongly(), ledger(sandbox)) == ([], (rings, len(rings)))


# A new run, and an old checkpoint


@BUILDS
def test_second_run_of_a_graph_makes_a_new_call(tools: Tools, sandbox: Sandbox, build: str) -> None:
    """New input on the same thread, without a duplicate window: two runs, two calls."""
    script = Script([CALL_A])
    graph = STYLES[build](tools(window=None), script)
    for _ in range(2):
        graph.invoke(dict(INPUT), THREAD)
    assert ledger(sandbox) == ([A, A], 2)


@pytest.mark.parametrize("build", ["node", "async node", "caller", "entrypoint"])
def test_second_run_within_the_window_is_told_of_the_earlier_call(
    tools: Tools, sandbox: Sandbox, build: str
) -> None:
    """New input on the same thread: the first call answers, and the text says that none rang."""
    script = Script([CALL_A])
    graph = STYLES[build](tools(), script)
    for _ in range(2):
        graph.invoke(dict(INPUT), THREAD)
    first, second = map(_told, script.results)
    assert (first, second, ledger(sandbox)) == (False, True, ([A], 1))


@pytest.mark.parametrize(
    ("build", "approval"),
    [
        *((build, "never") for build in ("node", "async node", "caller", "subgraph node")),
        ("node", "interrupt"),
        ("subgraph node", "interrupt"),
    ],
)
def test_time_travel_is_told_of_the_earlier_call(
    tools: Tools, sandbox: Sandbox, build: str, approval: str
) -> None:
    """A run from the checkpoint before the node: one payment, and the text says that none rang."""
    script = Script([CALL_A])
    graph = STYLES[build](tools(approval), script)
    talk(graph, dict(INPUT), listener(sandbox, approval))
    before = next(s.config for s in graph.get_state_history(THREAD) if s.next == ("n",))
    state = graph.invoke(None, before)
    assert (open_questions(state), _told(script.results[0])) == ([], False)
    assert (_told(script.results[-1]), ledger(sandbox)) == (True, ([A], 1))


def _told(result: Any) -> bool:
    """Tell whether a result says that an earlier call answered."""
    if isinstance(result, VoiceCallResult):
        return result.reused
    return says_that_nobody_rang(result)
