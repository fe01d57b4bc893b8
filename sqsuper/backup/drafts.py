"""A tenant's directory as it is restored: filled beside its place, then put there as a whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from sqsuper.backup import files
from sqsuper.backup.archive import Member
from sqsuper.backup.errors import HasDataError, NotWrittenError, OverQuotaError
from sqsuper.backup.walking import holds_data, own_left

PutAside = Callable[[], "Path | None"]


class Draft:
    """A directory beside `target`, 0700, with what is restored of `tenant`.

    To be filled by `take` and `finish`, then put in its place by `place`, or given up by
    `discard`. Once it is filled no descriptor is open for it: there may be thousands.
    `quota`: bytes that it may hold, None for any number. `owner`: uid and gid of all of it, where
    we are root.
    """

    def __init__(
        self, tenant: str, target: Path, quota: int | None, owner: tuple[int, int] | None
    ) -> None:
        """Raises NotWrittenError."""
        self.tenant = tenant
        self.target = target = Path(os.path.realpath(target))
        self.files = self.bytes = 0
        self._quota = quota
        self._owner = owner
        self._fd = self._out = self._parent = -1
        self._is_there = False
        self._mtime = 0.0
        prefix = f".{target.name}.restoring-"
        self._name = prefix + secrets.token_hex(6)
        try:
            files.make_private(target.parent)
            self._parent = os.open(target.parent, files.DIRECTORY)
            for left in own_left(self._parent, prefix):
                files.remove_tree(left, self._parent)
            self._is_there = True
            self._fd = self._make(self._name, self._parent)
        except OSError as error:
            self.discard()
            raise NotWrittenError(target, error) from error

    def take(self, member: Member) -> Callable[[bytes], object]:
        """Begin a file; return what its pieces go to. Raises OverQuotaError, NotWrittenError."""
        self._finish_file()
        self.bytes += member.size
        if self._quota is not None and self.bytes > self._quota:
            raise OverQuotaError(self.tenant, self._quota)
        self.files += 1
        with self._writing(), contextlib.ExitStack() as stack:
            parent = self._fd
            for name in member.parts[:-1]:
                parent = self._enter(name, parent)
                stack.callback(_leave, parent)
            self._out = os.open(member.parts[-1], files.WRITE, 0o600, dir_fd=parent)
            files.give(self._out, self._owner)
        self._mtime = member.mtime
        return self._write

    def _write(self, piece: bytes) -> None:
        with self._writing():
            left = memoryview(piece)
            while left:
                left = left[os.write(self._out, left) :]

    def finish(self) -> None:
        """Have on disk what was taken; nothing more is. Raises NotWrittenError; idempotent."""
        self._finish_file()
        if self._fd >= 0:
            with self._writing():
                os.fsync(self._fd)
        self._close()

    def place(self, put_aside: PutAside | None) -> Path | None:
        """Put it where it belongs, durably; return where what was there is now.

        `put_aside` moves what holds data at `target`, and returns where to; None: nothing may.
        Until the draft is there too nothing waits for the disk: a kill between is unlikely.
        The directory must be nobody's meanwhile. Raises HasDataError, NotWrittenError: then what
        was there is there.
        """
        self.finish()
        aside = None
        with self._writing(), files.opened(self.target.parent, files.DIRECTORY) as at:
            if holds_data(self.target):
                if put_aside is None:
                    raise HasDataError(self.tenant, self.target)
                aside = put_aside()
            else:
                files.remove_tree(self.target.name, at)
            try:
                os.rename(self._name, self.target.name, src_dir_fd=at, dst_dir_fd=at)
            except OSError:
                if aside is not None:
                    os.rename(aside, self.target)
                raise
            self._is_there = False
            os.fsync(at)
            if aside is not None:
                files.sync(aside.parent)
        return aside

    def discard(self) -> None:
        """Give it up. Raises nothing; idempotent."""
        self._close()
        if self._is_there:
            self._is_there = False
            with (
                contextlib.suppress(OSError),
                files.opened(self.target.parent, files.DIRECTORY) as at,
            ):
                files.remove_tree(self._name, at)

    def _make(self, name: str, parent: int) -> int:
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, files.DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        files.give(fd, self._owner)
        return fd

    def _enter(self, name: str, parent: int) -> int:
        try:
            return os.open(name, files.DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            return self._make(name, parent)

    def _finish_file(self) -> None:
        if self._out < 0:
            return
        with self._writing():
            os.utime(self._out, (self._mtime, self._mtime))
            os.fsync(self._out)
            out, self._out = self._out, -1
            os.close(out)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NotWrittenError(self.target, error) from error

    def _close(self) -> None:
        for name in ("_out", "_fd", "_parent"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)


def _leave(directory: int) -> None:
    os.fsync(directory)
    os.close(directory)
