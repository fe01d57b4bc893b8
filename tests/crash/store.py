"""A small store over the journal, as the engine's uses it, with each step to be taken alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqsuper.engine import phext
from sqsuper.engine.disk import Disk
from sqsuper.engine.journal import conflict
from sqsuper.engine.journal.checkpoint import Replacement
from sqsuper.engine.journal.errors import PoisonedError
from sqsuper.engine.journal.group import Group
from sqsuper.engine.journal.identity import identity_of
from sqsuper.engine.journal.jobs import Preparation, Removal
from sqsuper.engine.journal.recovery import recover
from sqsuper.engine.journal.writer import Journal

Change = tuple[bytes, int, bytes]
State = dict[bytes, dict[int, bytes]]


def read_file(disk: Disk, directory: int, name: bytes) -> bytes | None:
    try:
        fd = disk.open_read(name, directory)
    except FileNotFoundError:
        return None
    try:
        pieces = []
        while piece := disk.read(fd, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        disk.close(fd)


class Store:
    """Phexts in memory, a journal, and checkpoints."""

    wait = True
    """Whether a checkpoint waits for its target: off to see what comes of it."""

    def __init__(self, disk: Disk, directory: int, *, segment_bytes: int = 4096) -> None:
        self.disk = disk
        self.directory = directory
        self._sweep()
        self.recovered = recover(disk, directory)
        self.overlays = self.recovered.unsaved()
        self.journal = Journal(disk, directory, self.recovered, segment_bytes=segment_bytes)
        self.journal.start()
        self.documents: State = {}
        self.conflicts: list[bytes] = []
        self.failures = 0
        self._undo: list[Change] = []
        self._sealed = 0
        self._temporary = 0

    def _sweep(self) -> None:
        for entry in list(self.disk.scan(self.directory)):
            if entry.name.startswith(".sqsuper-"):
                self.disk.unlink(entry.name.encode(), self.directory)

    def temporary(self) -> bytes:
        self._temporary += 1
        return b".sqsuper-%d.tmp" % self._temporary

    def open(self, place: bytes) -> dict[int, bytes]:
        document = self.documents.get(place)
        if document is not None:
            return document
        self.recovered.check(place)
        data = read_file(self.disk, self.directory, place)
        identity = None if data is None else identity_of([data])
        document = phext.explode(data or b"")
        overlay = self.overlays.get(place)
        if overlay is not None:
            if identity in overlay.known:
                document.update(overlay.texts)
                document = {key: text for key, text in document.items() if text}
            else:
                self._save_conflict(place, overlay.texts)
        self.journal.opened(place, identity)
        self.overlays.pop(place, None)
        self.documents[place] = document
        return document

    def load(self, place: bytes) -> None:
        """Read the file again, as someone else has changed it."""
        document = self.open(place)
        data = read_file(self.disk, self.directory, place)
        identity = None if data is None else identity_of([data])
        if self.journal.is_ours(place, identity):
            return
        unsaved = self.journal.unsaved(place)
        self._save_conflict(place, {key: document.get(key, b"") for key in unsaved})
        self.journal.opened(place, identity)
        self.documents[place] = phext.explode(data or b"")

    def _save_conflict(self, place: bytes, texts: Mapping[int, bytes]) -> None:
        temporary = self.temporary()
        name = conflict.save(self.disk, self.directory, place, temporary, texts, now=0)
        if name is not None:
            self.conflicts.append(name)

    def drop(self, place: bytes) -> bool:
        if self.journal.unsaved(place) or place in self.overlays:
            return False
        self.documents.pop(place, None)
        self.journal.forget(place)
        return True

    def update(self, changes: list[Change]) -> int:
        for place, _key, _text in changes:
            self.open(place)
        number = self.journal.append(changes)
        for place, key, text in changes:
            document = self.documents[place]
            self._undo.append((place, key, document.get(key, b"")))
            self._set(place, key, text)
        return number

    def _set(self, place: bytes, key: int, text: bytes) -> None:
        if text:
            self.documents[place][key] = text
        else:
            self.documents[place].pop(key, None)

    def seal(self) -> Group | None:
        group = self.journal.seal()
        if group is not None:
            self._sealed = len(self._undo)
        return group

    def write(self, group: Group) -> bool:
        try:
            self.journal.write(group)
        except OSError as error:
            self.journal.failed(group, error)
            self.failures += 1
            for change in reversed(self._undo):
                self._set(*change)
            self._undo = []
            return False
        self.journal.done(group)
        del self._undo[: self._sealed]
        return True

    def commit(self) -> bool:
        group = self.seal()
        return group is None or self.write(group)

    def renew(self) -> bool:
        texts: State = {}
        for place in self.journal.unsaved_places():
            overlay = self.overlays.get(place)
            document = self.documents[place] if overlay is None else overlay.texts
            texts[place] = {key: document.get(key, b"") for key in self.journal.unsaved(place)}
        group = self.journal.fresh(texts)
        self._sealed = 0
        return self.write(group)

    def checkpoint(self, place: bytes) -> Iterator[str]:
        """Checkpoint a phext; between any two values anything else may be done.

        Gives "target" until the group with it is durable.
        """
        document = dict(self.open(place))
        up_to = self.journal.begin_checkpoint(place)
        pieces = phext.implode_pieces(sorted(document), document, 200)
        replacement = Replacement(self.disk, self.directory, place, self.temporary(), pieces)
        try:
            while replacement.step():
                yield "piece"
            number = self.journal.target(place, up_to, replacement.identity)
            failures = self.failures
            while self.wait and (self.journal.durable < number or self.failures != failures):
                if self.failures != failures:
                    raise InterruptedError
                yield "target"
            replacement.place()
        except (OSError, ValueError, PoisonedError):
            replacement.abandon()
            self.journal.abandon_checkpoint(place)
            return
        yield "placed"
        self.journal.checkpointed(place, up_to, replacement.identity)

    def stop(self) -> bool:
        """Stop cleanly; False if something had to stay in the journal."""
        if self.journal.poison is not None and not self.renew():
            return False
        self.commit()
        for place in self.journal.unsaved_places():
            for stage in self.checkpoint(place):
                if stage == "target" and not self.commit():
                    break
        self.commit()
        clean = self.journal.poison is None and not self.journal.unsaved_places()
        try:
            self.journal.close(remove=clean)
        except OSError:
            return False
        return clean

    def job(self, job: Preparation | Removal | None) -> None:
        if job is None:
            return
        try:
            job.run()
        except OSError:
            pass
        finally:
            self.journal.finish(job)
