"""`sqsuper run`: the service in the foreground, as `twistd -n sqsuper` runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sqsuper.cli.finding import find_configuration
from sqsuper.cli.options import Invocation, common, pass_invocation


@click.command()
@click.option("--pidfile", default="", help="Write the process id there; by default nowhere.")
@click.option("-l", "--logfile", default="-", help="Log there, not to standard output.")
@common
@pass_invocation
def run(invocation: Invocation, pidfile: str, logfile: str) -> None:
    """Run the service in the foreground, logging to the terminal, until Ctrl-C.

    With a broken configuration it ends with status 1 and one line; `sqsuper check` says more.
    """
    serve(find_configuration(invocation.config, os.environ), pidfile, logfile)


def serve(file: Path, pidfile: str = "", logfile: str = "-") -> None:
    """Be `twistd -n sqsuper -c FILE` in this very process; ends it."""
    from twisted.scripts import twistd  # noqa: PLC0415 - dear to import; it installs a reactor

    sys.argv = [
        "twistd",
        "--nodaemon",
        f"--pidfile={pidfile}",
        f"--logfile={logfile}",
        "sqsuper",
        "--config",
        str(file),
    ]
    twistd.run()
