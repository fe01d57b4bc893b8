"""What the workers counted, as the supervisor's process has it: all of them together."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from sqsuper.gateway.statistics import (
    COLD_STARTS,
    NOBODY,
    ColdStarts,
    Lag,
    Ledger,
    Statistics,
    Totals,
    new_row,
)


class Tallies:
    """Takes what workers say of their counts; `tenants` is looked at as it changes.

    Starts that requests waited for are counted here: several workers may wait for the same.
    """

    def __init__(self, tenants: Container[str]) -> None:
        self.lag = Lag()
        """Of this process' own event loop."""
        self._tenants = tenants
        self._ledger = Ledger()
        self._cold_starts: dict[str, ColdStarts] = {}
        self._gateways: dict[int, tuple[int, float]] = {}
        self._tokens_used: dict[str, float] = {}
        self._wrong_tokens: dict[int, int] = {}
        self._wrong_before = 0

    def counted(self, rows: Iterable[tuple[str, list[Any]]]) -> None:
        """Take rows that a worker emptied."""
        for tenant, row in rows:
            row[COLD_STARTS] = 0
            self._ledger.enter(tenant if tenant in self._tenants else NOBODY, row)

    def gateway(
        self, worker: int, rejected: dict[str, int], accepted: int, connections: int, lag: float
    ) -> None:
        """Take what a worker had since it said so last, and has now."""
        self._ledger.enter_gateway(rejected, accepted)
        self._gateways[worker] = (connections, lag)

    def tokens(self, worker: int, used: dict[str, float], wrong: int) -> None:
        """Take when tokens were admitted (see `TokenUse.since`) and, since the
        worker's start, how many were unknown."""
        for digest, at in used.items():
            if at > self._tokens_used.get(digest, 0.0):
                self._tokens_used[digest] = at
        self._wrong_tokens[worker] = wrong

    def used(self, tenant: str, epoch: int) -> None:
        """An instance answered a request."""
        self._cold_starts_of(tenant).used(epoch)

    def waited(self, tenant: str, epoch: int) -> None:
        """A request waited until this instance was there."""
        if self._cold_starts_of(tenant).waited(epoch):
            row = new_row()
            row[COLD_STARTS] = 1
            self._ledger.enter(tenant, row)

    def ended(self, worker: int) -> None:
        """A worker has ended."""
        self._gateways.pop(worker, None)
        self._wrong_before += self._wrong_tokens.pop(worker, 0)

    def forget(self, tenant: str) -> None:
        """A tenant is gone."""
        self._ledger.forget(tenant)
        self._cold_starts.pop(tenant, None)

    def token_used(self, digest: bytes) -> float | None:
        """Return when a token was last admitted, in Unix seconds; None: not since the start."""
        return self._tokens_used.get(digest.hex())

    @property
    def wrong_tokens(self) -> int:
        """How many requests came with an unknown token."""
        return self._wrong_before + sum(self._wrong_tokens.values())

    def of(self, tenant: str, in_flight: int) -> Statistics:
        """Return what was counted of a tenant."""
        return self._ledger.of(tenant, in_flight)

    def totals(self, in_flight: int) -> Totals:
        """Return what was counted in all."""
        return Totals(
            all=self._ledger.all(in_flight),
            rejected=dict(self._ledger.rejected),
            accepted=self._ledger.accepted,
            connections=sum(connections for connections, _ in self._gateways.values()),
            loop_lag=max([self.lag.worst, *(lag for _, lag in self._gateways.values())]),
        )

    def _cold_starts_of(self, tenant: str) -> ColdStarts:
        found = self._cold_starts.get(tenant)
        if found is None:
            found = self._cold_starts[tenant] = ColdStarts()
        return found
