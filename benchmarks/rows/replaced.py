"""How soon a process that died, or hangs, is replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from functools import partial

import psutil

from benchmarks import fleets
from benchmarks.bench import Bench
from benchmarks.figures import under
from benchmarks.report import Row, judged, shown
from tests.running import eventually, free_port, listens

TENANTS = 10
# So many run that those which are killed are no fifth of them: the fleet's brake stays off.
RUNNING = 60
BACKOFF = 0.01
INTERVAL, TIMEOUT, AFTER, GRACE = 0.5, 0.5, 2, 0.5


def killed(bench: Bench) -> list[Row]:
    """From SIGKILL to the next answer: 50 ms and the backoff."""
    restart = {"backoff": BACKOFF, "jitter": 0}
    tenants = fleets.names(RUNNING)
    took = []
    with fleets.sqsuper(bench.place(), tenants, restart=restart) as running:
        fleets.ask_all(running.port, tenants)
        time.sleep(1.5)
        for name in tenants[:TENANTS]:
            victim = fleets.instance(running, name)
            begun = time.perf_counter()
            os.kill(victim.pid, signal.SIGKILL)
            eventually(partial(_gone, victim), "it is reaped", 5)
            fleets.ask_all(running.port, [name])
            took.append(1e3 * (time.perf_counter() - begun))
    goal = under(50 + 1e3 * BACKOFF, unit=" ms")
    rows = [judged("killed child replaced, median", goal, statistics.median(took), times=took)]
    return rows + _beside(bench)


def _gone(victim: psutil.Process) -> bool:
    """Whether it is reaped: its supervisor knows."""
    return not psutil.pid_exists(victim.pid)


def _beside(bench: Bench) -> list[Row]:
    took = []
    with contextlib.ExitStack() as stack:
        ports = [free_port() for _ in range(TENANTS)]
        service = fleets.supervisord(bench.place(), ports, "ours")
        peer = bench.begin(stack, "supervisord", service)
        if peer is None:
            return []
        for port in ports:
            victim = next(c for c in peer.children() if str(port) in c.cmdline())
            begun = time.perf_counter()
            os.kill(victim.pid, signal.SIGKILL)
            eventually(partial(_gone, victim), "it is reaped", 5)
            eventually(partial(listens, port), "it listens again", 20)
            took.append(1e3 * (time.perf_counter() - begun))
    text = f"{statistics.median(took):.0f} ms"
    return [shown("  supervisord: killed child replaced (our engine)", text, times=took)]


def hung(bench: Bench) -> list[Row]:
    """From SIGSTOP to the next answer: as the configuration of `health` says."""
    health = {"interval": INTERVAL, "timeout": TIMEOUT, "unhealthy_after": AFTER}
    more = {"restart": {"backoff": BACKOFF}, "stop_grace": GRACE}
    took = []
    tenants = fleets.names(3)
    with fleets.sqsuper(bench.place(), tenants, health=health, **more) as running:
        fleets.ask_all(running.port, tenants)
        time.sleep(1.5)
        for name in tenants:
            victim = fleets.instance(running, name)
            begun = time.perf_counter()
            os.kill(victim.pid, signal.SIGSTOP)
            eventually(partial(_gone, victim), "it is replaced", 30)
            fleets.ask_all(running.port, [name])
            took.append(time.perf_counter() - begun)
    bound = INTERVAL * AFTER + TIMEOUT + GRACE + BACKOFF + 0.05
    return [judged("hung child replaced, worst", under(bound, unit=" s"), max(took), times=took)]
