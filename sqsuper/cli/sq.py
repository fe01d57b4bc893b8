"""The real sq's command line, for a single-file program that is called `sq`.

`host`, `route` and `version` as the real one takes them; it has none of the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

USAGE = """\
usage: sq host PORT --key KEY [--data-dir DIR]    serve one data directory
       sq route [FILE] [PORT]                     serve a router-config.json
       sq version                                 print the version of SQ's API

This sq is sqsuper's: `sqsuper --help` lists the rest of what it does."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end with its exit status; 2 for one that is not known."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["host"], ["route"]):
        from sqsuper.cli.main import main as run  # noqa: PLC0415 - not for the others

        run(given)
    if given == ["version"]:
        from sqsuper.engine.api import API_VERSION  # noqa: PLC0415

        print(API_VERSION)  # noqa: T201
        raise SystemExit(0)
    asked = given[:1] in (["help"], ["--help"], ["-h"])
    print(USAGE, file=sys.stdout if asked else sys.stderr)
    raise SystemExit(0 if asked else 2)


if __name__ == "__main__":
    main()
