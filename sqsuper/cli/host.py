"""`sqsuper host`: the embedded engine by itself, with the real sq's arguments."""

from __future__ import annotations

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def host(arguments: tuple[str, ...]) -> int:
    """Serve one data directory on 127.0.0.1: `host PORT --key KEY --data-dir DIR`."""
    from sqsuper.engine.__main__ import main  # noqa: PLC0415 - only this command runs an engine

    if {"-h", "--help"} & set(arguments):
        return main(["--help"])
    return main(["host", *arguments])
