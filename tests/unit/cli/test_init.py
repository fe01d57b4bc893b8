"""`sqsuper init`: what it writes is right, private, and never over what is there."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from sqsuper import tokens
from sqsuper.config.load import load
from tests.unit.cli.conftest import Command

ROOT = Path(__file__).parents[3]


def test_a_configuration_and_a_first_tenant(here: Path, command: Command) -> None:
    done = command("init")
    assert done.status == 0
    (token,) = set(re.findall(r"pmb-v1-[0-9a-f]{32}", done.out))
    config = load(Path("conf/tenants.yaml"))
    (tenant,) = config.tenants
    assert tenant.name == "alice"
    assert [one.sha256 for one in tenant.tokens] == [tokens.digest(token)]
    assert tenant.origin.managed
    written = [*here.rglob("*")]
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in written)
    assert not any(token in path.read_text() for path in written if path.is_file())


def test_the_next_steps_are_told(command: Command) -> None:
    out = command("init", "--tenant", "bob", "--port", "4321").out
    assert "\n  sqsuper run\n" in out
    assert "http://127.0.0.1:4321/api/v2/update" in out
    assert "sqsuper tenant add bob" in out
    out = command("init", "else where/t.yaml").out
    assert "\n  sqsuper run -c 'else where/t.yaml'\n" in out
    assert "\n  sqsuper tenant add -c 'else where/t.yaml' bob\n" in out


def test_ports_are_put_into_the_file(command: Command) -> None:
    done = command("init", "c/x.yaml", "--port", "4321", "--admin-port", "4322", "--json")
    assert done.json["url"] == "http://127.0.0.1:4321"
    assert tokens.is_token(done.json["api_key"])
    config = load(Path("c/x.yaml"))
    assert config.gateway.listen == ("tcp:4321:interface=127.0.0.1",)
    assert config.admin.listen == ("tcp:4322:interface=127.0.0.1",)


def test_nothing_that_exists_is_changed(here: Path, command: Command) -> None:
    assert command("init").status == 0
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert command("init").status == 6
    (here / "conf/tenants.yaml").unlink()
    done = command("init")
    assert done.status == 6
    assert "alice.yaml is there already" in done.err
    (here / "conf/tenants.yaml").symlink_to("nowhere")
    assert command("init", "--tenant", "bob").status == 6
    assert not (here / "conf/tenants.d/bob.yaml").exists()
    after = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    del before[here / "conf/tenants.yaml"]
    assert after == before


@pytest.mark.parametrize(
    "arguments",
    [["--tenant", "A"], ["--tenant", "../x"], ["--port", "0"], ["--port", "1338"], ["x.json"]],
)
def test_wrong_usage(arguments: list[str], here: Path, command: Command) -> None:
    assert command("init", *arguments).status == 2
    assert list(here.iterdir()) == []


def test_a_place_that_cannot_be_written(here: Path, command: Command) -> None:
    (here / "file").write_text("")
    done = command("init", "file/below/t.yaml")
    assert done.status == 1
    assert "file" in done.err


def test_the_template_is_the_example() -> None:
    example = (ROOT / "conf/tenants.yaml").read_text()
    assert (ROOT / "sqsuper/cli/tenants.yaml").read_text() == example
