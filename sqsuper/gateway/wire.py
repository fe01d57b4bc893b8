"""The seam below the gateway: how bytes come and go, whatever carries them.

A `Wire` is one connected stream; its `WireUser` is told what happens on it. Everything is
called in the reactor's thread. After `lost` neither side calls the other again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from sqsuper.instances import Upstream

FILE_READ = 65_536


class Wire(Protocol):
    """What may be done to a connection."""

    @property
    def pending(self) -> int:
        """How many bytes `send` accepted that the kernel has not taken."""

    def untaken(self) -> int:
        """Return how many bytes were sent that the peer has not taken, as far as known.

        At least `pending`. Not exact on Unix sockets: only whether it changes means something.
        """

    def send(self, data: bytes) -> bool:
        """Send all of `data` in time. False: enough is waiting; send more after `drained`."""

    def send_file(self, fd: int, offset: int, count: int) -> tuple[int, bool]:
        """Send bytes of a file, from `offset` on, at most `count` (above 0, and all there).

        Returns how many, which may be none, and whether more may be sent (as `send`).
        """

    def pause(self) -> None:
        """Read no further until `resume`. Idempotent."""

    def resume(self) -> None:
        """Read again. Idempotent."""

    def finish(self) -> None:
        """Half-close: end our direction once all that was sent has left; reading goes on."""

    def send_last(self, data: bytes) -> None:
        """Send all of `data` in time, then end our direction: `send` and `finish`, for less."""

    def close(self) -> None:
        """Close once all that was sent has left; nothing is read any more."""

    def discard(self) -> None:
        """Close as `close` does, perhaps a little later; nothing more is told."""

    def abort(self) -> None:
        """Close at once with a reset; what was not sent yet is lost. Also after `close`."""

    def alive(self) -> bool:
        """Whether the peer has neither closed nor sent anything that was not read yet."""


def send_read(wire: Wire, fd: int, offset: int, count: int) -> tuple[int, bool]:
    """Do what `Wire.send_file` does, by reading a piece of the file."""
    os.lseek(fd, offset, os.SEEK_SET)
    data = os.read(fd, min(count, FILE_READ))
    return len(data), wire.send(data)


class WireUser(Protocol):
    """What a connection tells."""

    def received(self, data: bytes) -> bool | None:
        """Take bytes that came (never empty).

        True: nothing more is waited for but an answer, which will be sent, so that what the
        wire has to say by itself may go with that.
        """

    def drained(self) -> None:
        """Learn that more may be sent, after a `send` that returned False.

        After `finish`: that all that was sent has left.
        """

    def ended(self) -> None:
        """Learn that the peer ended its direction; sending may still be possible."""

    def lost(self) -> None:
        """Learn that the connection is gone."""


class Unheard:
    """The user of a wire that nobody listens to any more: turned away, or discarded."""

    def received(self, data: bytes) -> None:
        pass

    def drained(self) -> None:
        pass

    def ended(self) -> None:
        pass

    def lost(self) -> None:
        pass


class Connector(Protocol):
    """How a connection to an instance is opened."""

    def connect(
        self,
        upstream: Upstream,
        connected: Callable[[Wire], WireUser],
        failed: Callable[[bool], None],
    ) -> Callable[[], None]:
        """Open a connection; call `connected` or `failed` once, perhaps before returning.

        `failed(True)`: the instance lives, but its backlog is full (or we are out of
        descriptors): try again. `failed(False)`: it refused. Returns what cancels the attempt
        (then neither is called); harmless afterwards.
        """

    def send_at_once(self, upstream: Upstream, data: bytes, user: WireUser) -> Wire | None:
        """Open a connection of `user` and send `data` on it, if that needs no wait; else None.

        None may always be returned; then no byte was sent, whatever the reason, and nobody was
        told. Nothing of `user` is called before this has returned.
        """
