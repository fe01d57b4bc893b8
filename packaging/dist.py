"""Build the wheel and the sdist from a clean copy of the sources: `dist.py [DIRECTORY]` (dist).

The same sources give the same bytes, as long as packaging/build.txt and the Python stay.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sources import ROOT, changelog_entry, clean_copy

BUILD = """\
import sys
from setuptools import build_meta
into = sys.argv[1]
build_meta.build_wheel(into)
build_meta.build_sdist(into)
"""


def build(into: Path, *, zone: str = "UTC") -> list[Path]:
    """Build both into the directory `into` and return their paths there.

    `zone` (TZ) must make no difference. Raises subprocess.CalledProcessError.
    """
    version, epoch = changelog_entry()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "SOURCE_DATE_EPOCH": str(epoch),
        "TZ": zone,
        "LC_ALL": "C.UTF-8",
    }
    with tempfile.TemporaryDirectory(prefix="sqsuper-dist-") as scratch:
        copy = clean_copy(Path(scratch) / f"sqsuper-{version}")
        made = Path(scratch) / "made"
        made.mkdir()
        subprocess.run(
            [sys.executable, "-I", "-c", BUILD, str(made)],
            cwd=copy,
            env=environment,
            umask=0o022,  # a wheel holds its files' modes
            stdout=subprocess.DEVNULL,
            check=True,
        )
        into.mkdir(parents=True, exist_ok=True)
        return [_settled(file, into, epoch) for file in sorted(made.iterdir())]


def _settled(file: Path, into: Path, epoch: int) -> Path:
    """Copy a built file; an sdist, in which setuptools leaves times and owners, without them."""
    target = into / file.name
    content = file.read_bytes()
    if file.name.endswith(".tar.gz"):
        content = _repacked(content, epoch)
    target.write_bytes(content)
    return target


def _repacked(content: bytes, epoch: int) -> bytes:
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            kept = tarfile.TarInfo(member.name)
            kept.type, kept.size, kept.mtime = member.type, member.size, epoch
            kept.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(kept, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


if __name__ == "__main__":
    for file in build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"):
        sys.stdout.write(f"{file}\n")
