"""What importing the package costs, beside the least that any LangChain tool costs.

    python benchmarks/startup.py [rounds]

Each round starts a fresh interpreter for each statement, in turn, so that a machine that slows
down slows all of them. Quote the ratios of the medians: the seconds are this machine's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

BASE_TOOL, OURS = "the floor: BaseTool", "ours: VoiceCallTool"
FLOOR = "from langchain_core.tools import BaseTool"
STATEMENTS = {
    BASE_TOOL: FLOOR,
    OURS: "from langchain_oneshot_voice import VoiceCallTool",
    "official: VoiceTool": "from langchain_oneshot import VoiceTool",
}
LAZY = (
    "eth_account",
    "eth_keys",
    "httpx",
    "sqlalchemy",
    "websockets",
    "starlette",
    "langgraph",
    "rich",
)


HELP = "oneshot-voice --help"


def seconds(what: str) -> float:
    program = [str(Path(sys.executable).with_name("oneshot-voice")), "--help"]
    began = time.perf_counter()
    subprocess.run(
        program if what == HELP else [sys.executable, "-c", what],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def measured(rounds: int) -> dict[str, float]:
    """The median seconds of each."""
    programs = {**STATEMENTS, HELP: HELP}
    for what in programs.values():
        seconds(what)  # warm the file cache and the byte code
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, what in programs.items():
            taken[name].append(seconds(what))
    return {name: statistics.median(each) for name, each in taken.items()}


def main(rounds: int) -> None:
    medians = measured(rounds)
    print(f"{rounds} rounds; whole process, median seconds, and ratio to the floor")
    for name, median in medians.items():
        print(f"  {name:<26} {median:6.3f} s   {median / medians[BASE_TOOL]:5.2f}")
    ours = STATEMENTS[OURS]
    code = f"{ours}; import sys; print([m for m in {LAZY} if m in sys.modules])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    print(f"  imported along although it should not be: {loaded.strip()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
