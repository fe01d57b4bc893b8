"""`sqsuper run`: the service in the foreground, as `twistd -n sqsuper` runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

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
    """Be `twistd -n sqsuper -c FILE` in this very process; ends it.

    twistd is given its plugin: it need not look for it, which writes a cache beside it.
    """
    # dear to import; it installs a reactor
    from twisted.application import app  # noqa: PLC0415
    from twisted.plugins import sqsuper_plugin  # noqa: PLC0415
    from twisted.scripts import twistd  # noqa: PLC0415

    def options() -> Any:
        # Another class on each platform.
        made: Any = vars(twistd)["ServerOptions"]()
        made._getPlugins = lambda _interface: [sqsuper_plugin.sqsuper]
        return made

    sys.argv = [
        "twistd",
        "--nodaemon",
        f"--pidfile={pidfile}",
        f"--logfile={logfile}",
        "sqsuper",
        "--config",
        str(file),
    ]
    app.run(twistd.runApp, options)
