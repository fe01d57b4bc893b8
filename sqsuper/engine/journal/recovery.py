"""What a journal holds that was left on disk. Nothing is changed by looking."""

from __future__ import annotations

import errno
import os
import stat

from sqsuper.engine.journal import format as form
from sqsuper.engine.journal.errors import StoppedError, VersionError
from sqsuper.engine.journal.reading import Chain, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.errors import Damage, Torn
    from sqsuper.engine.journal.reading import Texts

# What `Header.kept` is while no damaged journal is kept.
NOTHING_KEPT = (1 << 32) - 1

_NO_SEGMENT = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOENT})


class Recovered:
    """A data directory's journal as it was found.

    `phexts`: what is not in the phext files yet, by place, those not served included; use
    `unsaved` and `check`. `torn`: what a crash cut off, harmless. `damage`: what was lost of
    acknowledged writes. `ignored`: files named like ours that are not. `generation`, `kept`,
    `number`: where the next journal goes on. `void`: files that it replaces.
    """

    __slots__ = (
        "_chains",
        "damage",
        "generation",
        "ignored",
        "kept",
        "number",
        "phexts",
        "torn",
        "void",
    )

    def __init__(self, chains: list[Chain], generation: int, ignored: list[bytes]) -> None:
        self._chains: list[Chain] = []
        newest = chains[-1] if chains else None
        self.phexts: dict[bytes, Texts] = {} if newest is None else newest.phexts
        self.torn: list[Torn] = [] if newest is None else newest.torn
        self.damage: list[Damage] = []
        self.generation = generation
        self.kept = NOTHING_KEPT
        for chain in chains:
            if chain.damage:
                self._chains.append(chain)
                self.damage += chain.damage
                self.kept = min(self.kept, chain.generation)
        self.number = 1 if newest is None else newest.number
        self.ignored = ignored
        self.void: list[bytes] = []

    def check(self, place: bytes) -> None:
        """Raise StoppedError if the phext at a place must not be served.

        A phext is stopped if writes to it may be lost: unless a checkpoint saved it after the
        damage, or it certainly was not in what is lost.
        """
        for chain in self._chains:
            damage = chain.stops(place)
            if damage is not None:
                raise StoppedError(damage)

    def is_served(self, place: bytes) -> bool:
        """Whether `check` passes."""
        return all(chain.stops(place) is None for chain in self._chains)

    def unsaved(self) -> dict[bytes, Texts]:
        """Return what belongs over the files of those phexts that are served."""
        found = {}
        for place, phext in self.phexts.items():
            if phext.texts and self.is_served(place):
                found[place] = phext
        return found


def recover(disk: Disk, directory: int) -> Recovered:
    """Read the journal in a data directory.

    Raises OSError if it cannot be read, VersionError, RecordError: nothing may be written then.
    """
    names = []
    generation = 0
    for entry in disk.scan(directory):
        name = os.fsencode(entry.name)
        parsed = form.parse_name(name)
        if parsed is not None:
            names.append((parsed, name))
            # A new journal's names must not meet those of files that are not ours.
            generation = max(generation, parsed[0])
    if not names:
        return Recovered([], generation, [])
    names.sort()
    looked = [(parsed, _look(disk, directory, name, parsed), name) for parsed, name in names]
    ours = {parsed[0] for parsed, found, _name in looked if found is not None and found.is_marked}
    ignored = []
    generations: dict[int, list[Found]] = {}
    for parsed, found, name in looked:
        # What bears no mark of ours may have lost it, but only among others of ours.
        if found is None or parsed[0] not in ours:
            ignored.append(name)
        else:
            generations.setdefault(parsed[0], []).append(found)
    kept = _kept(generations)
    chains = []
    for number in sorted(generations):
        if number >= kept:
            chain = Chain(number)
            for found in generations[number]:
                chain.read(found, _read(disk, directory, found.name))
            chain.end()
            chains.append(chain)
    # Texts of older generations went over into the newest one.
    for chain in chains[:-1]:
        chain.phexts.clear()
    recovered = Recovered(chains, generation, ignored)
    damaged = {chain.generation for chain in chains if chain.damage}
    recovered.void = [
        found.name
        for number in sorted(generations)
        if number not in damaged
        for found in generations[number]
    ]
    newest = chains[-1].generation if chains else 0
    if damaged and newest not in damaged and not recovered.unsaved():
        # Without a newer one the damaged journal that is kept would count again.
        recovered.void.pop()
    return recovered


def _kept(generations: dict[int, list[Found]]) -> int:
    """Return the oldest generation that still says something."""
    for number in sorted(generations, reverse=True):
        for found in generations[number]:
            if found.header is not None:
                return found.header.kept
    return 0


def _look(disk: Disk, directory: int, name: bytes, parsed: tuple[int, int]) -> Found | None:
    """Return a segment's header, or None if the file is certainly not ours."""
    try:
        fd = disk.open_read(name, directory)
    except OSError as error:
        if error.errno in _NO_SEGMENT:
            return None
        raise
    try:
        status = disk.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        copies = [
            disk.pread(fd, form.HEADER_BYTES, max(0, offset))
            for offset in (0, status.st_size - form.HEADER_BYTES)
        ]
    finally:
        disk.close(fd)
    for copy in copies:
        try:
            header = form.unpack_header(copy)
        except form.ForeignVersion as other:
            raise VersionError(os.fsdecode(name), other.version, form.VERSION) from None
        if header is not None:
            # A copy under another name is not ours.
            ours = (header.generation, header.index) == parsed
            return Found(name, header, is_marked=True) if ours else None
    return Found(name, None, is_marked=any(copy.startswith(form.MAGIC) for copy in copies))


def _read(disk: Disk, directory: int, name: bytes) -> bytes:
    fd = disk.open_read(name, directory)
    try:
        pieces = []
        while piece := disk.read(fd, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        disk.close(fd)
