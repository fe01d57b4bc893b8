"""Which tenants may start now: a bounded number of starts at a time, no I/O."""

from __future__ import annotations


class StartQueue:
    """Starts under way and waiting; tenants with a waiting request go first."""

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self._under_way: set[str] = set()
        self._urgent: dict[str, None] = {}
        self._patient: dict[str, None] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._urgent) + len(self._patient)

    def waiting(self) -> list[str]:
        """Return who waits, the next one first."""
        return [*self._urgent, *self._patient]

    def add(self, tenant: str, *, urgent: bool) -> None:
        """Let `tenant` wait for its turn; one already waiting may become urgent."""
        if urgent:
            self._patient.pop(tenant, None)
            self._urgent[tenant] = None
        elif tenant not in self._urgent:
            self._patient[tenant] = None

    def promote(self, tenant: str) -> None:
        """A request waits for `tenant` now."""
        if tenant in self._patient:
            self.add(tenant, urgent=True)

    def take(self) -> str | None:
        """Return the next tenant to start, which now counts as under way, or None."""
        for line in (self._urgent, self._patient):
            if line and len(self._under_way) < self.limit:
                tenant = next(iter(line))
                del line[tenant]
                self._under_way.add(tenant)
                return tenant
        return None

    def done(self, tenant: str) -> None:
        """`tenant`'s start is over, well or not, or no longer wanted."""
        self._under_way.discard(tenant)
        self._urgent.pop(tenant, None)
        self._patient.pop(tenant, None)
