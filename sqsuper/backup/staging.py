"""A tenant's files as they are at one moment, kept to be copied later.

The embedded engine only ever replaces files as a whole. So a second name (a hard link) for each,
made while none is replaced, keeps them as they were, takes no space, and makes nobody wait for
the copy. Where the file system has no hard links they are copied at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import attrs

from sqsuper.backup import files
from sqsuper.backup.errors import TenantError
from sqsuper.backup.walking import own_left, walk

# The engine's quota does not count names that begin so.
PREFIX = ".sqsuper-backup-"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS})


@attrs.frozen
class Source:
    """A file to be added to an archive. `path`: below the tenant's directory; `mtime`: seconds."""

    path: str
    size: int
    mtime: float
    content: IO[bytes]


class Stage:
    """What was kept of `directory`, as `left` says without some; to be removed in any case."""

    moment = True

    def __init__(self, tenant: str, directory: Path) -> None:
        """Keep all files there now. Raises TenantError."""
        self.tenant = tenant
        self.directory = directory
        self.left: list[str] = []
        self._name = PREFIX + secrets.token_hex(6)
        self._kept: list[tuple[str, str]] = []
        self._root = self._fd = -1
        try:
            self._root = os.open(directory, files.DIRECTORY)
            for name in own_left(self._root, PREFIX):
                files.remove_tree(name, self._root)
            os.mkdir(self._name, 0o700, dir_fd=self._root)
            self._fd = os.open(self._name, files.DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
            walk(self._root, directory, self._keep, self.left)
        except OSError as error:
            self.remove()
            raise TenantError.of(tenant, error) from error

    def _keep(self, path: str, name: str, parent: int) -> None:
        kept = f".sqsuper-{len(self._kept)}"
        try:
            os.link(name, kept, src_dir_fd=parent, dst_dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with (
                files.opened(name, files.READ, parent) as source,
                files.opened(kept, files.WRITE, self._fd) as copy,
                open(source, "rb", closefd=False) as content,
                open(copy, "wb", closefd=False) as out,
            ):
                shutil.copyfileobj(content, out, 1 << 20)
        self._kept.append((path, kept))

    def sources(self) -> Iterator[Source]:
        """Give each file. Raises TenantError."""
        for path, kept in self._kept:
            try:
                with (
                    files.opened(kept, files.READ, self._fd) as fd,
                    open(fd, "rb", closefd=False) as content,
                ):
                    status = os.fstat(fd)
                    if files.is_regular(fd):
                        yield Source(path, status.st_size, status.st_mtime, content)
                    else:
                        self.left.append(path)
            except OSError as error:
                raise TenantError.of(self.tenant, error, path) from error

    def remove(self) -> None:
        """Keep nothing any more. Raises nothing; idempotent."""
        root, self._root = self._root, -1
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if root >= 0:
            try:
                files.remove_tree(self._name, root)
            except OSError:
                pass  # it is hidden, charged to nobody, and goes with the next backup
            finally:
                os.close(root)


class NoData:
    """The stage of a tenant that has no directory yet."""

    moment = True
    left: tuple[str, ...] = ()

    def sources(self) -> Iterator[Source]:
        """Give nothing."""
        return iter(())

    def remove(self) -> None:
        """Nothing is kept."""
