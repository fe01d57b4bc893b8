"""`sqsuper check`: all that is wrong with a configuration, without a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sqsuper.cli.finding import find_configuration
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import complain, emit, say

if TYPE_CHECKING:
    from sqsuper.cli.survey import Survey
    from sqsuper.config.errors import ConfigError


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@common
@pass_invocation
def check(invocation: Invocation, file: Path | None) -> int:
    """Say all that is wrong with FILE (or the configuration found), a line each.

    Exit status 0: it is right, perhaps with warnings; 1: it is not.
    """
    from sqsuper.cli.survey import survey  # noqa: PLC0415 - reading a configuration costs

    found = file or find_configuration(invocation.config, os.environ)
    result = survey(found)
    if invocation.json:
        emit(facts_of(found, result))
    else:
        _tell(found, result)
    return 1 if result.errors else 0


def facts_of(file: Path, result: Survey) -> dict[str, Any]:
    """Return a survey as JSON takes it."""
    config = result.config
    return {
        "file": str(file),
        "valid": config is not None,
        "errors": [_fact(error) for error in result.errors],
        "complete": result.complete,
        "warnings": list(config.warnings) if config else [],
        "tenants": len(config.tenants) if config else None,
    }


def _fact(error: ConfigError) -> dict[str, Any]:
    return {"file": error.file, "line": error.line, "key": error.key, "message": str(error)}


def _tell(file: Path, result: Survey) -> None:
    for error in result.errors:
        complain(str(error))
    if not result.complete:
        complain("there may be more: check again when this is mended")
    if result.config is not None:
        for warning in result.config.warnings:
            complain(f"warning: {warning}")
        count = len(result.config.tenants)
        say(f"{file}: right, {count} tenant{'' if count == 1 else 's'}")
