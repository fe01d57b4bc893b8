# ruff: noqa: E501 - each line that is told stands whole
"""Two parts of one configuration that claim the same thing, and what only warns."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from sqsuper.config import warn
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from sqsuper.config.model import Config
from tests.unit.config.conftest import Write

Refused = Callable[..., ConfigError]
Loaded = Callable[[str], Config]
NO_TENANTS = "t.yaml: no tenants yet; add one under tenants:, or as a file tenants.d/NAME.yaml"
TOKEN = "pmb-v1-0123456789abcdef"
SHA = sha256(TOKEN.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "key", "owner"),
    [
        (f"tenants: {{a: {{tokens: [{TOKEN}]}}, b: {{tokens: [{TOKEN}]}}}}", "b.tokens[0]", "a"),
        (f"tenants: {{a: {{tokens: [{TOKEN}, {TOKEN}]}}}}", "a.tokens[1]", "a"),
        (f"tenants: {{a: {{tokens: [{TOKEN}], token_sha256: [{SHA}]}}}}", "a.token_sha256[0]", "a"),
        (f"tenants: {{b: {{token_sha256: [{SHA}]}}, a: {{tokens: [{TOKEN}]}}}}", "a.tokens[0]", "b"),
        (f"tenants: {{a: {{token_sha256: [{SHA}, {{sha256: {SHA.upper()}}}]}}}}",
         "a.token_sha256[1]", "a"),
        (f"{{admin: {{token_sha256: {SHA}}}, tenants: {{a: {{tokens: [{TOKEN}]}}}}}}",
         "a.tokens[0]", "admin"),
    ],
)  # fmt: skip
def test_one_token_for_two(refused: Refused, text: str, key: str, owner: str) -> None:
    assert str(refused(text)) == (
        f"t.yaml:1: tenants.{key}: the token (sha256 {SHA[:8]}...) is already {owner}'s"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tenants: {a: {port: 5}, b: {port: 5}}", "tenants.b.port: 5 is already a's"),
        ("{tenants: {a: {port: 5}}, gateway: {listen: [tcp:5]}}",
         "tenants.a.port: 5 is already gateway.listen[0]'s"),
        ("{tenants: {a: {port: 5}}, gateway: {listen: ['tcp:6', 'tcp:port=5:interface=127.0.0.1']}}",
         "tenants.a.port: 5 is already gateway.listen[1]'s"),
        ("{tenants: {a: {port: 5}}, admin: {listen: ['tcp6:5']}}",
         "tenants.a.port: 5 is already admin.listen[0]'s"),
        ("{tenants: {a: {port: 5}}, gateway: {listen: ['haproxy:tcp:5']}}",
         "tenants.a.port: 5 is already gateway.listen[0]'s"),
        ("gateway: {listen: ['tcp:5', 'tcp:5']}", "gateway.listen[1]: 5 is already gateway.listen[0]'s"),
        ("{gateway: {listen: ['tcp:5:interface=127.0.0.1']}, admin: {listen: ['tcp:5']}}",
         "admin.listen[0]: 5 is already gateway.listen[0]'s"),
        ("admin: {listen: ['tcp:1337']}", "admin.listen[0]: 1337 is already gateway.listen[0]'s"),
    ],
)  # fmt: skip
def test_one_port_for_two(refused: Refused, text: str, told: str) -> None:
    assert str(refused(text)) == f"t.yaml:1: {told}"


@pytest.mark.parametrize(
    "text",
    [
        "tenants: {a: {port: 5}, b: {port: 6}}",
        "gateway: {listen: ['tcp:0', 'tcp:0']}",
        "gateway: {listen: ['tcp:5:interface=127.0.0.1', 'tcp:5:interface=127.0.0.2']}",
        "gateway: {listen: ['tcp:5:interface=127.0.0.1', 'tcp6:5:interface=\\:\\:1']}",
        "tenants: {a: {data_dir: x}, b: {data_dir: xy}}",
        "tenants: {a: {data_dir: data/a}}",
        "tenants: {a: {data_dir: data/x/y}, b: {}}",
    ],
)
def test_no_clash(loaded: Loaded, text: str) -> None:
    assert loaded(text)


def test_one_directory_through_links(here: Path, refused: Refused, loaded: Loaded) -> None:
    (here / "real/below").mkdir(parents=True)
    (here / "link").symlink_to("real")
    text = "tenants:\n  a: {data_dir: real}\n  b: {data_dir: link}\n"
    assert str(refused(text)) == f"t.yaml:3: tenants.b.data_dir: {here}/link is already a's"
    text = "tenants:\n  a: {data_dir: real}\n  b: {data_dir: link/below}\n"
    assert str(refused(text)) == (
        f"t.yaml:3: tenants.b.data_dir: {here}/link/below is inside a's {here}/real; "
        "name a directory of its own"
    )
    assert loaded("tenants:\n  a: {data_dir: real2}\n  b: {data_dir: link/below}\n")


def test_default_directories_clash_too(here: Path, refused: Refused) -> None:
    (here / "data").mkdir()
    (here / "data/b").symlink_to("a")
    assert str(refused("tenants:\n  a: {}\n  b: {}\n")) == (
        f"t.yaml:3: tenants.b.data_dir: {here}/data/b is already a's"
    )
    assert str(refused("tenants:\n  c: {}\n  d: {data_dir: data/c/e}\n")) == (
        f"t.yaml:3: tenants.d.data_dir: {here}/data/c/e is inside c's {here}/data/c; "
        "name a directory of its own"
    )


def test_run_dir_fits_its_sockets(loaded: Loaded, refused: Refused) -> None:
    assert loaded(f"run_dir: /{'x' * 81}")
    assert refused(f"run_dir: /{'x' * 82}").key == "run_dir"
    # 41 characters of two bytes each.
    assert refused(f"run_dir: /{chr(0xE9) * 41}").key == "run_dir"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tenants: {}", (NO_TENANTS,)),
        ("tenants: {a: {}}", ("t.yaml:1: tenants.a: the tenant has no token, so nobody can reach it; "
                             "add one to token_sha256",)),
        (f"tenants: {{a: {{token_sha256: [{SHA}]}}}}", ()),
        (f"tenants:\n  a:\n    tokens: [{TOKEN}]\n",
         ("t.yaml:3: tenants.a.tokens[0]: a plain token stands in the file; "
          "token_sha256 keeps only its digest",)),
        ("tenants:\n  a:\n    tokens: [fifteen-bytes-15]\n    token_sha256: []\n"
         "  b:\n    tokens:\n    - short\n",
         ("t.yaml:7: tenants.b.tokens[0]: the token is short (5 bytes); make a new one",
          "t.yaml:3: tenants.a.tokens[0]: a plain token stands in the file and 1 more; "
          "token_sha256 keeps only its digest")),
        ("admin: {token: short}",
         ("t.yaml:1: admin.token: a plain token stands in the file; token_sha256 keeps only its digest",
          "t.yaml:1: admin.token: the token is short (5 bytes); make a new one", NO_TENANTS)),
        ("gateway:\n  listen: [tcp:1]\n",
         ("t.yaml:2: gateway.listen[0]: plain HTTP on all addresses: tokens cross the network "
          "readable; use TLS in front", NO_TENANTS)),
        ("admin:\n  listen: ['tcp:1:interface=127.0.0.1', 'tcp:2:interface=10.0.0.1']\n",
         ("t.yaml:2: admin.listen[1]: plain HTTP on 10.0.0.1: tokens cross the network "
          "readable; use TLS in front", NO_TENANTS)),
        ("gateway: {listen: ['tcp6:1:interface=\\:\\:1', 'unix:s', 'tcp:1:interface=127.0.0.9']}",
         (NO_TENANTS,)),
        ("gateway:\n  max_connections: 600\n",
         ("t.yaml:2: gateway.max_connections: needs up to 1200 descriptors, and this system allows "
          "1000; raise ulimit -n", NO_TENANTS)),
        (f"tenants:\n  a:\n    token_sha256: [{SHA}]\n    quota_mb: 1025\n",
         ("t.yaml:4: tenants.a.quota_mb: 1025 MiB of data cannot be held loaded within "
          "limits.memory_hard (2048 MiB)",)),
        (f"tenants:\n  a: {{token_sha256: [{SHA}], quota_mb: 1024}}\n", ()),
        (f"tenants:\n  a: {{token_sha256: [{SHA}], quota_mb: 9999, limits: {{memory_hard: none}}}}\n", ()),
        (f"defaults:\n  max_inflight: 64\ntenants:\n  a: {{token_sha256: [{SHA}]}}\n"
         f"  b: {{token_sha256: [{SHA.replace('c', 'd')}]}}\n",
         ("t.yaml:2: defaults.max_inflight: 64 is not below limits.threads (64)",)),
        (f"tenants:\n  a:\n    token_sha256: [{SHA}]\n    engine: command\n    command: [sq]\n",
         ("t.yaml:4: tenants.a.engine: a command engine may listen on all addresses, and its key is "
          "in its arguments, where every local user reads it; close its port by a firewall",)),
        (f"tenants:\n  a:\n    token_sha256: [{SHA}]\n    limits: {{memory_soft: 3G}}\n",
         ("t.yaml:4: tenants.a.limits.memory_soft: is above limits.memory_hard",)),
        (f"tenants:\n  a:\n    token_sha256: [{SHA}]\n    restart: {{backoff: 31s}}\n",
         ("t.yaml:4: tenants.a.restart.backoff: is above restart.backoff_max",)),
    ],
)  # fmt: skip
def test_warnings(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, text: str, told: tuple[str, ...]
) -> None:
    hard = 1000 if "max_connections" in text else None
    monkeypatch.setattr(warn, "descriptor_limit", lambda: hard)
    assert loaded(text).warnings == told


def test_warnings_name_the_included_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warn, "descriptor_limit", lambda: None)
    write("etc/tenants.d/a.yaml", "\ntenants:\n  a: {}\n")
    (told,) = load(write("etc/t.yaml", "tenants: {}")).warnings
    assert told.startswith("etc/tenants.d/a.yaml:3: tenants.a: the tenant has no token")


def test_a_zygote_needs_linux(
    refused: Refused, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"tenants: {{a: {{token_sha256: [{SHA}], launcher: zygote}}}}"
    monkeypatch.setattr("sys.platform", "linux")
    assert loaded(text).tenants[0].name == "a"
    monkeypatch.setattr("sys.platform", "darwin")
    assert str(refused(text)) == (
        "t.yaml:1: tenants.a.launcher: a zygote needs Linux; write auto or spawn"
    )
