"""Reading less of a child that prints too much: its pipe fills, and it has to wait."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall


class Throttle:
    """Stops reading some of one child's descriptors, each for a while.

    The transport, Twisted's or `Adopted`, has its readers by descriptor in `pipes`.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: dict[int, IDelayedCall] = {}

    def pause(self, transport: Any, fd: int, seconds: float) -> None:
        """Read nothing of `fd` for so long."""
        # Where Twisted has no reader for each pipe, nothing is held up.
        reader = getattr(transport, "pipes", {}).get(fd)
        if reader is not None and fd not in self._calls:
            reader.stopReading()
            self._calls[fd] = self._reactor.callLater(seconds, self._resume, transport, fd)

    def end(self, transport: Any) -> None:
        """Read everything again, now."""
        for fd, call in list(self._calls.items()):
            call.cancel()
            self._resume(transport, fd)

    def _resume(self, transport: Any, fd: int) -> None:
        del self._calls[fd]
        reader = transport.pipes.get(fd)  # it may have been closed meanwhile
        if reader is not None and not reader.disconnecting:
            reader.startReading()
