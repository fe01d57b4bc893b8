"""Whatever a file holds: a configuration, or a ConfigError of one line."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sqsuper.config import model as m
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load

NAMES = sorted(
    {field.name for kind in (m.Config, m.Gateway, m.Admin, m.Settings, m.Restart, m.Limits,
                             m.Health, m.Tenant, m.Token, m.Backup, m.Log, m.HostMemory)
     for field in attrs.fields(kind)}
    | {"defaults", "tokens", "token", "token_file", "sha256", "alice", "per_second", "burst"}
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-1, 70_000),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["none", "never", "5s", "100ms", "2G", "15%", "7001-7999", "tcp:1", "unix:s", "ssl:1",
         "haproxy:", "**", "[", "a/../b", "03:30", "{port}", "{x}", "command", "a" * 64, "root",
         "2027-01-01T00:00:00Z", "10.0.0.0/8", "::1", "-", ".", "/", "/dev/null", "\0", "\ud800"]
    ),
)  # fmt: skip
KEYS = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=20,
)
MARKS = st.lists(
    st.sampled_from(
        ["tenants", "gateway", "a", ": ", ":", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "&x ",
         "*x", "!", "!!str ", "<<", "'", '"', "|", ">", "#", "%YAML 1.1", "---", "...", "? ", "~",
         "\t", "\\", "1", "1.5", "true", "\r", "\u00e9", "\ufeff", "\x85", "=", "\u2028"]
    ),
    max_size=25,
).map("".join)  # fmt: skip
QUIET = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def check(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o600)
    found = outcome(file)
    file.unlink()
    if isinstance(found, ConfigError):
        told = str(found)
        assert told.startswith(str(file))
        assert told.isprintable()
        assert found.line is None or 1 <= found.line <= max(1, len(content.splitlines()))
    else:
        assert all(warning.isprintable() for warning in found.warnings)


def outcome(file: Path) -> m.Config | ConfigError:
    try:
        return load(file)
    except ConfigError as error:
        return error


@QUIET
@given(text=st.text() | MARKS)
@example(text="tenants:\n  a:\n    port: 1\n")
@example(text="? \n: \n")
@example(text="%TAG ! tag:x,2000:\n---\na: !b c\n")
def test_any_yaml(place: Path, text: str) -> None:
    check(place / "t.yaml", text.encode("utf-8", "surrogatepass"))


@QUIET
@given(content=st.binary(max_size=60), suffix=st.sampled_from(["yaml", "json", "toml"]))
def test_any_bytes(place: Path, content: bytes, suffix: str) -> None:
    check(place / f"t.{suffix}", content)


@QUIET
@given(text=st.text() | MARKS, suffix=st.sampled_from(["json", "toml"]))
def test_any_json_or_toml(place: Path, text: str, suffix: str) -> None:
    check(place / f"t.{suffix}", text.encode("utf-8", "surrogatepass"))


@QUIET
@given(tree=st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree(place: Path, tree: dict[str, object]) -> None:
    check(place / "t.json", json.dumps(tree).encode())
    check(place / "t.yaml", yaml.dump(tree).encode("utf-8", "surrogatepass"))


@QUIET
@given(
    key=st.sampled_from(NAMES),
    value=TREES,
    section=st.sampled_from(["", "gateway", "admin", "defaults", "tenants", "alice", "health"]),
)
def test_any_value_of_a_known_key(place: Path, key: str, value: object, section: str) -> None:
    tree: object = {key: value}
    if section == "alice":
        tree = {"tenants": {"alice": tree}}
    elif section == "health":
        tree = {"defaults": {"health": tree}}
    elif section:
        tree = {section: tree}
    check(place / "t.json", json.dumps(tree).encode())
