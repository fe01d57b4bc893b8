"""What the supervisor's tests share: configurations, a small engine, patience."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import defer, task
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from sqsuper.config.model import (
    Config,
    Engine,
    Health,
    Launcher,
    Origin,
    Restart,
    Settings,
    Tenant,
    Token,
)
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.service import Supervisor

T = TypeVar("T")

SERVE = textwrap.dedent(
    '''
    """Obeys the engine's contract with the supervisor; answers each request with facts."""
    import json, os, selectors, signal, socket, sys, time

    def shown():
        """Its environment as the process table has it: an engine is given no other."""
        if not os.path.exists("/proc/self/environ"):
            return os.environb
        with open("/proc/self/environ", "rb") as file:
            return dict(each.split(b"=", 1) for each in file.read().split(b"\\0") if each)

    def main(argv):
        mode = shown().get(b"MODE", b"").decode()
        if mode == "die":
            print("about to die", file=sys.stderr, flush=True)
            return 3
        if mode == "say":
            os.write(1, shown()[b"SAY"])
        if mode == "flood":
            chunk = b"flood\\n" * 1000
            for _ in range(100):
                os.write(1, chunk)
        if mode == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        fds = [int(argv[i + 1]) for i, word in enumerate(argv) if word == "--listen-fd"]
        given = dict(zip(argv, argv[1:]))
        control = os.fdopen(int(given["--control-fd"]), "rb", 0)
        line = control.readline()
        if mode == "mute":
            while control.read(1):
                pass
            return 0
        os.write(int(given["--report-fd"]), b'{"event": "lag"}\\nnonsense\\n{"event": "ready"}\\n')
        chooser = selectors.DefaultSelector()
        chooser.register(control, selectors.EVENT_READ, None)
        for fd in fds:
            listening = socket.socket(fileno=fd)
            listening.setblocking(False)
            chooser.register(listening, selectors.EVENT_READ, listening)
        while True:
            for key, _ in chooser.select():
                if key.data is None:
                    said = control.readline()
                    if not said:
                        return 0
                    if "ping" in json.loads(said):
                        pong = {"event": "pong", "lag": 0.0, "requests": 0, "bytes": 0,
                                "inflight": 0, "storage": None, **json.loads(said)}
                        os.write(int(given["--report-fd"]), json.dumps(pong).encode() + b"\\n")
                    continue
                try:
                    connection, _ = key.data.accept()
                except OSError:
                    continue
                connection.setblocking(True)
                connection.recv(65536)
                told = json.loads(line)
                body = json.dumps({
                    "pid": os.getpid(), "argv": argv, "told": told, "cwd": os.getcwd(),
                    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")),
                }).encode()
                connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n"
                                   b"Connection: close\\r\\n\\r\\n" % len(body) + body)
                connection.close()
    '''
)


def fake_engine(directory: Path) -> tuple[str, ...]:
    """Make a package that stands for the embedded engine; return what `engine_paths` wants."""
    package = directory / "fake" / "sqsuper" / "engine"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SERVE)
    return (str(directory / "fake"),)


chosen_launcher = Launcher.AUTO
"""What `settings` takes; see `over_both_launchers`."""


def settings(**changes: Any) -> Settings:
    """Return settings for fast tests."""
    base = Settings(
        launcher=chosen_launcher,
        restart=Restart(backoff=0.05, backoff_max=2.0),
        health=Health(start_timeout=8.0, timeout=1.0),
        stop_grace=3.0,
    )
    return attrs.evolve(base, **changes)


def tenant(directory: Path, name: str = "alice", **changes: Any) -> Tenant:
    """Return a tenant below `directory`; `settings` and fields of `Tenant` may be given."""
    fields: dict[str, Any] = {
        "name": name,
        "tokens": (Token(hashlib.sha256(name.encode()).digest(), label="first"),),
        "data_dir": directory / "data" / name,
        "origin": Origin(directory / "tenants.yaml", None),
        "settings": settings(),
    }
    return Tenant(**{**fields, **changes})


def command_tenant(directory: Path, *argv: str, name: str = "alice", **changes: Any) -> Tenant:
    """Return a tenant with a command engine."""
    return tenant(
        directory,
        name,
        settings=settings(engine=Engine.COMMAND, command=argv, **changes),
    )


def config(directory: Path, *tenants: Tenant, **changes: Any) -> Config:
    """Return a configuration whose every path is below `directory`."""
    fields: dict[str, Any] = {
        "file": directory / "tenants.yaml",
        "data_root": directory / "data",
        "run_dir": directory / "run",
        "tenants": tenants,
    }
    return Config(**{**fields, **changes})


def in_reactor(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test with the global reactor running."""
    wrapped: Callable[..., None] = pytest_twisted.ensureDeferred(test)
    return wrapped


async def eventually(
    condition: Callable[[], T], what: str = "", timeout: float = 10.0, reactor: Any = None
) -> T:
    """Wait, with the reactor running, until `condition` gives something true; return that."""
    if reactor is None:
        from twisted.internet import reactor
    deadline = reactor.seconds() + timeout
    while not (got := condition()):
        assert reactor.seconds() < deadline, f"not within {timeout} s: {what or condition}"
        await task.deferLater(reactor, 0.01, lambda: None)
    return got


def outcome_of(supervisor: Supervisor, name: str) -> Deferred[Upstream | Unavailable]:
    """Return `wait`'s outcome as a Deferred."""
    result: Deferred[Upstream | Unavailable] = defer.Deferred()
    supervisor.wait(name, result.callback)
    return result


async def upstream_of(supervisor: Supervisor, name: str = "alice") -> Upstream:
    """Wait for a ready upstream; anything else fails."""
    outcome = await outcome_of(supervisor, name)
    assert isinstance(outcome, Upstream), outcome
    return outcome


def descriptors(pid: int) -> dict[int, str]:
    """Return the open descriptors of a process and what they lead to (Linux)."""
    directory = Path(f"/proc/{pid}/fd")
    return {int(entry.name): os.readlink(entry) for entry in directory.iterdir()}


def status_of(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as a mapping (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return status_of(pid)["State"][0] not in "ZX"
    except (OSError, KeyError):
        return False


def children() -> set[int]:
    """Return the children of this process, zombies too (Linux; elsewhere none)."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return set()
    found: set[int] = set()
    for task_ in tasks.iterdir():
        found |= set(map(int, (task_ / "children").read_text().split()))
    return found


def over_both_launchers() -> Any:
    """Return a fixture for a module: its tests run with each launcher, and really with it."""

    @pytest.fixture(
        autouse=True,
        params=[
            "spawn",
            pytest.param(
                "zygote",
                marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only"),
            ),
        ],
    )
    def launcher(
        request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Launcher]:
        which = Launcher(request.param)
        monkeypatch.setattr(sys.modules[__name__], "chosen_launcher", which)
        with logged() as lines:
            yield which
        bad = [line for line in lines if "zygote did" in line or "zygote is lost" in line]
        assert not bad, bad

    return launcher


@contextlib.asynccontextmanager
async def running(wanted: Config, **arguments: Any) -> AsyncIterator[Supervisor]:
    """Run a supervisor on the global reactor; at the end it must leave nothing behind."""
    from twisted.internet import reactor

    mask = os.umask(0o022)
    supervisor = Supervisor(wanted, reactor=reactor, **arguments)
    before = children()
    try:
        supervisor.privilegedStartService()
        supervisor.startService()
        try:
            yield supervisor
        finally:
            pids = [life.pid for life in supervisor.lives.values()]
            await supervisor.stopService()
        assert [pid for pid in pids if pid is not None and alive(pid)] == []
        assert [p.name for p in wanted.run_dir.iterdir()] == ["supervisor.lock"]
        assert {pid for pid in children() - before if not alive(pid)} == set(), "zombies"
    finally:
        os.umask(mask)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the text of what is logged."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def ask(upstream: Upstream | int) -> dict[str, Any]:
    """Make one request of the fake engine, blocking, and return the facts it tells."""
    if isinstance(upstream, int):
        connection: socket.socket = socket.create_connection(("127.0.0.1", upstream), 5)
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(upstream.path or "")
    with connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while piece := connection.recv(65536):
            received += piece
    facts: dict[str, Any] = json.loads(received.partition(b"\r\n\r\n")[2])
    return facts
