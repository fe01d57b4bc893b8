"""An archive read: verified, or its tenants put back, under these names or others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import attrs

from sqsuper.backup import files
from sqsuper.backup.archive import Contents, Member, Reader
from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import ArchiveError, NoArchiveError, NotInBackupError
from sqsuper.backup.making import Progress

NewDraft = Callable[[str], "Draft | None"]


@attrs.frozen
class Restored:
    """What became of a tenant: `came_from` which one of the backup, to `directory`.

    `aside`: where the data is that was there before; None without any.
    """

    tenant: str
    came_from: str
    directory: Path
    files: int
    bytes: int
    aside: Path | None = None

    def as_json(self, *, known: bool) -> dict[str, Any]:
        """Return it as the admin API does; `known`: whether there is such a tenant."""
        return {
            "tenant_id": self.tenant,
            "from": self.came_from,
            "data_dir": str(self.directory),
            "files": self.files,
            "bytes": self.bytes,
            "aside": None if self.aside is None else str(self.aside),
            "known": known,
        }


def verify(archive: Path, told: Progress = lambda _: None) -> Contents:
    """Read a whole archive, check every checksum, and return what it holds.

    `told` is called with steps of the archive's own bytes. Raises ArchiveError.
    """
    return _read(archive, lambda _: None, told)


def unpack(
    archive: Path,
    new_draft: NewDraft,
    tenant: str | None = None,
    told: Progress = lambda _: None,
) -> tuple[Contents, Mapping[str, Draft]]:
    """Verify an archive, and fill a draft for each of its tenants; return them by its names.

    `new_draft`: called with a name in the archive, returns where it goes; None: nowhere.
    `tenant`: that one must be there. Raises ArchiveError, NotInBackupError, OverQuotaError,
    NotWrittenError, UnsupportedError; nothing is left then.
    """
    files.check_possible()
    drafts: dict[str, Draft] = {}
    begun: Draft | None = None

    def take(member: Member) -> Callable[[bytes], object] | None:
        nonlocal begun
        if member.parts:
            return None if begun is None else begun.take(member)
        if begun is not None:
            begun.finish()
        begun = new_draft(member.tenant)
        if begun is not None:
            drafts[member.tenant] = begun
        return None

    try:
        contents = _read(archive, take, told)
        if begun is not None:
            begun.finish()
        _check(archive, contents, drafts, tenant)
    except BaseException:
        for draft in drafts.values():
            draft.discard()
        raise
    return contents, drafts


def _check(
    archive: Path, contents: Contents, drafts: Mapping[str, Draft], tenant: str | None
) -> None:
    for one in contents.missing:
        if one.tenant in drafts or one.tenant == tenant:
            raise ArchiveError(archive, f"{one.tenant} is missing in it: {one.why}")
    if tenant is not None and tenant not in drafts:
        there = tuple(part.tenant for part in contents.parts)
        raise NotInBackupError(archive, tenant, there)


def _read(
    archive: Path, take: Callable[[Member], Callable[[bytes], object] | None], told: Progress
) -> Contents:
    try:
        with open(os.open(archive, files.THROUGH_LINKS), "rb") as source:
            if not files.is_regular(source.fileno()):
                raise ArchiveError(archive, "it is no file")
            return Reader(archive, cast("IO[bytes]", _Told(source, told))).read(take)
    except FileNotFoundError:
        raise NoArchiveError(archive) from None
    except OSError as error:
        raise ArchiveError(archive, error.strerror or str(error)) from error


class _Told:
    """An archive that is read, and told of."""

    def __init__(self, source: IO[bytes], told: Progress) -> None:
        self._source = source
        self._told = told

    def read(self, count: int = -1) -> bytes:
        piece = self._source.read(count)
        self._told(len(piece))
        return piece


def place(
    drafts: Sequence[tuple[str, Draft]], put_aside: Callable[[Draft], Path | None] | None
) -> list[Restored]:
    """Put drafts, each with its tenant's name in the archive, where they belong.

    Raises what `Draft.place` does; those before it are in place then.
    """
    done = []
    for came_from, draft in drafts:
        moved = draft.place(None if put_aside is None else partial(put_aside, draft))
        done.append(
            Restored(draft.tenant, came_from, draft.target, draft.files, draft.bytes, moved)
        )
    return done
