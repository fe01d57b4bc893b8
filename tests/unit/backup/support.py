"""Directories of data, archives of them, and archives that nobody should have made."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sqsuper.backup.making import Made, make
from sqsuper.backup.staging import Stage

MADE = 1_767_323_045.0  # 2026-01-02 03:04:05 UTC


def data(directory: Path, **phexts: str) -> Path:
    """Make a data directory with these phexts."""
    directory.mkdir(mode=0o700, parents=True)
    for name, text in phexts.items():
        (directory / f"{name}.phext").write_text(text)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """Return all files below a directory by their paths."""
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


def archived(shelf: Path, *directories: Path, kind: str = "all") -> Made:
    """Make an archive of directories, each a tenant of its own name."""
    by_name = {directory.name: directory for directory in directories}
    return make(shelf, kind, by_name, lambda name: Stage(name, by_name[name]), made=MADE)


Change = Callable[[tarfile.TarInfo], Any]


def forged(
    file: Path,
    members: Iterable[tuple[str, bytes | Change]],
    *,
    summed: bool = True,
    told: dict[str, Any] | None = None,
    form: int = tarfile.PAX_FORMAT,
) -> Path:
    """Write an archive with any members, and right checksums and end.

    Of each: its name, and its bytes or what changes its header.
    """
    sums = []
    counts: dict[str, list[int]] = {}
    with tarfile.open(file, "w:gz", format=form) as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            text = b""
            if isinstance(content, bytes):
                text = content
                info.size = len(text)
            else:
                content(info)
                text = b"x" * info.size
            if info.isreg():
                sums.append(f"{hashlib.sha256(text).hexdigest()}  {name}\n")
                count = counts.setdefault(name.split("/")[0], [0, 0])
                count[0] += 1
                count[1] += len(text)
            elif info.isdir():
                counts.setdefault(name, [0, 0])
            out.addfile(info, io.BytesIO(text))
        tenants = [
            {"tenant_id": t, "files": f, "bytes": b, "one_moment": True, "left_out": []}
            for t, (f, b) in counts.items()
        ]
        end = told or {"format": 1, "made": MADE, "tenants": tenants, "missing": []}
        add = {"SHA256SUMS": "".join(sums).encode(), "SQSUPER-BACKUP": json.dumps(end).encode()}
        for name, text in add.items():
            if summed:
                info = tarfile.TarInfo(name)
                info.size = len(text)
                out.addfile(info, io.BytesIO(text))
    return file


def directory(info: tarfile.TarInfo) -> None:
    info.type = tarfile.DIRTYPE


def unzipped(file: Path) -> bytearray:
    return bytearray(gzip.decompress(file.read_bytes()))


def zipped(file: Path, content: bytes | bytearray) -> Path:
    file.write_bytes(gzip.compress(content, 1))
    return file
