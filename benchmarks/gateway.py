"""`make bench-gateway`: GET select through us and through what we replace, in one run.

Rates of one machine move: every peer is measured back to back in each round, and what counts
are the ratios within a round (their medians are shown). `sq` closes every connection without a
word: wrk counts that as read errors, which are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs

from benchmarks import load, peers

TARGET = "/api/v2/select?p=the-odyssey&c=1.1.1/1.1.1/1.1.2"


@attrs.define
class Subject:
    """One way to an engine. `cpu`: CPU seconds that the gateway has used so far."""

    name: str
    port: int
    token: str
    cpu: Callable[[], float] | None = None
    results: list[load.Result] = attrs.field(factory=list)
    micros: list[float] = attrs.field(factory=list)

    def measure(self, seconds: int, connections: int) -> None:
        """Load it once."""
        before = self.cpu() if self.cpu is not None else 0.0
        result = load.run(
            f"http://127.0.0.1:{self.port}{TARGET}",
            seconds=seconds,
            connections=connections,
            fields=[f"Authorization: Bearer {self.token}"],
        )
        if self.cpu is not None and result.rate:
            self.micros.append((self.cpu() - before) / (result.rate * seconds) * 1e6)
        self.results.append(result)


def start_all(stack: contextlib.ExitStack, directory: Path) -> list[Subject]:
    """Start every peer that is installed, and us."""
    subjects = []
    engine = stack.enter_context(peers.engine(directory))
    if peers.installed("sq"):
        sq = stack.enter_context(peers.real_sq(directory))
        if peers.installed("nginx"):
            port = stack.enter_context(peers.nginx(directory, sq, kept=False))
            subjects.append(Subject("nginx -> sq", port, peers.TOKEN))
        if peers.installed("haproxy"):
            port = stack.enter_context(peers.haproxy(directory, sq))
            subjects.append(Subject("haproxy -> sq", port, peers.TOKEN))
        subjects.append(Subject("sq, bare", sq, peers.KEY))
    if peers.installed("nginx"):
        port = stack.enter_context(peers.nginx(directory, engine, kept=True))
        subjects.append(Subject("nginx -> our engine", port, peers.TOKEN))
    subjects.append(Subject("our engine, bare", engine, peers.KEY))
    port, process = stack.enter_context(peers.sqsuper(directory))
    cpu = lambda: peers.cpu_seconds(process)  # noqa: E731
    subjects.append(Subject("us -> embedded", port, peers.TOKEN, cpu))
    if peers.installed("sq"):
        subjects.append(Subject("us -> sq", port, peers.SQ_TOKEN, cpu))
    return subjects


BASES = ("nginx -> sq", "sq, bare", "nginx -> our engine")


def ratio(subject: Subject, base: Subject) -> float:
    """Return the median of the ratios of both rates, round by round."""
    pairs = zip(subject.results, base.results, strict=True)
    return statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)


def table(subjects: list[Subject]) -> str:
    """Return medians, and how often the rate is that of each of `BASES`."""
    bases = [subject for subject in subjects if subject.name in BASES]
    heading = f"{'':20}{'req/s':>9}{'p99 ms':>9}{'CPU us':>9}"
    lines = [heading + "".join(f"{'x ' + base.name:>23}" for base in bases)]
    for subject in subjects:
        result = load.median(subject.results)
        cpu = f"{statistics.median(subject.micros):9.1f}" if subject.micros else " " * 9
        ratios = "".join(f"{ratio(subject, base):23.2f}" for base in bases)
        note = f"  {result.bad}" if result.bad else ""
        lines.append(f"{subject.name:20}{result.rate:9,.0f}{result.p99:9.2f}{cpu}{ratios}{note}")
    return "\n".join(lines)


def main() -> int:
    """Run the comparison; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-gateway", description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of one measurement (2)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds over all peers (5)")
    parser.add_argument("--connections", type=int, default=16, help="of the load (16)")
    parser.add_argument("--only", default="", help="names that contain this")
    options = parser.parse_args()
    if not load.available():
        print("bench-gateway: wrk is not installed (apt-get install wrk)", file=sys.stderr)  # noqa: T201
        return 1
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sqb-")))
        subjects = [s for s in start_all(stack, directory) if options.only in s.name]
        for repeat in range(-1, options.repeats):
            for subject in subjects:
                # The first round warms everything up.
                subject.measure(options.seconds if repeat >= 0 else 1, options.connections)
                if repeat < 0:
                    subject.results.clear()
                    subject.micros.clear()
                peers.settle()
        print(table(subjects))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
