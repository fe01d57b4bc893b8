"""A data directory's files: which of them a backup takes, found under descriptors alone."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from sqsuper.backup import files, names
from sqsuper.supervisor.walk import JOURNAL, NOT_CHARGED, SIDE

Found = Callable[[str, str, int], None]


def walk(directory: int, root: Path, found: Found, left: list[str]) -> None:
    """Call `found(path, name, parent)` for each file: `name` in the open directory `parent`.

    `directory` is open to `root`. A link that stays inside stands for the file it leads to.
    What cannot be in a backup (hidden, no file, a name that no phext may have, too deep, a link
    that leads away) is added to `left`. What vanishes meanwhile is not there. Raises OSError.
    """
    _walk(directory, root, "", found, left)


def _walk(directory: int, root: Path, below: str, found: Found, left: list[str]) -> None:
    for name in sorted(os.listdir(directory)):
        path = below + name
        if name.startswith(NOT_CHARGED):
            # After a checkpoint they hold nothing that the phexts do not.
            continue
        status = None
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if status is None:
            continue
        if not (names.fits(name) and names.is_near(path)):
            left.append(_shown(path))
        elif stat.S_ISREG(status.st_mode):
            found(path, name, directory)
        elif stat.S_ISDIR(status.st_mode) and name != names.UNNAMED:
            with files.opened(name, files.DIRECTORY | os.O_NOFOLLOW, directory) as inner:
                _walk(inner, root, f"{path}/", found, left)
        elif not (stat.S_ISLNK(status.st_mode) and _follow(path, root, found)):
            left.append(_shown(path))


def locate(directory: int, root: Path, path: str, found: Found) -> None:
    """Call `found` as `walk` does, for the one file at `path`, if it is there. Raises OSError."""
    *parents, name = path.split("/")
    with contextlib.ExitStack() as stack:
        try:
            parent = directory
            for one in parents:
                parent = stack.enter_context(
                    files.opened(one, files.DIRECTORY | os.O_NOFOLLOW, parent)
                )
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISREG(status.st_mode):
            found(path, name, parent)
        elif stat.S_ISLNK(status.st_mode):
            _follow(path, root, found)


def _follow(path: str, root: Path, found: Found) -> bool:
    """Whether a link leads to a file inside, which is then found as `path`."""
    real, target = Path(os.path.realpath(root)), Path(os.path.realpath(root / path))
    parts = target.relative_to(real).parts if target.is_relative_to(real) else ()
    if not parts or any(part.startswith(".") for part in parts):
        return False
    with contextlib.ExitStack() as stack:
        try:
            parent = stack.enter_context(files.opened(real, files.DIRECTORY))
            for part in parts[:-1]:
                flags = files.DIRECTORY | os.O_NOFOLLOW
                parent = stack.enter_context(files.opened(part, flags, parent))
            status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode):
            return False
        found(path, parts[-1], parent)
    return True


def size_of(root: Path) -> int:
    """Return about how many bytes a backup of a directory takes in; 0 for one that is not there.

    Raises OSError, UnsupportedError.
    """
    files.check_possible()
    total = 0

    def found(_path: str, name: str, parent: int) -> None:
        nonlocal total
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(name, dir_fd=parent, follow_symlinks=False).st_size

    with contextlib.suppress(FileNotFoundError), files.opened(root, files.DIRECTORY) as directory:
        walk(directory, root, found, [])
    return total


def holds_data(root: Path) -> bool:
    """Whether there is anything in a directory but what an engine made for a moment."""
    try:
        return any(not name.startswith(SIDE) for name in os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):
        return False


def has_journal(root: Path) -> bool:
    """Whether an engine that was killed left something that is not in the phext files yet."""
    try:
        return any(name.startswith(JOURNAL) for name in os.listdir(root))
    except FileNotFoundError:
        return False


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def own_left(directory: int, prefix: str) -> Iterator[str]:
    """Give the names below an open directory that begin so."""
    yield from (name for name in os.listdir(directory) if name.startswith(prefix))
