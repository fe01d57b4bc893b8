"""What hundreds of tenants cost: started, asleep, watched, and one of them changed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil

from benchmarks import fleets, reload
from benchmarks.bench import Bench
from benchmarks.figures import under
from benchmarks.report import Row, judged, shown
from tests.running import Running, eventually, free_port, start

COUNT = 500
CPU_SECONDS = 30.0


def eager(bench: Bench) -> list[Row]:
    """500 eager tenants: until all are healthy, their memory, and what watching them costs."""
    count = 50 if bench.quick else COUNT
    tenants = fleets.names(count)
    directory, port = bench.place(), free_port()
    file = fleets.configure(directory, tenants, port, {"start": "eager"})
    begun = time.perf_counter()
    running = start(directory, file, port)
    try:
        eventually(lambda: running.output.count("-> healthy") >= count, "all healthy", 120)
        took = time.perf_counter() - begun
        time.sleep(2.0)
        top = psutil.Process(running.pid)
        held = fleets.proportional(top) / 1e9
        busy = fleets.core_share(top, CPU_SECONDS)
        rows = [
            judged(f"{count} eager embedded tenants, all healthy", under(5, unit=" s"), took),
            judged(f"{count} running: memory of the whole service", under(0.8, unit=" GB"), held),
            judged(
                f"sampling and probing {count} running children",
                under(2, unit=" % of a core"),
                busy,
            ),
            _reload(running, file, tenants),
        ]
    finally:
        running.close()
    return rows + _beside(bench, count)


def _reload(running: Running, file: Path, tenants: list[str]) -> Row:
    """One tenant gets another token: until that is served; all keep their processes."""
    before = {one.pid for one in psutil.Process(running.pid).children()}
    took = reload.until_served(running, file, fleets.token(tenants[0]))
    after = {one.pid for one in psutil.Process(running.pid).children()}
    work = f"reload of {len(tenants)} with one changed, until the change serves"
    note = f"{len(before & after)} of {len(before)} processes kept"
    return judged(work, under(1, unit=" s"), took, note=note, errors=len(before - after))


def reloads(bench: Bench) -> list[Row]:
    """What other requests wait while thousands of tenants are read, checked and applied."""
    count = 1000 if bench.quick else 10_000
    found = reload.gaps(bench.place(), count)
    rows = [
        judged(
            f"reload of {count:,}, {gap.what}: longest wait of a request",
            under(50, unit=" ms"),
            gap.worst,
            note=f"median {gap.median:.1f} ms; all of it {gap.took:.1f} s",
        )
        for gap in found[1:]
    ]
    return [*rows, shown("  the same without a reload", f"{found[0].worst:.1f} ms")]


def _beside(bench: Bench, count: int) -> list[Row]:
    """supervisord with as many of the real sq, which is all that it can start so cheaply."""
    rows: list[Row] = []
    for engine in ("sq", "ours"):
        with contextlib.ExitStack() as stack:
            begun = time.perf_counter()
            service = fleets.supervisord(bench.place(), [free_port() for _ in range(count)], engine)
            peer = bench.begin(stack, f"supervisord with {engine}", service)
            if peer is None:
                continue
            took = time.perf_counter() - begun
            text = f"{took:.1f} s, {fleets.proportional(peer) / 1e9:.2f} GB"
            what = "the real sq" if engine == "sq" else "our engine"
            rows.append(shown(f"  supervisord with {count} of {what}: all answer, memory", text))
    return rows


def asleep(bench: Bench) -> list[Row]:
    """500 lazy tenants of which none is active."""
    count = 50 if bench.quick else COUNT
    with fleets.sqsuper(bench.place(), fleets.names(count)) as running:
        time.sleep(3.0)
        top = psutil.Process(running.pid)
        held = fleets.proportional(top) / 1e6
        busy = fleets.core_share(top, CPU_SECONDS, whole=True)
    return [
        judged(f"{count} lazy tenants, none active: memory", under(100, unit=" MB"), held),
        judged(f"{count} lazy tenants, none active: CPU", under(0.5, unit=" % of a core"), busy),
    ]
