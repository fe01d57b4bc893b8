"""What a changed key means for a service that runs: one table a section of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from operator import attrgetter
from typing import Any

import attrs

from sqsuper.config.model import (
    Admin,
    Backup,
    Checkpoint,
    Config,
    Engine,
    Gateway,
    Health,
    HostMemory,
    Limits,
    Log,
    Monitor,
    Restart,
    Settings,
    Tenant,
)


class Effect(Enum):
    LIVE = "at once"
    """What runs goes on with it."""
    LISTEN = "listeners"
    """New listeners are bound, then old ones closed."""
    NEXT_START = "next start"
    """A tenant's process that runs keeps what it has; its next one has the new."""
    RESTART = "restart"
    """The tenant's process is restarted as planned."""
    SERVICE = "restart of the service"
    """The service keeps what it was started with until it is itself restarted."""
    NOTHING = "no effect"
    """Nothing that runs looks at it."""


LIVE, LISTEN, RESTART = Effect.LIVE, Effect.LISTEN, Effect.RESTART
NEXT_START, SERVICE, NOTHING = Effect.NEXT_START, Effect.SERVICE, Effect.NOTHING

# By a tenant's engine: the key's meaning for an embedded and for a command engine.
SETTINGS: Mapping[str, tuple[Effect, Effect]] = {
    "engine": (RESTART, RESTART),
    "launcher": (NEXT_START, NOTHING),
    "command": (NOTHING, RESTART),
    "start": (LIVE, LIVE),
    "idle_stop": (LIVE, LIVE),
    "quota_mb": (LIVE, LIVE),
    "coordinates": (LIVE, NOTHING),
    "restart.policy": (LIVE, LIVE),
    "restart.backoff": (LIVE, LIVE),
    "restart.backoff_max": (LIVE, LIVE),
    "restart.jitter": (LIVE, LIVE),
    "restart.reset_after": (LIVE, LIVE),
    "restart.intensity": (LIVE, LIVE),
    "restart.period": (LIVE, LIVE),
    "restart.retry_failed": (LIVE, LIVE),
    "monitor.interval": (LIVE, LIVE),
    "monitor.detail": (LIVE, LIVE),
    "checkpoint.idle": (LIVE, NOTHING),
    "checkpoint.age": (LIVE, NOTHING),
    "checkpoint.journal": (LIVE, NOTHING),
    "max_loaded": (LIVE, NOTHING),
    "environment": (RESTART, RESTART),
    "health.interval": (LIVE, LIVE),
    "health.timeout": (LIVE, LIVE),
    "health.unhealthy_after": (LIVE, LIVE),
    "health.healthy_after": (LIVE, LIVE),
    "health.start_timeout": (LIVE, LIVE),
    "health.busy_max": (LIVE, LIVE),
    "limits.memory_soft": (LIVE, LIVE),
    "limits.memory_hard": (LIVE, LIVE),
    "limits.threads": (LIVE, LIVE),
    "limits.open_files": (NEXT_START, NEXT_START),
    "limits.nice": (NEXT_START, NEXT_START),
    "drain": (LIVE, LIVE),
    "stop_grace": (LIVE, LIVE),
    "max_inflight": (LIVE, LIVE),
    "queue": (LIVE, LIVE),
    "queue_timeout": (LIVE, LIVE),
    "max_phext_mb": (LIVE, LIVE),
    "rate": (LIVE, LIVE),
    "user": (RESTART, RESTART),
}
# `enabled` starts or ends what runs, and is told apart from the others.
TENANT: Mapping[str, Effect] = {
    "tokens": LIVE,
    "data_dir": RESTART,
    "port": RESTART,
    "enabled": LIVE,
    "admin_email": NOTHING,
}
GATEWAY: Mapping[str, Effect] = {
    "listen": LISTEN,
    "workers": SERVICE,
    "trusted_proxies": LIVE,
    "max_head_bytes": LIVE,
    "max_body_bytes": LIVE,
    "head_timeout": LIVE,
    "idle_timeout": LIVE,
    "body_timeout": LIVE,
    "body_rate": LIVE,
    "send_timeout": LIVE,
    "upstream_timeout": LIVE,
    "max_connections": LIVE,
    "max_connections_per_address": LIVE,
    "wrong_tokens_per_minute": LIVE,
    "access_log": LIVE,
}
ADMIN: Mapping[str, Effect] = {"listen": LISTEN, "token_sha256": LIVE, "hosts": LIVE}
SERVICES: Mapping[str, Effect] = {
    "data_root": SERVICE,
    "run_dir": SERVICE,
    "port_range": LIVE,
    "spawn_concurrency": LIVE,
    "host_memory.stop_idle": LIVE,
    "host_memory.refuse": LIVE,
    "on_event": LIVE,
    "backup.at": LIVE,
    "backup.keep": LIVE,
    "backup.dir": LIVE,
    "log.dir": LIVE,
    "log.max_bytes": LIVE,
    "log.keep": LIVE,
    "token_overlap": LIVE,
    "include": LIVE,
}
# What is no key of the service's own, or where the text stands.
NO_KEYS: Mapping[type, frozenset[str]] = {
    Config: frozenset({"file", "gateway", "admin", "tenants", "warnings", "defaults"}),
    Tenant: frozenset({"name", "origin", "settings"}),
}
_SECTIONS = (Restart, Monitor, Checkpoint, Health, Limits, HostMemory, Backup, Log)

Getter = Callable[[Any], Any]


def keys_of(cls: type) -> tuple[str, ...]:
    """Return the keys of one of the model's classes, dotted where a section has keys of its own."""
    found: list[str] = []
    left_out = NO_KEYS.get(cls, frozenset())
    for field in attrs.fields(cls):
        if field.name in left_out:
            continue
        section = type(field.default)
        if section in _SECTIONS:
            found += [f"{field.name}.{key}" for key in keys_of(section)]
        else:
            found.append(field.name)
    return tuple(found)


def _getters(cls: type) -> tuple[tuple[str, Getter], ...]:
    return tuple((key, attrgetter(key)) for key in keys_of(cls))


SETTINGS_GETTERS = _getters(Settings)
TENANT_GETTERS = _getters(Tenant)
GATEWAY_GETTERS = _getters(Gateway)
ADMIN_GETTERS = _getters(Admin)
SERVICE_GETTERS = _getters(Config)


def setting_effect(key: str, engine: Engine) -> Effect:
    """Return what a key of `Settings` means for a tenant whose process is such an engine."""
    embedded, command = SETTINGS[key]
    return embedded if engine is Engine.EMBEDDED else command
