"""What the journal knows of each phext that it holds writes of."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.journal.identity import Identity


class Phext:
    """One phext's file and what a checkpoint of it still has to save.

    `known`: every file of ours that may be in place after a crash, the one that was read or
    written last first; the list is replaced or grows at its end. `unsaved`: keys written since
    the running checkpoint began, or since the last one; `in_flight`: those that the running
    checkpoint saves, or None. `weight`: bytes of text written to `unsaved`.
    """

    __slots__ = ("_weight_in_flight", "in_flight", "known", "unsaved", "weight")

    def __init__(self, known: list[Identity]) -> None:
        self.known = known
        self.unsaved: set[int] = set()
        self.in_flight: set[int] | None = None
        self.weight = 0
        self._weight_in_flight = 0

    @property
    def is_saved(self) -> bool:
        """Whether the file in place holds everything."""
        return not self.unsaved and not self.in_flight

    def keys(self) -> set[int]:
        """Return the keys whose texts the file in place may lack."""
        return self.unsaved | self.in_flight if self.in_flight else set(self.unsaved)

    def found(self, identity: Identity) -> None:
        """One of the known files is in place, though maybe not durably."""
        self.known = [identity, *(other for other in self.known if other != identity)]

    def begin(self, *, keep: bool) -> None:
        """Begin a checkpoint of all that is there now; with `keep` all stays unsaved."""
        self.in_flight = self.keys()
        if not keep:
            self.unsaved = set()
            self._weight_in_flight = self.weight
            self.weight = 0

    def saved(self, identity: Identity) -> None:
        """End the running checkpoint: the file that it wrote is in place, durably."""
        self.in_flight = None
        self.known = [identity]
        self._weight_in_flight = 0

    def abandon(self) -> None:
        """End the running checkpoint, if there is one: its file may be in place or not."""
        self.unsaved = self.keys()
        self.in_flight = None
        self.weight += self._weight_in_flight
        self._weight_in_flight = 0

    def replaced(self, identity: Identity) -> None:
        """Start anew from a file of someone else."""
        self.known = [identity]
        self.unsaved = set()
        self.in_flight = None
        self.weight = 0
        self._weight_in_flight = 0
