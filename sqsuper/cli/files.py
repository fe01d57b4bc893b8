"""New files of ours: whole or not there at all, readable by us alone, nothing ever overwritten."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sqsuper.sockets.capabilities import HERE

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_new(file: Path, content: bytes) -> None:
    """Make `file`, mode 0600, with `content` on disk. FileExistsError when there is one."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(os.open(draft, _NEW, 0o600), "wb") as out:
            give(out.fileno(), file.parent)
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)  # NTFS has links as well
    finally:
        draft.unlink(missing_ok=True)
    sync(file.parent)


def make_private(directory: Path) -> None:
    """Make a directory, 0700, and those above it that are missing; one that is there stays."""
    missing: list[Path] = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for one in reversed(missing):
        make_directory(one)


def make_directory(directory: Path) -> None:
    """Make one directory, 0700, of the owner of the one above."""
    directory.mkdir(mode=0o700)
    if not HERE.owners:
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give(fd, directory.parent)
    finally:
        os.close(fd)


def give(fd: int, directory: Path) -> None:
    """Give what `fd` is open to, to the owner of `directory`, where we are root and that is not.

    Root may well write what a service that runs as a user of its own must read.
    """
    if HERE.owners and os.geteuid() == 0:
        owner = os.stat(directory)
        os.fchown(fd, owner.st_uid, owner.st_gid)


def sync(directory: Path) -> None:
    """Have a directory's entries on disk, where its file system can."""
    with suppress(OSError):
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
