"""One tenant's data directory: phext files read and replaced under its descriptor."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress

from sqsuper.engine import names
from sqsuper.engine.disk import local
from sqsuper.engine.errors import (
    DirectoryError,
    ForbiddenNameError,
    LockedError,
    ReadError,
    write_error,
)
from sqsuper.engine.files import File, OpenFile, Parent, PhextFile, ReadFile, signature
from sqsuper.engine.journal import conflict
from sqsuper.engine.journal.identity import identity_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from sqsuper.engine.disk import Disk
    from sqsuper.engine.files import Signature
    from sqsuper.engine.journal.identity import Identity

LOCK_SECONDS = 5.0
_LOCK_PAUSE = 0.005
_READ_BYTES = 1 << 20
_SUFFIX = names.SUFFIX.encode()
# Side files of ours: no phext's name begins with a dot.
_SIDE_PREFIX = b".sqsuper-"
_SIDE_SUFFIX = b".tmp"
_SEPARATOR = os.sep.encode()
# What will be gone once everything is saved.
_NOT_CHARGED = (".sqsuper-", ".journal-")
# What opening says of something that is no regular file.
_NOT_A_FILE = frozenset({errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR})


class DataDirectory:
    """An open and locked data directory.

    A phext's place is a path relative to it (bytes): `NAME.phext`, or where a link of that
    name leads. No path is ever opened through a link.
    """

    def __init__(self, path: str, disk: Disk | None = None) -> None:
        """Open the directory. Raises DirectoryError."""
        self._disk = local() if disk is None else disk
        self._path = path
        self._counter = 0
        try:
            self._fd = self._disk.open_root(path)
        except OSError as error:
            raise DirectoryError(f"data directory {path}: {_why(error)}") from None
        self._real: bytes | None = None

    def lock(
        self,
        seconds: float = LOCK_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[], None] | None = None,
    ) -> None:
        """Keep every other engine out, waiting up to `seconds` for the one before us.

        `waits` is called once if there is one before us. Raises LockedError, naming the
        holder's process where the system tells it; DirectoryError.
        """
        deadline = clock() + seconds
        while True:
            try:
                self._disk.lock(self._fd)
                break
            except BlockingIOError:
                if clock() >= deadline:
                    raise LockedError(self._path, self._holder()) from None
                if waits is not None:
                    waits()
                    waits = None
                sleep(_LOCK_PAUSE)
            except OSError as error:
                raise DirectoryError(f"data directory {self._path}: {_why(error)}") from None

    def close(self) -> None:
        """Close the directory, and so unlock it. Idempotent."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1

    @property
    def _root(self) -> bytes:
        # When first needed: hardly any directory has links.
        if self._real is None:
            self._real = os.fsencode(os.path.realpath(self._path))
        return self._real

    def place(self, name: str) -> bytes:
        """Return the place of phext `name`, whether there is a file or not.

        Raises ForbiddenNameError for a bad name, and for a link that leads out of the
        directory, to a hidden file or nowhere definite; ReadError.
        """
        names.check(name)
        filename = name.encode("utf-8") + _SUFFIX
        try:
            status = self._disk.lstat(filename, self._fd)
        except FileNotFoundError:
            return filename
        except OSError as error:
            raise ReadError(name, error.errno, _why(error)) from None
        if not stat.S_ISLNK(status.st_mode):
            return filename
        real = os.path.realpath(os.path.join(self._root, filename))
        root = self._root if self._root.endswith(_SEPARATOR) else self._root + _SEPARATOR
        if not real.startswith(root):
            raise ForbiddenNameError
        place = real[len(root) :].replace(_SEPARATOR, b"/")
        if any(part.startswith(b".") for part in place.split(b"/")):
            raise ForbiddenNameError
        return place

    def read(self, name: str, place: bytes) -> File | None:
        """Read a whole file, or return None when there is none.

        Raises ForbiddenNameError for anything but a regular file, and where the file system
        folds case and spells the file's name otherwise; ReadError.
        """
        try:
            with Parent(self._disk, self._fd, place) as (directory, filename):
                fd = self._disk.open_read(filename, directory)
                try:
                    status = self._disk.fstat(fd)
                    if not stat.S_ISREG(status.st_mode):
                        raise ForbiddenNameError
                    self._check_spelling(filename, directory, status)
                    return File(self._read_all(fd, status.st_size), signature(status))
                finally:
                    self._disk.close(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP or error.errno in _NOT_A_FILE:
                raise ForbiddenNameError from None
            raise ReadError(name, error.errno, _why(error)) from None

    def open(self, place: bytes, expected: Signature) -> OpenFile | ReadFile | None:
        """Open a file to send it, or return None if its signature is not `expected`.

        Where an open file could not be replaced, it is read instead.
        """
        try:
            with Parent(self._disk, self._fd, place) as (directory, filename):
                fd = self._disk.open_read(filename, directory)
        except OSError:
            return None
        file = OpenFile(self._disk, fd)
        try:
            same = signature(self._disk.fstat(fd)) == expected
        except OSError:
            same = False
        if not same:
            return None
        return file if self._disk.replaces_open else _read(file)

    def signature(self, place: bytes) -> Signature | None:
        """Return the signature of the file at a place, or None if it cannot be had."""
        try:
            with Parent(self._disk, self._fd, place) as (directory, filename):
                return signature(self._disk.lstat(filename, directory))
        except OSError:
            return None

    def size(self, place: bytes) -> int | None:
        """Return a file's bytes, or None if there is none that can be read."""
        found = self.signature(place)
        return None if found is None else found[2]

    def identity(self, name: str, place: bytes) -> tuple[Identity, Signature | None]:
        """Read a file for its identity and signature; both None where there is none.

        Raises as `read`.
        """
        file = self.read(name, place)
        return (None, None) if file is None else (identity_of([file.data]), file.signature)

    def replacement(self, place: bytes, pieces: Iterable[bytes]) -> PhextFile:
        """Return what will replace the file at a place by `pieces`. Raises OSError."""
        return PhextFile(self._disk, self._fd, place, self._side_name(), pieces)

    def keep_conflict(self, name: str, place: bytes, texts: Mapping[int, bytes]) -> str | None:
        """Keep scrolls beside the file at a place, durably, and return the new file's name.

        None: there is no text to keep. Raises NoSpaceError, WriteError.
        """
        try:
            with Parent(self._disk, self._fd, place) as (directory, filename):
                kept = conflict.save(
                    self._disk, directory, filename, self._side_name(), texts, now=time.time()
                )
        except OSError as error:
            raise write_error(name, error) from None
        return None if kept is None else os.fsdecode(kept)

    @property
    def disk(self) -> Disk:
        """The system calls."""
        return self._disk

    @property
    def fd(self) -> int:
        """The open directory."""
        return self._fd

    def names(self, unsaved: Container[bytes] = ()) -> list[str]:
        """Return the names of all phexts, sorted. Raises DirectoryError.

        `unsaved`: places that count for a link as if there was a file already.
        """
        found = []
        try:
            for entry in self._disk.scan(self._fd):
                try:
                    name = names.of_file(os.fsencode(entry.name).decode("utf-8"))
                except UnicodeDecodeError:
                    continue
                if name is not None and self._holds_phext(entry, name, unsaved):
                    found.append(name)
        except OSError as error:
            raise DirectoryError(f"the data directory could not be read: {_why(error)}") from None
        return sorted(found)

    def usage(self) -> int:
        """Return the bytes of all files in the directory and below, but for the journal's.

        Follows no link.
        """
        return self._usage(self._root)

    def _usage(self, path: bytes) -> int:
        total = 0
        with suppress(OSError):  # what vanishes meanwhile takes no space
            for entry in self._disk.scan(os.fsdecode(path)):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        total += self._usage(os.fsencode(entry.path))
                    elif not entry.name.startswith(_NOT_CHARGED):
                        total += entry.stat(follow_symlinks=False).st_size
        return total

    def _holds_phext(self, entry: os.DirEntry[str], name: str, unsaved: Container[bytes]) -> bool:
        try:
            if not entry.is_symlink():
                return entry.is_file(follow_symlinks=False)
            place = self.place(name)
            return place in unsaved or self._is_file(place)
        except (OSError, ForbiddenNameError, ReadError):
            return False

    def _is_file(self, place: bytes) -> bool:
        with Parent(self._disk, self._fd, place) as (directory, filename):
            return stat.S_ISREG(self._disk.lstat(filename, directory).st_mode)

    def _read_all(self, fd: int, size: int) -> bytes:
        # Whole, and one more to see the end: no second copy is made.
        pieces = [self._disk.read(fd, size + 1)]
        while piece := self._disk.read(fd, _READ_BYTES):
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_spelling(self, filename: bytes, directory: int, status: os.stat_result) -> None:
        # A file system that folds case finds the same file under a suffix in capitals.
        folded = filename[: -len(_SUFFIX)] + _SUFFIX.upper()
        try:
            other = self._disk.lstat(folded, directory)
        except OSError:
            return
        if (other.st_dev, other.st_ino) != (status.st_dev, status.st_ino):
            return
        spellings = {os.fsencode(entry.name) for entry in self._disk.scan(directory)}
        if filename not in spellings:
            raise ForbiddenNameError

    def _side_name(self) -> bytes:
        self._counter += 1
        return b"%b%x-%x%b" % (_SIDE_PREFIX, os.getpid(), self._counter, _SIDE_SUFFIX)

    def sweep(self) -> None:
        """Remove side files that a killed engine left; the directory is locked."""
        for name in self._side_files():
            with suppress(OSError):
                self._disk.unlink(name, self._fd)

    def _side_files(self) -> list[bytes]:
        found = []
        try:
            for entry in self._disk.scan(self._fd):
                name = os.fsencode(entry.name)
                if name.startswith(_SIDE_PREFIX) and name.endswith(_SIDE_SUFFIX):
                    found.append(name)
        except OSError:
            return found
        return found

    def _holder(self) -> int | None:
        try:
            inode = self._disk.fstat(self._fd).st_ino
            with open("/proc/locks", encoding="ascii") as lines:
                for line in lines:
                    words = line.split()
                    if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                        return int(words[4])
        except (OSError, ValueError, IndexError):
            pass
        return None


def _read(file: OpenFile) -> ReadFile | None:
    try:
        return ReadFile(file.read_all())
    except OSError:
        return None


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
