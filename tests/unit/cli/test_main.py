"""The table of commands, how each ends, and what a short one must not cost."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import twisted

from sqsuper import __version__
from sqsuper.cli.main import _ALL, sqsuper
from sqsuper.cli.version import twisted_version
from sqsuper.engine.api import API_VERSION
from tests.running import environment
from tests.unit.cli.conftest import Admin, Command

LOOK = (
    "import sys\n"
    "from sqsuper.cli.main import main\n"
    "try:\n    main(sys.argv[1:])\n"
    "except SystemExit:\n"
    "    print('imported:', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
)


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["version"], {"twisted", "rich", "yaml", "psutil"}),
        (["--help"], {"twisted", "rich", "yaml", "psutil"}),
        (["status"], {"twisted", "rich", "psutil"}),
        (["host", "--help"], {"twisted", "rich", "yaml", "psutil"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(
    arguments: list[str], absent: set[str], here: Path
) -> None:
    (here / "conf").mkdir()
    (here / "conf" / "tenants.yaml").write_text("admin: {listen: ['tcp:1']}\n")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments],
        env=environment(),
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = set(done.stdout.rpartition("imported: ")[2].split())
    assert "click" in imported
    assert not imported & absent


def test_version(command: Command) -> None:
    assert command("--version").out == f"sqsuper {__version__}\n"
    line = f"sqsuper {__version__} (Twisted {twisted.__version__}, SQ API {API_VERSION})\n"
    assert command("version").out == line
    found = {"version": __version__, "twisted": twisted.__version__, "sq_api": API_VERSION}
    assert command("version", "--json").json == found
    assert command("--json", "version").json == found


def test_the_version_of_twisted_is_known_without_its_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sqsuper.cli.version.metadata.version", nothing)
    assert twisted_version() == twisted.__version__


def test_the_help_lists_every_command_and_the_exit_statuses(command: Command) -> None:
    done = command("--help")
    assert done.status == 0
    assert command() == done
    for name, (_, _, about) in _ALL.items():
        assert f"  {name} " in done.out
        assert about in done.out
    assert "SQSUPER_CONFIG" in done.out


@pytest.mark.parametrize("name", sorted(_ALL))
def test_every_command_explains_itself(name: str, command: Command) -> None:
    done = command(name, "--help")
    assert done.status == 0
    assert "usage" in done.out.lower()


@pytest.mark.parametrize("name", sorted(set(_ALL) - {"host"}))
def test_every_command_takes_the_common_options(name: str) -> None:
    import click

    found = sqsuper.get_command(click.Context(sqsuper), name)
    assert found is not None
    inner = list(found.commands.values()) if isinstance(found, click.Group) else []
    for one in [found, *inner]:
        options = {option for parameter in one.params for option in parameter.opts}
        assert {"-c", "--config", "--json"} <= options, one.name


@pytest.mark.parametrize(
    "arguments", [["nope"], ["status", "--nope"], ["why"], ["init", "--port", "x"]]
)
def test_wrong_usage_is_status_2(arguments: list[str], command: Command) -> None:
    done = command(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert "Usage:" in done.err


def test_wrong_usage_in_json(command: Command) -> None:
    done = command("--json", "nope")
    assert done.status == 2
    assert json.loads(done.err)["error"]["code"] == "usage"


def test_no_configuration_names_where_it_was_looked_for(command: Command) -> None:
    done = command("status")
    assert done.status == 1
    assert "conf/tenants.yaml" in done.err
    assert "sqsuper init" in done.err


def test_what_was_named_goes_before_what_is_found(
    admin: Admin, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.answers["GET /api/v2/admin/tenants"] = (200, {"tenants": []})
    assert command("status", "--json").json == {"tenants": []}
    monkeypatch.setenv("SQSUPER_CONFIG", "other.yaml")
    assert "other.yaml: no such file" in command("status").err
    assert "named.yaml: no such file" in command("-c", "named.yaml", "status").err
    assert "named.yaml: no such file" in command("status", "-c", "named.yaml").err


def test_completion_names_us(command: Command) -> None:
    for shell in ("zsh", "fish"):
        done = command("completion", shell)
        assert done.status == 0
        assert "_SQSUPER_COMPLETE" in done.out


def test_the_shell_completes_commands_and_tenants(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    admin.answers["GET /api/v2/admin/tenants"] = (
        200,
        {"tenants": [{"tenant_id": "alice"}, {"tenant_id": "bob"}]},
    )
    monkeypatch.setenv("_SQSUPER_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", "sqsuper why a")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert "alice" in command().out
    monkeypatch.setenv("COMP_WORDS", "sqsuper ro")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "route" in command().out
