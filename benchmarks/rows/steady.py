"""What holds for everybody while one is in trouble, and what the real sq is spared."""

from __future__ import annotations

import collections
import contextlib
import signal
import statistics
import time
from collections.abc import Sequence

import psutil

from benchmarks import memory, ours
from benchmarks.bench import Bench, Sample, errors_of, spread, updates
from benchmarks.figures import at_most, percentile, under
from benchmarks.openloop import Loaded, Outcome, open_loop
from benchmarks.report import Row, absent, judged, number, shown
from tests.running import Running, eventually

BOUND = 0.1  # seconds
VICTIM = "embedded"
OTHERS = ("second", "third", "fourth")

CLIENTS, UPDATES = 1000, 100_000
INFLIGHT = 32  # the default of max_inflight
WARM = 5000


def killed(bench: Bench) -> list[Row]:
    """An open-loop load at half of the maximum rate; one tenant's child is killed half-way.

    The same load without a kill comes first: what the machine itself does to it.
    """
    slowest = "open loop at half of the maximum, one child killed: slowest of the others"
    failures = "open loop at half of the maximum, one child killed: failed of the others"
    goals = (at_most(1000 * BOUND, " ms"), at_most(0))
    seconds = 6.0 if bench.quick else 20.0
    with contextlib.ExitStack() as stack:
        place = bench.place()
        names = (VICTIM, *OTHERS)
        tenants = {name: ours.odyssey(place, name) for name in names}
        running = bench.begin(stack, "us", ours.sqsuper(place, tenants, awake=names))
        if running is None:
            why = bench.why((), "us")
            return [absent(slowest, goals[0], why), absent(failures, goals[1], why)]
        tokens = {name: ours.token(name) for name in names}
        peer, script = ours.plain(running), spread(list(tokens.values()))
        bench.rate(peer, script, seconds=1)
        rate = statistics.median(bench.rate(peer, script).load.rate for _ in range(3)) / 2
        with open_loop(running.port, tokens, rate=rate, seconds=seconds) as load:
            calm = load.result()
        data = tenants[VICTIM]["data_dir"]
        with open_loop(running.port, tokens, rate=rate, seconds=seconds) as load:
            time.sleep(max(0.0, load.start + seconds / 2 - time.monotonic()))
            child = _instance(running, data)
            child.send_signal(signal.SIGKILL)
            at = time.monotonic()
            eventually(lambda: _instance(running, data).pid != child.pid, "it is replaced", 30)
            loaded = load.result()
    others = _sum(loaded, OTHERS)
    worst = 1000 * max(others.latencies())
    note = f"{_words(others)} at {rate:,.0f}/s; {_late(others, at)}; {_generator(loaded)}"
    return [
        judged(slowest, goals[0], worst, note=note),
        judged(failures, goals[1], len(others.failures), note=_reasons(others)),
        _of_victim(loaded.outcomes[VICTIM], at),
        shown(
            "  the same without a kill, all tenants",
            f"{1000 * max(_sum(calm, names).latencies()):.1f} ms",
            note=f"{_words(_sum(calm, names))}; {_generator(calm)}",
        ),
    ]


def _instance(running: Running, data: str) -> psutil.Process:
    found = eventually(lambda: ours.instance(running, data), "the tenant's process", 30)
    assert found is not None
    return found


def _sum(loaded: Loaded, names: Sequence[str]) -> Outcome:
    return sum((loaded.outcomes[name] for name in names), Outcome((), ()))


def _words(outcome: Outcome) -> str:
    latencies = outcome.latencies()
    middle, most = (1000 * percentile(latencies, share) for share in (0.5, 0.99))
    return f"{len(latencies):,} answers, p50 {middle:.1f} ms, p99 {most:.1f} ms"


def _late(outcome: Outcome, at: float) -> str:
    late = outcome.beyond(BOUND)
    near = sum(-BOUND < due - at < 2 for due in late)
    return f"{len(late)} beyond, {near} of them within 2 s of the kill"


def _generator(loaded: Loaded) -> str:
    return (
        f"the generator was late by {1000 * loaded.late:.1f} ms (p99.9), "
        f"{1000 * loaded.latest:.1f} ms at worst"
    )


def _reasons(outcome: Outcome) -> str:
    counted = collections.Counter(why for _, why in outcome.failures)
    return ", ".join(f"{count} x {why}" for why, count in counted.most_common())


def _of_victim(outcome: Outcome, at: float) -> Row:
    failures = list(outcome.failures)
    text = f"{len(failures)} failed, slowest {1000 * max(outcome.latencies()):,.0f} ms"
    after = [due + latency for due, latency in outcome.answers if due > at]
    note = f"it answered again {1000 * (min(after) - at):.0f} ms after the kill" if after else ""
    if failures:
        note += f"; {_reasons(outcome)}"
    return shown("  the killed tenant's own", text, note=note, failures=failures[:1000])


def real(bench: Bench) -> list[Row]:
    """Updates to a real sq by 1,000 clients: its threads and its memory."""
    wanted = 10_000 if bench.quick else UPDATES
    what = f"real sq behind us, {CLIENTS:,} connections, {wanted:,} updates: "
    works = (what + "its threads", what + "its memory grows by", what + "errors")
    goals = (at_most(INFLIGHT + 2), under(1, unit=" MB"), at_most(0))
    with contextlib.ExitStack() as stack:
        place = bench.place()
        try:
            # All may wait: what is measured is that they do, not that they are turned away.
            tenant = ours.on_sq(place, "embedded", queue=2 * CLIENTS, queue_timeout="60s")
        except Exception as error:
            return [absent(w, g, str(error)) for w, g in zip(works, goals, strict=True)]
        running = bench.begin(stack, "us", ours.sqsuper(place, {"embedded": tenant}))
        if running is None:
            why = bench.why((), "us")
            return [absent(w, g, why) for w, g in zip(works, goals, strict=True)]
        child = _instance(running, tenant["data_dir"])
        script, peer = updates("bench", 100), ours.plain(running)

        def some(seconds: int) -> Sample:
            return bench.rate(peer, script, connections=CLIENTS, seconds=seconds, timeout=60)

        def quiet() -> None:
            # A client who goes away with a request under way or queued has half-closed, and is
            # answered: sq works on those first.
            eventually(lambda: memory.threads(child.pid) == 1, "sq is idle", 60)

        warm: list[Sample] = []
        while _requests(warm) < WARM and len(warm) < 10:
            warm.append(some(5))
            quiet()
        pace = _requests(warm) / (5 * len(warm))
        before = memory.resident(child.pid)
        sampler = memory.Sampler(lambda: memory.threads(child.pid))
        samples: list[Sample] = []
        spent = 0
        # An sq so slow that this does not end is an error of its own.
        while _requests(samples) < wanted and len(samples) < 20:
            seconds = min(120, 2 + round((wanted - _requests(samples)) / pace))
            with sampler.running():
                samples.append(some(seconds))
            quiet()
            spent += seconds
        after = memory.resident(child.pid)
    done = _requests(samples)
    errors = errors_of(samples) + max(0, wanted - done)
    bad = next((sample.load.bad for sample in samples if sample.load.bad), "")
    notes = (
        f"{sampler.samples:,} samples in {spent} s",
        f"of {before / 1e6:.1f} MB",
        bad or f"{done:,} updates, {number(done / spent)}/s",
    )
    return [
        judged(works[0], goals[0], sampler.peak, note=notes[0]),
        judged(works[1], goals[1], (after - before) / 1e6, note=notes[1]),
        judged(works[2], goals[2], errors, note=notes[2]),
    ]


def _requests(samples: Sequence[Sample]) -> int:
    return sum(sample.load.requests for sample in samples)
