"""What an engine takes: threads, connections, disk space, and what waits for what."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from tests.integration.test_engine_process import run
from tests.unit.engine.servers import KEY, running_engine, wait_for

UPDATE = "/api/v2/update?p=t&c=1.1.1/1.1.1/1.1.1"
SELECT = "/api/v2/select?p=t&c=1.1.1/1.1.1/1.1.1"
SLOW_SYNCS = (
    "import os, time; real = os.fdatasync; os.fdatasync = lambda fd: (time.sleep(0.002), real(fd))"
)


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_two_thousand_connections_and_three_threads(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2500:
        pytest.skip("this machine allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))
    try:
        with running_engine(tmp_path, "--checkpoint-idle", "0.05", before=SLOW_SYNCS) as engine:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(engine.client()) for _ in range(2000)]
                for number, client in enumerate(clients):
                    body = b"%d" % number
                    client.send(client.head("POST", UPDATE, body) + body)
                for client in clients:
                    assert client.reply().status == 200
                # Syncs are slow here: commits have their thread, and checkpoints have theirs.
                wait_for((tmp_path / "t.phext").exists)
                assert 1 < threads(engine.process.pid) <= 3
            assert engine.end() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_of_one_address_are_limited(tmp_path: Path) -> None:
    with running_engine(tmp_path, "--max-connections-per-address", "2") as engine:
        with engine.client() as one, engine.client() as two, engine.client() as three:
            for client in (one, two):
                assert client.get("/api/v2/version").status == 200
            three.connect()
            assert three.reply().status == 503

        def has_room() -> bool:
            with engine.client() as client:
                try:
                    return client.get("/api/v2/version").status == 200
                except OSError:
                    return False

        wait_for(has_room)


def test_reads_wait_for_what_they_show_and_for_nothing_else(tmp_path: Path) -> None:
    # Syncs take half a second, in the commit thread from the sixteenth on.
    slow = (
        "import os, time; real = os.fdatasync; count = [0]\n"
        "def slow(fd):\n count[0] += 1\n time.sleep(0.5 if count[0] > 20 else 0.001)\n real(fd)\n"
        "os.fdatasync = slow"
    )
    before = f"exec({slow!r})"
    (tmp_path / "other.phext").write_bytes(b"other")
    with (
        running_engine(tmp_path, "--checkpoint-idle", "60", before=before) as engine,
        engine.client() as writer,
        engine.client() as reader,
    ):
        for number in range(21):
            assert writer.post(UPDATE, b"%d" % number).status == 200
        assert reader.get("/api/v2/select?p=other").text == "other"
        writer.send(writer.head("POST", UPDATE, b"new") + b"new")
        # Whatever the moment: a reader that sees it sees it durable.
        wait_for(lambda: reader.get(SELECT).text == "new")
        engine.process.kill()
        engine.process.wait()
    with running_engine(tmp_path) as engine, engine.client() as client:
        assert client.get(SELECT).text == "new"


def test_requests_are_answered_while_a_large_phext_is_read(tmp_path: Path) -> None:
    section = b"\x17".join([b"x" * 200] * 900)
    (tmp_path / "big.phext").write_bytes(b"\x18".join([section] * 100))
    (tmp_path / "t.phext").write_bytes(b"small")
    with running_engine(tmp_path) as engine, engine.client() as big, engine.client() as small:
        big.send(big.head("GET", "/api/v2/json-export?p=big"))
        answered = 0
        big.connect().setblocking(False)
        while True:
            assert small.get(SELECT).text == "small"
            answered += 1
            try:
                assert big.connect().recv(1, 2)  # MSG_PEEK
                break
            except BlockingIOError:
                continue
        big.connect().settimeout(15)
        rows = json.loads(big.reply().body)
        assert len(rows) == 90_000
        assert answered > 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, where the machine allows to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    data = small_disk / "data"
    with running_engine(data, "--checkpoint-idle", "0.05") as engine, engine.client() as client:
        assert client.post(UPDATE, b"kept").status == 200
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65_536)
        statuses = set()
        number = 0
        while 507 not in statuses:
            number += 1
            reply = client.post(UPDATE.replace("p=t", "p=u"), b"%d " % number * 20_000)
            statuses.add(reply.status)
            assert number < 200
        assert statuses <= {200, 507}
        assert reply.field("x-sq-code") == "disk_full"
        assert client.get(SELECT).text == "kept"
        acknowledged = client.get(SELECT.replace("p=t", "p=u")).body
        assert acknowledged in (b"", b"%d " % (number - 1) * 20_000)
        filler.unlink()

        def writes_again() -> bool:
            return client.post(UPDATE, b"after").status == 200

        wait_for(writes_again)
        assert engine.end() == 0
    assert (data / "t.phext").read_bytes() == b"after"
    assert [path.name for path in data.iterdir() if path.name.startswith(".")] == []


def test_what_is_unsaved_at_a_kill_is_there_within_a_second(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine, engine.client() as client:
        for number in range(200):
            client.post(f"/api/v2/update?p=t&c=1.1.1/1.1.1/1.1.{number + 1}", b"x" * 1000)
        engine.process.send_signal(signal.SIGKILL)
        engine.process.wait()
    assert not (tmp_path / "t.phext").exists()
    with running_engine(tmp_path) as engine, engine.client() as client:
        assert client.get("/api/v2/status?p=t").text.endswith("Scrolls: 200")
        # And it is saved before long, though nobody writes.
        wait_for((tmp_path / "t.phext").exists)


def test_a_journal_of_another_version_is_one_line_and_1(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine, engine.client() as client:
        client.post(UPDATE, b"text")
        engine.process.kill()
        engine.process.wait()
    for path in tmp_path.glob(".journal-*"):
        content = bytearray(path.read_bytes())
        for at in (0, len(content) - 64):
            content[at + 8 : at + 12] = (99).to_bytes(4, "big")
            checksum = xxhash.xxh3_64_digest(bytes(content[at : at + 56]))
            content[at + 56 : at + 64] = checksum
        path.write_bytes(content)
    # What the kill may have left half made as well: who can go on is to remove it.
    (tmp_path / ".sqsuper-journal-0000000100000002.tmp").write_bytes(b"half")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run("host", "0", "--key", KEY, "--data-dir", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "99" in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
