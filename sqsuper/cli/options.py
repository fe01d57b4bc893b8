"""What every command takes: `-c FILE`, `--json`; before the command's name or behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

F = TypeVar("F", bound=Callable[..., Any])


@attrs.define
class Invocation:
    """One run of the command: which configuration was named, and whether JSON is wanted."""

    config: Path | None = None
    json: bool = False


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def common(command: F) -> F:
    """Add the common options to a command or group."""
    for option in (
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=_json_wanted,
            help="Print JSON, for programs.",
        ),
        click.option(
            "-c",
            "--config",
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_config_named,
            help="The configuration file.",
        ),
    ):
        command = option(command)
    return command


def _json_wanted(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.ensure_object(Invocation).json = True


def _config_named(context: click.Context, _option: click.Parameter, file: Path | None) -> None:
    if file is not None:
        context.ensure_object(Invocation).config = file
