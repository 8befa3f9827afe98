"""The notebooks run from top to bottom on the sandbox, and are committed as they came out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))

TOLD = re.compile(r"0x[0-9a-fA-F]{64}|oneshot_[0-9a-f]{64}|sk-\w{8}")
"""Keys and tokens."""
PLACES = re.compile(r"/home/|/Users/|/root/|/tmp/|[A-Z]:\\\\|site-packages|127\.0\.0\.1:\d")
"""Paths and ports of the machine that ran it."""
PHONE = re.compile(r"\+\d{7,15}")
FICTIONAL = re.compile(r"\+1415(?:55501\d\d|5551234|5555678)")


def read(name: str) -> NotebookNode:
    """A committed notebook."""
    notebook: NotebookNode = nbformat.read(FOLDER / name, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


async def run(name: str, folder: str) -> NotebookNode:
    """The notebook as it comes out today, in a kernel that is reached over Unix sockets."""
    notebook = read(name)
    reached_by = {"transport": "ipc", "ip": f"{folder}/{name}"}
    client = NotebookClient(
        notebook,
        timeout=60,
        record_timing=False,
        config=Config({"KernelManager": reached_by}),
    )
    await client.async_execute(cleanup_kc=True)
    return notebook


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Every notebook, run at the same time, each in a kernel of its own: itself, or its error."""

    async def run_all(folder: str) -> dict[str, Any]:
        running = (run(name, folder) for name in NOTEBOOKS)
        ends = await asyncio.gather(*running, return_exceptions=True)
        return dict(zip(NOTEBOOKS, ends, strict=True))

    # The names of Unix sockets are short, and pytest's folders are not.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for name in ("WALLET_PRIVATE_KEY", "ACCESS_TOKEN", "BASE_URL", "VOICE_JOURNAL"):
            patch.delenv(f"ONESHOT_{name}", raising=False)
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        yield asyncio.run(run_all(folder))


def shown(notebook: NotebookNode) -> list[tuple[str, ...]]:
    """What each code cell shows, by kind."""
    return [
        tuple(
            output.get("name") or " ".join(sorted(output.get("data", {})))
            for output in cell.outputs
            if output.output_type != "stream" or output.text.strip()
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(fresh: dict[str, Any], name: str) -> None:
    """It runs without an error, an account or a key, and shows what is committed."""
    end = fresh[name]
    if isinstance(end, BaseException):
        raise end

    assert [tuple(dict.fromkeys(kinds)) for kinds in shown(end)] == shown(read(name))


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
