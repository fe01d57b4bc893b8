"""Memory that is left: what is read, whom it stops, whom it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.supervisor.hostmemory import (
    ENOUGH,
    MOST_AT_ONCE,
    Admission,
    Memory,
    MemoryReader,
    Relief,
)

MEMINFO = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\n"
V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


def machine(root: Path, cgroup: str = "", mounts: str = "") -> Path:
    """Make what the reader reads below `root`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(mounts)
    return root


def group(directory: Path, **files: str) -> None:
    """Make a control group's files; `_` in a name stands for a dot."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("memory_", "memory.", 1)).write_text(text)


def share(root: Path) -> float:
    memory = MemoryReader(root).read()
    assert memory is not None
    return memory.share


def test_of_the_machine(tmp_path: Path) -> None:
    memory = MemoryReader(machine(tmp_path)).read()
    assert memory == Memory(400 * 1024, 1000 * 1024)
    assert str(memory) == "40.0% of the memory of the machine is available"


def test_nothing_is_known_without_a_proc(tmp_path: Path) -> None:
    assert MemoryReader(tmp_path).read() is None


@pytest.mark.parametrize("text", ["", "MemTotal: 10 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n"])
def test_nothing_is_known_from_an_odd_one(tmp_path: Path, text: str) -> None:
    machine(tmp_path)
    (tmp_path / "proc/meminfo").write_text(text)
    assert MemoryReader(tmp_path).read() is None


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/a/b\n", V2)
    base = root / "sys/fs/cgroup"
    group(base / "a/b", memory_max="max\n", memory_current="700000\n")
    group(
        base / "a",
        memory_max="1000000\n",
        memory_current="950000\n",
        memory_stat="anon 1\ninactive_file 50000\nactive_file 7\n",
    )
    memory = MemoryReader(root).read()
    assert memory == Memory(100_000, 1_000_000, f"control group {base / 'a'}")


def test_a_group_with_room_does_not_hide_the_machine(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/a\n", V2)
    group(root / "sys/fs/cgroup/a", memory_max="1000\n", memory_current="10\n")
    assert share(root) == 0.4


def test_the_older_kind(tmp_path: Path) -> None:
    root = machine(tmp_path, "9:name=systemd:/\n4:cpu,memory:/x\n0::/\n", V1)
    group(
        root / "sys/fs/cgroup/memory/x",
        memory_limit_in_bytes="1000\n",
        memory_usage_in_bytes="900\n",
        memory_stat="inactive_file 1\ntotal_inactive_file 100\n",
    )
    group(
        root / "sys/fs/cgroup/memory",
        memory_limit_in_bytes="9223372036854771712\n",
        memory_usage_in_bytes="9223372036854770000\n",
    )
    assert share(root) == 0.2


def test_a_group_that_is_the_mounts_root(tmp_path: Path) -> None:
    # As in a container that sees its own group as the root.
    root = machine(
        tmp_path, "0::/docker/x\n", V2.replace(" / /sys/fs/cgroup ", " /docker/x /sys/fs/cgroup ")
    )
    group(root / "sys/fs/cgroup", memory_max="1000\n", memory_current="900\n")
    assert share(root) == 0.1


def test_a_group_that_goes_away_is_left_out(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/a\n", V2)
    place = root / "sys/fs/cgroup/a"
    group(place, memory_max="1000\n", memory_current="900\n")
    reader = MemoryReader(root)
    (place / "memory.current").unlink()
    memory = reader.read()
    assert memory is not None
    assert memory.share == 0.4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is a /proc")
def test_the_real_one() -> None:
    memory = MemoryReader().read()
    assert memory is not None
    assert 0 < memory.share <= 1


def test_nobody_goes_above_the_threshold() -> None:
    relief = Relief(0.15)
    assert relief.measured(0.15, 100) == 0
    assert not relief.needed


def test_it_goes_on_until_there_is_half_as_much_again() -> None:
    relief = Relief(16 / 64)
    free, stopped = 15, 0
    while count := relief.measured(free / 64, 100 - stopped):
        stopped += count
        free += count
    assert (stopped, free) == (9, 24)
    assert not relief.needed
    assert relief.measured(20 / 64, 10) == 0


@given(
    threshold=st.floats(0.01, 0.6),
    start=st.floats(0, 1),
    each=st.floats(0.0005, 0.2),
    candidates=st.integers(0, 300),
)
def test_it_ends_without_stopping_too_many(
    threshold: float, start: float, each: float, candidates: int
) -> None:
    relief = Relief(threshold)
    begun = start < threshold
    free, stopped = start, 0
    while count := relief.measured(free, candidates - stopped):
        assert 1 <= count <= MOST_AT_ONCE
        stopped += count
        assert stopped <= candidates
        free += each * count
    if not begun:
        assert stopped == 0
    else:
        assert free >= ENOUGH * threshold or stopped == candidates
        # Each but the last was needed.
        assert stopped == 0 or free - each < ENOUGH * threshold + 1e-9


def test_more_go_at_once_when_others_take_what_was_gained() -> None:
    relief = Relief(0.2)
    assert [relief.measured(0.1, 500) for _ in range(7)] == [1, 2, 4, 8, 16, 16, 16]


def test_nobody_left_ends_it() -> None:
    relief = Relief(0.2)
    assert relief.measured(0.1, 1) == 1
    assert relief.needed
    assert relief.measured(0.1, 0) == 0
    assert not relief.needed


def test_starts_are_refused_below_the_threshold_and_it_is_looked_at_now_and_then() -> None:
    now, reads = 0.0, 0
    memory: Memory | None = Memory(4, 100)

    def read() -> Memory | None:
        nonlocal reads
        reads += 1
        return memory

    admission = Admission(0.05, read, lambda: now, fresh=1.0)
    assert admission.refused() == memory
    assert admission.refused() == memory
    assert reads == 1
    now, memory = 1.0, Memory(5, 100)
    assert admission.refused() is None
    now, memory = 2.0, None
    assert admission.refused() is None
    assert reads == 3
