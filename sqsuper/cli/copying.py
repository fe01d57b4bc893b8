"""A data directory copied: regular files and directories alone, nothing followed, modes ours."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import attrs

from sqsuper.cli.errors import CommandError
from sqsuper.cli.files import give, make_directory, make_private, sync
from sqsuper.sockets.capabilities import HERE

_PIECE = 1024 * 1024
# For what is no regular file after all, such as a FIFO put there meanwhile.
_READ, _WRITE = os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_EXCL
for _flag in ("O_NOFOLLOW", "O_CLOEXEC"):
    _READ |= getattr(os, _flag, 0)
    _WRITE |= getattr(os, _flag, 0)
_READ |= getattr(os, "O_NONBLOCK", 0)


@attrs.frozen
class Copied:
    """`left`: paths below the directory that are links or no files, and were not copied.

    `changed`: files that were written to meanwhile, whose copy may be torn.
    """

    files: int
    left: tuple[str, ...]
    changed: tuple[str, ...]


def size_of(directory: Path) -> int:
    """Return the bytes of all regular files below a directory; nothing is followed.

    Raises CommandError where that cannot be promised.
    """
    if not HERE.directories:
        raise CommandError(
            f"{directory} cannot be copied safely on this system; copy it by hand while nothing"
            " writes to it"
        )
    total = 0
    for _root, _directories, files, fd in os.fwalk(directory, follow_symlinks=False):
        for name in files:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def copy_directory(source: Path, target: Path, step: Callable[[int], None]) -> Copied:
    """Copy `source` to `target`, which must not be there: whole, or not at all.

    `step` is called with the bytes of each piece. Raises CommandError.
    """
    draft = target.with_name(f".{target.name}.copying-{os.getpid()}")
    try:
        make_private(target.parent)
        free = shutil.disk_usage(target.parent).free
        if size_of(source) > free:
            raise CommandError(f"{target.parent} has only {free} bytes free for {source}")
        make_directory(draft)
        copied = _copy(source, draft, step)
        sync(draft)
        os.rename(draft, target)
        sync(target.parent)
    except OSError as error:
        raise CommandError(f"copying {source}: {error.filename}: {error.strerror}") from None
    finally:
        if draft.exists():
            shutil.rmtree(draft, ignore_errors=True)
    return copied


def _copy(source: Path, draft: Path, step: Callable[[int], None]) -> Copied:
    count = 0
    left: list[str] = []
    changed: list[str] = []
    for root, directories, files, fd in os.fwalk(source, follow_symlinks=False):
        below = Path(root).relative_to(source)
        for name in list(directories):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                make_directory(draft / below / name)
            else:
                left.append(str(below / name))
        for name in files:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                left.append(str(below / name))
                continue
            if not _copy_file(name, fd, draft / below / name, step):
                changed.append(str(below / name))
            count += 1
    return Copied(count, tuple(left), tuple(changed))


def _copy_file(name: str, fd: int, target: Path, step: Callable[[int], None]) -> bool:
    """Copy one file; return whether it stayed as it was meanwhile."""
    with open(os.open(name, _READ, dir_fd=fd), "rb") as original:
        before = os.fstat(original.fileno())
        if not stat.S_ISREG(before.st_mode):
            return False
        with open(os.open(target, _WRITE, 0o600), "wb") as out:
            give(out.fileno(), target.parent)
            while piece := original.read(_PIECE):
                out.write(piece)
                step(len(piece))
            out.flush()
            os.fsync(out.fileno())
        after = os.fstat(original.fileno())
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    return (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
