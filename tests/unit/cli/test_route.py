"""`sqsuper route`: a router's tenants as a configuration of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sqsuper import tokens
from sqsuper.cli.errors import CommandError
from sqsuper.cli.formats.found import Found
from sqsuper.cli.route import configuration
from sqsuper.config.load import load
from tests.unit.cli.conftest import Command

A = Found("f: 0", token="t" * 20, port=7001, data_dir=Path("/srv/a"), name="A")
B = Found("f: 1", token="u" * 20, data_dir=Path("/srv/b"), enabled=False)


@pytest.mark.parametrize("interface", ["127.0.0.1", "::1"])
def test_the_configuration_can_be_loaded(interface: str, here: Path) -> None:
    file = here / "t.json"
    file.write_text(json.dumps(configuration([A, B], 7000, interface, ports=True)))
    config = load(file)
    assert [(t.name, t.port, t.data_dir, t.enabled) for t in config.tenants] == [
        ("a", 7001, Path("/srv/a"), True),
        ("b", None, Path("/srv/b"), False),
    ]
    assert config.tenants[0].tokens[0].sha256 == tokens.digest("t" * 20)


def test_without_ports() -> None:
    assert "port" not in configuration([A], 7000, "127.0.0.1", ports=False)["tenants"]["a"]


@pytest.mark.parametrize(
    ("tenants", "told"),
    [
        ([A, A], "the name a is there already"),
        ([Found("f: 0", data_dir=Path("/a"), name="a")], "it has no token"),
        ([Found("f: 0", token="a b", data_dir=Path("/a"), name="a")], "it has no token"),
        ([Found("f: 0", token="t", name="a")], "it has no data_dir"),
    ],
)
def test_what_cannot_be_served(tenants: list[Found], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        configuration(tenants, 7000, "127.0.0.1", ports=True)


def test_a_duplicate_ends_it_before_anything_is_served(here: Path, command: Command) -> None:
    entries = [{"token": "t" * 20, "data_dir": d} for d in ("a", "b")]
    (here / "router-config.json").write_text(json.dumps({"tenants": entries}))
    done = command("route")
    assert done.status == 1
    assert "is already a's" in done.err
    assert "t" * 20 not in done.err


def test_a_missing_file(command: Command) -> None:
    assert command("route", "nope.json", "7000").status == 1
