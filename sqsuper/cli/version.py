"""`sqsuper version`."""

from __future__ import annotations

import click

import sqsuper
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import emit, say


@click.command()
@common
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print the version of sqsuper."""
    if invocation.json:
        emit({"version": sqsuper.__version__})
    else:
        say(f"sqsuper {sqsuper.__version__}")
