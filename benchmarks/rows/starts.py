"""What it takes to start one tenant's process, and many at once."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from benchmarks import fleets
from benchmarks.bench import Bench
from benchmarks.figures import Goal, under
from benchmarks.report import Row, judged, shown
from tests.running import ROOT

SINGLE, BURST = 20, 100
WARM_SECONDS = 1.5
COLD = {"zygote": under(10, unit=" ms"), "spawn": under(80, unit=" ms")}


def alone(bench: Bench) -> list[Row]:
    """Start to first answer, and memory of an idle child, in a supervisor that does only that."""
    rows: list[Row] = []
    # The engine's own memory is bench-engine's: here it stands beside what confines it.
    goals: dict[str, tuple[Goal, Goal | None]] = {
        "zygote": (under(10, unit=" ms"), under(2, unit=" MB")),
        "spawn": (under(45, unit=" ms"), None),
    }
    for launcher, (time_goal, memory_goal) in goals.items():
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.alone", launcher, str(bench.place()), str(SINGLE)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        took, share = statistics.median(found["times"]), statistics.mean(found["shares"]) / 1e6
        rows.append(judged(f"{launcher}: start to first answer", time_goal, took, **found))
        work = f"{launcher}: PSS idle, over {SINGLE}"
        if memory_goal is None:
            rows.append(shown(work, f"{share:.2f} MB", share=share))
        else:
            rows.append(judged(work, memory_goal, share))
    return rows


def cold(bench: Bench) -> list[Row]:
    """A request for a lazy tenant that does not run, and 100 of them at once."""
    rows: list[Row] = []
    for launcher, goal in COLD.items():
        tenants = fleets.names(SINGLE + BURST)
        with fleets.sqsuper(bench.place(), tenants, launcher=launcher) as running:
            time.sleep(WARM_SECONDS)
            singles = [1e3 * fleets.ask_all(running.port, [name]) for name in tenants[:SINGLE]]
            burst = fleets.ask_all(running.port, tenants[SINGLE:])
        rows.append(
            judged(
                f"{launcher}: cold request through the gateway, median",
                goal,
                statistics.median(singles),
                note=f"worst of {SINGLE}: {max(singles):.1f} ms",
                singles=singles,
            )
        )
        work = f"{launcher}: {BURST} cold tenants asked at once, all have answered"
        if launcher == "zygote":
            rows.append(judged(work, under(0.5, unit=" s"), burst))
        else:
            rows.append(shown(work, f"{burst:.2f} s", burst=burst))
    return rows
