"""Who asks a tenant's pool for a slot and a connection, and who divides its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqsuper.instances import Unavailable, Upstream

if TYPE_CHECKING:
    from sqsuper.gateway.upstream import Pool
    from sqsuper.gateway.upstream_connection import UpstreamConnection


class Asker(Protocol):
    """An exchange that asks a pool for a slot and then for a connection."""

    def granted(self, upstream: Upstream) -> None:
        """Go on: a slot is taken, which `Pool.leave` gives back."""

    def turned_away(self, reason: Unavailable) -> None:
        """End: there is no instance, or too many wait for it. No slot is taken."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Take over a connection (as its `user`)."""

    def refused(self, busy: bool) -> None:
        """Learn that no connection came about (`busy`: as `Connector.connect` says)."""

    def crashed(self) -> None:
        """End, releasing everything: one of the calls above raised."""


# Who has a slot: recognised as an object, asked for nothing.
Holder = object


class Slots(Protocol):
    """Who divides a tenant's slots among several processes, and is told of need and use.

    It lets the pool have them by `Pool.resize`.
    """

    def serve(self, pool: Pool) -> None:
        """Let `pool`, which has none yet, have the slots from now on."""

    def wanted(self) -> None:
        """Learn that a request waits, for a slot or for an instance to start."""

    def released(self) -> None:
        """Learn that a slot was given back, or that a request waits no longer."""
