"""Never twice: loops, branches, threads and subgraphs that run several times in one task."""

from __future__ import annotations

from typing import Any

import pytest
from graphs import INPUT, THREAD, BrokenNodeError, Fails, Graph, Script, State, one_node
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from person import Person, talk
from phone import A, B, build_tool, ledger
from placing import arguments, at_any_hour

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallTool

APPROVALS = pytest.mark.parametrize("approval", ["never", "interrupt"])
EQUAL_OR_NOT = pytest.mark.parametrize("numbers", [(A, B), (A, A)], ids=["different", "equal"])
ONE_AT_A_TIME: RunnableConfig = {**THREAD, "max_concurrency": 1}
RETRY = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=BrokenNodeError)


@pytest.fixture
def tool(request: pytest.FixtureRequest, sandbox: Sandbox, journal: CallJournal) -> VoiceCallTool:
    """A tool without a duplicate guard, which would hide a second call."""
    policy = at_any_hour(
        duplicate_window=None, max_cost_per_day=None, max_calls_per_number_per_day=None
    )
    approval = request.getfixturevalue("approval")
    return build_tool(sandbox, journal, approval=approval, policy=policy)


def run(graph: Graph, sandbox: Sandbox, approval: str, config: RunnableConfig = THREAD) -> Person:
    """Run a graph to its end, with a person who agrees to everything."""
    person = Person(sandbox, may_ring=() if approval == "interrupt" else (A, B))
    talk(graph, dict(INPUT), person, config)
    return person


@APPROVALS
@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param((A, B), id="different"),
        pytest.param(
            (A, A),
            id="equal",
            marks=pytest.mark.xfail(reason="equal calls of two runs of a subgraph are one call"),
        ),
    ],
)
@pytest.mark.parametrize("behind", ["question", "failure"])
def test_each_run_of_a_subgraph_in_one_node_is_a_call(
    tool: VoiceCallTool, sandbox: Sandbox, approval: str, numbers: Any, behind: str
) -> None:
    """A node invokes one subgraph twice and is run again: two calls, and no third one."""
    inner = one_node(lambda state: Script([state["args"]]).run(tool.invoke), None)
    after = Script(["one", "two"] if behind == "question" else [Fails(2)])

    def node(_: State) -> Any:
        for number in numbers:
            inner.invoke({"args": arguments(number)})
        return after.run(tool.invoke)

    run(one_node(node, InMemorySaver(), retry_policy=RETRY), sandbox, approval)
    assert (after.heard_wrongly(), ledger(sandbox)) == ([], (list(numbers), 2))


@APPROVALS
@pytest.mark.parametrize("where", ["graph", "subgraph"])
def test_each_turn_of_a_loop_is_a_call(
    tool: VoiceCallTool, sandbox: Sandbox, approval: str, where: str
) -> None:
    """A node calls, asks a question of its own, and is gone through twice: two equal calls."""
    script = Script([arguments(A), "one"])
    loop: Any = StateGraph(State)
    loop.add_node("n", lambda _: script.run(tool.invoke))
    loop.add_edge(START, "n")
    loop.add_conditional_edges("n", lambda state: "n" if len(state["out"]) < 2 else END, ["n", END])
    if where == "subgraph":
        graph = one_node(loop.compile(), InMemorySaver())
    else:
        graph = loop.compile(checkpointer=InMemorySaver())
    person = run(graph, sandbox, approval)
    assert (person.asked_own, ledger(sandbox)) == (["one", "one"], ([A, A], 2))


@APPROVALS
@EQUAL_OR_NOT
@pytest.mark.parametrize("where", ["nodes", "subgraphs"])
def test_each_branch_is_a_call(
    tool: VoiceCallTool, sandbox: Sandbox, approval: str, numbers: Any, where: str
) -> None:
    """Two nodes of one step call and then ask a question of their own: two calls."""
    scripts = [Script([arguments(n), f"after {i}"]) for i, n in enumerate(numbers)]
    graph: Any = StateGraph(State)
    for i, script in enumerate(scripts):
        node: Any = lambda _, script=script: script.run(tool.invoke)  # noqa: E731 - one for each
        graph.add_node(f"n{i}", one_node(node, None) if where == "subgraphs" else node)
        graph.add_edge(START, f"n{i}")
    # One at a time: the line of a number is busy while a call to it goes on.
    run(graph.compile(checkpointer=InMemorySaver()), sandbox, approval, ONE_AT_A_TIME)
    wrong = [answer for script in scripts for answer in script.heard_wrongly()]
    assert (wrong, ledger(sandbox)) == ([], (list(numbers), 2))


@APPROVALS
@pytest.mark.parametrize("workers", [1, 2])
def test_calls_of_threads_are_each_placed_once(
    tool: VoiceCallTool, sandbox: Sandbox, approval: str, workers: int
) -> None:
    """A node calls two numbers in threads and then asks questions of its own: two calls."""
    after = Script(["one", "two"])

    def node(_: State) -> Any:
        with ContextThreadPoolExecutor(max_workers=workers) as pool:
            jobs = [pool.submit(tool.invoke, arguments(number)) for number in (A, B)]
        for job in jobs:
            job.result()
        return after.run(tool.invoke)

    run(one_node(node, InMemorySaver()), sandbox, approval)
    assert (after.heard_wrongly(), ledger(sandbox)) == ([], ([A, B], 2))
