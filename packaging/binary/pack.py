"""Write a directory's files as the launcher takes them: python pack.py HOME WORK LEVEL.

Makes WORK/manifest and WORK/contents (see launcher/src/archive.rs). The same files give the
same bytes.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

# About how many bytes are packed together: enough of them to compress well, and few enough that
# several threads have much the same to do.
GROUP = 8 << 20


def grouped(home: Path) -> Iterator[list[Path]]:
    """Yield the files of a directory in groups of about `GROUP` bytes."""
    # Like stands by like, which compresses better.
    files = sorted(
        (file for file in home.rglob("*") if file.is_file()),
        key=lambda file: (file.suffix, file.relative_to(home).as_posix()),
    )
    group: list[Path] = []
    for file in files:
        if group and _size(group) + file.stat().st_size > GROUP:
            yield group
            group = []
        group.append(file)
    yield group


def main(home: Path, work: Path, level: int) -> None:
    # Those with most to do first, so that no thread ends long after the others.
    groups = sorted(grouped(home), key=_size, reverse=True)
    lines: list[str] = []
    with (work / "contents").open("wb") as out:
        for group in groups:
            packed = _packed(b"".join(file.read_bytes() for file in group), level)
            out.write(packed)
            lines.append(f"group {len(packed)} {_size(group)}\n")
            for file in group:
                found = file.stat()
                mode = 0o500 if found.st_mode & stat.S_IXUSR else 0o400
                lines.append(f"{mode:o} {found.st_size} {file.relative_to(home).as_posix()}\n")
    (work / "manifest").write_bytes(_packed("".join(lines).encode(), level))
    size = sum(_size(group) for group in groups)
    made = (work / "contents").stat().st_size
    print(f"{len(lines) - len(groups)} files, {size / 1e6:.1f} MB, packed {made / 1e6:.1f} MB")


def _packed(text: bytes, level: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(text), write_checksum=True, write_content_size=True
    )
    packed: bytes = zstandard.ZstdCompressor(compression_params=parameters).compress(text)
    return packed


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
