"""A time in which a data directory's files stay as they are."""

from __future__ import annotations

from sqsuper.engine.turns import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Hold:
    """A time in which no file is replaced.

    `begun`: called once it has begun, with how many phexts could not be saved: their files are
    not of the moment.
    """

    __slots__ = ("begun", "gate", "over")

    def __init__(self, begun: Callable[[int], None]) -> None:
        self.begun = begun
        self.gate = Gate()
        self.over = False

    def release(self) -> None:
        """End it; from then on files are replaced again. Idempotent."""
        self.over = True
        self.gate.open()
