"""What can go wrong with a journal, and what was found wrong in one."""

from __future__ import annotations

from sqsuper.engine.errors import EngineError


class JournalError(EngineError):
    """Base of the journal's errors."""

    code = "journal"


class VersionError(JournalError):
    """A journal of another version: nothing is read or changed. `file`: the segment's name."""

    def __init__(self, file: str, version: int, known: int) -> None:
        super().__init__(
            f"{file} is a journal of version {version}, this engine knows version {known}:"
            " start the version that wrote it and stop it cleanly"
        )
        self.file = file
        self.version = version


class RecordError(JournalError):
    """A whole, valid group that holds what no writer of this version writes."""

    def __init__(self, file: str, offset: int) -> None:
        super().__init__(f"{file}: the group at offset {offset} holds an unknown record")
        self.file = file
        self.offset = offset


class PoisonedError(JournalError):
    """The journal failed and takes nothing until it was renewed. `error`: the failure."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the journal failed and is not yet renewed: {error}")
        self.error = error


class StoppedError(JournalError):
    """A phext that is not served, as a damaged journal may have held writes to it."""

    code = "journal_damaged"

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"{damage}: acknowledged writes to this phext may be lost; nothing was changed"
        )
        self.damage = damage


class Damage:
    """Groups that were synced once and cannot be read now.

    `file`, `offset`: where the reading stopped; `first`, `last`: the lost groups' numbers,
    None where they cannot be known; `generation`: of the journal.
    """

    __slots__ = ("file", "first", "generation", "last", "offset")

    def __init__(
        self, generation: int, file: str, offset: int, first: int | None, last: int | None
    ) -> None:
        self.generation = generation
        self.file = file
        self.offset = offset
        self.first = first
        self.last = last

    def __str__(self) -> str:
        return f"the journal is damaged in {self.file} at offset {self.offset}"


class Torn:
    """A last write that a crash cut; it was never acknowledged. `bytes`: what is left of it."""

    __slots__ = ("bytes", "file", "offset")

    def __init__(self, file: str, offset: int, count: int) -> None:
        self.file = file
        self.offset = offset
        self.bytes = count

    def __str__(self) -> str:
        return f"{self.file}: {self.bytes} bytes of an unfinished write cut at offset {self.offset}"
