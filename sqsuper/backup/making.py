"""An archive made: each tenant's files, one tenant after the other."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, cast

import attrs

from sqsuper.backup import files, shelf
from sqsuper.backup.archive import Contents, Missing, Part, Writer
from sqsuper.backup.errors import NotWrittenError, TenantError
from sqsuper.backup.packing import Packing
from sqsuper.backup.staging import Source

Progress = Callable[[int], None]
"""Called with the bytes of each piece; what it raises ends the work."""


class Staged(Protocol):
    """A tenant's files, to be copied; `left`: what is not among them."""

    @property
    def moment(self) -> bool: ...
    @property
    def left(self) -> Sequence[str]: ...
    def sources(self) -> Iterator[Source]: ...
    def remove(self) -> None: ...


@attrs.frozen
class Made:
    """An archive that was made: where it is, its bytes, and what it holds."""

    file: Path
    bytes: int
    contents: Contents

    def as_json(self) -> dict[str, Any]:
        """Return it as the admin API does."""
        told = self.contents.as_json()
        return {"file": self.file.name, "path": str(self.file), "bytes": self.bytes, **told}


def make(
    directory: Path,
    kind: str,
    tenants: Iterable[str],
    stage: Callable[[str], Staged],
    *,
    made: float,
    told: Progress = lambda _: None,
) -> Made:
    """Make an archive of tenants in `directory`, 0600: a whole one, or none.

    `kind`: see `shelf`; `made`: seconds since the epoch. `stage` is called with each tenant; one
    whose TenantError it raises is missing, and told so. Raises TenantError if all are,
    NotWrittenError and UnsupportedError.
    """
    files.check_possible()
    draft = directory / f".{kind}.{secrets.token_hex(6)}.making"
    try:
        files.make_private(directory)
        if os.stat(directory).st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "everyone can write there; chmod o-w it", directory)
        _sweep(directory)
        with open(os.open(draft, files.WRITE, 0o600), "wb") as out:
            files.give(out.fileno(), files.owner_of(directory))
            packing = Packing(out.fileno())
            try:
                contents = _write(Writer(packing, made), tenants, stage, made, told)
                packing.close()
            finally:
                packing.kill()
            os.fsync(out.fileno())
            size = os.fstat(out.fileno()).st_size
        file = _put(draft, directory, kind, made, partial=not contents.complete)
    except OSError as error:
        raise NotWrittenError(directory, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return Made(file, size, contents)


def _write(
    writer: Writer,
    tenants: Iterable[str],
    stage: Callable[[str], Staged],
    made: float,
    told: Progress,
) -> Contents:
    parts: list[Part] = []
    missing: list[Missing] = []
    failure: TenantError | None = None
    for name in tenants:
        try:
            staged = stage(name)
            try:
                parts.append(_add(writer, name, staged, told))
            finally:
                staged.remove()
        except TenantError as error:
            failure = error
            missing.append(Missing(name, error.why))
    if failure is not None and not parts:
        raise failure
    contents = Contents(made, tuple(parts), tuple(missing))
    writer.end(contents)
    return contents


def _add(writer: Writer, name: str, staged: Staged, told: Progress) -> Part:
    writer.tenant(name)
    count = size = 0
    for source in staged.sources():
        content = _Told(source.content, told)
        try:
            path = f"{name}/{source.path}"
            writer.file(path, source.size, source.mtime, cast("IO[bytes]", content))
        except EOFError:
            if content.error is not None:
                raise TenantError.of(name, content.error, source.path) from content.error
            raise TenantError(name, f"{source.path} became shorter meanwhile") from None
        count += 1
        size += source.size
    return Part(name, count, size, staged.moment, tuple(staged.left))


class _Told:
    """Content that is read, and told of. It ends at an `error`."""

    def __init__(self, content: IO[bytes], told: Progress) -> None:
        self._content = content
        self._told = told
        self.error: OSError | None = None

    def read(self, count: int) -> bytes:
        try:
            piece = self._content.read(count)
        except OSError as error:
            self.error = error
            return b""
        self._told(len(piece))
        return piece


def _put(draft: Path, directory: Path, kind: str, made: float, *, partial: bool) -> Path:
    again = 1
    while True:
        file = directory / shelf.name_of(kind, made, partial=partial, again=again)
        try:
            os.link(draft, file)
        except FileExistsError:
            again += 1
            continue
        except OSError:
            if os.path.lexists(file):
                again += 1
                continue
            os.rename(draft, file)  # where there are no hard links
        files.sync(directory)
        return file


def _sweep(directory: Path) -> None:
    """Remove what was begun and never ended; one archive is made in a directory at a time."""
    for left in directory.glob(".*.making"):
        with contextlib.suppress(OSError):
            left.unlink()


def retain(directory: Path, keep: int) -> list[str]:
    """Remove the daily archives that are past `keep`; return which. Raises NotWrittenError."""
    try:
        gone = shelf.outlived(os.listdir(directory), keep)
        for name in gone:
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise NotWrittenError(directory, error) from error
    return gone
