"""The same over TLS 1.3, with one certificate (P-256) for us and nginx.

nginx is shown with as many processes as we have, one, and with two. What is held against it: its
better rate where a kept-alive connection is asked, and the one process for handshakes and for
latency, each before the same engine as ours.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping

import attrs

from benchmarks import memory, ours, peers, proxies
from benchmarks.bench import Bench, Sample, errors_of, p99_of, rates_of, rows_of, there
from benchmarks.figures import Goal, at_least, at_most, ratio, under
from benchmarks.handshakes import Handshakes, flood
from benchmarks.idle import idle_connections
from benchmarks.peers import Peer
from benchmarks.report import Row, absent, judged, number, shown
from benchmarks.rounds import Series
from tests.tls_support import Made, make

EMBEDDED, REAL = "us, TLS -> embedded", "us, TLS -> sq"
NGINX_SQ = {1: "nginx (1), TLS -> sq", 2: "nginx (2), TLS -> sq"}
NGINX_ENGINE = {1: "nginx (1), TLS -> our engine", 2: "nginx (2), TLS -> our engine"}
IDLE = 1000
KEPT = 4


def _us(
    bench: Bench, stack: contextlib.ExitStack, certificate: Made, *, real: bool
) -> dict[str, Peer | None]:
    place = bench.place()
    tenants = {"embedded": ours.odyssey(place, "embedded")}
    if real:
        tenants["real"] = ours.on_sq(place, "real")
    us = ours.sqsuper(place, tenants, certificate=certificate, awake=list(tenants))
    running = bench.begin(stack, EMBEDDED, us)
    if running is None:
        return {}
    found: dict[str, Peer | None] = {EMBEDDED: ours.secured(running)}
    if real:
        found[REAL] = ours.secured(running, "real")
    return found


def _nginx(
    bench: Bench,
    stack: contextlib.ExitStack,
    certificate: Made,
    backend: Peer | None,
    names: Mapping[int, str],
) -> dict[str, Peer | None]:
    found: dict[str, Peer | None] = {}
    for workers, name in names.items():
        if backend is None:
            continue
        peer = proxies.nginx(bench.place(), backend, workers=workers, certificate=certificate)
        found[name] = bench.begin(stack, name, peer)
    return found


def kept(bench: Bench) -> list[Row]:
    """Selects over kept-alive TLS connections."""
    with contextlib.ExitStack() as stack:
        place = bench.place()
        certificate = make(place)
        sq = bench.begin(stack, "sq", peers.real_sq(place))
        engine = bench.begin(stack, "our engine", peers.engine(place))
        found = _us(bench, stack, certificate, real=sq is not None)
        found |= _nginx(bench, stack, certificate, sq, NGINX_SQ)
        found |= _nginx(bench, stack, certificate, engine, NGINX_ENGINE)
        series = bench.rates(found)
    results = series.results
    rows = []
    compared: tuple[tuple[str, str, Mapping[int, str], Goal | None], ...] = (
        ("TLS 1.3 kept-alive, real sq behind us / nginx", REAL, NGINX_SQ, at_least(1.0)),
        ("TLS 1.3 kept-alive, embedded / nginx", EMBEDDED, NGINX_SQ, at_least(2.5)),
        ("  TLS 1.3 kept-alive, embedded / nginx", EMBEDDED, NGINX_ENGINE, None),
    )
    for text, mine, others, goal in compared:
        backend = "sq" if others is NGINX_SQ else "our engine"
        work = f"{text} -> {backend}"
        if why := bench.why(results, mine, *others.values()):
            rows.append(absent(work, goal, why))
            continue
        values = {
            count: ratio(rates_of(results[mine]), rates_of(results[name]))
            for count, name in others.items()
        }
        note = ", ".join(f"{number(v)} of nginx with {c}" for c, v in values.items())
        if goal is None:
            rows.append(shown(work, number(min(values.values())), note=note))
        else:
            errors = errors_of(results[mine])
            rows.append(judged(work, goal, min(values.values()), note=note, errors=errors))
    return rows + rows_of(series, found)


@attrs.frozen
class Shaken:
    """A flood, and the CPU that the proxy used: µs a handshake, and its share of one core."""

    made: Handshakes
    micros: float
    busy: float


def handshakes(bench: Bench) -> list[Row]:
    """Full handshakes, each with one request, and what an idle TLS connection takes."""
    works = ("full TLS handshakes / nginx", "an idle TLS connection")
    goals = (at_least(0.9), under(20, unit=" KB"))
    with contextlib.ExitStack() as stack:
        place = bench.place()
        certificate = make(place)
        engine = stack.enter_context(peers.engine(place))
        found = _us(bench, stack, certificate, real=False)
        found |= _nginx(bench, stack, certificate, engine, NGINX_ENGINE)
        # Before the floods: what they leave free would hide what a connection takes.
        taken = bench.rounds(there(found), _idle_bytes, 1, warm=False)
        series = bench.rounds(there(found), lambda peer: _shaken(bench, peer))
    rows = _handshake_rows(bench, works[0], goals[0], series)
    if why := bench.why(taken.results, EMBEDDED):
        rows.append(absent(works[1], goals[1], why))
    else:
        others = [f"{name} {got[0] / 1000:.1f} KB" for name, got in taken.results.items()]
        note = "; ".join(text for text in others if not text.startswith(EMBEDDED))
        value = taken.results[EMBEDDED][0] / 1000
        rows.append(judged(works[1], goals[1], value, note=note))
    return rows


def _handshake_rows(bench: Bench, work: str, goal: Goal, series: Series[Shaken]) -> list[Row]:
    results, theirs = series.results, NGINX_ENGINE[1]
    rows = []
    if why := bench.why(results, EMBEDDED, theirs):
        rows.append(absent(work, goal, why))
    else:
        mine = results[EMBEDDED]
        value = ratio(_shakes(mine), _shakes(results[theirs]))
        cpu = ratio(_micros(results[theirs]), _micros(mine))
        note = f"by CPU {number(cpu)}"
        if two := results.get(NGINX_ENGINE[2]):
            note += f"; {number(ratio(_shakes(mine), _shakes(two)))} of nginx with 2"
        failed = sum(one.made.errors + one.made.resumed for one in mine)
        rows.append(judged(work, goal, value, note=note, errors=failed, by_cpu=cpu))
    for name, shaken in results.items():
        busy = statistics.median(one.busy for one in shaken)
        client = statistics.median(one.made.cpu / one.made.count * 1e6 for one in shaken)
        text = (
            f"{statistics.median(_shakes(shaken)):,.0f}/s, "
            f"CPU {statistics.median(_micros(shaken)):.0f} us ({busy:.0%} of a core)"
        )
        bad = sum(one.made.errors for one in shaken)
        note = f"{shaken[0].made.version}, the generator's CPU {client:.0f} us"
        note += f", {bad} errors" if bad else ""
        rows.append(shown(f"  {name}", text, note=note, rates=_shakes(shaken)))
    return rows


def _shaken(bench: Bench, peer: Peer) -> Shaken:
    before = peer.cpu_seconds()
    with flood(peer, bench.seconds) as under_way:
        made = under_way.result()
    if not made.count:
        raise RuntimeError(f"no handshake, {made.errors} errors")
    spent = peer.cpu_seconds() - before
    return Shaken(made, spent / made.count * 1e6, spent / bench.seconds)


def _shakes(shaken: list[Shaken]) -> list[float]:
    return [one.made.rate for one in shaken]


def _micros(shaken: list[Shaken]) -> list[float]:
    return [one.micros for one in shaken]


def _idle_bytes(peer: Peer) -> float:
    # What the first connections make grow is not theirs.
    with idle_connections(peer, 20):
        pass
    before = _unique(peer)
    with idle_connections(peer, IDLE):
        return (_unique(peer) - before) / IDLE


def _unique(peer: Peer) -> int:
    return sum(memory.unique(process.pid) for process in peer.processes())


def latency(bench: Bench) -> list[Row]:
    """The p99 of kept-alive requests while others shake hands as fast as they can."""
    work, goal = "p99 of kept-alive requests in a flood of handshakes / nginx", at_most(1.0)
    with contextlib.ExitStack() as stack:
        place = bench.place()
        certificate = make(place)
        engine = stack.enter_context(peers.engine(place))
        sq = bench.begin(stack, "sq", peers.real_sq(place))
        found = _us(bench, stack, certificate, real=False)
        found |= _nginx(bench, stack, certificate, engine, NGINX_ENGINE)
        found |= _nginx(bench, stack, certificate, sq, NGINX_SQ)
        series = bench.rounds(there(found), lambda peer: _in_flood(bench, peer))
    rows = []
    results, theirs = series.results, NGINX_ENGINE[1]
    if why := bench.why(results, EMBEDDED, theirs):
        rows.append(absent(work, goal, why))
    else:
        mine = results[EMBEDDED]
        value = ratio(p99_of(mine), p99_of(results[theirs]))
        note = ", ".join(
            f"{number(ratio(p99_of(mine), p99_of(results[name])))} of {name}"
            for name in results
            if name not in (EMBEDDED, theirs)
        )
        rows.append(judged(work, goal, value, note=note, errors=errors_of(mine)))
    return rows + rows_of(series, found, cpu=False)


def _in_flood(bench: Bench, peer: Peer) -> Sample:
    # It must not end before the load does.
    with flood(peer, bench.seconds + 4.0):
        peers.settle()
        return bench.rate(peer, connections=KEPT)
