from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqsuper.gateway import spool as module
from sqsuper.gateway.spool import Spool, SpoolError, SpoolRoom
from sqsuper.testing import FakeWire


def content(spool: Spool) -> bytes:
    wire = FakeWire()
    pieces = spool.pieces()
    while pieces.send(wire) is not None:
        pass
    return bytes(wire.sent)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_body_comes_back(tmp_path: Path, size: int) -> None:
    room = SpoolRoom(tmp_path)
    spool = Spool(room)
    data = bytes(range(256)) * (size // 256 + 1)
    for start in range(0, size, 65_536):
        spool.write(data[start : min(start + 65_536, size)])
    assert spool.length == size
    assert content(spool) == content(spool) == data[:size]
    assert list(tmp_path.iterdir()) == []  # no file has a name
    assert room.used == size
    spool.close()
    spool.close()
    assert room.used == 0


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 200))
def test_the_room_is_never_overdrawn(sizes: list[int], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MEMORY_LIMIT", 30)
        room = SpoolRoom(Path("/tmp"), limit)
        spools = []
        for size in sizes:
            spool = Spool(room)
            spools.append(spool)
            try:
                spool.write(b"a" * size)
                spool.write(b"b" * size)
            except SpoolError:
                continue
            finally:
                assert 0 <= room.used <= limit
            assert content(spool) == b"a" * size + b"b" * size
        for spool in spools:
            spool.close()
        assert room.used == 0


def test_no_directory_is_a_spool_error(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path / "gone")
    spool = Spool(room)
    with pytest.raises(SpoolError):
        spool.write(b"x" * ((1 << 20) + 1))
    spool.close()
    assert room.used == 0
