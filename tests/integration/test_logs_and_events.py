"""Logs of tenants, the service manager and on_event, with the whole program."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import StartSqsuper
from tests.running import Running, eventually, free_port, processes_in, twistd

TOKEN = "the-token-of-alice"
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()

# Answers anything, and says what it was asked.
TALKS = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    with connection:
        line = connection.recv(65536).split(b"\\r\\n")[0].decode()
        print(line, flush=True)
        if "crash" in line:
            print("no use in going on", file=sys.stderr, flush=True)
            os._exit(3)
        if "flood" in line:
            for _ in range(200):
                os.write(1, b"flood\\n" * 10000)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
"""


def talking(directory: str = "logs", **config: Any) -> dict[str, Any]:
    """Return a configuration with a command engine that prints."""
    command = [sys.executable, "-I", "-S", "-c", TALKS, "{port}"]
    tenant = {"token_sha256": [SHA256], "engine": "command", "command": command}
    return {"tenants": {"alice": tenant}, "log": {"dir": directory}, **config}


def get(one: Running, target: str) -> int:
    return one.request("GET", target, token=TOKEN).status


def test_a_file_a_tenant_reopened_on_a_signal(sqsuper_process: StartSqsuper) -> None:
    one = sqsuper_process(talking())
    file = one.directory / "logs" / "alice.log"
    assert get(one, "/api/v2/first") == 200
    eventually(lambda: file.exists() and "first" in file.read_text(), "it is written")
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z stdout GET /api/v2/first HTTP/1.1$",
        file.read_text(),
        re.MULTILINE,
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "alice stdout: GET /api/v2/first HTTP/1.1" in one.output
    os.rename(file, file.with_name("moved"))
    os.kill(one.pid, signal.SIGUSR1)
    eventually(lambda: "the logs were opened anew" in one.output, "it took the signal")
    assert get(one, "/api/v2/second") == 200
    eventually(lambda: file.exists() and "second" in file.read_text(), "there is a new one")
    assert "second" not in file.with_name("moved").read_text()


def test_a_flood_costs_its_child_lines_and_nobody_anything_else(
    sqsuper_process: StartSqsuper,
) -> None:
    one = sqsuper_process(talking(log={"dir": "logs", "max_bytes": "64K", "keep": 2}))
    assert get(one, "/api/v2/flood") == 200
    eventually(lambda: "lines dropped" in one.output, "it is counted")
    assert len(one.output) < 4 << 20
    files = list((one.directory / "logs").iterdir())
    assert len(files) <= 3
    assert all(file.stat().st_size <= 65536 for file in files)


def test_logs_that_cannot_be_written_stop_nothing(sqsuper_process: StartSqsuper) -> None:
    one = sqsuper_process(talking(directory="tenants.yaml"))
    for _ in range(3):
        assert get(one, "/api/v2/x") == 200
    eventually(lambda: "lines are lost there" in one.output, "it is said")
    assert one.output.count("lines are lost there") == 1


def test_on_event_is_run_for_a_crash(sqsuper_process: StartSqsuper) -> None:
    hook = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    one = sqsuper_process(
        {
            **talking(defaults={"restart": {"backoff": "50ms"}}),
            "on_event": [sys.executable, "-I", "-S", "-c", hook, "told"],
        }
    )
    told = one.directory / "told"
    for _ in range(2):
        assert get(one, "/api/v2/version") == 200
        assert get(one, "/api/v2/crash") == 502
        eventually(lambda: get(one, "/api/v2/version") == 200, "it is back", 20)
    eventually(lambda: told.exists() and "restarted" in told.read_text(), "it was run", 20)
    eventually(lambda: told.read_text().endswith("\n"), "to its end", 20)
    events = [json.loads(line) for line in told.read_text().splitlines()]
    seen = [(event["kind"], event["tenant"], event["cause"]) for event in events]
    assert seen.count(("restarted", "alice", "crash")) == 1, seen
    assert len(seen) == len(set(seen))
    assert TOKEN not in told.read_text()


# The service manager


@pytest.fixture
def manager(short_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(short_dir / "notify"))
        receiver.settimeout(30)
        yield receiver


def message(receiver: socket.socket) -> list[str]:
    """Return the next message but those of the watchdog."""
    while (lines := receiver.recv(65536).decode().split("\n")) == ["WATCHDOG=1"]:
        pass
    return lines


def test_the_service_manager_is_told_also_of_a_daemon(
    short_dir: Path, manager: socket.socket
) -> None:
    port = free_port()
    directory = short_dir / "s"
    directory.mkdir(mode=0o700)
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(
        yaml.safe_dump(
            {
                "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
                "admin": {"listen": ["tcp:0:interface=127.0.0.1"]},
                "tenants": {"alice": {"token_sha256": [SHA256], "start": "eager"}},
            }
        )
    )
    done = twistd(
        "--pidfile=sq.pid",
        "--logfile=sq.log",
        "sqsuper",
        "-c",
        "tenants.yaml",
        cwd=directory,
        env={"NOTIFY_SOCKET": str(short_dir / "notify"), "WATCHDOG_USEC": "2000000"},
    )
    assert done.returncode == 0, done.stderr
    pid = int((directory / "sq.pid").read_text())
    try:
        ready, main, status = message(manager)
        assert (ready, main) == ("READY=1", f"MAINPID={pid}")
        assert status.startswith("STATUS=1 tenant: ")
        with socket.create_connection(("127.0.0.1", port), 10):
            pass
        while "1 healthy" not in status:
            (status,) = message(manager)
        assert status == "STATUS=1 tenant: 1 healthy, 0 failed"
        watchdogs = [manager.recv(65536) for _ in range(3)]
        assert watchdogs == [b"WATCHDOG=1"] * 3
        for process in psutil.Process(pid).children(recursive=True):
            assert "NOTIFY_SOCKET" not in process.environ()
        os.kill(pid, signal.SIGHUP)
        reloading, monotonic = message(manager)
        assert reloading == "RELOADING=1"
        assert re.fullmatch(r"MONOTONIC_USEC=\d+", monotonic)
        assert message(manager)[0] == "READY=1"
    finally:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not processes_in(directory), "all is gone", 30)
    while (said := message(manager))[0] != "STOPPING=1":
        assert said[0].startswith("STATUS="), said
