"""The archive: a tar of regular files in gzip, with their SHA-256, written and read as a stream.

In order: for each tenant a directory `NAME`, then its files `NAME/...`; `SHA256SUMS`, a line for
each file as `sha256sum -c` reads it; `SQSUPER-BACKUP`, JSON that says what is there. A file
without that end is no backup: it was cut. No name before these two is in capitals.

What is read is strict: regular files and directories alone, in that order, each name once, with
no extension of tar but long names and sizes (pax). Memory grows with the number of files alone.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import attrs

from sqsuper.backup.errors import ArchiveError, ForbiddenMemberError
from sqsuper.backup.names import take_apart

FORMAT = 1
SUMS = "SHA256SUMS"
END = "SQSUPER-BACKUP"
PIECE = 256 * 1024
_BLOCK = tarfile.BLOCKSIZE
_MAX_EXTENSION = 64 * 1024
_MAX_END = 64 * 1024 * 1024
_MAX_FILES = 10_000_000
_MAX_MTIME = 8**11 - 1  # what a header without extensions holds: the year 2242
_NUL = b"\0"


@attrs.frozen
class Part:
    """One tenant's part of an archive. `left`: names that are in its directory and not here.

    `moment`: whether all its files are of one moment; else each file is of one.
    """

    tenant: str
    files: int
    bytes: int
    moment: bool = True
    left: tuple[str, ...] = ()


@attrs.frozen
class Missing:
    """A tenant that was to be in the archive, and why it is not."""

    tenant: str
    why: str


@attrs.frozen
class Contents:
    """What an archive says of itself at its end. `made`: seconds since the epoch."""

    made: float
    parts: tuple[Part, ...] = ()
    missing: tuple[Missing, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "made": self.made,
            "tenants": [
                {
                    "tenant_id": part.tenant,
                    "files": part.files,
                    "bytes": part.bytes,
                    "one_moment": part.moment,
                    "left_out": list(part.left),
                }
                for part in self.parts
            ],
            "missing": [{"tenant_id": one.tenant, "reason": one.why} for one in self.missing],
        }


class Out(Protocol):
    """What takes an archive's bytes, and compresses them."""

    def write(self, data: bytes, /) -> object: ...


class Writer:
    """Writes an archive to `out`. Every method raises OSError."""

    def __init__(self, out: Out, made: float) -> None:
        self._made = made
        self._out = out
        self._sums: list[tuple[str, str]] = []

    def tenant(self, name: str) -> None:
        """Begin a tenant's part."""
        info = tarfile.TarInfo(name)
        info.type = tarfile.DIRTYPE
        self._head(info, 0o700, self._made)

    def file(self, path: str, size: int, mtime: float, source: IO[bytes]) -> None:
        """Add `size` bytes of `source` as `path`, which begins with the tenant's name.

        Raises EOFError if there are fewer; zeros stand for those, and more can be added.
        """
        info = tarfile.TarInfo(path)
        info.size = size
        self._head(info, 0o600, mtime)
        digest = hashlib.sha256()
        left, short = size, False
        while left:
            piece = b"" if short else source.read(min(PIECE, left))
            if not piece:
                piece, short = bytes(min(PIECE, left)), True
            digest.update(piece)
            self._out.write(piece)
            left -= len(piece)
        self._fill(size)
        self._sums.append((digest.hexdigest(), path))
        if short:
            raise EOFError(path)

    def end(self, contents: Contents) -> None:
        """Write the end: the archive is whole then."""
        self._text(SUMS, b"".join(b"%b  %b\n" % (s.encode(), p.encode()) for s, p in self._sums))
        self._text(END, json.dumps(contents.as_json(), indent=1).encode() + b"\n")
        self._out.write(_NUL * 2 * _BLOCK)

    def _text(self, name: str, text: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        self._head(info, 0o600, self._made)
        self._out.write(text)
        self._fill(len(text))

    def _head(self, info: tarfile.TarInfo, mode: int, mtime: float) -> None:
        info.mode = mode
        info.mtime = int(mtime)
        self._out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))

    def _fill(self, size: int) -> None:
        self._out.write(_NUL * (-size % _BLOCK))


@attrs.frozen
class Member:
    """A tenant (no `parts`), or a file of it. `size` in bytes, `mtime` in seconds."""

    tenant: str
    parts: tuple[str, ...]
    size: int
    mtime: float


Take = Callable[[Member], "Callable[[bytes], object] | None"]


class Reader:
    """Reads the archive `source`, whose name is `archive`, once."""

    def __init__(self, archive: Path, source: IO[bytes]) -> None:
        self._archive = archive
        self._zipped = gzip.GzipFile(fileobj=source, mode="rb")
        self._sums: list[tuple[str, str]] = []
        self._seen: set[str] = set()
        self._parts: dict[str, Part] = {}

    def read(self, take: Take) -> Contents:
        """Read and verify all of it, and return what it holds.

        `take` is called with each member; what it returns, with the pieces of that file. What
        was taken is right only once this has returned. Raises ArchiveError; what `take` raises.
        """
        try:
            return self._read(take)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(f"damaged, or cut: {error}") from None
        except tarfile.HeaderError as error:
            raise self._damaged(f"no backup of sqsuper, or damaged: {error}") from None

    def _read(self, take: Take) -> Contents:
        for path, info in self._heads():
            if path == SUMS:
                break
            self._check_kind(path, info)
            member = self._member(path, info)
            self._count(path, member, info.isdir())
            taken = take(member)
            if not info.isdir():
                digest = hashlib.sha256()
                for piece in self._content(info.size):
                    digest.update(piece)
                    if taken is not None:
                        taken(piece)
                self._sums.append((digest.hexdigest(), path))
        else:
            raise self._damaged("no backup of sqsuper: it has no checksums")
        self._check_sums(info.size)
        contents = self._end()
        while self._zipped.read(PIECE):
            pass  # to the checksum of the compressed stream
        return contents

    def _heads(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        extension: dict[str, str] = {}
        while (block := self._exactly(_BLOCK)).strip(_NUL):
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if info.type == tarfile.XHDTYPE:
                extension = self._extension(info)
                continue
            path = extension.get("path", info.name)
            info.size = int(extension.get("size", info.size))
            extension = {}
            if info.size < 0:
                raise ForbiddenMemberError(self._archive, path, "has no size")
            if not 0 <= info.mtime <= _MAX_MTIME:
                raise ForbiddenMemberError(self._archive, path, "is of no time")
            yield path.rstrip("/") if info.isdir() else path, info

    def _extension(self, info: tarfile.TarInfo) -> dict[str, str]:
        if info.size > _MAX_EXTENSION:
            raise ForbiddenMemberError(self._archive, info.name, "is longer than any of a backup")
        text = b"".join(self._content(info.size))
        found = {}
        while text:
            length = text.partition(b" ")[0]
            if not (length.isdigit() and len(length) < 10 and 0 < int(length) <= len(text)):
                raise self._damaged("damaged: a name's length is wrong")
            record, text = text[len(length) + 1 : int(length) - 1], text[int(length) :]
            key, _, value = record.decode("utf-8", "surrogateescape").partition("=")
            if key not in {"path", "size", "mtime"} or (key == "size" and not _is_number(value)):
                raise ForbiddenMemberError(self._archive, key, "is in no backup")
            found[key] = value
        return found

    def _check_kind(self, path: str, info: tarfile.TarInfo) -> None:
        if info.type not in {tarfile.REGTYPE, tarfile.DIRTYPE} or info.linkname:
            kind = "link" if info.issym() or info.islnk() or info.linkname else "special file"
            raise ForbiddenMemberError(self._archive, path, f"is a {kind}")

    def _member(self, path: str, info: tarfile.TarInfo) -> Member:
        try:
            tenant, parts = take_apart(path)
        except ValueError as error:
            raise ForbiddenMemberError(self._archive, path, str(error)) from None
        return Member(tenant, parts, info.size, info.mtime)

    def _count(self, path: str, member: Member, is_directory: bool) -> None:
        if path in self._seen or len(self._seen) > _MAX_FILES:
            raise ForbiddenMemberError(self._archive, path, "comes twice, or one too many")
        self._seen.add(path)
        if is_directory == bool(member.parts) or (is_directory and member.size):
            raise ForbiddenMemberError(self._archive, path, "is not where it belongs")
        if is_directory:
            self._parts[member.tenant] = Part(member.tenant, 0, 0)
            return
        if next(reversed(self._parts), None) != member.tenant:
            raise ForbiddenMemberError(self._archive, path, "is not behind its tenant")
        part = self._parts[member.tenant]
        self._parts[member.tenant] = Part(part.tenant, part.files + 1, part.bytes + member.size)

    def _check_sums(self, size: int) -> None:
        told = self._lines(size)
        for digest, path in self._sums:
            if next(told, None) != b"%b  %b" % (digest.encode(), path.encode()):
                raise self._damaged(f"damaged: {path} is not what its checksum is of")
        if next(told, None) is not None:
            raise self._damaged("damaged: files are missing")

    def _lines(self, size: int) -> Iterator[bytes]:
        rest = b""
        for piece in self._content(size):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _MAX_EXTENSION:
                break
            yield from lines
        if rest:
            yield rest

    def _end(self) -> Contents:
        path, info = next(self._heads(), ("", tarfile.TarInfo()))
        if path != END or info.size > _MAX_END:
            raise self._damaged("cut: it has no end")
        text = b"".join(self._content(info.size))
        if next(self._heads(), None) is not None:
            raise self._damaged("no backup of sqsuper: it goes on behind its end")
        try:
            return self._told(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            raise self._damaged("damaged: its end says nothing") from None

    def _told(self, told: dict[str, Any]) -> Contents:
        if told["format"] != FORMAT:
            raise self._damaged(f"of format {told['format']!r}, which a newer sqsuper reads")
        parts = []
        for one in told["tenants"]:
            part = self._parts.pop(one["tenant_id"])
            if (part.files, part.bytes) != (one["files"], one["bytes"]):
                raise ValueError
            left = tuple(map(str, one["left_out"]))
            parts.append(attrs.evolve(part, moment=bool(one["one_moment"]), left=left))
        missing = tuple(Missing(str(m["tenant_id"]), str(m["reason"])) for m in told["missing"])
        # What was begun of those that failed is here, and not whole.
        if not {one.tenant for one in missing}.issuperset(self._parts):
            raise ValueError
        made = float(told["made"])
        if not math.isfinite(made):
            raise ValueError
        return Contents(made, tuple(parts), missing)

    def _content(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._zipped.read(min(PIECE, left))
            if not piece:
                raise EOFError("it ends too early")
            left -= len(piece)
            yield piece
        self._exactly(-size % _BLOCK)

    def _exactly(self, count: int) -> bytes:
        data = self._zipped.read(count)
        if len(data) != count:
            raise EOFError("it ends too early")
        return data

    def _damaged(self, why: str) -> ArchiveError:
        return ArchiveError(self._archive, why)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
