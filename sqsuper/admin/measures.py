"""What there is to measure: the names, texts and values of all metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from sqsuper.admin.figures import ServiceFigures, TenantFigures
from sqsuper.gateway.statistics import METHOD
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.instance import State

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

Value = float | int | None
Samples = Iterable[tuple[Sequence[str], float]]


@attrs.frozen
class Described:
    """One metric of the service: its samples are what `read` makes of the figures."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    read: Callable[[ServiceFigures], Samples]


@attrs.frozen
class OfTenant:
    """One metric of each tenant, as in `Described`; `labels` come after `tenant`.

    `read` gives a value for each of `values`, the further labels' values; with None for one
    there is no such series. What is `alone` is not summed over tenants.
    """

    name: str
    kind: str
    text: str
    read: Callable[[TenantFigures], Sequence[Value]]
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ((),)
    alone: bool = False


def _one(read: Callable[[TenantFigures], Value]) -> Callable[[TenantFigures], Sequence[Value]]:
    return lambda figures: (read(figures),)


OF_TENANTS = (
    OfTenant(
        "sqsuper_tenant_requests_total",
        "counter",
        "Requests through the gateway by class of the answer's status; a client that went before"
        " its answer counts as 4xx.",
        lambda f: f.statistics.requests_by_class[1:],
        ("status",),
        tuple((text,) for text in _CLASSES[1:]),
    ),
    OfTenant(
        "sq_api_calls_total",
        "counter",
        "Requests through the gateway.",
        _one(lambda f: f.statistics.requests),
    ),
    OfTenant(
        "sqsuper_tenant_received_bytes_total",
        "counter",
        "Bytes of requests, heads included.",
        _one(lambda f: f.statistics.bytes_in),
    ),
    OfTenant(
        "sqsuper_tenant_sent_bytes_total",
        "counter",
        "Bytes of answers, heads included.",
        _one(lambda f: f.statistics.bytes_out),
    ),
    OfTenant(
        "sqsuper_tenant_upstream_errors_total",
        "counter",
        "Requests that the instance did not answer well: 502, 504, or an answer that was cut.",
        _one(lambda f: f.statistics.upstream_errors),
    ),
    OfTenant(
        "sqsuper_tenant_cold_starts_total",
        "counter",
        "Starts of the instance that requests waited for.",
        _one(lambda f: f.statistics.cold_starts),
    ),
    OfTenant(
        "sqsuper_tenant_restarts_total",
        "counter",
        "Starts of the instance after one that failed.",
        _one(lambda f: f.restarts),
    ),
    OfTenant(
        "sqsuper_tenant_in_flight_requests",
        "gauge",
        "Requests that the instance is working on.",
        _one(lambda f: f.statistics.in_flight),
    ),
    OfTenant(
        "sq_storage_bytes",
        "gauge",
        "Bytes that the tenant's phexts take up, as its embedded engine said last.",
        _one(lambda f: f.storage),
    ),
    OfTenant(
        "sqsuper_tenant_quota_bytes",
        "gauge",
        "Bytes that they may take up; no series without a quota.",
        _one(lambda f: f.quota),
    ),
    OfTenant(
        "sqsuper_tenant_memory_bytes",
        "gauge",
        "Memory of the running instance: its proportional share of what it uses.",
        _one(lambda f: f.memory),
    ),
    OfTenant(
        "sqsuper_tenant_threads",
        "gauge",
        "Threads of the running instance.",
        _one(lambda f: f.threads),
    ),
    OfTenant(
        "sqsuper_tenant_open_files",
        "gauge",
        "File descriptors of the running instance.",
        _one(lambda f: f.open_files),
    ),
    OfTenant(
        "sqsuper_tenant_last_active_timestamp_seconds",
        "gauge",
        "When the gateway served it last, since the epoch; no series before.",
        _one(lambda f: f.statistics.last_active),
        alone=True,
    ),
    OfTenant(
        "sqsuper_tenant_state",
        "gauge",
        "1 in the state that the instance is in; no series in the others.",
        lambda f: tuple(1 if f.state is state else None for state in State),
        ("state",),
        tuple((state.value,) for state in State),
        alone=True,
    ),
)
"""What there is of each tenant: at most 20 series."""


def _plain(
    read: Callable[[ServiceFigures], float],
) -> Callable[[ServiceFigures], Samples]:
    return lambda figures: [((), read(figures))]


def _each(
    read: Callable[[ServiceFigures], Mapping[str, int]], known: Iterable[str]
) -> Callable[[ServiceFigures], Samples]:
    """Return a sample for each that is known, also if it never happened, and that is there."""
    always = dict.fromkeys(known, 0)
    return lambda f: [((name,), count) for name, count in {**always, **read(f)}.items()]


_METHODS = sorted(["GET", *(method.decode("ascii") for method in METHOD if method)])

OF_SERVICE = (
    Described(
        "sqsuper_requests_total",
        "counter",
        "Requests with a whole head by method, also those that no tenant's token came with.",
        ("method",),
        _each(lambda f: f.totals.all.methods, _METHODS),
    ),
    Described(
        "sqsuper_upstream_errors_total",
        "counter",
        "Requests that an instance did not answer well: 502, 504, or an answer that was cut.",
        (),
        _plain(lambda f: f.totals.all.upstream_errors),
    ),
    Described(
        "sqsuper_in_flight_requests",
        "gauge",
        "Requests that instances are working on.",
        (),
        _plain(lambda f: f.totals.all.in_flight),
    ),
    Described(
        "sqsuper_restarts_total",
        "counter",
        "Starts of instances after one that failed, by what that failed of.",
        ("reason",),
        _each(lambda f: f.causes, [cause.value for cause in Cause]),
    ),
    Described(
        "sqsuper_events_total",
        "counter",
        "What operators were told of, by kind.",
        ("kind",),
        _each(lambda f: f.events, [kind.value for kind in Kind]),
    ),
    Described(
        "sqsuper_gateway_connections",
        "gauge",
        "Clients' connections that are open.",
        (),
        _plain(lambda f: f.totals.connections),
    ),
    Described(
        "sqsuper_gateway_accepted_connections_total",
        "counter",
        "Clients' connections that came.",
        (),
        _plain(lambda f: f.totals.accepted),
    ),
    Described(
        "sqsuper_gateway_rejected_total",
        "counter",
        "Requests and connections that the gateway answered with an error of its own, by the"
        " answer's X-SQ-Code; those that an instance failed (502, 504) aside.",
        ("reason",),
        _each(lambda f: f.totals.rejected, ["unauthorized", "overloaded", "rate_limited"]),
    ),
    Described(
        "sqsuper_gateway_wrong_tokens_total",
        "counter",
        "Requests with a token that nobody has.",
        (),
        _plain(lambda f: f.wrong_tokens),
    ),
    Described(
        "sqsuper_event_loop_lag_seconds",
        "gauge",
        "By how much the event loop was late in the last minute, at worst; of several gateway"
        " workers the worst one.",
        (),
        _plain(lambda f: f.totals.loop_lag),
    ),
    Described(
        "sqsuper_backup_last_success_timestamp_seconds",
        "gauge",
        "When the last daily backup was made in which no tenant is missing, since the epoch; 0:"
        " there is none yet; no series when none are scheduled.",
        (),
        lambda f: [] if f.backup is None else [((), f.backup)],
    ),
)
"""What there is once."""

LATENCY = (
    "sqsuper_request_duration_seconds",
    "From a request's first byte to the last byte of its answer, of requests that an instance"
    " answered or should have.",
)
STATES = ("sqsuper_tenants", "Tenants by the state of their instance.")
TENANTS_ACTIVE = ("sq_tenants_active", "Tenants whose instance runs, or is being started.")
INFO = ("sqsuper_info", "1; the version of the service.")
