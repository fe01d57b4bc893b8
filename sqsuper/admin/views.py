"""Tenants, tokens, events and the like as the admin API shows them: plain values for JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import attrs

from sqsuper.admin.snapshot import Snapshot
from sqsuper.config.model import Tenant, Token
from sqsuper.config.overlay import Patch
from sqsuper.supervisor.events import Event
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.lifecycle import Lifecycle
from sqsuper.supervisor.monitor import Samples
from sqsuper.supervisor.tenant_logs import Line
from sqsuper.tokens import label


@attrs.frozen
class Known:
    """What is known of a tenant beside its entry. `now` of the reactor's seconds is `wall`."""

    tenant: Tenant
    life: Lifecycle
    snapshot: Snapshot
    now: float
    wall: float

    def since_the_epoch(self, at: float) -> float:
        return self.wall - (self.now - at)


def tenant_of(known: Known) -> dict[str, Any]:
    """Return what is shown of a tenant in lists: T of the OpenAPI file."""
    tenant, life = known.tenant, known.life
    changes = life.instance.history
    last = changes[-1] if changes else None
    snapshot = known.snapshot
    traffic = snapshot.traffic
    return {
        "tenant_id": tenant.name,
        "state": snapshot.state.value,
        "reason": None if last is None else last.reason,
        "since": None if last is None else known.since_the_epoch(last.at),
        "enabled": tenant.enabled,
        "held": life.held,
        "engine": tenant.settings.engine.value,
        "pid": snapshot.pid,
        "address": _address(life),
        "port": tenant.port,
        "uptime_s": None if snapshot.pid is None else _uptime(changes, known.now),
        "restarts": snapshot.restarts,
        "memory_bytes": snapshot.memory,
        "threads": snapshot.threads,
        "requests": traffic.requests,
        "bytes_in": traffic.bytes_in,
        "bytes_out": traffic.bytes_out,
        "in_flight": traffic.in_flight,
        "latency": {"p50": traffic.p50, "p95": traffic.p95, "p99": traffic.p99},
        "storage_bytes": snapshot.storage,
        "quota_bytes": tenant.settings.quota_bytes,
        "last_active": _last_active(known),
        "admin_email": tenant.admin_email,
        "data_dir": str(tenant.data_dir),
        "origin": origin_of(tenant, life.held),
    }


def _last_active(known: Known) -> float | None:
    """Return when it was used last, be it at a port of its own."""
    used = known.since_the_epoch(known.life.last_used) if known.life.instance.history else None
    return max(
        (at for at in (used, known.snapshot.traffic.last_active) if at is not None), default=None
    )


def origin_of(tenant: Tenant, held: bool) -> dict[str, Any]:
    """Return where a tenant's entry stands, and whether our overlay changes anything of it."""
    origin = tenant.origin
    overlay = [name for name in origin.overlay if name != "stopped"]
    return {
        "file": str(origin.file),
        "line": origin.line,
        "managed": origin.managed,
        "overlay": bool(overlay or held),
        "changed_by_overlay": overlay + (["stopped"] if held else []),
    }


def _address(life: Lifecycle) -> str | None:
    upstream = life.upstream
    if upstream is None:
        return None
    return f"unix:{upstream.path}" if upstream.path else f"{upstream.host}:{upstream.port}"


def _uptime(changes: Sequence[Change], now: float) -> float | None:
    at = started_at(changes)
    return None if at is None else max(0.0, now - at)


def started_at(changes: Sequence[Change]) -> float | None:
    """Return when the last start began, in the seconds of the changes; None: too long ago."""
    for change in reversed(changes):
        if change.after is State.STARTING:
            return change.at
    return None


def stats_of(known: Known, samples: Samples, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return T and further figures: series of the last ten minutes, the last costly sample."""
    recent, detail = samples.recent, samples.detail
    return {
        **tenant_of(known),
        "processes": samples.processes,
        "detail": None if detail is None else attrs.asdict(detail),
        "recent": {
            "at": [known.since_the_epoch(at) for at in recent.at],
            "memory_bytes": list(recent.memory),
            "threads": list(recent.threads),
            "cpu": list(recent.cpu),
        },
        "figures": dict(figures),
    }


def tokens_of(
    tenant: Tenant, patch: Patch, last_used: Callable[[bytes], float | None], wall: float
) -> list[dict[str, Any]]:
    """Return a tenant's tokens; those that the overlay revokes too, by their digest alone."""
    shown = [token_of(token, last_used(token.sha256), wall) for token in tenant.tokens]
    for digest in patch.revoked:
        gone = token_of(Token(digest), last_used(digest), wall)
        shown.append({**gone, "state": "revoked"})
    return shown


def token_of(token: Token, last_used: float | None, wall: float) -> dict[str, Any]:
    """Return what may be shown of a token; times are seconds since the epoch."""
    return {
        "label": token.label,
        "digest8": label(token.sha256),
        "age": None if token.created is None else max(0.0, wall - token.created.timestamp()),
        "scope": token.scope.value,
        "not_before": _seconds(token.not_before),
        "expires": _seconds(token.expires),
        "last_used": last_used,
        "state": _state(token, wall),
    }


def _state(token: Token, wall: float) -> str:
    if token.expires is not None and token.expires.timestamp() <= wall:
        return "expired"
    if token.not_before is not None and wall < token.not_before.timestamp():
        return "pending"
    return "valid"


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def event_of(event: Event) -> dict[str, Any]:
    """Return an event; `at` in seconds since the epoch."""
    return {
        "at": event.at,
        "kind": event.kind.value,
        "tenant_id": event.tenant,
        "cause": event.cause,
        "text": event.text,
        "facts": dict(event.facts),
    }


def line_of(line: Line) -> dict[str, Any]:
    """Return a line of a tenant's log."""
    return {"at": line.at, "stream": line.stream, "text": line.text}


def moment_text(at: float) -> str:
    """Return seconds since the epoch as the configuration has a time."""
    return datetime.fromtimestamp(int(at), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
