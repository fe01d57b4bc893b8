"""A tenant's phexts: loaded when asked for, changed in memory and in the journal."""

from __future__ import annotations

from sqsuper.engine import names as phext_names
from sqsuper.engine.document import Document
from sqsuper.engine.errors import PhextTooLargeError, write_error
from sqsuper.engine.fetching import AT_ONCE_BYTES, fetch
from sqsuper.engine.journal.errors import PoisonedError
from sqsuper.engine.loaded import Full, Phext, Residents, Unloaded
from sqsuper.engine.quota import Quota
from sqsuper.engine.totals import Totalling
from sqsuper.engine.transaction import Transaction
from sqsuper.engine.turns import Gate
from sqsuper.engine.unsaved import Unsaved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqsuper.engine.commits import Commits
    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.document import Snapshot
    from sqsuper.engine.files import File, OpenFile, ReadFile
    from sqsuper.engine.journal.identity import Identity
    from sqsuper.engine.journal.recovery import Recovered
    from sqsuper.engine.journal.writer import Journal
    from sqsuper.engine.totals import Totals
    from sqsuper.engine.turns import Job
    from sqsuper.engine.worker import Worker

DEFAULT_MAX_LOADED = 64
# Versions of one phext that readers may hold.
MAX_VERSIONS = 4
# Past so many bytes that wait to be made durable no write is added to them.
_MOST_PENDING = 32 << 20


class Store:
    """The phexts of one data directory.

    `recovered`: what the journal holds of before. `worker`: the thread that reads large files.
    `max_loaded`: documents kept in memory; past it the least recently used ones are saved and
    dropped. `max_phext`: bytes past which no write grows a phext, or None. `quota`: bytes past
    which no write grows the data, or None. `clock`: monotonic seconds. `log`: takes one line.
    `save`: has a phext saved as soon as may be; `changed`: called when one was changed.

    Methods that take a name raise ForbiddenNameError, ReadError, NotUtf8FileError, StoppedError.
    """

    def __init__(
        self,
        directory: DataDirectory,
        journal: Journal,
        recovered: Recovered,
        worker: Worker,
        *,
        clock: Callable[[], float],
        log: Callable[[str], None],
        max_loaded: int = DEFAULT_MAX_LOADED,
        max_phext: int | None = None,
        quota: int | None = None,
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._recovered = recovered
        self._worker = worker
        self._clock = clock
        self._log = log
        self._max_loaded = max(1, max_loaded)
        self._max_phext = max_phext
        self.residents = Residents()
        self._loading: set[bytes] = set()
        self._progress = Gate()
        self._versions = Gate()
        self._totalling = Totalling(self, directory, worker)
        self.unsaved = Unsaved(self.residents, journal, recovered.unsaved())
        self._quota = Quota(quota, self._measure, clock)
        self.stuck = False
        """Whether the last checkpoint failed: then nobody waits for the next one."""
        self.commits: Commits
        self.save: Callable[[Phext], None] = _unheard
        self.changed: Callable[[], None] = _unheard

    @property
    def loaded(self) -> int:
        """How many documents are in memory."""
        return len(self.residents)

    # Reading

    def check(self, name: str) -> None:
        """Raise what reading phext `name` would, without reading more than its place."""
        if not self.residents.has(name):
            self._recovered.check(self._directory.place(name))

    def open(self, name: str) -> Phext:
        """Return a phext; an absent one is empty. Raises Unloaded besides."""
        phext = self.residents.named(name)
        if phext is not None:
            return phext
        place = self._directory.place(name)
        self._recovered.check(place)
        phext = self.residents.at(place)
        if phext is None:
            if self._is_crowded():
                raise Unloaded(name, place)
            phext = self._read(name, place)
            if not phext.exists:
                # Not kept: reading what does not exist costs nothing.
                return phext
        self._keep(phext, name)
        return phext

    def open_place(self, place: bytes) -> Phext:
        """Return a phext that the journal has texts of, by its place."""
        phext = self.residents.at(place)
        if phext is not None:
            return phext
        phext = self._read(_name_of(place), place)
        self._add(phext)
        return phext

    def _read(self, name: str, place: bytes) -> Phext:
        """Return a phext as its file and the journal have it. Raises Unloaded for a large one."""
        if place in self._loading:
            raise Unloaded(name, place)
        size = self._directory.size(place)
        if size is not None and size > AT_ONCE_BYTES:
            raise Unloaded(name, place)
        file, identity = fetch(self._directory, name, place)
        document = Document(b"" if file is None else file.data)
        return self._made(name, place, file, identity, document)

    def loading(self, missing: Unloaded) -> Job[None]:
        """Load a phext, or wait until it is. It may be dropped again at the next pause."""
        name, place = missing.name, missing.place
        while place in self._loading or (self.residents.at(place) is None and self._is_crowded()):
            yield self._progress
        if self.residents.at(place) is not None:
            return
        self._loading.add(place)
        try:
            found: list[tuple[File | None, Identity]] = []
            yield from self._worker.run(lambda: found.append(fetch(self._directory, name, place)))
            file, identity = found[0]
            document = Document()
            for _ in document.reading(b"" if file is None else file.data):
                yield None
            phext = self._made(name, place, file, identity, document)
            if phext.exists:
                self._add(phext)
        finally:
            self._loading.discard(place)
            self._progress.open()

    def snapshot(self, name: str) -> Job[tuple[Snapshot, int]]:
        """Return a phext as it is at one moment, and the group to wait for before it is shown.

        Waits while readers hold too many other versions.
        """
        while True:
            phext = self.open(name)
            document = phext.document
            if document.current or document.versions < MAX_VERSIONS:
                return document.snapshot(), phext.group
            yield self._versions

    def file_of(self, phext: Phext) -> OpenFile | ReadFile | None:
        """Return the file that holds what a phext is, byte for byte.

        None: it was changed since, by us or by someone else, or there is none.
        """
        if phext.signature is None or not phext.is_saved:
            return None
        return self._directory.open(phext.place, phext.signature)

    def load(self, name: str) -> Job[None]:
        """Read a phext's file again.

        If someone else changed it, what is not saved yet is kept beside it first. Waits until
        the journal knows.
        """
        while True:
            phext = self.open(name)
            while phext.saving:
                yield self._progress
            if self.residents.at(phext.place) is phext or not phext.exists:
                break
        place = phext.place
        phext.pins += 1
        try:
            found: list[tuple[File | None, Identity]] = []
            yield from self._worker.run(lambda: found.append(fetch(self._directory, name, place)))
            file, identity = found[0]
            if identity == phext.identity:
                return
            if not phext.is_saved and self._journal.is_ours(place, identity):
                return
            if not phext.is_saved:
                self.keep_conflict(phext)
            if phext.announced:
                self._announce(phext, identity)
        finally:
            phext.pins -= 1
        phext.since = None
        self._forget(phext)
        if file is not None:
            self.open_or_wait(name)

    def joined(self, pieces: list[bytes]) -> Job[bytes]:
        """Join the pieces of a large text, in a thread that leaves the interpreter to the loop."""
        whole: list[bytes] = []
        yield from self._worker.run(lambda: whole.append(b"".join(pieces)))
        return whole[0]

    def open_or_wait(self, name: str) -> None:
        """Open a phext now if that is quick; else the next request loads it."""
        try:
            self.open(name)
        except Unloaded:
            return

    def names(self) -> list[str]:
        """Return all phexts' names, sorted. Raises DirectoryError."""
        places = {phext.place for phext in self.residents.all() if phext.exists}
        places.update(self.unsaved.waiting)
        found = set(self._directory.names(places))
        for place in places:
            name = phext_names.of_file(place.decode("utf-8", "replace"))
            if name is not None and b"/" not in place:
                found.add(name)
        return sorted(found)

    def totals(self) -> Job[Totals]:
        """Add up all phexts that can be read. Raises DirectoryError."""
        return self._totalling.run()

    # Writing

    def check_room(self) -> None:
        """Raise Full if a write has to wait for a `room`: to be asked before anything changed."""
        if self._journal.pending_bytes > _MOST_PENDING:
            raise Full

    def room(self) -> Job[None]:
        """Wait until what is pending is on its way. Others may have added to it again then."""
        gate = Gate()
        self.commits.when_sealed(gate.open)
        if self._journal.pending_bytes:
            yield gate

    def apply(self, phext: Phext, changes: Mapping[int, bytes]) -> int:
        """Change one phext; as `Transaction`, whole."""
        transaction = Transaction(self)
        transaction.change(phext, changes)
        return transaction.commit()

    def phext_at(self, place: bytes) -> Phext | None:
        """Return the loaded phext at a place."""
        return self.residents.at(place)

    def keep_conflict(self, phext: Phext) -> None:
        """Keep all that memory has of a phext beside a file that someone else changed."""
        texts = dict(phext.document.snapshot().items())
        self._save_conflict(phext.name, phext.place, texts)

    def replaced(self, phext: Phext, identity: Identity) -> None:
        """Forget a phext whose file someone else changed: it is read again when asked for."""
        self._announce(phext, identity)
        phext.since = None
        phext.saving = False
        self._forget(phext)

    def saved(self) -> None:
        """Learn that a checkpoint ended."""
        self.trim()
        self._progress.open()

    def trim(self) -> None:
        """Drop, or have saved, what is past `max_loaded`."""
        over = len(self.residents) - self._max_loaded
        if over <= 0:
            return
        for number, phext in enumerate(self.residents.all()[:-1]):
            if len(self.residents) <= self._max_loaded:
                break
            if phext.pins:
                continue
            if phext.is_saved and self.commits.is_durable(phext.group):
                self._forget(phext)
            elif number < over:
                self.save(phext)

    def keep(self, phext: Phext) -> None:
        """Keep a phext that was absent and is no more."""
        if self.residents.at(phext.place) is not phext:
            self._add(phext)

    def announce(self, phext: Phext) -> None:
        """Tell the journal of a phext before its first write."""
        if not phext.announced:
            self._journal.opened(phext.place, phext.identity)
            phext.announced = True

    def check_size(self, name: str, before: int, size: int) -> None:
        """Raise PhextTooLargeError if a phext grew past the limit."""
        if self._max_phext is not None and size > self._max_phext and size > before:
            raise PhextTooLargeError(name, size, self._max_phext)

    def adjust(self, *, max_loaded: int, max_phext: int | None, quota: int | None) -> None:
        """Go on with other limits; what is past one already stays, and does not grow."""
        self._max_loaded = max(1, max_loaded)
        self._max_phext = max_phext
        self._quota.limit = quota

    @property
    def quota(self) -> Quota:
        """What bounds the data."""
        return self._quota

    @property
    def now(self) -> float:
        """The clock's time."""
        return self._clock()

    def _announce(self, phext: Phext, identity: Identity) -> None:
        try:
            self._journal.opened(phext.place, identity)
        except PoisonedError as error:
            raise write_error(phext.name, error.error) from None
        self.commits.record()

    def _is_crowded(self) -> bool:
        # What must be saved first is in the way: requests for others wait.
        return not self.stuck and len(self.residents) >= 2 * self._max_loaded + 8

    def _made(
        self,
        name: str,
        place: bytes,
        file: File | None,
        identity: Identity,
        document: Document,
    ) -> Phext:
        phext = Phext(name, place, document, None if file is None else file.signature, identity)
        document.released = self._versions.open
        overlay = self.unsaved.waiting.get(place)
        if overlay is None:
            return phext
        if identity in overlay.known:
            document.apply(overlay.texts)
            phext.own = False
            phext.created = True
            phext.announced = True
            phext.changed(self._clock())
        else:
            self._save_conflict(name, place, overlay.texts)
            self._announce(phext, identity)
            phext.announced = True
        del self.unsaved.waiting[place]
        return phext

    def _save_conflict(self, name: str, place: bytes, texts: Mapping[int, bytes]) -> None:
        error = self._journal.poison
        if error is not None:
            # It could not be recorded, and would be saved again and again.
            raise write_error(name, error)
        kept = self._directory.keep_conflict(name, place, texts)
        self._log(
            f"phext '{name}' was changed by someone else; "
            + (f"what was not saved yet is in {kept}" if kept else "nothing unsaved was lost")
        )

    def _keep(self, phext: Phext, name: str | None) -> None:
        if self.residents.add(phext, name):
            self.trim()
            self.changed()

    def _add(self, phext: Phext) -> None:
        self._keep(phext, phext.name if _name_of(phext.place) == phext.name else None)

    def _forget(self, phext: Phext) -> None:
        self.residents.drop(phext)
        self._journal.forget(phext.place)
        self._progress.open()

    def _measure(self) -> int:
        usage = self._directory.usage() + self.unsaved.waiting_size()
        for phext in self.residents.all():
            usage += phext.size - phext.file_size
        return usage


def _name_of(place: bytes) -> str:
    filename = place.decode("utf-8", "replace")
    return phext_names.of_file(filename) or filename


def _unheard(_phext: Phext | None = None) -> None:
    pass
