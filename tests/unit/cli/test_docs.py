"""docs/command-line.md tells of every command, option and exit status that there is."""

from __future__ import annotations

from pathlib import Path

import click

from sqsuper.cli import errors
from sqsuper.cli.main import _ALL, sqsuper

TEXT = (Path(__file__).parents[3] / "docs/command-line.md").read_text()
COMMON = {"--json", "--config", "--help"}


def commands() -> dict[str, click.Command]:
    """Every command by the words that call it."""
    found: dict[str, click.Command] = {}
    for name in _ALL:
        command = sqsuper.get_command(click.Context(sqsuper), name)
        assert command is not None
        if isinstance(command, click.Group):
            found.update((f"{name} {inner}", one) for inner, one in command.commands.items())
        else:
            found[name] = command
    return found


def test_every_command() -> None:
    missing = [
        name for name in commands() if f"`{name}" not in TEXT and f"sqsuper {name}" not in TEXT
    ]
    assert missing == []


def test_every_option() -> None:
    missing = {
        f"{name} {option}"
        for name, command in commands().items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option not in COMMON and option not in TEXT
    }
    assert missing == set()


def test_every_exit_status() -> None:
    statuses = {kind.status for kind in errors.CommandError.__subclasses__()}
    assert statuses >= {1, 3, 7}
    assert [status for status in statuses if f"| {status} | " not in TEXT] == []
