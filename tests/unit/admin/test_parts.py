"""Ports, files and lines."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from sqsuper.admin import files
from sqsuper.admin.errors import ConflictError
from sqsuper.admin.lines import LINE, MAX_CHARACTERS, Following
from sqsuper.admin.ports import check_port, next_port
from sqsuper.supervisor.tenant_logs import Line
from tests.unit.admin.support import configured, tenant

PORTS = """\
gateway: {listen: ["tcp:7001"]}
admin: {listen: ["tcp:7003", "unix:/tmp/x"]}
port_range: 7001-7005
tenants: {a: {port: 7002}, b: {}}
"""


class TestPorts:
    def test_the_next_one(self, tmp_path: Path) -> None:
        config = configured(tmp_path, PORTS)
        assert next_port(config, lambda _: True) == 7004
        assert next_port(config, lambda port: port > 7004) == 7005
        with pytest.raises(ConflictError, match="7001-7005"):
            next_port(config, lambda _: False)

    def test_somebody_elses(self, tmp_path: Path) -> None:
        config = configured(tmp_path, PORTS)
        b = tenant(config, "b")
        for port, owner in ((7001, "gateway.listen"), (7003, "admin.listen"), (7002, "a")):
            with pytest.raises(ConflictError, match=f"already {owner}'s"):
                check_port(config, attrs.evolve(b, port=port))
        check_port(config, b)
        check_port(config, attrs.evolve(b, port=7004))
        check_port(config, tenant(config, "a"))


class TestFiles:
    def test_a_file_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "d" / "f"
        files.replace(file, "one")
        other = os.open(file, os.O_RDONLY)
        files.replace(file, "two")
        assert (file.read_text(), os.read(other, 9)) == ("two", b"one")
        os.close(other)
        assert os.listdir(file.parent) == ["f"]

    def test_one_that_cannot_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "f").mkdir()
        with pytest.raises(OSError, match="directory"):
            files.replace(tmp_path / "f", "one")
        assert os.listdir(tmp_path) == ["f"]

    def test_a_directory_is_put_aside(self, tmp_path: Path) -> None:
        for number in (1, 2):
            data = tmp_path / "alice"
            data.mkdir()
            (data / "x").write_text(str(number))
            aside = files.archive(data, tmp_path, "alice", lambda: 0.0)
            assert aside is not None
            assert not data.exists()
            assert (aside / "x").read_text() == str(number)
        assert sorted(os.listdir(tmp_path / ".archive")) == [
            "alice-19700101T000000Z",
            "alice-19700101T000000Z-2",
        ]
        assert (tmp_path / ".archive").stat().st_mode & 0o777 == 0o700

    def test_what_is_none_is_not(self, tmp_path: Path) -> None:
        assert files.archive(tmp_path / "none", tmp_path, "a") is None
        (tmp_path / "to").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "to")
        assert files.archive(tmp_path / "link", tmp_path, "a") is None
        assert (tmp_path / "to").exists()


def line(text: str) -> Line:
    return Line(1.0, "stdout", text)


class TestFollowing:
    def test_lines_come_as_they_are_taken(self) -> None:
        following = Following([line("a")])
        assert [one["text"] for one in following.taken()] == ["a"]
        assert following.taken() == []
        fired: list[None] = []
        following.more().addCallback(fired.append)
        assert not fired
        following.take([line("b"), line("c")])
        assert fired == [None]
        assert [one["text"] for one in following.taken()] == ["b", "c"]

    def test_too_many_are_dropped_and_that_is_told(self) -> None:
        following = Following([])
        for _ in range(5):
            following.take([line("x" * (MAX_CHARACTERS // 3))])
        told = following.taken()
        assert told[0]["stream"] == "sqsuper"
        assert told[0]["text"].startswith("3 lines dropped")
        assert len(told) == 3

    def test_lines_without_text_are_bounded_too(self) -> None:
        following = Following([])
        for _ in range(20):
            following.take([line("")] * 1000)
        assert len(following.taken()) <= MAX_CHARACTERS // LINE + 1
