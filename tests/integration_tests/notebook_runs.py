"""Runs the notebooks on the sandbox, and reads from their outputs what must not change.

    python tests/integration_tests/notebook_runs.py           # name those whose outputs are stale
    python tests/integration_tests/notebook_runs.py --write   # and store what they show today

Ids, times, ports and addresses differ from run to run: `shown` puts names in their place, for an id
one that tells whether it is the same as before. All other text has to be equal.
"""

from __future__ import annotations

import asyncio
import copy
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))

CREDENTIALS = [
    f"ONESHOT_{name}"
    for name in ("WALLET_PRIVATE_KEY", "ACCESS_TOKEN", "BASE_URL", "VOICE_JOURNAL")
]

_TIME = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
_UTC = r"datetime\.timezone\.utc|TzInfo\(\w+\)"
_VARYING = re.compile(
    r"(?P<id>(?P<kind>[a-z]{2,8})_[0-9a-f]{24}\b)"
    r"|(?P<key>\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b)"
    r"|(?P<address>\b0x[0-9a-fA-F]{8,40}\b)"
    r"|(?P<port>127\.0\.0\.1:\d+)"
    rf"|(?P<datetime>datetime\.datetime\(\d[\d, ]*, tzinfo=(?:{_UTC})\))"
    rf"|(?P<time>\d{{4}}-\d\d-\d\d(?:[ T]| at ){_TIME}(?: ?UTC|Z|[+-]\d\d:\d\d)?)"
    r"|(?P<day>\b\d{4}-\d\d-\d\d\b)"
    r"|(?P<elapsed>(?<=elapsed_seconds)(?:=|': )\d+(?:\.\d+)?)"
)
"""What differs from run to run, by the kind of thing that it is."""

_AGAIN = re.compile(r"^(.*\bin_progress\b.*\n)\1+", re.MULTILINE)
"""A call in progress is told as often as the service happens to be asked, or to tell."""

_IMAGES = "image/"
"""Of a picture only its kind is compared: it depends on the versions of the libraries that draw."""


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
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


async def run_all(folder: str) -> Mapping[str, NotebookNode | BaseException]:
    """Every notebook, at the same time, each in a kernel of its own: itself, or its error."""
    running = (run(name, folder) for name in NOTEBOOKS)
    ends = await asyncio.gather(*running, return_exceptions=True)
    return dict(zip(NOTEBOOKS, ends, strict=True))


def shown(notebook: NotebookNode) -> list[str]:
    """What each code cell shows, as text, with a name for all that differs from run to run."""
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        if found["id"] or found["key"]:  # two times may be equal by chance, two ids may not
            return names.setdefault(found[0], f"<{found['kind'] or 'key'} {len(names) + 1}>")
        return f"<{found.lastgroup}>"

    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [_AGAIN.sub(r"\1", _VARYING.sub(name, _text(cell))) for cell in cells]


def _text(cell: NotebookNode) -> str:
    parts: list[tuple[str, str]] = []
    for output in _joined(cell.outputs):
        if output.output_type == "stream":
            parts.append((output.name, output.text))
        for kind, content in sorted(output.get("data", {}).items()):
            parts.append((kind, "" if kind.startswith(_IMAGES) else str(content)))
    return "\n".join(f"[{kind}]\n{content}" for kind, content in parts)


def _joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The same outputs, with each stream in one piece, however the kernel sent it."""
    joined: list[NotebookNode] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if output.output_type == "stream" and before and before.get("name") == output.name:
            before.text += output.text
        else:
            joined.append(copy.copy(output))
    return joined


def main() -> int:
    """Compare every notebook with a fresh run; with `--write`, store those that changed."""
    for name in CREDENTIALS:
        os.environ.pop(name, None)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    with TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        ends = asyncio.run(run_all(folder))
    stale = 0
    for name, end in ends.items():
        if isinstance(end, BaseException):
            raise end
        committed = read(name)
        if shown(end) == shown(committed):
            continue
        stale += 1
        sys.stdout.write(f"{name}\n")
        if "--write" in sys.argv:
            end.metadata = committed.metadata
            nbformat.write(end, FOLDER / name)  # type: ignore[no-untyped-call]
    return 0 if "--write" in sys.argv else stale


if __name__ == "__main__":
    raise SystemExit(main())
