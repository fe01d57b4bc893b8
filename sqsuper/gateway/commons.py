"""What gateways in several processes have in common, and what a gateway has for itself alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sqsuper.config.model import Gateway, Rate, Tenant
from sqsuper.gateway.asking import Slots
from sqsuper.gateway.board import Board, SharedBucket, SharedConnections, SharedSpoolRoom
from sqsuper.gateway.leases import Lease, Report
from sqsuper.gateway.limits import Connections
from sqsuper.gateway.rate import Bucket, TokenBucket
from sqsuper.gateway.spool import SpoolRoom

WRONG_INTERVAL = 0.01


class Commons(Protocol):
    """What is counted together."""

    def connections(self, gateway: Gateway) -> Connections:
        """Return the count of client connections."""

    def spool_room(self, directory: Path) -> SpoolRoom:
        """Return the room for spooled bodies, in `directory`."""

    def bucket(self, tenant: str, rate: Rate, now: float) -> Bucket:
        """Return the bucket of a tenant with a rate."""

    def slots(self, tenant: Tenant) -> Slots | None:
        """Return who decides on a tenant's slots; None: its `max_inflight` alone."""

    def wrong_token(self, address: str) -> None:
        """Learn of an unknown token from an address that was counted here."""


class Own:
    """Everything for one gateway alone."""

    def connections(self, gateway: Gateway) -> Connections:
        """See `Commons.connections`."""
        return Connections(gateway.max_connections, gateway.max_connections_per_address)

    def spool_room(self, directory: Path) -> SpoolRoom:
        """See `Commons.spool_room`."""
        return SpoolRoom(directory)

    def bucket(self, tenant: str, rate: Rate, now: float) -> Bucket:
        """See `Commons.bucket`."""
        return TokenBucket(rate.per_second, rate.burst, now)

    def slots(self, tenant: Tenant) -> Slots | None:
        """See `Commons.slots`."""
        return None

    def wrong_token(self, address: str) -> None:
        """See `Commons.wrong_token`."""


class Shared:
    """A worker's part of what all workers count together.

    `say(kind, *facts)` sends to the supervisor's process; `later(seconds, call)` calls once.
    """

    def __init__(
        self,
        board: Board,
        worker: int,
        say: Callable[..., None],
        seconds: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.rates: dict[str, int] = {}
        self._board = board
        self._worker = worker
        self._say = say
        self._seconds = seconds
        self._later = later
        self._leases: dict[str, Lease] = {}
        self._wrong: list[str] = []

    def connections(self, gateway: Gateway) -> Connections:
        """See `Commons.connections`."""
        return SharedConnections(
            gateway.max_connections,
            gateway.max_connections_per_address,
            self._board,
            self._worker,
        )

    def spool_room(self, directory: Path) -> SpoolRoom:
        """See `Commons.spool_room`."""
        return SharedSpoolRoom(directory, self._board, self._worker)

    def bucket(self, tenant: str, rate: Rate, now: float) -> Bucket:
        """See `Commons.bucket`."""
        index = self.rates.get(tenant)
        if index is None:
            # No room on the board: an equal part of the rate each.
            part = self._board.workers
            return TokenBucket(rate.per_second / part, max(1, rate.burst // part), now)
        return SharedBucket(rate.per_second, rate.burst, self._board, index)

    def slots(self, tenant: Tenant) -> Slots | None:
        """See `Commons.slots`."""
        lease = self._leases.get(tenant.name)
        if lease is None:
            lease = self._leases[tenant.name] = Lease(
                tenant.name, self._report, self._seconds, self._later
            )
        return lease

    def wrong_token(self, address: str) -> None:
        """See `Commons.wrong_token`. The others learn of it soon."""
        if not self._wrong:
            self._later(WRONG_INTERVAL, self._tell_wrong)
        self._wrong.append(address)

    def ordered(self, tenant: str, serial: int, slots: int, queue: int, contended: bool) -> None:
        """Take an order of the supervisor's process (see `shares`)."""
        lease = self._leases.get(tenant)
        if lease is not None:
            lease.ordered(serial, slots, queue, contended)

    def _report(self, report: Report) -> None:
        self._say("slots", report.tenant, report.serial, report.cap, report.demand, report.waiting)

    def _tell_wrong(self) -> None:
        wrong, self._wrong = self._wrong, []
        self._say("wrong", wrong)
