"""A tenant's own port: bound while the tenant is enabled, over all epochs of its instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from sqsuper.supervisor.listeners import PortSocket
from sqsuper.supervisor.process import cancelled


class OwnPort:
    """The port of one tenant, or of none that has one (`number` is None).

    Only an embedded engine inherits it; a command engine binds its port itself.
    """

    def __init__(
        self,
        tenant: str,
        number: int | None,
        reactor: Any,
        wanted: Callable[[], None],
    ) -> None:
        """`wanted` is called once a watch, at a connection."""
        self.number = number
        self._tenant = tenant
        self._reactor = reactor
        self._wanted = wanted
        self._socket: PortSocket | None = None
        self._later_call: IDelayedCall | None = None

    def bind(self) -> None:
        """Bind it, unless it is bound or there is none. Raises `PortTakenError`."""
        if self.number is not None and self._socket is None:
            self._socket = PortSocket(self._tenant, self.number, self._reactor, self._wanted)

    def fileno(self) -> int | None:
        """Return the descriptor that an instance inherits; None without one."""
        return None if self._socket is None else self._socket.fileno()

    def watch(self, watching: bool) -> None:
        """Tell of a connection, or leave that to the instance."""
        self._later_call = cancelled(self._later_call)
        if self._socket is None:
            return
        if watching:
            self._socket.watch()
        else:
            self._socket.unwatch()

    def watch_later(self, seconds: float) -> None:
        """Leave connections waiting, and tell of them after so long, unless told otherwise."""
        self._later_call = cancelled(self._later_call)
        self._later_call = self._reactor.callLater(seconds, self._watch_again)

    def _watch_again(self) -> None:
        self._later_call = None
        self.watch(True)

    def close(self) -> None:
        """Give it back. Idempotent."""
        self._later_call = cancelled(self._later_call)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
