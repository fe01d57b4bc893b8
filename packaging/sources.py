"""A clean copy of the sources: what a checkout has that is not ignored, in modes of their own.

Two copies of one state are alike whatever the umask and whatever was built beside the sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In a released archive, which knows no git, these may have been made beside the sources.
MADE = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", "dropin.cache", ".*_cache")


def sources(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files of a checkout or a released archive, relative to it, in order."""
    if (root / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        names = sorted({Path(os.fsdecode(name)) for name in listed.split(b"\0") if name})
    else:
        names = []
        for directory, below, files in os.walk(root):
            here = Path(directory)
            below[:] = [name for name in below if not _made(name)]
            names += [(here / name).relative_to(root) for name in files if not _made(name)]
        names.sort()
    for name in names:
        if (root / name).is_file():  # not what is deleted and still listed
            yield name


def _made(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in MADE)


def clean_copy(into: Path, root: Path = ROOT) -> Path:
    """Copy the sources into the new directory `into`, files 0644 or 0755, and return it."""
    into.mkdir(parents=True)
    for name in sources(root):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)
        target.chmod(0o755 if os.access(root / name, os.X_OK) else 0o644)
    for directory, _, _ in os.walk(into):
        os.chmod(directory, 0o755)
    return into


def changelog_entry(root: Path = ROOT) -> tuple[str, int]:
    """Return the version of debian/changelog's first entry, and its time in seconds."""
    lines = (root / "debian" / "changelog").read_text(encoding="utf-8").splitlines()
    version = lines[0].partition("(")[2].partition(")")[0]
    signed = next(line for line in lines if line.startswith(" -- "))
    return version, int(parsedate_to_datetime(signed.rpartition(">  ")[2]).timestamp())
