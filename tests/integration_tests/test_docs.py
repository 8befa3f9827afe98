"""The documents say what is so: their snippets run, their tests and files exist."""

from __future__ import annotations

import json
import linecache
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from approving import calling, in_thread
from scripted_model import calls_then_says

from langchain_oneshot_voice import Sandbox

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "langchain_oneshot_voice"
TESTS = ROOT / "tests"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

APPROVAL = (ROOT / "docs" / "approval.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

ASSUMED = "What the snippets assume"
"""The section whose block every other section starts with."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\+\d{7,15}")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_TEST = re.compile(r"\b(test_\w+)(\.py)?")
_SECTION_OF_A_TEST = re.compile(r"`test_snippets_of_the_approval_page_run` \(([^)]+)\)")
_MODULE = re.compile(r"`(?!test_)([\w/]+\.py)`")

VOLATILE = {"quote_id", "expires_at", "question"}
"""Keys of a question whose values are different each time."""


def sections(page: str) -> dict[str, str]:
    """The text of each section of a page, by its heading."""
    parts = re.split(r"^#{2,3} (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language."""
    return [code for found, code in _BLOCK.findall(text) if found == language]


PYTHON = {heading: blocks(text, "python") for heading, text in sections(APPROVAL).items()}
RUN = [heading for heading, code in PYTHON.items() if code and heading != ASSUMED]

Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service whose quotes last a minute, as the page says."""
    with Sandbox(call_seconds=0.05, quote_seconds=60) as running:
        yield running


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the blocks of one section with the names that the page assumes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONESHOT_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("ONESHOT_WALLET_PRIVATE_KEY", sandbox.private_key)

    def run_section(heading: str) -> dict[str, Any]:
        names: dict[str, Any] = {
            "__name__": "approval_page",
            "sandbox": sandbox,
            "journal": str(tmp_path / "calls.sqlite"),
            "model": calls_then_says(*calling("+14155550120")),
            "busy_model": calls_then_says(*calling("+14155550120", "+14155550121")),
            "thread": in_thread("42"),
        }
        for number, code in enumerate([*PYTHON[ASSUMED], *PYTHON[heading]]):
            file = f"<docs/approval.md, {heading}, block {number}>"
            # So that a failure shows the line of the page.
            linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
            # `dont_inherit`: the snippets have no `from __future__ import annotations`.
            exec(compile(code, file, "exec", dont_inherit=True), names)  # noqa: S102 - runs our own page
        return names

    return run_section


@pytest.mark.parametrize("heading", RUN)
def test_snippets_of_the_approval_page_run(run: Run, heading: str) -> None:
    """Each section's blocks run in order, and what they assert is so."""
    run(heading)


def test_approval_page_has_snippets_for_every_kind_of_graph() -> None:
    """A section that lost its block would be run by nobody."""
    text = APPROVAL.partition("## Every kind of graph")[2].partition("\n## ")[0]
    kinds = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    assert len(kinds) == 9
    assert set(kinds) <= set(RUN)


def test_example_of_a_question_is_a_real_one(run: Run) -> None:
    """The JSON of the page is what a person is shown, but for ids and times."""
    [example] = blocks(APPROVAL, "json")
    question = run("The question")["question"].value
    assert _steady(json.loads(example)) == _steady(question)


def _steady(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {k: "..." if k in VOLATILE else _steady(v) for k, v in shown.items()}
    return shown


def test_every_test_that_the_security_page_names_exists() -> None:
    """A threat whose test was renamed or removed would be shown by nothing."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    functions = set(re.findall(r"def (test_\w+)\(", "\n".join(files.values())))
    named = _TEST.findall(SECURITY)
    assert len(named) > 40
    assert {name for name, py in named if name not in (files if py else functions)} == set()


def test_every_section_that_the_security_page_names_is_run() -> None:
    """Where a snippet shows that a threat is stopped, its section exists and has a block."""
    named = set(_SECTION_OF_A_TEST.findall(SECURITY))
    assert named
    assert named <= set(RUN)


def test_every_module_that_the_security_page_names_exists() -> None:
    """The paths in parentheses lead to the code that stops the threat."""
    named = set(_MODULE.findall(SECURITY))
    assert len(named) > 20
    assert {path for path in named if not (PACKAGE / path).is_file()} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every link to a file of the repository finds one."""
    targets = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_numbers_in_documents_are_fictional(document: Path) -> None:
    """Nobody who tries a snippet rings a stranger."""
    numbers = set(_NUMBER.findall(document.read_text(encoding="utf-8")))
    assert {n for n in numbers if not n.startswith("+1415555")} == set()
