"""What one gateway counts, from its rows to its totals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqsuper.gateway.statistics import Counts, Ledger, Row, Statistics, Totals


class Accounts:
    """`counts` are written to as requests end; the rest is made of them when it is asked for.

    `ahead()`: by how much Unix time is ahead of the times in the rows.
    """

    def __init__(self, ahead: Callable[[], float]) -> None:
        self.counts = Counts()
        self._ahead = ahead
        self._ledger = Ledger()

    def statistics(self, tenant: str, in_flight: int) -> Statistics:
        """Return what was counted of a tenant since the start; all zero for an unknown one."""
        row = self.counts.take(tenant, self._ahead())
        if row is not None:
            self._ledger.enter(tenant, row)
        return self._ledger.of(tenant, in_flight)

    def totals(self, in_flight: int, connections: int, lag: float) -> Totals:
        """Return what was counted in all since the start, beside what there is now."""
        for tenant, row in self.take():
            self._ledger.enter(tenant, row)
        self._ledger.enter_gateway(*self.counts.take_gateway())
        return Totals(
            all=self._ledger.all(in_flight),
            rejected=dict(self._ledger.rejected),
            accepted=self._ledger.accepted,
            connections=connections,
            loop_lag=lag,
        )

    def take(self) -> Iterator[tuple[str, Row]]:
        """Return, by tenant, what was counted since it was last taken, times in Unix seconds.

        For who keeps a ledger in place of this one: `statistics` and `totals` take, too.
        """
        return self.counts.take_all(self._ahead())

    def forget(self, tenant: str) -> None:
        """A tenant is gone."""
        self.counts.forget(tenant)
        self._ledger.forget(tenant)
