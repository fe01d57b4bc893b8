"""Listening sockets that children inherit: a Unix socket an epoch, a tenant's own port."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor.errors import PortTakenError, SocketPathError

BACKLOG = 1024
LONGEST_NAME = 24
LOOPBACK = "127.0.0.1"


def check_length(directory: Path) -> None:
    """Raise `SocketPathError` if a socket's path in `directory` might not fit."""
    path = directory / ("x" * LONGEST_NAME)
    if HERE.inheritance and len(os.fsencode(path)) > HERE.socket_path:
        raise SocketPathError(directory, HERE.socket_path - LONGEST_NAME - 1)


class EpochSocket:
    """The Unix socket of one epoch: listening from the start, gone after `close`."""

    def __init__(self, path: Path) -> None:
        """Make it; raises OSError."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
            os.chmod(path, 0o600)
            self._socket.listen(BACKLOG)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Close it, which ends what waits in its backlog, and remove its path."""
        self._socket.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


@implementer(IReadDescriptor)
class PortSocket:
    """A tenant's own port on loopback, kept bound over all epochs.

    The supervisor never accepts: while watched, it is told of the first connection, which
    then waits in the backlog for the instance.
    """

    def __init__(
        self, tenant: str, port: int, reactor: IReactorFDSet, wanted: Callable[[], None]
    ) -> None:
        """Bind and listen; raises `PortTakenError`. `wanted` is called once a `watch`."""
        self._reactor = reactor
        self._wanted = wanted
        self._watching = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((LOOPBACK, port))
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise PortTakenError(tenant, port, error.strerror or str(error)) from error

    def watch(self) -> None:
        """Call `wanted` at the next connection."""
        if not self._watching:
            self._watching = True
            self._reactor.addReader(self)

    def unwatch(self) -> None:
        """The instance is there, or must not be started now."""
        if self._watching:
            self._watching = False
            self._reactor.removeReader(self)

    def close(self) -> None:
        self.unwatch()
        self._socket.close()

    # IReadDescriptor

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        self.unwatch()
        self._wanted()

    def connectionLost(self, reason: Failure) -> None:
        self._watching = False

    def logPrefix(self) -> str:
        return "tenant's port"


def free_port() -> int:
    """Return a TCP port that nothing listens on now, on any address.

    Another process may take it before its user does; the start then fails and is repeated.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a program could listen at `port` on all addresses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError:
            return False
    return True
