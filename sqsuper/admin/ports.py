"""Which port a new tenant may have."""

from __future__ import annotations

from collections.abc import Callable

from sqsuper.admin.errors import ConflictError
from sqsuper.config.endpoints import take_apart
from sqsuper.config.model import Config, Tenant
from sqsuper.supervisor.listeners import is_free


def owners(config: Config) -> dict[int, str]:
    """Return whose each port is that the configuration names."""
    found: dict[int, str] = {}
    base = config.file.parent
    for section, texts in (("gateway", config.gateway.listen), ("admin", config.admin.listen)):
        for text in texts:
            port = take_apart(text, base).port
            if port:
                found[port] = f"{section}.listen"
    found.update({one.port: one.name for one in config.tenants if one.port is not None})
    return found


def next_port(config: Config, is_free: Callable[[int], bool] = is_free) -> int:
    """Return the lowest port of `port_range` that is nobody's. Raises ConflictError."""
    first, last = config.port_range
    taken = owners(config)
    for port in range(first, last + 1):
        if port not in taken and is_free(port):
            return port
    raise ConflictError(
        f'no port of port_range ({first}-{last}) is free: widen it, or give "port": "none"'
    )


def check_port(config: Config, tenant: Tenant) -> None:
    """Raise ConflictError for a port that is somebody else's."""
    if tenant.port is None:
        return
    owner = owners(config).get(tenant.port)
    if owner is not None and owner != tenant.name:
        raise ConflictError(
            f'port: {tenant.port} is already {owner}\'s; give another one, or none ("none")'
        )
