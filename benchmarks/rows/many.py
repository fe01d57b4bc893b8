"""What must not depend on how many there are: idle connections, tenants known, tenants active."""

from __future__ import annotations

import contextlib

from benchmarks import memory, ours
from benchmarks.bench import Bench, Sample, errors_of, rates_of, rows_of, spread
from benchmarks.figures import at_least, ratio, under
from benchmarks.idle import idle_connections
from benchmarks.peers import Peer
from benchmarks.report import Row, absent, judged

IDLE = 5000
# The defaults let one address have a quarter of all connections, for 75 s.
ROOMY = {"max_connections_per_address": 10_000, "idle_timeout": "600s"}


def idle(bench: Bench) -> list[Row]:
    """What 5,000 idle kept-alive connections take, and whether the others notice."""
    size, rest = under(2, unit=" KB"), at_least(0.9)
    works = (
        f"{IDLE:,} idle keep-alive connections: each in the gateway",
        f"{IDLE:,} idle keep-alive connections: rate of the others",
    )
    taken: list[int] = []
    with contextlib.ExitStack() as stack:
        place = bench.place()
        tenants = {"embedded": ours.odyssey(place, "embedded")}
        running = bench.begin(stack, "us", ours.sqsuper(place, tenants, gateway=ROOMY))
        if running is None:
            why = bench.why((), "us")
            return [absent(works[0], size, why), absent(works[1], rest, why)]
        peer = ours.plain(running)

        def beside() -> Sample:
            before = memory.unique(running.pid)
            with idle_connections(peer, IDLE):
                taken.append(memory.unique(running.pid) - before)
                return bench.rate(peer)

        bench.rate(peer, seconds=1)
        measures = {"none idle": lambda: bench.rate(peer), "with the idle": beside}
        series = bench.rounds(measures, lambda measure: measure())
    # What was taken first is given back only in part: later rounds take less.
    rows = [judged(works[0], size, max(taken) / IDLE / 1000, unique=taken)] if taken else []
    if why := bench.why(series.results, *measures):
        return [*rows, absent(works[1], rest, why)]
    without, with_them = series.results["none idle"], series.results["with the idle"]
    errors = errors_of(without) + errors_of(with_them)
    value = ratio(rates_of(with_them), rates_of(without))
    rows.append(judged(works[1], rest, value, errors=errors))
    return rows + rows_of(series, dict.fromkeys(measures, peer))


def configured(bench: Bench) -> list[Row]:
    """The rate of one tenant where 10,000 are configured, against 2."""
    work, goal = "10,000 configured tenants against 2", at_least(0.95)
    found: dict[str, Peer | None] = {}
    with contextlib.ExitStack() as stack:
        place = bench.place()
        for count in (2, 10_000):
            tenants = {"embedded": ours.odyssey(place, "embedded")}
            names = (f"tenant-{number}" for number in range(1, count))
            tenants.update((name, ours.tenant(name)) for name in names)
            running = bench.begin(stack, f"{count} tenants", ours.sqsuper(place, tenants))
            found[f"{count} tenants"] = None if running is None else ours.plain(running)
        series = bench.rates(found)
    if why := bench.why(series.results, *found):
        return [absent(work, goal, why), *rows_of(series, found)]
    few, many = series.results["2 tenants"], series.results["10000 tenants"]
    value, errors = ratio(rates_of(many), rates_of(few)), errors_of(few) + errors_of(many)
    return [judged(work, goal, value, errors=errors), *rows_of(series, found)]


def active(bench: Bench) -> list[Row]:
    """The rate of requests spread over 100 active tenants, against one."""
    work, goal = "rate with requests spread over 100 active tenants, against one", at_least(0.4)
    names = [f"tenant-{number}" for number in range(100)]
    counts = {"1 active": 1, "10 active": 10, "100 active": 100}
    with contextlib.ExitStack() as stack:
        place = bench.place()
        tenants = {name: ours.odyssey(place, name) for name in names}
        running = bench.begin(stack, "us", ours.sqsuper(place, tenants, awake=names))
        if running is None:
            return [absent(work, goal, bench.why((), "us"))]
        peer = ours.plain(running, names[0])
        scripts = {
            name: spread([ours.token(one) for one in names[:count]])
            for name, count in counts.items()
        }
        series = bench.rounds(scripts, lambda script: bench.rate(peer, script))
    if why := bench.why(series.results, *counts):
        return [absent(work, goal, why)]
    one, hundred = series.results["1 active"], series.results["100 active"]
    value, errors = ratio(rates_of(hundred), rates_of(one)), errors_of(one) + errors_of(hundred)
    return [judged(work, goal, value, errors=errors), *rows_of(series, dict.fromkeys(counts, peer))]
