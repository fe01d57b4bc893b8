"""`python -m tests.crash --rounds N [--seed S]`: the long run."""

from __future__ import annotations

import argparse
import sys
import time

from tests.crash.workload import Broken, Workload


def main() -> int:
    """Run, and return 1 at the first broken promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--rounds", type=int, default=1000, help="lives to run, in fours")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    counts: dict[str, int] = {}
    began = time.monotonic()
    for seed in range(options.seed, options.seed + options.rounds):
        workload = Workload(seed)
        try:
            workload.run()
        except Broken as broken:
            print(f"seed {seed}: {broken.args}")  # noqa: T201
            return 1
        for what, count in workload.counts.items():
            counts[what] = counts.get(what, 0) + count
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    seconds = time.monotonic() - began
    print(f"{options.rounds} rounds in {seconds:.0f} s, 0 broken promises: {told}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
