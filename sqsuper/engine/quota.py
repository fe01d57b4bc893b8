"""How much a tenant's data takes, and whether it may take more."""

from __future__ import annotations

from sqsuper.engine.errors import OverQuotaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# How old a measure of the directory may be while the quota is not near.
_SECONDS = 5.0


class Quota:
    """Bytes past which no write grows the data, or None.

    `measure`: gives the bytes that all data takes, unsaved texts as if they were saved.
    `clock`: monotonic seconds.
    """

    __slots__ = ("_at", "_clock", "_measure", "_usage", "limit")

    def __init__(
        self, limit: int | None, measure: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        self.limit = limit
        self._measure = measure
        self._clock = clock
        self._usage = 0
        self._at: float | None = None

    @property
    def usage(self) -> int | None:
        """Bytes as last measured and counted since, or None as long as they were not measured."""
        return None if self._at is None else self._usage

    def check(self, name: str, growth: int, measured: int) -> None:
        """Raise OverQuotaError if the data, which has grown by `growth` in memory, is too much.

        To be asked before the growth is `counted`. `measured`: how much of it `measure` finds.
        """
        if self.limit is None or growth <= 0:
            return
        if (
            self._at is None
            or self._clock() - self._at > _SECONDS
            or self._usage + growth > self.limit
        ):
            self._usage = self._measure() - measured
            self._at = self._clock()
        if self._usage + growth > self.limit:
            raise OverQuotaError(name, self._usage + growth, self.limit)

    def counted(self, growth: int) -> None:
        """Count what a write added, or took away."""
        self._usage += growth
