from __future__ import annotations

import json
from datetime import datetime, timezone
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from sqsuper.config.model import Config, Gateway, Origin, Rate, Scope, Settings, Tenant, Token
from sqsuper.gateway import messages
from sqsuper.instances import Unavailable, Upstream

START = datetime(2027, 1, 1, 12, 30, tzinfo=timezone.utc)
TENANT = Tenant(
    "alice",
    (
        Token(b"\x01" * 32),
        Token(b"\xfe" * 32, "laptop \u00e9", Scope.READ_ONLY, not_before=START, expires=START),
    ),
    Path("/data/alice"),
    Origin(Path("/etc/tenants.yaml"), 7),
    port=7001,
    enabled=False,
    settings=Settings(
        max_inflight=3,
        queue=4,
        queue_timeout=5.5,
        drain=6.5,
        stop_grace=7.5,
        rate=Rate(per_second=7.5, burst=8),
    ),
)


def over_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "upstream",
    [Upstream("a", 3, "key", path="/run/x"), Upstream("b", 1, "key", host="::1", port=7)],
)
def test_upstreams_pass(upstream: Upstream) -> None:
    encoded = over_json(messages.encode_upstream(upstream))
    assert messages.decode_upstream(encoded) == upstream
    outcome = over_json(messages.encode_outcome(upstream))
    assert messages.decode_outcome(outcome) == upstream


def test_reasons_pass() -> None:
    reason = Unavailable("failed", "it \u2026 failed", 12, "crash")
    assert messages.decode_outcome(over_json(messages.encode_outcome(reason))) == reason


def test_every_setting_of_the_gateway_passes() -> None:
    gateway = Gateway(
        listen=("tcp:1", "tcp:2"),
        workers=3,
        trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        max_head_bytes=1,
        body_timeout=2.5,
        access_log="/var/log/x",
    )
    encoded = over_json(messages.encode_gateway(gateway))
    assert messages.decode_gateway(encoded) == gateway


def test_of_a_tenant_passes_what_a_gateway_looks_at() -> None:
    tenant = messages.decode_tenant(over_json(messages.encode_tenant(TENANT)))
    assert (tenant.name, tenant.enabled, tenant.tokens) == ("alice", False, TENANT.tokens)
    for name in ("max_inflight", "queue", "queue_timeout", "drain", "stop_grace", "rate"):
        assert getattr(tenant.settings, name) == getattr(TENANT.settings, name)


def test_a_worker_gets_the_whole_configuration_in_pages() -> None:
    tenants = [attrs.evolve(TENANT, name=f"t{number}") for number in range(messages.PAGE + 1)]
    pages = list(messages.pages(tenants))
    assert [len(page) for page in pages] == [messages.PAGE, 1]
    config: Config = messages.decode_config(
        over_json(messages.encode_gateway(Gateway())),
        "/run/dir",
        over_json([tenant for page in pages for tenant in page]),
    )
    assert [tenant.name for tenant in config.tenants] == [tenant.name for tenant in tenants]
    assert config.run_dir == Path("/run/dir")
