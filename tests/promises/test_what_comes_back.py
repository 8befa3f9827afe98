"""What comes back: the receipt at once, and words that say when nothing rang."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from graphs import THREAD, tool_calls, tool_node
from phone import A, build_tool, ledger, says_that_nobody_rang
from placing import arguments, at_any_hour, tool_call

from langchain_oneshot_voice import CallJournal, Sandbox


@pytest.fixture
def slow() -> Iterator[Sandbox]:
    """A service whose calls take long enough to be looked at."""
    with Sandbox(call_seconds=0.6) as running:
        yield running


@pytest.mark.parametrize("later", ["same journal", "reopened journal"])
def test_receipt_id_is_there_while_the_call_goes_on(
    slow: Sandbox, tmp_path: Path, later: str
) -> None:
    """An in-progress result has the receipt's id, and the outcome has the same one."""
    journal = CallJournal(tmp_path / "receipts.sqlite")
    call = tool_call(**arguments(A))
    early = build_tool(slow, journal, max_wait=0.2).invoke(call, THREAD).artifact
    if later == "reopened journal":
        journal = CallJournal(tmp_path / "receipts.sqlite")
    ended = build_tool(slow, journal).invoke(call, THREAD).artifact
    assert (early.call_status, ended.call_status) == ("in_progress", "completed")
    assert (bool(early.receipt_id), ended.receipt_id) == (True, early.receipt_id)
    assert ledger(slow) == ([A], 1)


def test_receipt_id_is_on_a_result_that_is_read_again(
    sandbox: Sandbox, journal: CallJournal
) -> None:
    """The same tool call, after its end: the same receipt."""
    tool = build_tool(sandbox, journal)
    first, again = (tool.invoke(tool_call(**arguments(A)), THREAD).artifact for _ in range(2))
    assert (bool(first.receipt_id), again.receipt_id) == (True, first.receipt_id)


def test_receipt_id_is_on_a_call_that_a_node_reads_later(
    slow: Sandbox, journal: CallJournal
) -> None:
    """A graph that ended with an in-progress result: the receipt is there in both runs."""
    results = []
    for wait in (0.2, 10.0):
        graph = tool_node(build_tool(slow, journal, max_wait=wait))
        results.append(graph.invoke(tool_calls(A), THREAD)["messages"][-1].artifact)
    receipts = {result.receipt_id for result in results}
    assert ([r.call_status for r in results], len(receipts), None in receipts) == (
        ["in_progress", "completed"],
        1,
        False,
    )


def test_answer_of_an_earlier_call_says_so(sandbox: Sandbox, journal: CallJournal) -> None:
    """Asked for again in the same words: `reused`, and the text says that no phone rang."""
    tool = build_tool(sandbox, journal)
    first, second = (tool.invoke(tool_call(n, **arguments(A))) for n in ("call-1", "call-2"))
    assert (first.artifact.reused, says_that_nobody_rang(first.content)) == (False, False)
    assert (second.artifact.reused, says_that_nobody_rang(second.content)) == (True, True)
    assert second.artifact.request_id == first.artifact.request_id


def test_own_call_that_is_read_again_says_so(sandbox: Sandbox, journal: CallJournal) -> None:
    """The same tool call again: its own outcome, and when the call was."""
    tool = build_tool(sandbox, journal, policy=at_any_hour(duplicate_window=None))
    began = datetime.now(UTC)
    first, again = (tool.invoke(tool_call(**arguments(A)), THREAD) for _ in range(2))
    ended = first.artifact.ended_at
    assert (first.artifact.reused, says_that_nobody_rang(first.content)) == (False, False)
    assert (again.artifact.reused, again.artifact.ended_at) == (True, ended)
    assert began - timedelta(seconds=1) < ended <= datetime.now(UTC) + timedelta(seconds=1)
    assert again.content.startswith("Nobody was called now")
    assert f"{ended:%Y-%m-%d at %H:%M} UTC" in again.content
    assert ledger(sandbox) == ([A], 1)


def test_worker_that_waited_for_another_one_s_call_tells_it_as_its_own(
    slow: Sandbox, tmp_path: Path
) -> None:
    """The phone rang while it waited: that was just now."""
    tools = [build_tool(slow, CallJournal(tmp_path / "shared.sqlite")) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(tool.invoke, tool_call(**arguments(A)), THREAD) for tool in tools]
        told = [run.result().artifact for run in runs]
    assert ([r.reused for r in told], ledger(slow)) == ([False, False], ([A], 1))
