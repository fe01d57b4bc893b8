"""The text for Prometheus, as its own parser reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sqsuper.admin import measures
from sqsuper.admin.figures import ServiceFigures, TenantFigures
from sqsuper.admin.listing import Listing
from sqsuper.admin.metrics import FRESH, OTHER, Metrics
from sqsuper.gateway.statistics import BOUNDS, Statistics, Totals
from sqsuper.supervisor.instance import State
from tests.running import ROOT

SERVICE = ServiceFigures(
    Totals(
        Statistics(latency=(1,) * (len(BOUNDS) + 1), latency_seconds=9.5, methods={"GET": 4}),
        rejected={"draining": 2},
        accepted=7,
        connections=3,
        loop_lag=0.125,
    ),
    wrong_tokens=5,
    causes={"memory limit": 2},
    events={"admin": 1},
    backup=1e9 - 60,
)
FULL = TenantFigures(
    "full",
    State.HEALTHY,
    Statistics(
        requests_by_class=(0, 10, 2, 3, 4),
        bytes_in=100,
        bytes_out=200,
        in_flight=5,
        upstream_errors=6,
        cold_starts=7,
        last_active=1e9,
    ),
    restarts=8,
    storage=9,
    quota=10,
    memory=11,
    threads=12,
    open_files=13,
)


@attrs.define
class Fixed:
    """A source whose figures a test sets."""

    figures: list[TenantFigures]
    asked: int = 0

    def tenants(self) -> Iterator[TenantFigures]:
        self.asked += 1
        yield from self.figures

    def service(self) -> ServiceFigures:
        return SERVICE


class Unscheduled(Fixed):
    def service(self) -> ServiceFigures:
        return attrs.evolve(SERVICE, backup=None)


def metrics_of(figures: list[TenantFigures], most: int = 2000) -> Metrics:
    return Metrics(Fixed(figures), Clock(), now=lambda: 1e9, listing=Listing(most))


def samples_of(text: bytes) -> list[Sample]:
    families = list(text_string_to_metric_families(text.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "each family stands once, in one piece"
    return [sample for family in families for sample in family.samples]


def values_of(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return values by name and labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for sample in samples_of(metrics.render())
    }


def idle(name: str, state: State = State.STOPPED) -> TenantFigures:
    return TenantFigures(name, state, Statistics())


def used(name: str, requests: int, **more: Any) -> TenantFigures:
    statistics = Statistics(requests_by_class=(0, requests, 0, 0, 0), last_active=1e9 - 5, **more)
    return TenantFigures(name, State.HEALTHY, statistics, memory=1000)


def test_all_that_is_known_of_a_tenant() -> None:
    values = values_of(metrics_of([FULL]))
    of_full = {key[0]: value for key, value in values.items() if "full" in key}
    assert values["sqsuper_tenant_requests_total", "4xx", "full"] == 3
    assert values["sqsuper_tenant_state", "healthy", "full"] == 1
    del of_full["sqsuper_tenant_requests_total"]
    assert of_full == {
        "sq_api_calls_total": 19,
        "sqsuper_tenant_received_bytes_total": 100,
        "sqsuper_tenant_sent_bytes_total": 200,
        "sqsuper_tenant_in_flight_requests": 5,
        "sqsuper_tenant_upstream_errors_total": 6,
        "sqsuper_tenant_cold_starts_total": 7,
        "sqsuper_tenant_restarts_total": 8,
        "sq_storage_bytes": 9,
        "sqsuper_tenant_quota_bytes": 10,
        "sqsuper_tenant_memory_bytes": 11,
        "sqsuper_tenant_threads": 12,
        "sqsuper_tenant_open_files": 13,
        "sqsuper_tenant_last_active_timestamp_seconds": 1e9,
        "sqsuper_tenant_state": 1,
    }


def test_at_most_20_series_a_tenant() -> None:
    figures = [FULL, idle("idle"), *(attrs.evolve(FULL, name=f"t{n}") for n in range(120))]
    for most in (2000, 3):
        found = Counter(
            sample.labels["tenant"]
            for sample in samples_of(metrics_of(figures, most).render())
            if "tenant" in sample.labels
        )
        assert max(found.values()) <= 20
        assert found["full"] in {0, 18}


def test_nothing_is_said_of_what_nobody_knows() -> None:
    names = {key[0] for key in values_of(metrics_of([idle("idle")])) if "idle" in key}
    absent = {"sq_storage_bytes", "sqsuper_tenant_quota_bytes", "sqsuper_tenant_memory_bytes"}
    absent |= {"sqsuper_tenant_threads", "sqsuper_tenant_open_files"}
    assert "sq_api_calls_total" in names
    assert not names & absent


def test_all_of_the_service() -> None:
    values = values_of(metrics_of([FULL, idle("a"), idle("b"), idle("c", State.STARTING)]))
    assert values["sq_tenants_active",] == 2
    assert values["sqsuper_tenants", "stopped"] == 2
    assert values["sqsuper_tenants", "failed"] == 0
    assert values["sqsuper_requests_total", "GET"] == 4
    assert values["sqsuper_requests_total", "POST"] == 0
    assert values["sqsuper_restarts_total", "memory limit"] == 2
    assert values["sqsuper_restarts_total", "crash"] == 0
    assert values["sqsuper_events_total", "admin"] == 1
    assert values["sqsuper_gateway_rejected_total", "draining"] == 2
    assert values["sqsuper_gateway_accepted_connections_total",] == 7
    assert values["sqsuper_gateway_connections",] == 3
    assert values["sqsuper_gateway_wrong_tokens_total",] == 5
    assert values["sqsuper_event_loop_lag_seconds",] == 0.125
    assert values["sqsuper_backup_last_success_timestamp_seconds",] == 1e9 - 60
    assert values["sqsuper_request_duration_seconds_count",] == len(BOUNDS) + 1
    assert values["sqsuper_request_duration_seconds_bucket", "0.005"] == 5
    assert values["sqsuper_request_duration_seconds_sum",] == 9.5
    assert values["process_cpu_seconds_total",] > 0


def test_no_time_of_backups_that_nobody_makes() -> None:
    metrics = metrics_of([])
    metrics._source = Unscheduled([])
    names = {key[0] for key in values_of(metrics)}
    assert "sqsuper_event_loop_lag_seconds" in names
    assert "sqsuper_backup_last_success_timestamp_seconds" not in names


def test_labels_are_escaped() -> None:
    strange = 'a"b\\c\nd{}'
    (sample,) = [
        one
        for one in samples_of(metrics_of([idle(strange)]).render())
        if one.name == "sq_api_calls_total"
    ]
    assert sample.labels["tenant"] == strange


def test_the_quiet_ones_are_summed() -> None:
    figures = [used("a", 3), used("b", 5), *(idle(f"t{n}") for n in range(200))]
    figures[5] = attrs.evolve(figures[5], storage=70, quota=100)
    figures[9] = attrs.evolve(figures[9], storage=30, restarts=2)
    values = values_of(metrics_of(figures, 100))
    assert {key[1] for key in values if key[0] == "sq_api_calls_total"} == {"a", "b", OTHER}
    assert values["sq_api_calls_total", OTHER] == 0
    assert values["sq_storage_bytes", OTHER] == 100
    assert values["sqsuper_tenant_quota_bytes", OTHER] == 100
    assert values["sqsuper_tenant_restarts_total", OTHER] == 2
    assert values["sqsuper_tenants", "stopped"] == 200
    assert not [key for key in values if key[0] == "sqsuper_tenant_state" and OTHER in key]


def test_the_sum_of_the_quiet_ones_does_not_fall_when_one_is_used() -> None:
    metrics = metrics_of([used("a", 3), used("b", 5), used("c", 9)], 2)
    source: Any = metrics._source
    quiet = next(n for n in "abc" if ("sq_api_calls_total", n) not in values_of(metrics))
    before = values_of(metrics)["sq_api_calls_total", OTHER]
    source.figures = [attrs.evolve(f, restarts=1) for f in source.figures if f.name == quiet]
    source.figures += [idle("d"), idle("e")]
    after = values_of(metrics)
    assert after["sq_api_calls_total", quiet] == before
    assert after["sq_api_calls_total", OTHER] == before


def scraped(metrics: Metrics, clock: Clock, times: int = 1) -> list[Any]:
    """Ask so often at once; return what each got, text or failure."""
    got: list[Any] = []
    for _ in range(times):
        Deferred.fromCoroutine(metrics.scrape()).addBoth(got.append)
    for _ in range(100_000):
        if len(got) == times:
            break
        clock.advance(0)
    return got


def test_a_scrape_is_made_in_slices_once_for_all_who_ask() -> None:
    clock = Clock()
    source = Fixed([attrs.evolve(FULL, name=f"t{n}") for n in range(500)])
    metrics = Metrics(source, clock, now=lambda: 1e9)
    texts = scraped(metrics, clock, 3)
    assert source.asked == 1
    assert texts[0] is texts[1] is texts[2]
    assert b'sq_api_calls_total{tenant="t499"}' in texts[0]
    clock.advance(FRESH / 2)
    assert scraped(metrics, clock) == texts[:1]
    assert source.asked == 1
    clock.advance(FRESH)
    scraped(metrics, clock)
    assert source.asked == 2


def test_a_defect_is_told_to_all_who_asked_and_the_next_one_tries_again() -> None:
    clock = Clock()
    nothing: Any = None
    metrics = Metrics(nothing, clock)
    assert [failure.type for failure in scraped(metrics, clock, 2)] == [AttributeError] * 2
    metrics._source = Fixed([])
    (text,) = scraped(metrics, clock)
    assert text.startswith(b"# HELP")


def test_names_and_texts() -> None:
    every: list[measures.OfTenant | measures.Described] = [
        *measures.OF_TENANTS,
        *measures.OF_SERVICE,
    ]
    names = [metric.name for metric in every]
    assert len(names) == len(set(names))
    for metric in every:
        assert metric.kind in {"counter", "gauge"}
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.text.endswith(".")


def test_the_documentation_lists_every_metric_as_it_is() -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = {
        cells[0].strip("` "): (cells[1].strip(), cells[3].strip())
        for line in documented.splitlines()
        if line.startswith("| `")
        for cells in [line.strip("|").split("|")]
    }
    text = metrics_of([FULL]).render().decode()
    said = dict(line.split(" ", 3)[2:] for line in text.splitlines() if line[:6] == "# HELP")
    kinds = dict(line.split(" ", 3)[2:] for line in text.splitlines() if line[:6] == "# TYPE")
    ours = {name: (kinds[name], said[name]) for name in kinds if name[:8] != "process_"}
    assert rows == ours


def test_the_documentation_tells_the_labels() -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    for metric in measures.OF_TENANTS:
        labels = ", ".join(f"`{name}`" for name in ("tenant", *metric.labels))
        assert f"| `{metric.name}` | {metric.kind} | {labels} |" in documented
    for one in measures.OF_SERVICE:
        labels = ", ".join(f"`{name}`" for name in one.labels)
        assert f"| `{one.name}` | {one.kind} | {labels} |" in documented
