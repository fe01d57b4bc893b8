"""Selects and updates over plain HTTP, against what we replace."""

from __future__ import annotations

import contextlib

from benchmarks import ours, peers, proxies
from benchmarks.bench import (
    Bench,
    errors_of,
    p99_of,
    rates_of,
    rows_of,
    updates,
)
from benchmarks.figures import Goal, at_least, at_most, ratio
from benchmarks.peers import Peer
from benchmarks.report import Row, absent, judged, number, shown

EMBEDDED, REAL = "us -> embedded", "us -> sq"
NGINX_SQ, NGINX_ENGINE = "nginx -> sq", "nginx -> our engine"
BARE, BARE_ENGINE = "sq, bare", "our engine, bare"
HAPROXY_SQ, HAPROXY_ENGINE = "haproxy -> sq", "haproxy -> our engine"


def _peers(bench: Bench, stack: contextlib.ExitStack) -> dict[str, Peer | None]:
    place = bench.place()
    found: dict[str, Peer | None] = {}
    engine = found[BARE_ENGINE] = bench.begin(stack, BARE_ENGINE, peers.engine(place))
    sq = found[BARE] = bench.begin(stack, BARE, peers.real_sq(place))
    for backend, by_nginx, by_haproxy in (
        (sq, NGINX_SQ, HAPROXY_SQ),
        (engine, NGINX_ENGINE, HAPROXY_ENGINE),
    ):
        if backend is None:
            continue
        found[by_nginx] = bench.begin(stack, by_nginx, proxies.nginx(place, backend))
        found[by_haproxy] = bench.begin(stack, by_haproxy, proxies.haproxy(place, backend))
    tenants = {"embedded": ours.odyssey(place, "embedded")}
    if sq is not None:
        tenants["real"] = ours.on_sq(place, "real")
    running = bench.begin(stack, EMBEDDED, ours.sqsuper(place, tenants, awake=list(tenants)))
    if running is not None:
        found[EMBEDDED] = ours.plain(running)
        found[REAL] = ours.plain(running, "real") if sq is not None else None
    return found


SELECTS: tuple[tuple[str, str, str, Goal | None], ...] = (
    ("select through us (embedded) / nginx -> sq", EMBEDDED, NGINX_SQ, at_least(2.5, 3.3)),
    ("select through us / bare sq without any gateway", EMBEDDED, BARE, at_least(1.7, 2.1)),
    ("select through us / nginx -> our engine", EMBEDDED, NGINX_ENGINE, at_least(1.0)),
    ("real sq behind us / nginx -> sq", REAL, NGINX_SQ, at_least(1.0)),
    ("  select through us / haproxy -> sq", EMBEDDED, HAPROXY_SQ, None),
    ("  select through us / haproxy -> our engine", EMBEDDED, HAPROXY_ENGINE, None),
)


def select(bench: Bench) -> list[Row]:
    """GET select of 235 bytes through everything, and the p99 of it."""
    with contextlib.ExitStack() as stack:
        found = _peers(bench, stack)
        series = bench.rates(found)
    results, rows = series.results, []
    for work, mine, theirs, goal in SELECTS:
        if why := bench.why(results, mine, theirs):
            rows.append(absent(work, goal, why))
            continue
        value = ratio(rates_of(results[mine]), rates_of(results[theirs]))
        if goal is None:
            rows.append(shown(work, number(value), value=value))
        else:
            rows.append(judged(work, goal, value, errors=errors_of(results[mine])))
    work, goal = f"p99 at {bench.connections} connections / nginx -> sq", at_most(0.5)
    if why := bench.why(results, EMBEDDED, NGINX_SQ):
        rows.append(absent(work, goal, why))
    else:
        value = ratio(p99_of(results[EMBEDDED]), p99_of(results[NGINX_SQ]))
        rows.append(judged(work, goal, value, errors=errors_of(results[EMBEDDED])))
    return rows + rows_of(series, found)


def update(bench: Bench) -> list[Row]:
    """Updates of 200 bytes on The Odyssey; ours are durable before they are answered."""
    work, goal = "update 200 bytes, durable, through us / nginx -> sq on The Odyssey", at_least(8)
    with contextlib.ExitStack() as stack:
        place = bench.place()
        found: dict[str, Peer | None] = {}
        sq = bench.begin(stack, BARE, peers.real_sq(place))
        if sq is not None:
            found[NGINX_SQ] = bench.begin(stack, NGINX_SQ, proxies.nginx(place, sq))
        tenants = {"embedded": ours.odyssey(place, "embedded")}
        running = bench.begin(stack, EMBEDDED, ours.sqsuper(place, tenants))
        if running is not None:
            found[EMBEDDED] = ours.plain(running)
        series = bench.rates(found, updates("the-odyssey", 1000))
    results = series.results
    if why := bench.why(results, EMBEDDED, NGINX_SQ):
        return [absent(work, goal, why), *rows_of(series, found)]
    mine, theirs = results[EMBEDDED], results[NGINX_SQ]
    value = ratio(rates_of(mine), rates_of(theirs))
    return [judged(work, goal, value, errors=errors_of(mine)), *rows_of(series, found)]


def access_log(bench: Bench) -> list[Row]:
    """The rate with an access log in the combined format, against one without."""
    work, goal = "access log on / off", at_least(0.8)
    found: dict[str, Peer | None] = {}
    with contextlib.ExitStack() as stack:
        place = bench.place()
        for name, gateway in (("log off", {}), ("log on", {"access_log": str(place / "access")})):
            tenants = {"embedded": ours.odyssey(place, "embedded")}
            running = bench.begin(stack, name, ours.sqsuper(place, tenants, gateway=gateway))
            found[name] = None if running is None else ours.plain(running)
        series = bench.rates(found)
    results = series.results
    if why := bench.why(results, *found):
        return [absent(work, goal, why)]
    with open(place / "access", "rb") as log:
        lines = sum(1 for _ in log)
    on, off = results["log on"], results["log off"]
    asked = sum(sample.load.requests for sample in on)
    errors = errors_of(on) + errors_of(off) + (lines < asked)
    value = ratio(rates_of(on), rates_of(off))
    row = judged(work, goal, value, errors=errors, note=f"{lines:,} lines written", lines=lines)
    return [row, *rows_of(series, found)]
