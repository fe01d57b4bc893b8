"""Build wheel, sdist and Debian package twice, and say whether both times gave the same bytes.

`reproducible.py [dist] [deb]`: both without arguments. The two builds differ in directory, time
zone and umask.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import deb
import dist

WAYS = (("UTC", 0o022), ("Pacific/Auckland", 0o077))


def build(kind: str, into: Path, zone: str, umask: int) -> list[Path]:
    before = os.umask(umask)
    try:
        if kind == "deb":
            return [deb.build(into, umask=umask, zone=zone)]
        return dist.build(into, zone=zone)
    finally:
        os.umask(before)


def main(kinds: list[str]) -> int:
    differing = 0
    with tempfile.TemporaryDirectory(prefix="sqsuper-twice-") as scratch:
        for kind in kinds:
            digests: list[dict[str, str]] = []
            for number, (zone, umask) in enumerate(WAYS):
                made = build(kind, Path(scratch) / str(number), zone, umask)
                digests.append(
                    {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in made}
                )
            first, second = digests
            for name in sorted({*first, *second}):
                same = first.get(name) == second.get(name)
                differing += not same
                told = "identical" if same else f"DIFFERS from {second.get(name)}"
                sys.stdout.write(f"{first.get(name)}  {name}  {told}\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["dist", "deb"]))
