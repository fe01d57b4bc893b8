"""Records of process groups, and what they may lead to."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import attrs
import pytest

from sqsuper.supervisor import groups
from sqsuper.supervisor.groups import Group
from sqsuper.supervisor.records import Records, socket_name

MARKER = "a" * 32


@pytest.fixture
def group() -> Group:
    return Group("alice", 4711, "1", groups.boot_id(), "2", MARKER)


def test_a_record_comes_back(tmp_path: Path, group: Group) -> None:
    records = Records(tmp_path)
    other = attrs.evolve(group, marker="b" * 32, tenant="bob")
    records.write(group)
    records.write(other)
    assert records.read() == [group, other]
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in tmp_path.iterdir())
    changed = attrs.evolve(group, alive_at="3")
    records.write(changed)
    assert records.read() == [changed, other]
    records.remove(changed)
    records.remove(changed)
    assert records.read() == [other]


def test_a_record_of_another_boot_names_nothing(tmp_path: Path, group: Group) -> None:
    records = Records(tmp_path)
    records.write(attrs.evolve(group, boot="another"))
    assert records.read() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 0},
        {"pid": 1},
        {"pid": -4},
        {"pid": True},
        {"pid": "4711"},
        {"pid": None},
        {"marker": "c" * 32},
        {"tenant": 3},
        {"start": None},
    ],
    ids=str,
)
def test_a_record_with_wrong_facts_is_dropped(
    tmp_path: Path, group: Group, change: dict[str, object]
) -> None:
    path = tmp_path / f"{MARKER}.group"
    path.write_text(json.dumps({**attrs.asdict(group), **change}))
    assert Records(tmp_path).read() == []
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '"x"', "\x00" * 50])
def test_a_broken_record_is_dropped(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"{MARKER}.group"
    path.write_text(text)
    assert Records(tmp_path).read() == []
    assert not path.exists()


def test_files_of_others_are_left(tmp_path: Path, group: Group) -> None:
    half = tmp_path / f".{MARKER}.group"
    half.write_text("{")
    others = [tmp_path / name for name in ("notes.group", "supervisor.lock", "0-1.sock")]
    for other in others:
        other.touch()
    records = Records(tmp_path)
    assert records.read() == []
    assert records.remove_sockets() == 0
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_stale_sockets_are_removed(tmp_path: Path) -> None:
    for name in (socket_name(0, 1), socket_name(12, 345), "admin.sock"):
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(tmp_path / name))
    assert Records(tmp_path).remove_sockets() == 2
    assert [p.name for p in tmp_path.iterdir()] == ["admin.sock"]


def test_socket_names_are_short() -> None:
    assert len(socket_name(99_999, 10**12)) <= 24
