"""Compression beside us: what goes in comes out, and failures are told."""

from __future__ import annotations

import errno
import gzip
import os
import random
from pathlib import Path

import pytest

from sqsuper.backup.packing import Packing


def test_gzip(tmp_path: Path) -> None:
    text = random.Random(1).randbytes(300_000) + b"x" * 700_000
    with open(tmp_path / "a.gz", "wb") as out:
        packing = Packing(out.fileno())
        for at in range(0, len(text), 77_777):
            packing.write(text[at : at + 77_777])
        packing.close()
        packing.kill()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk() -> None:
    with open("/dev/full", "wb", buffering=0) as out:
        packing = Packing(out.fileno())
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            fill(packing)
        packing.kill()


def fill(packing: Packing) -> None:
    for _ in range(100):
        packing.write(random.Random(1).randbytes(100_000))
    packing.close()


def test_given_up(tmp_path: Path) -> None:
    with open(tmp_path / "a.gz", "wb") as out:
        packing = Packing(out.fileno())
        packing.write(b"text")
        packing.kill()
        packing.kill()
