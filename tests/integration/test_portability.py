"""What Windows and macOS do without, done without here: real processes, forced to it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from sqsuper.sockets.capabilities import FORCED
from tests.running import (
    ROOT,
    TWISTD,
    Answer,
    Running,
    environment,
    eventually,
    free_port,
    listens,
    sockets_in,
)

AT = "c=1.1.1/1.1.1/1.1.1"
NAMES = ("alice", "bob", "carol")
# Our engine as any other program: it is given port and key, and nothing is asked of its pipes.
# It starts another process, which has to go with it.
PROGRAM = f"""
import subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
subprocess.Popen(["sleep", "1000"])
from sqsuper.engine.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
ENGINE = [sys.executable, "-c", PROGRAM, "host", "{port}", "--key", "{key}"]


def token(tenant: str) -> str:
    return f"the-token-of-{tenant}"


def tenant(name: str, **settings: Any) -> dict[str, Any]:
    return {"token_sha256": [hashlib.sha256(token(name).encode()).hexdigest()], **settings}


class Service:
    """A sqsuper that was forced to do with what a system has."""

    def __init__(self, directory: Path, system: str) -> None:
        self.own_port, port, self.admin_port = free_port(), free_port(), free_port()
        self.file = directory / "tenants.yaml"
        self.config: dict[str, Any] = {
            "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
            "admin": {"listen": [f"tcp:{self.admin_port}:interface=127.0.0.1"]},
            "defaults": {"restart": {"backoff": 0.05}},
            "tenants": {
                "alice": tenant("alice"),
                "bob": tenant("bob", port=self.own_port, start="eager"),
                "carol": tenant(
                    "carol",
                    engine="command",
                    command=[*ENGINE, "--data-dir", "{data_dir}/own"],
                ),
            },
        }
        self.file.touch(mode=0o600)
        self.write()
        with open(directory / "output", "wb") as output:
            process = subprocess.Popen(
                [
                    *(*TWISTD, "-n", f"--pidfile={directory / 'sqsuper.pid'}"),
                    *("sqsuper", "-c", str(self.file)),
                ],
                cwd=directory,
                env=environment({FORCED: system}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running = Running(process, directory, port)
        eventually(self.running.healthy, "GET /health answers 200", 30)

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config))

    def ask(self, name: str, target: str, body: bytes | None = None) -> Answer:
        method = "GET" if body is None else "POST"
        return self.running.request(method, f"/api/v2/{target}", token=token(name), body=body)

    def text(self, name: str) -> bytes:
        return self.ask(name, f"select?p=t&{AT}").body

    def engine(self, name: str) -> psutil.Process:
        """Return the process that works in the tenant's directory, once there is one."""
        where = str(self.running.directory / "data" / name)

        def found() -> psutil.Process | None:
            for child in self.running.children():
                try:
                    at_home = os.path.realpath(child.cwd()) == os.path.realpath(where)
                    if at_home and child.name() != "sleep":
                        return child
                except psutil.Error:
                    continue
            return None

        engine = eventually(found, f"an engine of {name}", 20)
        assert engine is not None
        return engine

    def port_of_gateway(self, name: str) -> int:
        """Return where the engine serves the gateway."""
        engine: Any = self.engine(name)
        listed = getattr(engine, "net_connections", None) or engine.connections  # psutil 5.9
        ports = {one.laddr[1] for one in listed("tcp") if one.status == psutil.CONN_LISTEN}
        (port,) = ports - {self.own_port}
        return int(port)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        directory = tmp_path_factory.mktemp(name)
        directory.chmod(0o700)
        return directory

    return make


@pytest.fixture(scope="module")
def windows(directories: Callable[[str], Path]) -> Iterator[Service]:
    service = Service(directories("w"), "win32")
    yield service
    service.running.close()


def plain(port: int, target: str, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", target, headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().status
    finally:
        connection.close()


class TestWithoutAnythingOfPosix:
    @pytest.mark.parametrize("name", NAMES)
    def test_what_was_written_outlives_a_killed_process(self, windows: Service, name: str) -> None:
        assert windows.ask(name, f"update?p=t&{AT}", b"one").status == 200
        assert windows.ask(name, f"insert?p=t&{AT}", b" two").status == 200
        assert windows.text(name) == b"one two"
        first = windows.engine(name)
        forked = first.children()
        assert len(forked) == (name == "carol")
        first.kill()
        first.wait(10)
        eventually(lambda: windows.text(name) == b"one two", f"{name} is back", 20)
        assert windows.engine(name).pid != first.pid
        assert psutil.wait_procs(forked, 10)[1] == []

    def test_nothing_is_inherited_but_the_standard_streams(self, windows: Service) -> None:
        assert windows.text("alice") is not None
        engine = windows.engine("alice")
        assert sockets_in(windows.running.directory) == []
        around = psutil.Process(windows.running.pid).children()
        assert not any("zygote" in process.name() for process in around)
        assert os.getpgid(engine.pid) == os.getpgid(windows.running.pid)
        opened = {os.readlink(f"/proc/{engine.pid}/fd/{fd}") for fd in (0, 1, 2)}
        assert len(opened) == 3
        assert all(one.startswith("pipe:") for one in opened)

    def test_the_key_is_on_the_control_pipe_alone(self, windows: Service) -> None:
        assert windows.text("alice") is not None
        engine = windows.engine("alice")
        assert "--key" not in engine.cmdline()
        assert {name for name in engine.environ() if name.startswith("SQSUPER")} == {
            FORCED,
            "SQSUPER_INSTANCE",
        }
        port = windows.port_of_gateway("alice")
        assert listens(port)
        assert plain(port, f"/api/v2/select?p=t&{AT}", token("alice")) == 401

    def test_a_tenants_own_port(self, windows: Service) -> None:
        eventually(lambda: listens(windows.own_port), "bob's port is served", 20)
        assert plain(windows.own_port, "/api/v2/version", token("bob")) == 200
        assert plain(windows.own_port, "/api/v2/version", token("alice")) == 401
        assert plain(windows.port_of_gateway("bob"), "/api/v2/version", token("bob")) == 401

    def test_reload_is_asked_for_at_the_admin_listener(self, windows: Service) -> None:
        before = windows.engine("bob").pid
        windows.config["tenants"]["dave"] = tenant("dave")
        windows.write()
        connection = http.client.HTTPConnection("127.0.0.1", windows.admin_port, timeout=20)
        connection.request("POST", "/api/v2/reload", headers={"Content-Length": "0"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()
        assert windows.ask("dave", f"update?p=t&{AT}", b"new").status == 200
        assert windows.text("dave") == b"new"
        assert windows.engine("bob").pid == before

    def test_two_services_on_one_directory_are_refused(self, windows: Service) -> None:
        ended = subprocess.run(
            [*TWISTD, "-n", "--pidfile=", "sqsuper", "-c", str(windows.file)],
            cwd=windows.running.directory,
            env=environment({FORCED: "win32"}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 1
        assert "is in use by another sqsuper: pid" in ended.stderr


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_a_stop_saves_everything_and_leaves_nothing(
    directories: Callable[[str], Path], system: str
) -> None:
    service = Service(directories("s"), system)
    try:
        for name in NAMES:
            assert service.ask(name, f"update?p=t&{AT}", name.encode()).status == 200
        first = service.engine("alice")
        first.kill()
        first.wait(10)
        eventually(lambda: service.text("alice") == b"alice", "alice is back", 20)
        # An instance's end is asked for by what the system has; that is no failure of it.
        assert service.running.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        for name in NAMES[:2]:
            data = service.running.directory / "data" / name
            assert (data / "t.phext").read_bytes() == name.encode()
            assert not list(data.glob(".journal-*"))
            assert f"{name}: stopping -> stopped (exit status 0)" in service.running.output
    finally:
        service.running.close()


def test_the_engine_by_itself(tmp_path: Path) -> None:
    engine = subprocess.Popen(
        [
            *(sys.executable, "-m", "sqsuper.engine", "host", "--gateway-port", "0"),
            *("--control-fd", "0", "--report-fd", "1", "--data-dir", str(tmp_path)),
        ],
        env=environment({FORCED: "win32"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert engine.stdin is not None
    assert engine.stdout is not None
    try:
        engine.stdin.write(json.dumps({"key": "K", "tokens": []}).encode() + b"\n")
        engine.stdin.flush()
        ready = json.loads(engine.stdout.readline())
        assert ready["event"] == "ready"
        assert plain(ready["port"], "/api/v2/version", "K") == 200
        assert plain(ready["port"], "/api/v2/version", "L") == 401
        # The end of its input is its end, as a supervisor's that was killed.
        engine.stdin.close()
        assert engine.wait(20) == 0
    finally:
        engine.kill()
        engine.wait()
        engine.stdout.close()
