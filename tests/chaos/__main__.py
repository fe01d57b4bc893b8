"""`python -m tests.chaos --seconds N [--seed S]`: the long run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import run


def main() -> int:
    """Run, and return 1 when anything was lost, failed, slow or left over."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as directory:
        result = run(Path(directory), options.seconds, options.seed, say=print)
        for line in (*result.failed, *result.slow, *result.lost):
            print(line)  # noqa: T201
        print(  # noqa: T201
            f"seed {options.seed}: {len(result.deeds)} deeds, {result.requests} requests."
            f" Of tenants whom nothing befell: {len(result.failed)} failed,"
            f" {len(result.slow)} took over 250 ms (slowest {1000 * result.slowest:.0f} ms)."
            f" {len(result.lost)} acknowledged writes lost, exit status {result.status}."
        )
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
