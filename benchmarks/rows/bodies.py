"""One large body at a time, and what the gateway takes in memory for it.

Behind every proxy stands the same source and sink, which costs next to nothing: an engine that
reads or syncs 64 MiB would hide the difference.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Callable

import attrs

from benchmarks import memory, ours, peers, proxies
from benchmarks.bench import Bench, there
from benchmarks.figures import at_least, ratio, under
from benchmarks.peers import Peer
from benchmarks.report import Row, absent, judged, shown
from benchmarks.rounds import Series
from benchmarks.sink import SIZE
from benchmarks.transfer import Transfer

US, NGINX, STREAMING = "us", "nginx", "nginx, buffering off"
MEMORY = "gateway memory growth, peak, one 64 MiB "
MIB = 1 << 20


def bodies(bench: Bench) -> list[Row]:
    """GET and POST of 64 MiB in bytes a second, us and nginx before the same sink."""
    body = memoryview(bytes(SIZE))
    rows: list[Row] = []
    repeats = 4 if bench.quick else 4 * bench.repeats
    with contextlib.ExitStack() as stack:
        place = bench.place()
        sink = stack.enter_context(peers.sink(place))
        found: dict[str, Peer | None] = {
            NGINX: bench.begin(stack, NGINX, proxies.nginx(place, sink)),
            STREAMING: bench.begin(stack, STREAMING, proxies.nginx(place, sink, buffered=False)),
        }
        command = [*peers.SINK, "{port}"]
        tenants = {"embedded": ours.tenant("embedded", engine="command", command=command)}
        running = bench.begin(stack, US, ours.sqsuper(place, tenants))
        if running is not None:
            found[US] = ours.plain(running)
        transfers = {
            name: stack.enter_context(contextlib.closing(Transfer(peer)))
            for name, peer in there(found).items()
        }
        before = 0
        if running is not None:
            # It is started, and warm in what is not large.
            bench.rate(ours.plain(running), SMALL, seconds=1)
            before = memory.resident(running.pid)
        acts: tuple[tuple[str, Callable[[Transfer], float]], ...] = (
            ("GET", Transfer.get),
            ("POST", lambda transfer: transfer.post(body)),
        )
        for work, go in acts:
            grown = 0
            if running is not None:
                memory.forget_peak(running.pid)
                for _ in range(3):
                    go(transfers[US])
                grown = max(0, memory.peak(running.pid) - before)
            series = bench.rounds(transfers, functools.partial(_once, go), repeats)
            rows += _rows(bench, work, series, grown)
    return rows


SMALL = 'request = function() return wrk.format("OPTIONS", "/") end'


@attrs.frozen
class Passed:
    """One body: bytes a second, and the CPU seconds that the proxy used for it."""

    rate: float
    cpu: float


def _once(go: Callable[[Transfer], float], transfer: Transfer) -> Passed:
    before = transfer.peer.cpu_seconds()
    rate = go(transfer)
    return Passed(rate, transfer.peer.cpu_seconds() - before)


def _rates(passed: list[Passed]) -> list[float]:
    return [one.rate for one in passed]


def _rows(bench: Bench, method: str, series: Series[Passed], grown: int) -> list[Row]:
    work, goal = f"one 64 MiB {method} / nginx, bytes/s", at_least(1.0)
    results, rows = series.results, []
    if why := bench.why(results, US, NGINX):
        rows.append(absent(work, goal, why))
    else:
        rows.append(judged(work, goal, ratio(_rates(results[US]), _rates(results[NGINX]))))
    work, bound = MEMORY + method, under(4, unit=" MB")
    if US in results:
        rows.append(judged(work, bound, grown / 1e6))
    else:
        rows.append(absent(work, bound, bench.why(results, US)))
    for name, passed in results.items():
        rates = _rates(passed)
        # One body is a few ticks of the clock of CPU times.
        cpu = statistics.mean(one.cpu for one in passed)
        text = f"{statistics.median(rates) / MIB:,.0f} MiB/s, CPU {1000 * cpu:.0f} ms"
        rows.append(shown(f"  {method} {name}", text, bytes_a_second=rates, cpu=cpu))
    return rows
