"""Listening sockets that a service manager passes to us (sd_listen_fds): `systemd:` endpoints.

Twisted knows such endpoints, but some versions no names, and others no sockets without names.
It takes the variables out of the environment when its endpoints are imported: this module has
to be imported before, and so imports none itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

FIRST = 3


class PassedSocketError(Exception):
    """A `systemd:` endpoint for which no socket was passed. `endpoint`: its string."""

    def __init__(self, endpoint: str, count: int, names: tuple[str, ...]) -> None:
        self.endpoint = endpoint
        self.count = count
        self.names = names
        named = f", by the names {', '.join(names)}" if names else ""
        super().__init__(
            f"{endpoint}: the service manager passed no such socket"
            f" (LISTEN_FDS: it passed {count}{named})"
        )


@attrs.frozen
class PassedSockets:
    """What was passed: consecutive descriptors from `FIRST`, and their names if they have any."""

    count: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> PassedSockets:
        """Read it from the environment, where it is for the process `pid`."""
        listed = environ.get("LISTEN_FDNAMES", "")
        names = tuple(listed.split(":")) if listed else ()
        count = environ.get("LISTEN_FDS", "")
        if environ.get("LISTEN_PID") != str(pid) or not (count.isascii() and count.isdigit()):
            return cls()
        return cls(int(count), names)

    def index(self, arguments: Mapping[str, str]) -> int | None:
        """Return which one `index=` or `name=` of an endpoint mean; None if there is none."""
        name = arguments.get("name")
        if name is None:
            index = int(arguments.get("index", "0"))
        elif name in self.names:
            index = self.names.index(name)
        else:
            return None
        return index if index < self.count else None


# At import also since twistd may fork later: then it would be for another process.
_passed = PassedSockets.of(os.environ, os.getpid())
for _number in range(_passed.count):
    with suppress(OSError):
        os.set_inheritable(FIRST + _number, False)


def server_endpoint(reactor: Any, text: str, passed: PassedSockets | None = None) -> Any:
    """Return the server endpoint of a string: as Twisted does, but for `systemd:`.

    Raises `PassedSocketError`. A passed socket stays open beside what listens with it, so that
    another endpoint may have it later.
    """
    from twisted.internet.endpoints import (  # noqa: PLC0415 - see above
        AdoptedStreamServerEndpoint,
        serverFromString,
    )

    from sqsuper.config.endpoints import take_apart  # noqa: PLC0415 - it imports those, too

    if not text.startswith("systemd:"):
        return serverFromString(reactor, text)
    passed = _passed if passed is None else passed
    arguments = take_apart(text, Path()).arguments
    index = passed.index(arguments)
    if index is None:
        raise PassedSocketError(text, passed.count, passed.names)
    family = getattr(socket, f"AF_{arguments['domain']}")
    return AdoptedStreamServerEndpoint(reactor, os.dup(FIRST + index), family)
