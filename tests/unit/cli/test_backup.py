"""`sqsuper backup`, `restore`, `verify`: of a service that runs, and on files alone."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sqsuper.backup.shelf import name_of, shelved
from tests.unit.backup.support import MADE, archived, contents, data
from tests.unit.cli.conftest import Admin, Command, configure

MADE_JSON: dict[str, Any] = {
    "file": "all-20260102T030405Z.tar.gz",
    "path": "/shelf/all-20260102T030405Z.tar.gz",
    "bytes": 1234,
    "made": MADE,
    "tenants": [
        {"tenant_id": "alice", "files": 2, "bytes": 99, "one_moment": True, "left_out": [".x"]},
        {"tenant_id": "bob", "files": 0, "bytes": 0, "one_moment": False, "left_out": []},
    ],
    "missing": [],
}
TENANTS = f"""\
tenants:
  alice: {{token_sha256: ["{"1" * 64}"]}}
  bob: {{token_sha256: ["{"2" * 64}"]}}
"""


def lines(*told: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in told)


class TestByTheService:
    def test_backup(self, admin: Admin, command: Command) -> None:
        admin.answers["POST /api/v2/admin/backup?follow=1"] = (
            200,
            lines(
                {"done": 0, "total": None},
                {"done": 0, "total": 99},
                {"done": 50, "total": 99},
                {"result": MADE_JSON},
            ),
        )
        done = command("backup")
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines() == [
            "/shelf/all-20260102T030405Z.tar.gz: 1.2 KiB, tenants: 2",
            "  alice: 2 files, 99 B",
            "    left out: .x",
            "  bob: 0 files, 0 B, each file of one moment",
        ]
        assert admin.asked[-1].body == {}
        assert command("backup", "alice", "--json").json == MADE_JSON
        assert admin.asked[-1].body == {"tenant_ids": ["alice"]}

    def test_who_is_missing_makes_the_status_1(self, admin: Admin, command: Command) -> None:
        missing = [{"tenant_id": "carol", "reason": "\x1b[31mno"}]
        admin.answers["POST /api/v2/admin/backup?follow=1"] = (
            200,
            lines({"result": {**MADE_JSON, "missing": missing}}),
        )
        done = command("backup")
        assert done.status == 1
        assert done.err == "carol is missing: \\x1b[31mno\n"

    @pytest.mark.parametrize(
        ("told", "status"),
        [
            ({"error": {"code": "conflict", "message": "no room"}, "status": 409}, 6),
            ({"error": {"code": "not_found", "message": "nobody"}, "status": 404}, 5),
            ({"done": 1, "total": 2}, 7),
        ],
    )
    def test_what_goes_wrong_on_the_way(
        self, admin: Admin, command: Command, told: dict[str, Any], status: int
    ) -> None:
        admin.answers["POST /api/v2/admin/backup?follow=1"] = (200, lines(told))
        done = command("backup", "--json")
        assert done.status == status
        assert json.loads(done.err)["error"]["message"]

    def test_to_another_directory(self, admin: Admin, command: Command, here: Path) -> None:
        archive = here / MADE_JSON["file"]
        archive.write_bytes(b"an archive")
        told = lines({"result": {**MADE_JSON, "path": str(archive)}})
        admin.answers["POST /api/v2/admin/backup?follow=1"] = (200, told)
        moved = here / "kept" / archive.name
        assert command("backup", "--json", "--to", here / "kept").json["path"] == str(moved)
        assert moved.read_bytes() == b"an archive"
        assert moved.stat().st_mode & 0o777 == 0o600
        assert not archive.exists()
        archive.write_bytes(b"another")
        done = command("backup", "--to", here / "kept")
        assert (done.status, "is there already" in done.err) == (6, True)
        assert archive.exists()
        assert moved.read_bytes() == b"an archive"

    def test_list(self, admin: Admin, command: Command) -> None:
        one = {"file": "a.tar.gz", "bytes": 5, "made": MADE, "complete": False}
        found = {"dir": "/shelf", "at": "03:30", "keep": 7, "next": MADE + 60, "backups": [one]}
        admin.answers["GET /api/v2/admin/backups"] = (200, found)
        assert command("backup", "--list").out.splitlines() == [
            "FILE      MADE                  SIZE  COMPLETE",
            "a.tar.gz  2026-01-02 03:04:05Z  5 B   no",
            "in /shelf; the next one: 2026-01-02 03:05:05Z",
        ]

    def restoring(self, admin: Admin, here: Path) -> Path:
        shelf = here / "shelf"
        one = {
            "tenant_id": "carol",
            "from": "alice",
            "data_dir": "/d",
            "files": 2,
            "bytes": 9,
            "aside": "/aside",
            "known": False,
        }
        admin.answers["GET /api/v2/admin/backups"] = (200, {"dir": str(shelf), "backups": []})
        admin.answers["POST /api/v2/admin/restore?follow=1"] = (
            200,
            lines({"result": {"restored": [one]}}),
        )
        return shelf

    def test_restore(self, admin: Admin, command: Command, here: Path) -> None:
        self.restoring(admin, here)
        done = command("restore", "a.tar.gz", "alice", "--as", "carol", "--replace", "--yes")
        assert done.out.splitlines() == [
            "carol: restored (as alice was), 2 files, 9 B, in /d",
            "  what was there before is in /aside",
            "  there is no such tenant yet: `sqsuper tenant add carol`",
        ]
        assert admin.asked[-1].body == {
            "file": "a.tar.gz",
            "tenant_id": "alice",
            "as": "carol",
            "replace": True,
        }

    def test_from_elsewhere(self, admin: Admin, command: Command, here: Path) -> None:
        """The service gets a copy, which goes when it is done."""
        shelf = self.restoring(admin, here)
        (here / "usb").mkdir()
        (here / "usb" / "mine.tar.gz").write_bytes(b"an archive")
        assert command("restore", here / "usb" / "mine.tar.gz").status == 0
        sent = admin.asked[-1].body["file"]
        assert sent.startswith("all-")
        assert os.listdir(shelf) == []
        assert (here / "usb" / "mine.tar.gz").exists()

    def test_no_part_of_a_copy_looks_like_a_backup(
        self, admin: Admin, command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf = self.restoring(admin, here)
        (here / "usb").mkdir()
        (here / "usb" / "mine.tar.gz").write_bytes(b"an archive")
        there: list[str] = []

        def copy(*_: object) -> None:
            there.extend(os.listdir(shelf))
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr("sqsuper.cli.storing.shutil.copyfileobj", copy)
        assert command("restore", here / "usb" / "mine.tar.gz").status == 1
        assert [shelved(name) for name in there] == [None]
        assert os.listdir(shelf) == []

    def test_a_path_that_is_not_there_is_no_name(
        self, admin: Admin, command: Command, here: Path
    ) -> None:
        shelf = self.restoring(admin, here)
        shelf.mkdir(mode=0o700)
        (shelf / name_of("all", 0)).touch()
        assert command("restore", here / "elsewhere" / name_of("all", 0)).status == 1
        assert [one.method for one in admin.asked] == ["GET"]

    def test_asks_before_it_replaces(
        self, admin: Admin, command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.restoring(admin, here)
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert command("restore", "a.tar.gz", "--replace").status == 130
        assert admin.asked == []

    def test_another_name_for_all(self, command: Command) -> None:
        assert command("restore", "a.tar.gz", "--as", "carol").status == 2


class TestOnFiles:
    @pytest.fixture(autouse=True)
    def _configured(self, here: Path, free_ports: Any) -> None:
        configure(here, free_ports(1)[0], TENANTS)

    def test_there_and_back(self, command: Command, here: Path) -> None:
        data(here / "conf" / "data" / "alice", notes="text")
        made = command("backup", "--json", "alice").json
        assert made["path"] == str(here / "conf" / "backups" / made["file"])
        assert "in the service" not in command("backup", "--list").err
        assert command("backup", "--json", "--list").json["backups"][0]["file"] == made["file"]
        assert command("verify", made["file"]).status == 0
        assert command("verify", made["path"], "--json").json["tenants"][0]["files"] == 1
        done = command("restore", made["file"], "alice", "--as", "carol")
        assert done.status == 0
        assert "sqsuper tenant add carol" in done.out
        assert contents(here / "conf" / "data" / "carol") == {"notes.phext": b"text"}
        refused = command("restore", made["path"], "alice")
        assert (refused.status, "holds data" in refused.err) == (6, True)

    def test_who_is_not_there(self, command: Command, here: Path) -> None:
        assert command("backup", "nobody").status == 5
        archive = archived(here / "shelf", data(here / "alice")).file
        assert command("restore", archive, "nobody").status == 5
        assert command("restore", name_of("all", 0)).status == 5
        assert command("restore", archive, "../x").status == 6

    def test_verify_tells_of_damage(self, command: Command, here: Path) -> None:
        archive = archived(here / "shelf", data(here / "alice", a="text")).file
        content = bytearray(archive.read_bytes())
        content[-20] ^= 1
        archive.write_bytes(content)
        done = command("verify", archive)
        assert done.status == 1
        assert done.err.count("\n") == 1
        assert str(archive) in done.err
