"""The storm as a program, for long runs and for one plan again.

PYTHONPATH=tests:tests/promises python -m storm --count 1000 --seed 7
PYTHONPATH=tests:tests/promises python -m storm --plan '{"shape": "node"}'
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

from storm.example import smallest, tell
from storm.figures import Figures
from storm.plan import Plan, plans
from storm.world import World


def main() -> int:
    """Run, and print each example that is wrong; how many are wrong decides the exit code."""
    options = argparse.ArgumentParser(prog="storm", description=__doc__)
    options.add_argument("--count", type=int, default=200, help="examples")
    options.add_argument("--seed", type=int, default=1, help="of the examples")
    options.add_argument("--plan", help="one plan, as a failure prints it")
    options.add_argument("--times", type=int, default=1, help="how often to run that plan")
    options.add_argument("--shrink", type=float, default=0.0, help="seconds for each failure")
    options.add_argument("--quiet", action="store_true", help="print the table only")
    chosen = options.parse_args()
    # The database server has to be stopped whoever ends this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Lost answers are part of the storm: what the package says of them is not worth reading here.
    logging.getLogger("langchain_oneshot_voice").setLevel(logging.ERROR)
    figures, began = Figures(), time.monotonic()
    with World() as world:

        def run(plan: Plan) -> None:
            told = tell(world, plan)
            figures.add(told)
            if told.wrong and chosen.shrink:
                told = smallest(world, told, chosen.shrink)
            if chosen.plan or (told.wrong and not chosen.quiet):
                print(f"\n{told}", flush=True)  # noqa: T201 - what the program is for

        if chosen.plan:
            for _ in range(chosen.times):
                run(Plan.from_json(chosen.plan))
        else:
            steady = settings(
                max_examples=chosen.count,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(chosen.seed)(steady(given(plans())(run)))()
    print(f"\n{figures.table()}\n{time.monotonic() - began:.1f} s")  # noqa: T201 - likewise
    return int(figures.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
