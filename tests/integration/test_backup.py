"""Backups of a service that runs: while others write, restored in place, each day."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import pwd
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartSqsuper
from tests.integration.admin_support import Admin
from tests.integration.test_main_job import digest
from tests.running import ROOT, Running, eventually

C = "c=1.1.1/1.1.1/1.1.1"
PAIR = ("first", "second")


def config(**more: Any) -> dict[str, Any]:
    tenants = {name: {"token_sha256": [digest(name)]} for name in ("alice", "bob")}
    return {"tenants": tenants, **more}


class User:
    """A tenant's own client, over one connection."""

    def __init__(self, running: Running, name: str) -> None:
        self.name = name
        self.connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)

    def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        fields = {"Authorization": f"Bearer {self.name}"}
        self.connection.request(method, f"/api/v2/{target}", body, fields)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def write(self, phext: str, text: bytes) -> None:
        status, told = self.ask("POST", f"update?p={phext}&{C}", text)
        assert status == 200, told

    def read(self, phext: str) -> bytes:
        status, told = self.ask("GET", f"select?p={phext}&{C}")
        assert status == 200, told
        return told

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def user() -> Any:
    users: list[User] = []

    def of(running: Running, name: str) -> User:
        users.append(User(running, name))
        return users[-1]

    yield of
    for one in users:
        one.close()


Of = Callable[[Running, str], User]


def sqsuper(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sqsuper.cli", "-c", running.directory / "tenants.yaml", *arguments],
        cwd=running.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_moment_while_it_is_written_to(sqsuper_process: StartSqsuper, user: Of) -> None:
    """Whatever was acknowledged before is in it, and of two phexts neither is ahead."""
    running = sqsuper_process(config())
    admin, alice = Admin.of(running), user(running, "alice")
    alice.write("first", b"0")
    alice.write("second", b"0")
    acknowledged, end = [0], threading.Event()

    def write() -> None:
        writer = User(running, "alice")
        for number in itertools.count(1):
            if end.is_set():
                break
            writer.write("first", b"%d" % number)
            writer.write("second", b"%d" % number)
            acknowledged.append(number)
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for attempt in range(5):
            before = acknowledged[-1]
            made = admin.done("POST", "/backup", {"tenant_ids": ["alice"]})
            assert made["missing"] == []
            assert made["tenants"][0]["one_moment"] is True
            name = f"copy{attempt}"
            body = {"file": made["file"], "tenant_id": "alice", "as": name}
            (done,) = admin.done("POST", "/restore", body)["restored"]
            assert (done["tenant_id"], done["known"]) == (name, False)
            found = [
                int((Path(done["data_dir"]) / f"{p}.phext").read_text())
                for p in ("first", "second")
            ]
            assert found[1] <= found[0] <= found[1] + 1
            assert found[1] >= before
    finally:
        end.set()
        thread.join()
    left = [name for name in os.listdir(running.directory / "data/alice") if "backup" in name]
    assert left == []


def check_wrong_requests(admin: Admin) -> None:
    for body, status in (
        ({"tenant_ids": ["nobody"]}, 404),
        ({"tenant_ids": []}, 400),
        ({"tenant_ids": "alice"}, 400),
    ):
        admin.refused("POST", "/backup", body, status)
    for body, status in (
        ({"file": "../../etc/passwd"}, 400),
        ({"file": "all-20260102T030405Z.tar.gz"}, 404),
        ({"file": "all-20260102T030405Z.tar.gz", "tenant_id": "../x"}, 400),
        ({"file": "all-20260102T030405Z.tar.gz", "as": "x"}, 400),
        ({}, 400),
    ):
        admin.refused("POST", "/restore", body, status)


def test_restored_in_place(sqsuper_process: StartSqsuper, user: Of) -> None:
    running = sqsuper_process(config())
    admin, alice, bob = Admin.of(running), user(running, "alice"), user(running, "bob")
    alice.write("notes", b"right")
    bob.write("notes", b"bob's")
    made = admin.done("POST", "/backup", {})
    assert [one["tenant_id"] for one in made["tenants"]] == ["alice", "bob"]
    alice.write("notes", b"wrong")
    alice.write("more", b"more")
    bob.write("notes", b"bob's newer one")
    body = {"file": made["file"], "tenant_id": "alice"}
    assert "holds data" in admin.refused("POST", "/restore", body, 409)
    assert alice.read("notes") == b"wrong"
    (done,) = admin.done("POST", "/restore", {**body, "replace": True})["restored"]
    assert alice.read("notes") == b"right"
    assert alice.read("more") == b""
    assert bob.read("notes") == b"bob's newer one"
    assert (Path(done["aside"]) / "more.phext").read_bytes() == b"more"
    admin.done("POST", "/restore", {**body, "as": "carol"})
    token = admin.done("POST", "/tenants/add", {"tenant_id": "carol"}, 201)["api_key"]
    assert user(running, token).read("notes") == b"right"
    listed = admin.get("/backups")
    assert [one["file"] for one in listed["backups"]] == [made["file"]]
    check_wrong_requests(admin)
    said = [event["text"] for event in admin.get("/events")["events"]]
    assert any(text.startswith("restore alice: alice of all-") for text in said)


def test_a_killed_instance_and_a_stopped_service(
    sqsuper_process: StartSqsuper, user: Of, tmp_path: Path
) -> None:
    """By the command, of what runs and of what does not."""
    settings = {"checkpoint": {"idle": "1h", "age": "1h", "journal": "1G"}}
    running = sqsuper_process(config(defaults={**settings, "restart": {"policy": "never"}}))
    admin, alice = Admin.of(running), user(running, "alice")
    alice.write("notes", b"in the journal alone")
    os.kill(admin.get("/tenants/alice")["pid"], 9)
    eventually(lambda: admin.get("/tenants/alice")["pid"] is None)
    made = sqsuper(running, "backup", "--json", "--to", str(tmp_path / "kept"))
    assert made.returncode == 0, made.stderr
    file = json.loads(made.stdout)["path"]
    assert Path(file).parent == tmp_path / "kept"
    done = sqsuper(running, "restore", file, "alice", "--as", "bob")
    assert done.returncode == 0, done.stderr
    assert user(running, "bob").read("notes") == b"in the journal alone"

    running.stop()
    made = sqsuper(running, "backup", "bob")
    assert made.returncode == 0, made.stderr
    name = Path(made.stdout.split(":")[0]).name
    assert name.startswith("tenant-bob-")
    done = sqsuper(running, "restore", name, "bob", "--as", "carol")
    assert done.returncode == 0, done.stderr
    assert "sqsuper tenant add carol" in done.stdout
    assert (running.directory / "data/carol/notes.phext").read_bytes() == b"in the journal alone"


def test_each_day(sqsuper_process: StartSqsuper, user: Of) -> None:
    """What was missed is made soon after the start."""
    running = sqsuper_process(config(backup={"at": "03:30", "dir": "shelf"}))
    user(running, "alice").write("notes", b"text")
    shelf = running.directory / "shelf"
    (name,) = eventually(
        lambda: [n for n in os.listdir(shelf) if n.startswith("daily-")] if shelf.exists() else [],
        "the daily backup",
        30,
    )
    assert (shelf / name).stat().st_mode & 0o777 == 0o600
    admin = Admin.of(running)
    found = admin.get("/backups")
    assert [one["daily"] for one in found["backups"]] == [True]
    made = found["backups"][0]["made"]
    assert found["next"] > made

    def told() -> bool:
        metrics = admin.ask("GET", "/metrics").body.decode()
        (line,) = re.findall("^sqsuper_backup_last_success_timestamp_seconds (.*)$", metrics, re.M)
        return bool(int(float(line)) == made)

    eventually(told, "the metric tells of it", 10)
    page = admin.ask("GET", "/").body.decode()
    (tile,) = re.findall('<div class="(.*)" id="backup" (.*)><dt>Last backup</dt>.*data-at', page)
    assert tile == ("", "")
    done = sqsuper(running, "doctor", "--json")
    (one,) = (
        text
        for text in (one["message"] for one in json.loads(done.stdout)["findings"])
        if text.startswith("the last whole daily one was made")
    )
    assert "missing" not in one


def test_a_stop_gives_up_what_is_under_way(sqsuper_process: StartSqsuper, user: Of) -> None:
    running = sqsuper_process(config())
    admin, alice = Admin.of(running), user(running, "alice")
    alice.write("notes", b"text")
    data = running.directory / "data" / "alice"
    with open(data / "enormous.phext", "wb") as file:
        file.truncate(1 << 40)
    client = http.client.HTTPConnection("127.0.0.1", running.admin_port, timeout=30)
    fields = {"Authorization": f"Bearer {admin.token}"}
    client.request("POST", "/api/v2/admin/backup?follow=1", headers=fields)
    answer = client.getresponse()
    while (told := json.loads(answer.readline()))["done"] < 1 << 20:
        assert told["total"] in (None, (1 << 40) + 4)
    running.stop()
    client.close()
    assert os.listdir(running.directory / "backups") == []
    assert sorted(os.listdir(data)) == ["enormous.phext", "notes.phext"]


@pytest.mark.real_sq
def test_a_command_engine(sqsuper_process: StartSqsuper, user: Of) -> None:
    command = ["sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}"]
    running = sqsuper_process(config(defaults={"engine": "command", "command": command}))
    admin, alice = Admin.of(running), user(running, "alice")
    alice.write("notes", b"right")
    made = admin.done("POST", "/backup", {"tenant_ids": ["alice"]})
    assert made["tenants"][0]["one_moment"] is False
    alice.write("notes", b"wrong")
    body = {"file": made["file"], "tenant_id": "alice", "replace": True}
    admin.done("POST", "/restore", body)
    assert alice.read("notes") == b"right"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs instances as other users")
def test_a_tenant_with_a_user_of_its_own(sqsuper_process: StartSqsuper, user: Of) -> None:
    running = sqsuper_process(config(defaults={"user": "nobody"}))
    running.directory.parent.chmod(0o711)
    running.directory.chmod(0o711)
    admin, alice = Admin.of(running), user(running, "alice")
    alice.write("notes", b"right")
    made = admin.done("POST", "/backup", {"tenant_ids": ["alice"]})
    assert Path(made["path"]).stat().st_uid == 0
    alice.write("notes", b"wrong")
    body = {"file": made["file"], "tenant_id": "alice", "replace": True}
    (done,) = admin.done("POST", "/restore", body)["restored"]
    assert alice.read("notes") == b"right"
    nobody = pwd.getpwnam("nobody").pw_uid
    directory = Path(done["data_dir"])
    assert {path.stat().st_uid for path in (directory, *directory.iterdir())} == {nobody}
    alice.write("notes", b"newer")
    assert alice.read("notes") == b"newer"
