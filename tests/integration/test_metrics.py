"""Metrics of a running service, and the alerts and the dashboard that go by them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartSqsuper
from tests.integration.admin_support import Admin
from tests.running import ROOT, Running, eventually

ALERTS = ROOT / "conf" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "conf" / "grafana" / "sqsuper.json"
TENANTS = {
    name: {"token_sha256": [hashlib.sha256(name.encode()).hexdigest()]} for name in ("alice", "bob")
}


@pytest.fixture
def promtool() -> str:
    """Prometheus' own checker; without it a visible skip, and in CI a failure."""
    found = shutil.which("promtool")
    if found is None:
        missing = "promtool is not on PATH (Debian's package prometheus has it)"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


def checked(promtool: str, *arguments: object, text: bytes = b"") -> None:
    done = subprocess.run(
        [promtool, *map(str, arguments)], input=text, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def values_of(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def work(running: Running) -> None:
    """Let alice have four requests answered, bob one; and one that nobody has a token for."""
    for _ in range(3):
        assert running.request("GET", "/api/v2/version", token="alice").status == 200
    target = "/api/v2/update?p=x&c=1.1.1/1.1.1/1.1.1"
    assert running.request("POST", target, token="alice", body=b"text").status == 200
    assert running.request("GET", "/api/v2/nothing", token="bob").status == 404
    assert running.request("GET", "/api/v2/version", token="carol").status == 401


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_done_is_counted(sqsuper_process: StartSqsuper, workers: int) -> None:
    running = sqsuper_process({"tenants": TENANTS, "gateway": {"workers": workers}})
    admin = Admin.of(running)
    work(running)

    def values() -> dict[tuple[str, ...], float]:
        answer = admin.ask("GET", "/metrics")
        assert answer.status == 200
        assert (answer.header("content-type") or "").startswith("text/plain; version=0.0.4")
        return values_of(answer.body)

    def counted() -> bool:
        found = values()
        calls = [found["sq_api_calls_total", name] for name in TENANTS]
        return calls == [4, 1] and found["sqsuper_gateway_rejected_total", "unauthorized"] == 1

    eventually(counted, "all is counted", 20)
    found = values()
    assert found["sqsuper_tenant_requests_total", "2xx", "alice"] == 4
    assert found["sqsuper_tenant_requests_total", "4xx", "bob"] == 1
    assert found["sqsuper_tenant_cold_starts_total", "alice"] == 1
    assert found["sqsuper_tenant_state", "healthy", "bob"] == 1
    assert found["sqsuper_requests_total", "POST"] == 1
    assert found["sqsuper_request_duration_seconds_count",] == 5
    assert found["sqsuper_gateway_accepted_connections_total",] >= 6
    assert found["sq_tenants_active",] == 2
    stats = admin.get("/tenants/alice/stats")
    assert (stats["requests"], stats["in_flight"]) == (4, 0)
    assert 0 < stats["latency"]["p50"] <= stats["latency"]["p99"]
    assert stats["figures"]["methods"]["POST"] == 1
    assert stats["bytes_in"] == found["sqsuper_tenant_received_bytes_total", "alice"] > 200
    assert stats["last_active"] == pytest.approx(
        found["sqsuper_tenant_last_active_timestamp_seconds", "alice"], abs=2
    )


def test_what_is_removed_still_counts_in_all(sqsuper_process: StartSqsuper, promtool: str) -> None:
    running = sqsuper_process({"tenants": {"alice": TENANTS["alice"]}})
    admin = Admin.of(running)
    token = admin.done("POST", "/tenants/add", {"tenant_id": "new", "port": "none"}, 201)["api_key"]
    assert running.request("GET", "/api/v2/version", token=token).status == 200
    admin.done("DELETE", "/tenants/new")

    def forgotten() -> bool:
        found = values_of(admin.ask("GET", "/api/v2/metrics").body)
        assert found["sqsuper_requests_total", "GET"] >= 1
        return ("sq_api_calls_total", "new") not in found

    eventually(forgotten, "no series of it", 10)
    checked(promtool, "check", "metrics", text=admin.ask("GET", "/metrics").body)


def test_the_alerts_are_right(promtool: str) -> None:
    checked(promtool, "check", "rules", ALERTS)


def rule_test(series: dict[str, str], alert: str, at: str, fires: bool) -> dict[str, Any]:
    # Of those that fire only names and labels are of interest: so `alertname` is asked for.
    query = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    expected = [{"value": 1}] if fires else []
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": at, "exp_samples": expected}],
    }


def test_the_alerts_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    failed = 'sqsuper_tenant_state{tenant="a", state="failed"}'
    storage, quota = 'sq_storage_bytes{tenant="a"}', 'sqsuper_tenant_quota_bytes{tenant="a"}'
    errors = 'sqsuper_tenant_upstream_errors_total{tenant="a"}'
    calls = 'sq_api_calls_total{tenant="a"}'
    backup = "sqsuper_backup_last_success_timestamp_seconds"
    restarts = 'sqsuper_tenant_restarts_total{tenant="a"}'
    tests = [
        rule_test({'up{job="sqsuper"}': "0x10"}, "SqsuperDown", "3m", True),
        rule_test({'up{job="sqsuper"}': "1x10"}, "SqsuperDown", "3m", False),
        rule_test({failed: "1x10"}, "SqsuperTenantFailed", "4m", True),
        rule_test({failed: "1x10"}, "SqsuperTenantFailed", "1m", False),
        rule_test({storage: "95x10", quota: "100x10"}, "SqsuperQuotaNearlyUsed", "8m", True),
        rule_test({storage: "85x10", quota: "100x10"}, "SqsuperQuotaNearlyUsed", "8m", False),
        rule_test({errors: "0+60x20", calls: "0+600x20"}, "SqsuperUpstreamErrors", "15m", True),
        rule_test({errors: "0+6x20", calls: "0+600x20"}, "SqsuperUpstreamErrors", "15m", False),
        # What was due an hour after the begin of time was made; the next one was not.
        rule_test({backup: "3600x2000"}, "SqsuperBackupOverdue", "27h", False),
        rule_test({backup: "3600x2000"}, "SqsuperBackupOverdue", "29h", True),
        rule_test({}, "SqsuperBackupOverdue", "29h", False),
        rule_test({restarts: "0+1x20"}, "SqsuperTenantRestarts", "15m", True),
        rule_test({restarts: "3x20"}, "SqsuperTenantRestarts", "15m", False),
        rule_test(
            {'sqsuper_gateway_rejected_total{reason="overloaded"}': "0+600x20"},
            "SqsuperOverloaded",
            "15m",
            True,
        ),
    ]
    file = tmp_path / "alerts_test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": tests}))
    checked(promtool, "test", "rules", file)


def expressions_of(value: Any) -> list[str]:
    """Return all PromQL in a dashboard or in rules."""
    if isinstance(value, list):
        return [found for one in value for found in expressions_of(one)]
    if not isinstance(value, dict):
        return []
    told = [value[key] for key in ("expr", "query") if isinstance(value.get(key), str)]
    return told + expressions_of(list(value.values()))


def test_alerts_and_dashboard_name_what_there_is(sqsuper_process: StartSqsuper) -> None:
    running = sqsuper_process({"tenants": TENANTS})
    work(running)
    text = Admin.of(running).ask("GET", "/metrics").body.decode()
    there = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    alerts, dashboard = yaml.safe_load(ALERTS.read_text()), json.loads(DASHBOARD.read_text())
    for expressions in (expressions_of(alerts), expressions_of(dashboard)):
        named = set(re.findall(r"\bsq(?:super)?_\w+", " ".join(expressions)))
        assert len(named) > 5
        assert {name.removesuffix("_bucket") for name in named} <= there


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", DASHBOARD.read_text()))
    assert used == variables
    places = [panel["gridPos"] for panel in panels]
    for at, one in enumerate(places):
        assert one["x"] + one["w"] <= 24
        for other in places[at + 1 :]:
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert beside or apart, (one, other)
