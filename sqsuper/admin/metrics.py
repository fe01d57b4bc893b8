"""Metrics for Prometheus: their text (`measures` tells what there is).

A fleet has tens of thousands of series: their text is made in slices, between which requests are
served, and is given for `FRESH` seconds to all who ask.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from twisted.internet.defer import Deferred

from sqsuper import __version__
from sqsuper.admin.figures import ServiceFigures, TenantFigures
from sqsuper.admin.listing import Listing, Others
from sqsuper.admin.measures import (
    INFO,
    LATENCY,
    OF_SERVICE,
    OF_TENANTS,
    STATES,
    TENANTS_ACTIVE,
    OfTenant,
)
from sqsuper.gateway.statistics import BOUNDS
from sqsuper.slices import Slices
from sqsuper.supervisor.instance import RUNNING, State

FRESH = 1.0
OTHER = "_other"
"""Whose series are those of all tenants that have none of their own; no tenant is named so."""
PAGE = 50


class Source(Protocol):
    """Where the figures come from: `figures.Figures`."""

    def tenants(self) -> Iterator[TenantFigures]: ...
    def service(self) -> ServiceFigures: ...


class Metrics:
    """Makes the text. `reactor`: an IReactorTime; `now`: seconds since the epoch."""

    def __init__(
        self,
        source: Source,
        reactor: Any,
        *,
        now: Callable[[], float] = time.time,
        listing: Listing | None = None,
    ) -> None:
        self._source = source
        self._seconds: Callable[[], float] = reactor.seconds
        self._slices = Slices(reactor)
        self._now = now
        self._listing = Listing() if listing is None else listing
        self._counters = [metric for metric in OF_TENANTS if metric.kind == "counter"]
        self._others = Others(sum(len(metric.values) for metric in self._counters))
        self._process = ProcessCollector(registry=None)
        self._text = b""
        self._made_at: float | None = None
        self._waiting: list[Deferred[bytes]] = []

    async def scrape(self) -> bytes:
        """Return the text, at most `FRESH` seconds old; others are served while it is made."""
        if self._made_at is not None and self._seconds() - self._made_at < FRESH:
            return self._text
        done: Deferred[bytes] = Deferred()
        self._waiting.append(done)
        if len(self._waiting) == 1:
            making = Deferred.fromCoroutine(self._slices.run(self.steps()))
            making.addCallbacks(self._made, self._failed)
        return await done

    def _made(self, text: bytes) -> None:
        self._text, self._made_at = text, self._seconds()
        for done in self._taken():
            done.callback(text)

    def _failed(self, failure: Any) -> None:
        for done in self._taken():
            done.errback(failure)

    def _taken(self) -> list[Deferred[bytes]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def render(self) -> bytes:
        """Return the text of now. Of many tenants it takes long: see `scrape`."""
        steps = self.steps()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return cast("bytes", done.value)

    def steps(self) -> Generator[None, None, bytes]:
        """Make the text, with pauses, and return it."""
        figures: list[TenantFigures] = []
        active: dict[str, float | None] = {}
        states: Counter[State] = Counter()
        for one in self._source.tenants():
            figures.append(one)
            active[one.name] = one.statistics.last_active
            states[one.state] += 1
            yield
        listed = self._listing.choose(active, self._now())
        yield
        counted = ((one.name, self._counters_of(one)) for one in figures)
        yield from self._others.take(counted, listed)
        yield
        shown: list[TenantFigures] = []
        quiet: list[TenantFigures] = []
        for one in figures:
            (shown if one.name in listed else quiet).append(one)
            yield
        pieces: list[bytes] = []
        for family in self._of_service(states):
            pieces.append(_text_of(family))
            yield
        sums = iter(self._others.sums)
        for metric in OF_TENANTS:
            for at in range(0, max(1, len(shown)), PAGE):
                text = _text_of(_family(metric, shown[at : at + PAGE]))
                # One head does for all pages.
                pieces.append(text[_head_end(text) :] if at else text)
                yield
            if quiet and not metric.alone:
                pieces.append((yield from _other(metric, quiet, sums)))
        for done in (shown, quiet, figures):
            # To forget so many takes its time, too.
            while done:
                del done[-PAGE:]
                yield
        return b"".join(pieces)

    def _counters_of(self, figures: TenantFigures) -> list[float]:
        return [value or 0 for metric in self._counters for value in metric.read(figures)]

    def _of_service(self, states: Mapping[State, int]) -> Iterator[Metric]:
        figures = self._source.service()
        yield _single(INFO, "gauge", [({"version": __version__}, 1)])
        yield _single(
            STATES, "gauge", [({"state": state.value}, states.get(state, 0)) for state in State]
        )
        active = sum(count for state, count in states.items() if state in RUNNING)
        yield _single(TENANTS_ACTIVE, "gauge", [({}, active)])
        for metric in OF_SERVICE:
            samples = [
                (dict(zip(metric.labels, values, strict=True)), value)
                for values, value in metric.read(figures)
            ]
            yield _single((metric.name, metric.text), metric.kind, samples)
        yield _latency(figures)
        yield from self._process.collect()


def _latency(figures: ServiceFigures) -> Metric:
    total, buckets = 0, []
    counts = figures.totals.all.latency
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(
        *LATENCY, buckets=buckets, sum_value=figures.totals.all.latency_seconds
    )


def _single(
    named: tuple[str, str], kind: str, samples: Iterable[tuple[dict[str, str], float]]
) -> Metric:
    family = _empty(*named, kind)
    for labels, value in samples:
        family.add_sample(named[0], labels, value)
    return family


def _family(metric: OfTenant, tenants: Iterable[TenantFigures]) -> Metric:
    family = _empty(metric.name, metric.text, metric.kind)
    more = [dict(zip(metric.labels, values, strict=True)) for values in metric.values]
    for tenant in tenants:
        for labels, value in zip(more, metric.read(tenant), strict=True):
            if value is not None:
                family.add_sample(metric.name, {"tenant": tenant.name, **labels}, value)
    return family


def _other(
    metric: OfTenant, quiet: Sequence[TenantFigures], sums: Iterator[float]
) -> Generator[None, None, bytes]:
    """Return the lines of those that are not listed."""
    if metric.kind == "counter":
        values = [next(sums) for _ in metric.values]
    else:
        values = [0.0 for _ in metric.values]
        for tenant in quiet:
            for at, value in enumerate(metric.read(tenant)):
                values[at] += value or 0
            yield
    family = _empty(metric.name, metric.text, metric.kind)
    for named, value in zip(metric.values, values, strict=True):
        labels = dict(zip(metric.labels, named, strict=True))
        family.add_sample(metric.name, {"tenant": OTHER, **labels}, value)
    text = _text_of(family)
    return text[_head_end(text) :]


def _empty(name: str, text: str, kind: str) -> Metric:
    # The library puts a counter's ending back.
    return Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)


class _One:
    """A registry of one metric."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _text_of(family: Metric) -> bytes:
    return generate_latest(cast("CollectorRegistry", _One(family)))


def _head_end(text: bytes) -> int:
    """Return where the lines begin that are no comments."""
    return text.index(b"\n", text.index(b"# TYPE")) + 1
