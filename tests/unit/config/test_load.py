"""Good files: what they become, in every format."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from sqsuper.config import model as m
from sqsuper.config.load import ensure_tenants_dir, load
from tests.unit.config.conftest import Write

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
FULL: dict[str, Any] = {
    "gateway": {
        "listen": ["tcp:0:interface=127.0.0.1", "unix:run/gw.sock"],
        "workers": 2,
        "trusted_proxies": ["10.0.0.0/8", "::1"],
        "max_head_bytes": "32K",
        "max_body_bytes": 1000,
        "head_timeout": 1,
        "idle_timeout": "1m",
        "body_timeout": "never",
        "body_rate": "1K",
        "send_timeout": 2.5,
        "upstream_timeout": "500ms",
        "max_connections": 10,
        "max_connections_per_address": 3,
        "wrong_tokens_per_minute": 0,
        "access_log": "logs/access.log",
    },
    "admin": {"listen": ["tcp:0"], "token_sha256": DIGEST.upper(), "hosts": ["Box.example"]},
    "data_root": "store",
    "port_range": "8001-8010",
    "spawn_concurrency": 3,
    "host_memory": {"stop_idle": "none", "refuse": "5%"},
    "on_event": ["/bin/notify", ""],
    "backup": {"at": "03:30", "keep": 2, "dir": "backups"},
    "log": {"dir": "logs", "max_bytes": "1M", "keep": 1},
    "token_overlap": "1h",
    "run_dir": "r",
    "defaults": {
        "engine": "command",
        "launcher": "spawn",
        "command": ["sq", "host", "{port}", "--key={key}", "{data_dir}/{name}", "{", "a}"],
        "start": "eager",
        "idle_stop": "never",
        "quota_mb": 10,
        "coordinates": "lenient",
        "restart": {
            "policy": "on-failure",
            "backoff": 0,
            "backoff_max": 1,
            "jitter": 0,
            "reset_after": "2s",
            "intensity": 1,
            "period": 3,
            "retry_failed": "none",
        },
        "monitor": {"interval": 1, "detail": 2},
        "checkpoint": {"idle": 1, "age": 2, "journal": "1M"},
        "max_loaded": 1,
        "environment": {"B": "none", "A": ""},
        "health": {
            "interval": 1,
            "timeout": 1,
            "unhealthy_after": 1,
            "healthy_after": 2,
            "start_timeout": 5,
            "busy_max": 6,
        },
        "limits": {
            "memory_soft": "1G",
            "memory_hard": "4G",
            "threads": "none",
            "open_files": "none",
            "nice": -5,
        },
        "drain": 0,
        "stop_grace": 0,
        "max_inflight": 1,
        "queue": 0,
        "queue_timeout": 0,
        "max_phext_mb": 1,
        "rate": {"per_second": 0.5, "burst": 10},
        "user": "none",
    },
    "tenants": {
        "bob": {"data_dir": "elsewhere/bob", "enabled": False},
        "alice": {
            "tokens": ["pmb-v1-0123456789abcdef"],
            "token_sha256": [
                DIGEST.replace("9", "8"),
                {
                    "sha256": DIGEST.replace("9", "7"),
                    "label": "laptop",
                    "scope": "ro",
                    "not_before": "none",
                    "expires": "2027-01-01T00:00:00Z",
                },
            ],
            "port": 9001,
            "health": {"interval": "3s"},
            "environment": {"B": "b", "C": "c"},
            "rate": {"burst": 20},
        },
    },
    "include": [],
}


def expected(here: Path, name: str, lines: tuple[int | None, int | None]) -> m.Config:
    defaults = m.Settings(
        engine=m.Engine.COMMAND,
        launcher=m.Launcher.SPAWN,
        command=("sq", "host", "{port}", "--key={key}", "{data_dir}/{name}", "{", "a}"),
        start=m.Start.EAGER,
        idle_stop=None,
        quota_mb=10,
        coordinates=m.Coordinates.LENIENT,
        restart=m.Restart(m.RestartPolicy.ON_FAILURE, 0, 1, 0, 2, 1, 3, None),
        monitor=m.Monitor(1, 2),
        checkpoint=m.Checkpoint(1, 2, m.MIB),
        max_loaded=1,
        environment=(("A", ""), ("B", "none")),
        health=m.Health(1, 1, 1, 2, 5, 6),
        limits=m.Limits(m.GIB, 4 * m.GIB, None, None, -5),
        drain=0,
        stop_grace=0,
        max_inflight=1,
        queue=0,
        queue_timeout=0,
        max_phext_mb=1,
        rate=m.Rate(0.5, 10),
        user=None,
    )
    own = attrs.evolve(
        defaults,
        health=m.Health(3, 1, 1, 2, 5, 6),
        environment=(("A", ""), ("B", "b"), ("C", "c")),
        rate=m.Rate(0.5, 20),
    )
    alice = m.Tenant(
        name="alice",
        tokens=(
            m.Token(sha256(b"pmb-v1-0123456789abcdef").digest()),
            m.Token(bytes.fromhex(DIGEST.replace("9", "8"))),
            m.Token(
                bytes.fromhex(DIGEST.replace("9", "7")),
                "laptop",
                m.Scope.READ_ONLY,
                None,
                datetime(2027, 1, 1, tzinfo=timezone.utc),
            ),
        ),
        data_dir=here / "store/alice",
        origin=m.Origin(here / name, lines[0]),
        port=9001,
        settings=own,
    )
    bob = m.Tenant(
        name="bob",
        tokens=(),
        data_dir=here / "elsewhere/bob",
        origin=m.Origin(here / name, lines[1]),
        enabled=False,
        settings=defaults,
    )
    return m.Config(
        file=here / name,
        data_root=here / "store",
        run_dir=here / "r",
        gateway=m.Gateway(
            listen=("tcp:0:interface=127.0.0.1", f"unix:{here}/run/gw.sock"),
            workers=2,
            trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("::1/128")),
            max_head_bytes=32768,
            max_body_bytes=1000,
            head_timeout=1,
            idle_timeout=60,
            body_timeout=None,
            body_rate=1024,
            send_timeout=2.5,
            upstream_timeout=0.5,
            max_connections=10,
            max_connections_per_address=3,
            wrong_tokens_per_minute=0,
            access_log=str(here / "logs/access.log"),
        ),
        admin=m.Admin(("tcp:0",), bytes.fromhex(DIGEST), ("box.example",)),
        port_range=(8001, 8010),
        spawn_concurrency=3,
        host_memory=m.HostMemory(None, 0.05),
        on_event=("/bin/notify", ""),
        backup=m.Backup("03:30", 2, here / "backups"),
        log=m.Log(here / "logs", m.MIB, 1),
        token_overlap=3600,
        include=(),
        tenants=(alice, bob),
    )


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("c.json", json.dumps(FULL), (1, 1)),
        # JSON is YAML's flow style, so a YAML file may look so too.
        ("c.yaml", json.dumps(FULL), (1, 1)),
        ("c.toml", "\n".join(f"{k} = {toml(v)}" for k, v in FULL.items()), (None, None)),
    ],
    ids=["json", "yaml", "toml"],
)
def test_every_key_in_every_format(
    here: Path, write: Write, name: str, text: str, lines: tuple[int | None, int | None]
) -> None:
    config = load(write(name, text))
    assert attrs.evolve(config, warnings=(), defaults=m.Settings()) == expected(here, name, lines)


def test_nothing_given_is_the_model(here: Path, loaded: Callable[[str], m.Config]) -> None:
    for text in ("tenants: {}", "tenants:", "# all by default\n", "---\n{}\n"):
        config = loaded(text)
        assert attrs.evolve(config, warnings=()) == m.Config(
            file=here / "t.yaml", data_root=here / "data", run_dir=here / "run"
        )


def test_loading_makes_nothing(here: Path, write: Write) -> None:
    load(write("t.yaml", f"tenants: {{a: {{token_sha256: [{DIGEST}]}}}}"))
    assert [entry.name for entry in here.iterdir()] == ["t.yaml"]


def test_loading_does_not_pull_in_a_reactor(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)
    load(write("t.yaml", "tenants: {}"))
    assert "twisted.internet.reactor" not in sys.modules


def test_paths_are_taken_from_the_files_directory(here: Path, write: Write) -> None:
    config = load(write("etc/t.yaml", "{data_root: ../d, run_dir: /r, gateway: {access_log: x}}"))
    assert config.data_root.resolve() == here / "d"
    assert config.run_dir == Path("/r")
    assert config.gateway.access_log == str(here / "etc/x")
    assert config.file == here / "etc/t.yaml"


@pytest.mark.parametrize(
    ("text", "value"), [('"-"', "-"), ("none", None), ("null", None), ("~", None), ("", None)]
)
def test_access_log(loaded: Callable[[str], m.Config], text: str, value: str | None) -> None:
    assert loaded(f"gateway:\n  access_log: {text}\n").gateway.access_log == value


def test_tenants_stand_in_name_order_with_their_lines(loaded: Callable[[str], m.Config]) -> None:
    config = loaded("tenants:\n  b: {}\n\n  c: {}\n  a: {}\n")
    assert [(t.name, t.origin.line) for t in config.tenants] == [("a", 5), ("b", 2), ("c", 4)]


def test_a_part_of_a_mapping_keeps_the_rest(loaded: Callable[[str], m.Config]) -> None:
    config = loaded(
        "defaults:\n  health: {timeout: 9s}\n  limits: {threads: 100}\n"
        "tenants:\n  a: {health: {interval: 1s}}\n  b: {limits: {threads: none}}\n"
    )
    first, second = config.tenants
    assert first.settings.health == m.Health(interval=1, timeout=9)
    assert first.settings.limits == m.Limits(threads=100)
    assert second.settings.health == m.Health(timeout=9)
    assert second.settings.limits == m.Limits(threads=None)


def test_null_takes_away_what_the_defaults_gave(loaded: Callable[[str], m.Config]) -> None:
    config = loaded(
        "defaults: {rate: {per_second: 1, burst: 2}, idle_stop: 5s}\n"
        "tenants: {a: {rate: null, idle_stop: never}, b: {rate: none}}\n"
    )
    assert config.tenants[0].settings.rate is None
    assert config.tenants[0].settings.idle_stop is None
    assert config.tenants[1].settings.rate is None
    assert config.tenants[1].settings.idle_stop == 5


def test_names_and_tokens_that_are_quoted(loaded: Callable[[str], m.Config]) -> None:
    config = loaded(
        'tenants:\n  "1234": {}\n  "no": {tokens: ["1234"]}\n  ok: {tokens: [~x, 1e3]}\n'
    )
    assert [t.name for t in config.tenants] == ["1234", "no", "ok"]
    assert config.tenants[1].tokens[0].sha256 == sha256(b"1234").digest()
    assert config.tenants[2].tokens[1].sha256 == sha256(b"1e3").digest()


def test_expiry_as_yaml_and_toml_write_times_themselves(write: Write) -> None:
    moment = datetime(2027, 1, 1, tzinfo=timezone.utc)
    entry = f"{{sha256: {DIGEST}, expires: 2027-01-01T00:00:00Z}}"
    config = load(write("t.yaml", f"tenants: {{a: {{token_sha256: [{entry}]}}}}"))
    assert config.tenants[0].tokens[0].expires == moment
    text = f'[[tenants.a.token_sha256]]\nsha256 = "{DIGEST}"\nexpires = 2027-01-01T02:00:00+02:00\n'
    config = load(write("t.toml", text))
    assert config.tenants[0].tokens[0].expires == moment


def test_plain_tokens_with_details(loaded: Callable[[str], m.Config]) -> None:
    config = loaded("tenants: {a: {tokens: [{token: pmb-v1-0123456789, label: x, scope: ro}]}}")
    assert config.tenants[0].tokens == (
        m.Token(sha256(b"pmb-v1-0123456789").digest(), "x", m.Scope.READ_ONLY),
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_admin_token_of_a_file(write: Write, loaded: Callable[[str], m.Config], end: str) -> None:
    write("secret", f"hunter2-hunter2-hunter2{end}")
    digest = sha256(b"hunter2-hunter2-hunter2").digest()
    assert loaded("admin: {token_file: secret}").admin.token_sha256 == digest
    assert loaded("admin: {token: hunter2-hunter2-hunter2}").admin.token_sha256 == digest
    assert loaded("admin: {token: null, token_file: none}").admin.token_sha256 is None


def test_no_token_in_a_repr(loaded: Callable[[str], m.Config]) -> None:
    config = loaded(
        "{admin: {token: hunter2-hunter2-hunter2}, tenants: {a: {tokens: [hunter3-x]}}}"
    )
    shown = repr(config)
    assert "hunter" not in shown
    assert sha256(b"hunter3-x").hexdigest() not in shown


def test_tenants_dir_is_made_for_us_alone(here: Path, loaded: Callable[[str], m.Config]) -> None:
    config = loaded("tenants: {}")
    directory = ensure_tenants_dir(config)
    assert directory == here / "tenants.d"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert ensure_tenants_dir(config) == directory


def test_ten_thousand_tenants(write: Write) -> None:
    text = "tenants:\n" + "".join(
        f"  t{n}:\n    token_sha256: ['{n:064x}']\n    port: {n + 2000}\n" for n in range(10_000)
    )
    assert len(load(write("t.yaml", text)).tenants) == 10_000
