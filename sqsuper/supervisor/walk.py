"""The files of a data directory, looked at one by one."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

# Deeper is not looked: a descriptor is held for each step down.
MAX_DEPTH = 32
# As the embedded engine counts: what it makes for a moment is nobody's data.
SIDE = ".sqsuper-"
JOURNAL = ".journal-"
NOT_CHARGED = (SIDE, JOURNAL)

_BY_DESCRIPTOR = os.scandir in os.supports_fd and os.open in os.supports_dir_fd
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_INNER = _DIRECTORY | getattr(os, "O_NOFOLLOW", 0)


def sizes(directory: Path) -> Generator[int, None, None]:
    """Give the bytes of each file in a directory and below, and 0 for each that is no file.

    No link is followed, but for one that `directory` itself is. What vanishes meanwhile, or may
    not be read, takes nothing. To be closed, if it is not used up: it has descriptors open.
    """
    if not _BY_DESCRIPTOR:
        yield from _by_path(str(directory), 0)
        return
    try:
        opened = os.open(directory, _DIRECTORY)
    except OSError:
        return
    yield from _by_descriptor(opened, 0)


def _by_descriptor(opened: int, depth: int) -> Generator[int, None, None]:
    """See `sizes`; of an open directory, which is closed at the end."""
    try:
        for entry in _entries(opened):
            yield _size(entry)
            if depth < MAX_DEPTH and _is_directory(entry):
                try:
                    inner = os.open(entry.name, _INNER, dir_fd=opened)
                except OSError:
                    continue
                yield from _by_descriptor(inner, depth + 1)
    finally:
        os.close(opened)


def _by_path(path: str, depth: int) -> Generator[int, None, None]:
    for entry in _entries(path):
        yield _size(entry)
        if depth < MAX_DEPTH and _is_directory(entry):
            yield from _by_path(entry.path, depth + 1)


def _entries(directory: int | str) -> Generator[os.DirEntry[str], None, None]:
    try:
        with os.scandir(directory) as found:
            yield from found
    except OSError:
        return


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith(NOT_CHARGED):
            return entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass
    return 0
