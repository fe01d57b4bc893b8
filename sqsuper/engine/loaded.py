"""A phext in memory and the file that it stands for; which of them are in memory."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.document import Document
    from sqsuper.engine.files import Signature
    from sqsuper.engine.journal.identity import Identity


class Unloaded(Exception):  # noqa: N818  # a finding: whoever meets it loads and tries again
    """A phext that cannot be used before a `loading` of it is done."""

    def __init__(self, name: str, place: bytes) -> None:
        super().__init__(name)
        self.name = name
        self.place = place


class Full(Exception):  # noqa: N818  # likewise: whoever meets it waits and tries again
    """So much waits to be made durable that no write may be added now."""


class Phext:
    """What an instance knows of one phext.

    `name`: one of those it was asked for by, for messages. `signature`, `identity`: of the file
    it was read from or last saved to; None where there was none. `created`: there will be one,
    though it was not yet saved. `own`: the file's bytes are not the canonical form, and the
    document is as it was read. `group`: the last journal group that
    has a write of it. `since`, `last`: when the oldest and the newest change were made that no
    checkpoint has begun to save, or None. `saving`: a checkpoint runs. `announced`: the journal
    knows it. `pins`: how many requests keep it from being dropped.
    """

    __slots__ = (
        "announced",
        "created",
        "document",
        "group",
        "identity",
        "last",
        "name",
        "names",
        "own",
        "pins",
        "place",
        "saving",
        "signature",
        "since",
    )

    def __init__(
        self,
        name: str,
        place: bytes,
        document: Document,
        signature: Signature | None = None,
        identity: Identity = None,
    ) -> None:
        self.name = name
        self.place = place
        self.document = document
        self.names: set[str] = set()
        self.signature = signature
        self.identity = identity
        # Delimiters are canonical exactly when they are the fewest.
        self.own = signature is not None and document.length != signature[2]
        self.created = False
        self.group = 0
        self.since: float | None = None
        self.last = 0.0
        self.saving = False
        self.announced = False
        self.pins = 0

    @property
    def file_size(self) -> int:
        """Bytes of the file; 0 where there is none."""
        # The size stands in the signature.
        return 0 if self.signature is None else self.signature[2]

    @property
    def size(self) -> int:
        """Bytes that the phext takes on disk, or would once it is saved."""
        return self.file_size if self.own else self.document.length

    @property
    def is_saved(self) -> bool:
        """Whether the file holds everything."""
        return self.since is None and not self.saving

    @property
    def exists(self) -> bool:
        """Whether there is a file, or will be one."""
        return self.signature is not None or self.created

    def changed(self, now: float) -> None:
        """Note a change at a time in seconds."""
        if self.since is None:
            self.since = now
        self.last = now


class Residents:
    """The phexts in memory, by name and by place, in order of use."""

    __slots__ = ("_by_name", "_by_place")

    def __init__(self) -> None:
        self._by_name: dict[str, Phext] = {}
        # The least recently used one comes first.
        self._by_place: dict[bytes, Phext] = {}

    def __len__(self) -> int:
        return len(self._by_place)

    def all(self) -> list[Phext]:
        """Return all, the least recently used first."""
        return list(self._by_place.values())

    def has(self, name: str) -> bool:
        """Whether one was opened by this name."""
        return name in self._by_name

    def named(self, name: str) -> Phext | None:
        """Return the one that was opened by this name before: it is in use now."""
        phext = self._by_name.get(name)
        if phext is not None:
            self._by_place[phext.place] = self._by_place.pop(phext.place)
        return phext

    def at(self, place: bytes) -> Phext | None:
        """Return the one at a place."""
        return self._by_place.get(place)

    def add(self, phext: Phext, name: str | None) -> bool:
        """Keep one, under a name that it was opened by if there is one; return if it is new."""
        if name is not None:
            phext.names.add(name)
            self._by_name[name] = phext
        fresh = self._by_place.pop(phext.place, None) is None
        self._by_place[phext.place] = phext
        return fresh

    def drop(self, phext: Phext) -> None:
        """Keep one no longer."""
        self._by_place.pop(phext.place, None)
        for name in phext.names:
            self._by_name.pop(name, None)
        phext.names.clear()
