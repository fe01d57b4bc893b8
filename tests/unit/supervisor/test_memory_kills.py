"""Whether the system killed a process for memory: each count explains one end, and not for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqsuper.supervisor.memory_kills import WINDOW, Kills, MemoryKills, read_count


def test_a_count_that_did_not_grow_explains_nothing() -> None:
    kills = Kills()
    assert not kills.explain()
    kills.note(0.0, 7)
    kills.note(5.0, 7)
    assert not kills.explain()


def test_each_count_explains_one_end() -> None:
    kills = Kills()
    kills.note(0.0, 7)
    kills.note(1.0, 9)
    assert [kills.explain() for _ in range(3)] == [True, True, False]
    kills.note(1.5, 10)
    assert [kills.explain() for _ in range(2)] == [True, False]


def test_kills_of_others_long_ago_explain_nothing() -> None:
    kills = Kills()
    kills.note(0.0, 0)
    kills.note(5.0, 3)
    for tick in range(1, 4):
        kills.note(5.0 + tick * WINDOW / 2, 3)
    assert not kills.explain()


def test_one_seen_shortly_before_its_end_is_noticed_still_explains_it() -> None:
    kills = Kills()
    kills.note(0.0, 0)
    kills.note(5.0, 0)
    kills.note(10.0, 1)
    kills.note(11.0, 1)
    assert kills.explain()


def test_an_end_is_looked_up_at_once() -> None:
    counts = iter([4, 5])
    kills = MemoryKills(lambda: next(counts))
    kills.look(0.0)
    assert kills.explain(1.0)


def test_where_nothing_is_told_nothing_is_explained() -> None:
    kills = MemoryKills(lambda: None)
    kills.look(0.0)
    assert not kills.explain(1.0)


@pytest.mark.parametrize(
    ("own", "group", "system", "count"),
    [
        ("0::/service", "low 0\noom 3\noom_kill 2\noom_group_kill 9\n", "oom_kill 50\n", 2),
        ("0::/service", "low 0\n", "pgfault 1\noom_kill 50\n", 50),
        ("0::/other", "oom_kill 2\n", "oom_kill 50\n", 50),
        (None, None, "oom_kill 50\n", 50),
        ("0::/service", None, "oom_kill_not 3\n", None),
        (None, None, None, None),
    ],
)
def test_it_is_read_from_our_cgroup_or_else_the_system(
    tmp_path: Path, own: str | None, group: str | None, system: str | None, count: int | None
) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroups / "service").mkdir(parents=True)
    if own is not None:
        (proc / "self" / "cgroup").write_text(f"4:memory:/x\n{own}\n")
    if group is not None:
        (cgroups / "service" / "memory.events").write_text(group)
    if system is not None:
        (proc / "vmstat").write_text(system)
    assert read_count(proc, cgroups) == count
