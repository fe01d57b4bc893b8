"""A restart behind sockets that somebody else holds: nothing is refused, nothing is lost."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from tests.running import TWISTD, Answer, Running, environment, eventually, processes_in

TOKEN = "the-token-of-alice"

# As a service manager does: the socket becomes descriptor 3 of the program.
PASS = """
import os, sys
fd, names, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if fd != 3:
    os.dup2(fd, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(program[0], program)
"""


@attrs.define
class Manager:
    """Holds a listening socket over all starts of a sqsuper."""

    directory: Path
    names: str
    socket: socket.socket = attrs.field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    running: Running | None = None

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def start(self) -> Running:
        with open(self.directory / "output", "ab") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", PASS, str(self.socket.fileno()), self.names),
                    *(*TWISTD, "-n", "--pidfile=sqsuper.pid"),
                    *("sqsuper", "-c", "tenants.yaml"),
                ],
                cwd=self.directory,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[self.socket.fileno()],
            )
        self.running = Running(process, self.directory, self.port)
        return self.running

    def close(self) -> None:
        self.socket.close()
        if self.running is not None:
            if self.running.process.poll() is None:
                self.running.process.kill()
                self.running.process.wait()
            eventually(lambda: not processes_in(self.directory), "all processes gone", 10)


@pytest.fixture
def manager(short_dir: Path) -> Iterator[Callable[..., Manager]]:
    made: list[Manager] = []

    def make(listen: str, names: str = "gateway", **gateway: Any) -> Manager:
        directory = short_dir / "s"
        directory.mkdir(mode=0o700)
        file = directory / "tenants.yaml"
        file.touch(mode=0o600)
        config = {
            "gateway": {"listen": [listen], **gateway},
            "admin": {"listen": ["tcp:0:interface=127.0.0.1"]},
            "defaults": {"drain": "5s", "stop_grace": "3s"},
            "tenants": {"alice": {"token_sha256": [hashlib.sha256(TOKEN.encode()).hexdigest()]}},
        }
        file.write_text(yaml.safe_dump(config))
        made.append(Manager(directory, names))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Load(threading.Thread):
    """A client that writes, one scroll after another; `failures`: what went wrong."""

    def __init__(self, port: int, phext: str, keep: bool, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged = 0
        self.failures: list[str] = []
        self._port = port
        self._phext = phext
        self._keep = keep
        self._ended = stop
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while not self._ended.is_set():
            number = self.acknowledged + 1
            try:
                answer = self._write(number)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            if answer.status != 200:
                self.failures.append(repr(answer))
                return
            self.acknowledged = number
            time.sleep(0.002)
        if self._connection is not None:
            self._connection.close()

    def _write(self, number: int) -> Answer:
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        coordinate = f"1.1.1/1.1.{number // 90 + 1}/1.{number % 90 + 1}.1"
        connection.request(
            "POST",
            f"/api/v2/update?p={self._phext}&c={coordinate}",
            body=b"scroll %d" % number,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        got = connection.getresponse()
        listed = tuple((name.lower(), value) for name, value in got.getheaders())
        answer = Answer(got.status, listed, got.read())
        if self._keep and answer.header("connection") != "close":
            self._connection = connection
        else:
            connection.close()
            self._connection = None
        return answer


@pytest.mark.parametrize(
    ("listen", "names", "gateway"),
    [
        ("systemd:domain=INET:index=0", "gateway", {}),
        ("systemd:domain=INET:name=gateway", "gateway", {}),
        ("systemd:domain=INET:index=0", "", {}),
        ("systemd:domain=INET:index=0", "gateway", {"workers": 2}),
    ],
    ids=["index", "name", "nameless", "workers"],
)
def test_a_restart_under_load(
    manager: Callable[..., Manager], listen: str, names: str, gateway: dict[str, Any]
) -> None:
    holder = manager(listen, names, **gateway)
    first = holder.start()
    eventually(first.healthy, "the first serves", 30)
    stop = threading.Event()
    load = [Load(holder.port, f"p{n}", n % 2 == 0, stop) for n in range(6)]
    for one in load:
        one.start()

    def failures() -> list[str]:
        return [failure for one in load for failure in one.failures]

    def each_did(more: int) -> None:
        goals = [one.acknowledged + more for one in load]
        eventually(
            lambda: (
                failures() or all(one.acknowledged >= g for one, g in zip(load, goals, strict=True))
            ),
            "all go on",
            60,
        )

    each_did(10)
    began = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) in (0, -signal.SIGTERM), first.output
    took = time.monotonic() - began
    second = holder.start()
    each_did(10)
    stop.set()
    for one in load:
        one.join(60)
    assert failures() == [], second.output
    # Generous: the machine may be busy. Of requests alone it needs not a second.
    assert took < 5 + 3 + 5
    for number, one in enumerate(load):
        answer = second.request("GET", f"/api/v2/toc?p=p{number}", token=TOKEN)
        assert answer.status == 200
        for last in (1, one.acknowledged):
            coordinate = f"1.1.1/1.1.{last // 90 + 1}/1.{last % 90 + 1}.1"
            select = f"/api/v2/select?p=p{number}&c={coordinate}"
            assert second.request("GET", select, token=TOKEN).body == b"scroll %d" % last
    assert second.stop() in (0, -signal.SIGTERM)


def test_connections_wait_while_nobody_runs(manager: Callable[..., Manager]) -> None:
    holder = manager("systemd:domain=INET:index=0")
    with contextlib.closing(socket.create_connection(("127.0.0.1", holder.port), 30)) as early:
        early.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        one = holder.start()
        assert early.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert one.stop() in (0, -signal.SIGTERM)


def test_a_socket_that_was_not_passed(manager: Callable[..., Manager]) -> None:
    holder = manager("systemd:domain=INET:name=other")
    one = holder.start()
    assert one.process.wait(30) == 1
    assert "systemd:domain=INET:name=other: the service manager passed no such socket" in one.output
    assert "Traceback" not in one.output


def test_what_was_passed_does_not_reach_children(manager: Callable[..., Manager]) -> None:
    holder = manager("systemd:domain=INET:index=0")
    one = holder.start()
    eventually(one.healthy, "it serves", 30)
    assert one.request("GET", "/api/v2/version", token=TOKEN).status == 200
    inode = os.fstat(holder.socket.fileno()).st_ino
    for child in one.children():
        held = set()
        for fd in Path(f"/proc/{child.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                held.add(os.stat(fd).st_ino)
        assert inode not in held
        assert not [name for name in child.environ() if name.startswith("LISTEN_")]
    assert one.stop() in (0, -signal.SIGTERM)
