"""A benchmark as a program: groups of rows, measured one after another, as one table."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.machine import OthersLoad, described
from benchmarks.report import FAILED, MISS, Row, document, failed, table

Groups = Mapping[str, Callable[[Bench], list[Row]]]


def measure(bench: Bench, groups: Groups, wanted: list[str]) -> list[Row]:
    """Measure the groups one after another; one that fails does not end the run."""
    rows: list[Row] = []
    for name in wanted:
        begun = time.monotonic()
        bench.missing.clear()
        try:
            found = groups[name](bench)
        except Exception as error:
            traceback.print_exc()
            found = [failed(name, error)]
        print(table(found), f"\n  {time.monotonic() - begun:.0f} s\n", file=sys.stderr)  # noqa: T201
        rows += found
    return rows


def main(name: str, description: str | None, groups: Groups) -> int:
    """Measure, print and keep; the exit status is 2 when a goal is missed or something broke."""
    parser = argparse.ArgumentParser(prog=f"make {name}", description=description)
    parser.add_argument("--seconds", type=int, help="of one measurement (2; quick: 1)")
    parser.add_argument("--repeats", type=int, help="rounds over all peers (5; quick: 2)")
    parser.add_argument("--connections", type=int, default=16, help="of the load (16)")
    parser.add_argument("--quick", action="store_true", help="short and rough")
    parser.add_argument(
        "--only",
        action="append",
        choices=groups,
        metavar="ROWS",
        help=f"these rows; more than once for more: {', '.join(groups)}",
    )
    parser.add_argument("--json", type=Path, default=Path(f"build/{name}.json"))
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What was started is ended as when the run ends by itself.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    about, others = described(), OthersLoad()
    with tempfile.TemporaryDirectory(prefix="sqb-") as directory:
        bench = Bench(
            Path(directory).resolve(),
            seconds=options.seconds or (1 if options.quick else 2),
            repeats=options.repeats or (2 if options.quick else 5),
            connections=options.connections,
            quick=options.quick,
        )
        rows = measure(bench, groups, options.only or list(groups))
    about["others meanwhile"] = f"used {others.cores():.2f} cores; rates hold only near 0"
    print("\n".join(f"{what}: {text}" for what, text in about.items()), "\n")  # noqa: T201
    print(table(rows))  # noqa: T201
    options.json.parent.mkdir(parents=True, exist_ok=True)
    run = {"seconds": bench.seconds, "repeats": bench.repeats, "connections": bench.connections}
    options.json.write_text(document(rows, machine=about, options=run))
    print(f"\nalso in {options.json}")  # noqa: T201
    return 2 if bench.broken or any(row.verdict in (MISS, FAILED) for row in rows) else 0
