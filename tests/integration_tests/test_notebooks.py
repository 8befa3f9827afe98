"""The notebooks run from top to bottom on the sandbox, and are committed as they came out."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from notebook_runs import CREDENTIALS, FOLDER, NOTEBOOKS, read, run_all, shown

TOLD = re.compile(r"0x[0-9a-fA-F]{64}|oneshot_[0-9a-f]{64}|sk-\w{8}")
"""Keys and tokens."""
PLACES = re.compile(r"/home/|/Users/|/root/|/tmp/|[A-Z]:\\\\|site-packages|127\.0\.0\.1:\d")
"""Paths and ports of the machine that ran it."""
PHONE = re.compile(r"\+\d{7,15}")
FICTIONAL = re.compile(r"\+1415(?:55501\d\d|5551234|5555678)")


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, NotebookNode | BaseException]]:
    """Every notebook as it comes out today, or the error that it ends in."""
    # The names of Unix sockets are short, and pytest's folders are not.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for name in CREDENTIALS:
            patch.delenv(name, raising=False)
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        yield asyncio.run(run_all(folder))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_shows_what_is_committed(
    fresh: Mapping[str, NotebookNode | BaseException], name: str
) -> None:
    """It runs without an error, an account or a key, and every word that it shows is stored."""
    end = fresh[name]
    if isinstance(end, BaseException):
        raise end

    assert shown(end) == shown(read(name)), "run tests/integration_tests/notebook_runs.py --write"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stale_word_is_found(name: str) -> None:
    """One changed word, in any kind of output, is not the committed text any more."""
    committed = read(name)
    outputs = [o for cell in committed.cells for o in cell.get("outputs", [])]
    changed = 0
    for number, output in enumerate(outputs):
        for kind in [k for k in ("text", *output.get("data", ())) if k != "image/png"]:
            stale = copy.deepcopy(committed)
            again = [o for cell in stale.cells for o in cell.get("outputs", [])][number]
            where = again if kind == "text" else again["data"]
            if where.get(kind, "").strip():
                where[kind] = re.sub(r"[A-Za-z]{3,}(?!.*[A-Za-z]{3})", "stale", where[kind])
                changed += 1
                assert shown(stale) != shown(committed)

    assert changed > 0


def notebook_showing(*texts: str) -> NotebookNode:
    """A notebook whose only cell prints these texts."""
    outputs = [new_output("stream", name="stdout", text=text) for text in texts]  # type: ignore[no-untyped-call]
    notebook: NotebookNode = new_notebook(cells=[new_code_cell(outputs=outputs)])  # type: ignore[no-untyped-call]
    return notebook


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("req_" + "1" * 24, "req_" + "2" * 24),
        ("call_key='" + "a" * 64, "call_key='" + "b" * 64),
        ("0x" + "1" * 40, "0x" + "2" * 40),
        ("http://127.0.0.1:4402", "http://127.0.0.1:38211"),
        ("Good until 2026-11-22 09:49 UTC.", "Good until 2027-01-02 23:59 UTC."),
        ("<td>2026-11-22</td>", "<td>2027-01-02</td>"),
        ("elapsed_seconds=0.013", "elapsed_seconds=1.5"),
        ("'elapsed_seconds': 0.013", "'elapsed_seconds': 0"),
        ("in_progress $6.75\n", "in_progress $6.75\n" * 3),
    ],
)
def test_what_differs_by_nature_is_the_same(one: str, other: str) -> None:
    """Ids, addresses and times of two runs do not make a notebook stale."""
    assert shown(notebook_showing(one)) == shown(notebook_showing(other))


def test_same_id_stays_the_same() -> None:
    """Where a notebook shows one id twice, two different ids are another text."""
    one, other = "req_" + "1" * 24 + "\n", "req_" + "2" * 24 + "\n"

    assert shown(notebook_showing(one, one)) != shown(notebook_showing(one, other))


def test_pieces_of_a_stream_are_one_text() -> None:
    """What was printed does not depend on how the kernel cut it."""
    assert shown(notebook_showing("No phone", " rang.")) == shown(
        notebook_showing("No phone rang.")
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_notebook_tells_nothing(name: str) -> None:
    """No key, no path of a machine and no real number is in it, and nothing went wrong in it."""
    text = re.sub(r'"image/png": "[^"]*"', "", (FOLDER / name).read_text())
    outputs = [o for cell in read(name).cells for o in cell.get("outputs", [])]

    assert not TOLD.search(text)
    assert not PLACES.search(text)
    assert all(FICTIONAL.fullmatch(number) for number in PHONE.findall(text))
    assert all(output.get("name") != "stderr" for output in outputs)
    assert all(output.output_type != "error" for output in outputs)


def test_notebooks_are_there() -> None:
    """The four that the README names are among them."""
    named = {"quickstart", "langgraph", "conference", "outcomes"}

    assert named <= {Path(name).stem for name in NOTEBOOKS}
