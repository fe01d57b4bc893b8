"""sqsuper as a real process under twistd, and patience, for tests."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import psutil

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent

# As the `twistd` program, but of the Python that runs the tests (Debian calls it twistd3).
TWISTD = (
    sys.executable,
    "-c",
    "import sys; from twisted.scripts.twistd import run; sys.exit(run())",
)


def eventually(condition: Callable[[], T], what: str = "", timeout: float = 10.0) -> T:
    """Call `condition` until it gives something true, and return that; fail after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not (got := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.02)
    return got


# Below the ports that systems give to clients, or one of these might have it before its user binds
# it. Tests that run beside these, in another process, look in another part.
LOWEST_PORT, PORTS, PARTS = 10_240, 2_750, 8
_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PARTS
_ports = itertools.count(os.getpid())


def free_port() -> int:
    """Return a loopback TCP port on which nobody listens now, and not soon again the same."""
    for _ in range(PORTS):
        port = LOWEST_PORT + _part * PORTS + next(_ports) % PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def listens(port: int) -> bool:
    """Whether a connection to a loopback TCP port is taken."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a twistd that finds this checkout's plugin from anywhere."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("SQSUPER_")}
    path = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))
    return {**own, "PYTHONPATH": path, **(extra or {})}


def twistd(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run twistd to its end (with a daemon: its parent's) and return status and output."""
    return subprocess.run(
        [*TWISTD, *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the living processes that work in `directory` or name it in their arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            at_work = process.cwd().startswith(str(directory))
            named = any(str(directory) in argument for argument in process.cmdline())
            if (at_work or named) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def sockets_in(directory: Path) -> list[Path]:
    """Return the Unix sockets below `directory`."""
    return [p for p in directory.rglob("*") if stat.S_ISSOCK(p.lstat().st_mode)]


@attrs.frozen
class Answer:
    """An HTTP answer; `headers` keeps repeated fields, names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for n, value in self.headers if n == name.lower()), None)


@attrs.define
class Running:
    """A sqsuper of its own in `directory`, listening on `port` of the loopback."""

    process: subprocess.Popen[bytes]
    directory: Path
    port: int
    admin_port: int = 0
    """Of the admin listener, where it is known."""
    _closed: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def pidfile(self) -> Path:
        return self.directory / "sqsuper.pid"

    @property
    def output(self) -> str:
        """Everything it printed so far, both streams: its log, with -n."""
        return (self.directory / "output").read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        """Return its living descendants: the tenants' instances."""
        if self.process.poll() is not None:
            return []
        found = []
        for child in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() not in {"sqsuper-zygote", "sqsuper-warden"}:
                    found.append(child)
        return found

    def request(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Make one request on a connection of its own."""
        fields = dict(headers or {})
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, target, body=body, headers=fields)
            answer = connection.getresponse()
            listed = tuple((name.lower(), value) for name, value in answer.getheaders())
            return Answer(answer.status, listed, answer.read())
        finally:
            connection.close()

    def healthy(self) -> bool:
        """Whether `GET /health` is answered with 200; fails when the process has ended."""
        assert self.process.poll() is None, f"it ended:\n{self.output}"
        try:
            return self.request("GET", "/health", timeout=2).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self, signal_number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal, wait for the end, and return the exit status (negative: by signal)."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End it, if it runs, and fail when it leaves anything behind. Idempotent."""
        if self._closed:
            return
        self._closed = True
        stopped_here = self.process.poll() is None
        try:
            if stopped_here:
                status = self.stop()
                assert status in (0, -signal.SIGTERM), f"status {status}:\n{self.output}"
                assert not self.pidfile.exists()
                assert sockets_in(self.directory) == []
                assert not listens(self.port)
            eventually(lambda: not processes_in(self.directory), "all processes gone", 5)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for left in processes_in(self.directory):
                left.kill()


def start(
    directory: Path, config: Path, port: int, *, arguments: Sequence[str] = ("-n",), **popen: Any
) -> Running:
    """Start `twistd … sqsuper -c config` in `directory` without waiting for anything."""
    with open(directory / "output", "wb") as output:
        process = subprocess.Popen(
            [
                *TWISTD,
                *arguments,
                f"--pidfile={directory / 'sqsuper.pid'}",
                "sqsuper",
                "-c",
                str(config),
            ],
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **popen,
        )
    return Running(process, directory, port)
