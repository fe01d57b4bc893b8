"""Write a directory's files as the launcher takes them: python pack.py HOME WORK LEVEL.

Makes WORK/manifest and WORK/contents (see launcher/src/archive.rs). The same files give the
same bytes.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import zstandard

# What a decoder must keep at hand, as a power of two: 8 MiB.
WINDOW = 23


def main(home: Path, work: Path, level: int) -> None:
    # Like stands by like, which compresses better.
    files = sorted(
        (file for file in home.rglob("*") if file.is_file()),
        key=lambda file: (file.suffix, file.relative_to(home).as_posix()),
    )
    size = sum(file.stat().st_size for file in files)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=WINDOW, write_checksum=True, enable_ldm=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    lines = []
    with (
        (work / "contents").open("wb") as out,
        compressor.stream_writer(out, size=size, closefd=False) as packed,
    ):
        for file in files:
            text = file.read_bytes()
            mode = 0o500 if file.stat().st_mode & stat.S_IXUSR else 0o400
            lines.append(f"{mode:o} {len(text)} {file.relative_to(home).as_posix()}\n")
            packed.write(text)
    (work / "manifest").write_text("".join(lines), "utf-8", newline="\n")
    made = (work / "contents").stat().st_size
    print(f"{len(files)} files, {size / 1e6:.1f} MB, packed {made / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
