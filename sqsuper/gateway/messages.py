"""What is said on the control channel, as JSON values: encoding and its inverse, no I/O.

Tokens are there by digest alone; instances' keys are, in an encoded `Upstream`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs

from sqsuper.config.model import Config, Gateway, Origin, Rate, Scope, Settings, Tenant, Token
from sqsuper.instances import Unavailable, Upstream

# Tenants in one message: none may hold up the others for long.
PAGE = 500


def encode_upstream(upstream: Upstream) -> list[Any]:
    return list(attrs.astuple(upstream))


def decode_upstream(value: list[Any]) -> Upstream:
    return Upstream(*value)


def encode_outcome(outcome: Upstream | Unavailable) -> list[Any]:
    return [isinstance(outcome, Upstream), *attrs.astuple(outcome)]


def decode_outcome(value: list[Any]) -> Upstream | Unavailable:
    ready, *facts = value
    return Upstream(*facts) if ready else Unavailable(*facts)


def encode_gateway(gateway: Gateway) -> dict[str, Any]:
    facts = attrs.asdict(gateway)
    facts["trusted_proxies"] = [str(network) for network in gateway.trusted_proxies]
    return facts


def decode_gateway(value: dict[str, Any]) -> Gateway:
    networks = tuple(ip_network(text) for text in value["trusted_proxies"])
    return Gateway(**{**value, "listen": tuple(value["listen"]), "trusted_proxies": networks})


def encode_tenant(tenant: Tenant) -> list[Any]:
    """Encode what a gateway needs of a tenant."""
    settings = tenant.settings
    return [
        tenant.name,
        tenant.enabled,
        [_encode_token(token) for token in tenant.tokens],
        [
            settings.max_inflight,
            settings.queue,
            settings.queue_timeout,
            settings.drain,
            settings.stop_grace,
        ],
        None if settings.rate is None else [settings.rate.per_second, settings.rate.burst],
    ]


def decode_tenant(value: list[Any]) -> Tenant:
    name, enabled, tokens, (max_inflight, queue, queue_timeout, drain, grace), rate = value
    settings = Settings(
        max_inflight=max_inflight,
        queue=queue,
        queue_timeout=queue_timeout,
        drain=drain,
        stop_grace=grace,
        rate=None if rate is None else Rate(*rate),
    )
    return Tenant(
        name,
        tuple(_decode_token(token) for token in tokens),
        # A gateway never touches a tenant's data.
        Path(),
        Origin(Path(), None),
        enabled=enabled,
        settings=settings,
    )


def pages(tenants: Iterable[Tenant], size: int = PAGE) -> Iterator[list[Any]]:
    """Encode tenants, in messages' worths."""
    page: list[Any] = []
    for tenant in tenants:
        page.append(encode_tenant(tenant))
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def decode_config(gateway: dict[str, Any], run_dir: str, tenants: Iterable[list[Any]]) -> Config:
    """Decode a worker's configuration: what a gateway looks at, and nothing else."""
    return Config(
        file=Path(),
        data_root=Path(),
        run_dir=Path(run_dir),
        gateway=decode_gateway(gateway),
        tenants=tuple(decode_tenant(tenant) for tenant in tenants),
    )


def _encode_token(token: Token) -> list[Any]:
    return [
        token.sha256.hex(),
        token.label,
        token.scope.value,
        token.not_before.isoformat() if token.not_before else None,
        token.expires.isoformat() if token.expires else None,
    ]


def _decode_token(value: list[Any]) -> Token:
    digest, label, scope, not_before, expires = value
    return Token(
        bytes.fromhex(digest),
        label,
        Scope(scope),
        datetime.fromisoformat(not_before) if not_before else None,
        datetime.fromisoformat(expires) if expires else None,
    )
