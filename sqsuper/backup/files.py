"""Directories and files of backups: ours alone, opened through no link."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sqsuper.backup.errors import UnsupportedError
from sqsuper.sockets.capabilities import HERE

DIRECTORY = READ = os.O_RDONLY
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
for _flag in ("O_CLOEXEC", "O_DIRECTORY"):
    DIRECTORY |= getattr(os, _flag, 0)
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    READ |= getattr(os, _flag, 0)
THROUGH_LINKS = READ
READ |= getattr(os, "O_NOFOLLOW", 0)
for _flag in ("O_CLOEXEC", "O_NOFOLLOW"):
    WRITE |= getattr(os, _flag, 0)


def check_possible() -> None:
    """Raise UnsupportedError where data cannot be reached without following links."""
    if not HERE.directories:
        raise UnsupportedError


@contextlib.contextmanager
def opened(name: str | Path, flags: int, directory: int | None = None) -> Iterator[int]:
    """Give a descriptor, closed at the end."""
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def is_regular(fd: int) -> bool:
    """Whether a descriptor is that of a regular file."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def make_private(directory: Path) -> None:
    """Make a directory, 0700, and those above it that are missing. Raises OSError.

    Each belongs to whom the one above belongs to, where we are root.
    """
    missing = []
    at = directory
    while not at.exists():
        missing.append(at)
        at = at.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700)
        with opened(one, DIRECTORY | os.O_NOFOLLOW) as fd:
            give(fd, owner_of(one.parent))


def owner_of(directory: Path) -> tuple[int, int]:
    """Return whom a directory belongs to: uid and gid."""
    found = os.stat(directory)
    return found.st_uid, found.st_gid


def give(fd: int, owner: tuple[int, int] | None) -> None:
    """Let what is open belong to `owner`, where we are root and that is asked for."""
    if owner is not None and os.geteuid() == 0:
        os.fchown(fd, *owner)


def sync(directory: Path) -> None:
    """Have a directory's entries on disk, where its file system can."""
    with contextlib.suppress(OSError), opened(directory, DIRECTORY) as fd:
        os.fsync(fd)


def remove_tree(name: str, directory: int) -> None:
    """Remove a directory below an open one, with all that is in it; follows no link.

    Raises OSError, but not where there is none.
    """
    try:
        fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        for entry in list(os.scandir(fd)):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.name, fd)
            else:
                os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)
