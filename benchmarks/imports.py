"""What importing the package costs, beside the least that any LangChain tool costs.

    python benchmarks/imports.py [rounds]

Each round starts a fresh interpreter for each statement, in turn, so that a machine that slows
down slows all of them. Quote the ratios of the medians: the seconds are this machine's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

FLOOR = "from langchain_core.tools import BaseTool"
STATEMENTS = {
    "the floor: BaseTool": FLOOR,
    "ours: VoiceCallTool": "from langchain_oneshot_voice import VoiceCallTool",
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


def seconds(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def main(rounds: int) -> None:
    for statement in STATEMENTS.values():
        seconds(statement)  # warm the file cache and the byte code
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            taken[name].append(seconds(statement))
    floor = statistics.median(taken["the floor: BaseTool"])
    print(f"{rounds} rounds; whole interpreter, median seconds, and ratio to the floor")
    for name, all_seconds in taken.items():
        median = statistics.median(all_seconds)
        print(f"  {name:<26} {median:6.3f} s   {median / floor:5.2f}")
    ours = STATEMENTS["ours: VoiceCallTool"]
    code = f"{ours}; import sys; print([m for m in {LAZY} if m in sys.modules])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    print(f"  imported along although it should not be: {loaded.strip()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
