"""Type checkers that know nothing of pydantic accept what users write, and report their slips."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from langchain_oneshot_voice import CallPolicy, VoiceCallTool
from langchain_oneshot_voice.policy.call_policy import PolicySettings

ROOT = Path(__file__).parents[2]
TYPED = ROOT / "tests" / "typed"
CACHE = ROOT / ".mypy_cache" / "usage"
"""Of its own: what the project's own run of mypy keeps depends on its options."""

FAULTS = """\
from langchain_oneshot_voice import CallJournal, CallPolicy, Sandbox, Timing, calls_frame
from langchain_oneshot_voice import VoiceCaller, VoiceCallInput, VoiceCallResult, VoiceCallTool
from langchain_oneshot_voice import WalletKey

VoiceCallTool(approve="interrupt")  # fault
VoiceCallTool(approval="always")  # fault
VoiceCallTool(private_key=5)  # fault
VoiceCallTool(policy=5)  # fault
VoiceCallTool(policy=lambda config: 5)  # fault
VoiceCallTool(on_progress=lambda: None)  # fault
VoiceCallTool(max_wait="a minute")  # fault
VoiceCallTool(outcome_schema="Booking")  # fault
VoiceCallTool(credential="0x1")  # fault
VoiceCallTool(names="phone")  # fault
VoiceCaller(WalletKey("0x1"), approve="interrupt")  # fault
VoiceCaller("0x1")  # fault
Timing(leases=30)  # fault
CallPolicy(max_cost=5)  # fault
CallPolicy(max_cost_per_call=[5])  # fault
CallPolicy(max_calls_per_number_per_day="3")  # fault
CallPolicy(calling_hours=9)  # fault
CallPolicy(allowed_countries="US")  # fault
CallPolicy(allow="+1415")  # fault
CallPolicy(check=lambda request: None)  # fault
VoiceCallInput(objective="Ask when they close.")  # fault
VoiceCallInput(objective="Ask when they close.", target_number=14155550134)  # fault
VoiceCallInput(objective="Ask when they close.", number="+14155550134")  # fault
Sandbox(calls=5)  # fault
CallJournal(path="calls.sqlite")  # fault
calls_frame(day=30)  # fault


def use(sandbox: Sandbox, caller: VoiceCaller, result: VoiceCallResult) -> None:
    sandbox.advance(minutes=5)  # fault
    caller.recover(wait=5)  # fault
    caller.call("Ask when they close.")  # fault
    result.status  # fault
"""

FAULTY = {at for at, line in enumerate(FAULTS.splitlines(), 1) if line.endswith("# fault")}

PYRIGHT: dict[str, Any] = {
    "typeCheckingMode": "strict",
    "reportUnusedExpression": False,
    "extraPaths": [str(ROOT)],
    "executionEnvironments": [
        {
            "root": "graphs",  # of LangGraph's names, not of ours
            "reportUnknownVariableType": False,
            "reportUnknownMemberType": False,
            "reportMissingTypeStubs": False,
        },
        {"root": "."},
    ],
}

Found = dict[str, dict[int, str]]
"""What a type checker reported: in which file, on which line, in its words."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: nothing of ours in it but the files that are to be checked."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "graphs").mkdir()
    shutil.copy(TYPED / "usage.py", folder)
    shutil.copy(TYPED / "usage_in_graphs.py", folder / "graphs")
    (folder / "faults.py").write_text(FAULTS)
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    return folder


def _mypy(project: Path) -> Found:
    files = ["usage.py", "graphs/usage_in_graphs.py", "faults.py"]
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={CACHE}"]
    done = _run(project, "mypy", *options, "--no-error-summary", *files)
    assert done.stderr == ""
    found: Found = {Path(file).name: {} for file in files}
    for line in done.stdout.splitlines():
        report = re.fullmatch(r"(.+?):(\d+): (error|note): (.*)", line)
        assert report, line
        if report[3] == "error":
            found[Path(report[1]).name][int(report[2])] = report[4]
    return found


def _pyright(project: Path) -> Found:
    done = _run(project, "pyright", "--outputjson", "--pythonpath", sys.executable)
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == 3, done.stdout
    found: Found = {"usage.py": {}, "usage_in_graphs.py": {}, "faults.py": {}}
    for report in said["generalDiagnostics"]:
        line = report["range"]["start"]["line"] + 1
        found[Path(report["file"]).name][line] = report["message"]
    return found


def _run(project: Path, checker: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a checker as a program. Pyright and Node.js are in their wheels: nothing is fetched."""
    apart = {"MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_GLOBAL_NODE": "0"}
    return subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", checker, *options],
        cwd=project,
        env=os.environ | apart,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module", params=[_mypy, _pyright], ids=["mypy", "pyright"])
def found(request: pytest.FixtureRequest, project: Path) -> Found:
    """What each type checker says of the project."""
    reported: Found = request.param(project)
    return reported


@pytest.mark.parametrize("file", ["usage.py", "usage_in_graphs.py"])
def test_what_users_write_is_accepted(found: Found, file: str) -> None:
    """Strict type checkers have nothing to say about it."""
    assert found[file] == {}


def test_slips_are_reported(found: Found) -> None:
    """A misspelt argument or a wrong type is found before the program runs."""
    assert set(found["faults.py"]) == FAULTY


@pytest.mark.parametrize("file", sorted(TYPED.glob("*.py")), ids=lambda path: path.name)
def test_usage_silences_no_type_checker(file: Path) -> None:
    """What has to be silenced is not accepted."""
    words = file.read_text(encoding="utf-8")
    assert re.findall(r"# *(?:type:|pyright:|mypy:)|\bcast\(", words) == []


def test_usage_gives_every_setting() -> None:
    """A setting that is not in it is shown to no type checker."""
    tree = ast.parse((TYPED / "usage.py").read_text(encoding="utf-8"))
    given = {
        (call.func.id, keyword.arg)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        for keyword in call.keywords
    }
    assert {("CallPolicy", name) for name in CallPolicy.model_fields} - given == set()
    settings = set(signature(VoiceCallTool.__init__).parameters) - {"self", "langchain"}
    assert {("VoiceCallTool", name) for name in settings} - given == set()


@pytest.fixture(scope="module")
def usage() -> Any:
    """The file, imported."""
    spec = spec_from_file_location("usage", TYPED / "usage.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["usage"] = module
    spec.loader.exec_module(module)
    return module


def test_what_type_checkers_accept_works(usage: Any, tmp_path: Path) -> None:
    """The types are no wider than the package."""
    assert usage.policies()
    assert usage.tools(tmp_path)
    assert usage.callers(tmp_path)
    assert usage.requests()
    assert usage.journals(tmp_path)


def test_type_checkers_know_every_setting_of_a_policy() -> None:
    """A new field is a new argument."""
    assert set(PolicySettings.__optional_keys__) == set(CallPolicy.model_fields)


def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    """Without the marker, type checkers would look at none of it."""
    subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    assert "langchain_oneshot_voice/py.typed" in ZipFile(wheel).namelist()
