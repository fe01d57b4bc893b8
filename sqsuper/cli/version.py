"""`sqsuper version`."""

from __future__ import annotations

from importlib import metadata

import click

import sqsuper
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import emit, say


@click.command()
@common
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print the versions of sqsuper, of Twisted, and of the SQ API that it speaks."""
    from sqsuper.engine.api import API_VERSION  # noqa: PLC0415 - for this command alone

    twisted = twisted_version()
    if invocation.json:
        emit({"version": sqsuper.__version__, "twisted": twisted, "sq_api": API_VERSION})
    else:
        say(f"sqsuper {sqsuper.__version__} (Twisted {twisted}, SQ API {API_VERSION})")


def twisted_version() -> str:
    """Return the installed Twisted's version, without importing it where that can be told."""
    try:
        return metadata.version("Twisted")
    except metadata.PackageNotFoundError:  # such as in a program of a single file
        from twisted import __version__  # noqa: PLC0415 - dear to import

        return str(__version__)
