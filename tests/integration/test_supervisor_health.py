"""Instances that hang, hog or multiply, as real processes: found, ended, replaced."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from sqsuper.config.model import MIB, Health, Launcher, Limits, Monitor, Restart, Start
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.service import Supervisor
from tests.conftest import StartSqsuper
from tests.running import eventually as running_eventually
from tests.running import free_port
from tests.unit.supervisor import support
from tests.unit.supervisor.support import (
    command_tenant,
    config,
    eventually,
    in_reactor,
    running,
    settings,
    tenant,
    upstream_of,
)

HEALTH = Health(interval=0.3, timeout=0.3, unhealthy_after=2, start_timeout=10.0, busy_max=60.0)
MONITOR = Monitor(interval=0.1, detail=0.3)
FAST: dict[str, Any] = {
    "health": HEALTH,
    "monitor": MONITOR,
    "start": Start.EAGER,
    "stop_grace": 1.0,
    "drain": 0.5,
    "restart": Restart(backoff=0.05),
}
PATIENCE = 30.0

# One thread, as the real sq with its lock: while it works on /work it answers nobody.
SERVER = textwrap.dedent(
    """
    import http.server, os, subprocess, sys, threading, time

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_OPTIONS(self):
            self.send_response(204)
            self.end_headers()
        def do_GET(self):
            while not os.path.exists("done"):
                pass
            self.do_OPTIONS()
        def log_message(self, *_):
            pass

    for word in sys.argv[2:]:
        what, _, number = word.partition("=")
        if what == "memory":
            kept = bytearray(os.urandom(1 << 20)) * int(number)
        elif what == "threads":
            for _ in range(int(number)):
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        elif what == "forks":
            for _ in range(int(number)):
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        elif what == "leave":
            for _ in range(int(number)):
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                                 start_new_session=True)
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """
)


@pytest.fixture
def server(short_dir: Path) -> list[str]:
    """The command of a server that does as it is told by the arguments that follow."""
    file = short_dir / "server.py"
    file.write_text(SERVER)
    return [sys.executable, str(file), "{port}"]


async def replaced(supervisor: Supervisor, pid: int | None, name: str = "alice") -> None:
    """Wait until another process than `pid` takes requests."""
    assert pid is not None
    await eventually(
        lambda: supervisor.pid(name) not in {pid, None} and supervisor.ready(name) is not None,
        "another process serves",
        PATIENCE,
    )


def causes(supervisor: Supervisor, name: str = "alice") -> list[Cause]:
    return [change.cause for change in supervisor.history(name) if change.cause is not None]


@pytest.mark.parametrize("launcher", [Launcher.SPAWN, Launcher.ZYGOTE])
@in_reactor
async def test_an_embedded_engine_that_hangs_is_replaced(
    short_dir: Path, launcher: Launcher
) -> None:
    if launcher is Launcher.ZYGOTE and not sys.platform.startswith("linux"):
        pytest.skip("Linux only")
    tenants = [
        tenant(short_dir, name, settings=settings(launcher=launcher, **FAST))
        for name in ("alice", "bob")
    ]
    async with running(config(short_dir, *tenants)) as supervisor:
        await upstream_of(supervisor)
        await upstream_of(supervisor, "bob")
        vitals = await eventually(lambda: supervisor.health.of("alice"))
        await eventually(lambda: _answered(supervisor), "its pings are answered")
        pid, other = supervisor.pid("alice"), supervisor.pid("bob")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await replaced(supervisor, pid)
        assert Cause.PROBE in causes(supervisor)
        assert any("in a row" in change.reason for change in supervisor.history("alice"))
        kinds = [event.kind for event in supervisor.events.recent]
        assert kinds[0] is Kind.UNHEALTHY
        await eventually(lambda: _answered(supervisor), "the next one's, too")
        assert supervisor.pid("bob") == other
        assert vitals != supervisor.health.of("alice")


def _answered(supervisor: Supervisor) -> bool:
    vitals = supervisor.health.of("alice")
    return vitals is not None and vitals.pulse is not None


@in_reactor
async def test_a_command_engine_that_hangs_is_replaced(short_dir: Path, server: list[str]) -> None:
    one = command_tenant(short_dir, *server, **FAST)
    async with running(config(short_dir, one)) as supervisor:
        await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await replaced(supervisor, pid)
        assert Cause.PROBE in causes(supervisor)


@in_reactor
async def test_one_that_works_is_busy_and_not_replaced(short_dir: Path, server: list[str]) -> None:
    import socket

    one = command_tenant(short_dir, *server, **FAST)
    async with running(config(short_dir, one)) as supervisor:
        supervisor.inflight_by(lambda name: int(name == "alice"))
        there = await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        with socket.create_connection((there.host, there.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

            def busy() -> bool:
                vitals = supervisor.health.of("alice")
                return vitals is not None and vitals.busy

            await eventually(busy, "it is busy", PATIENCE)
            since = supervisor.fleet.around.reactor.seconds()
            longer = 4 * HEALTH.interval + HEALTH.timeout
            await eventually(
                lambda: supervisor.fleet.around.reactor.seconds() - since > longer, timeout=PATIENCE
            )
            assert supervisor.state("alice") is State.HEALTHY
            (one.data_dir / "done").touch()
            await eventually(lambda: not busy(), "it answers again", PATIENCE)
        assert supervisor.pid("alice") == pid
        assert causes(supervisor) == []


THREADS = Limits(threads=8)
EXCESSES = [
    pytest.param("memory=80", Limits(memory_hard=60 * MIB), Cause.MEMORY, id="memory"),
    pytest.param("threads=12", THREADS, Cause.THREADS, id="threads"),
    pytest.param("forks=9", THREADS, Cause.THREADS, id="children"),
    pytest.param("leave=9", THREADS, Cause.THREADS, id="children with sessions of their own"),
]


@pytest.mark.parametrize(("workers", "interval"), [(1, 0.3), (2, 1.0)])
def test_the_gateway_tells_who_works(
    sqsuper_process: StartSqsuper, server: list[str], workers: int, interval: float
) -> None:
    port = free_port()
    health = {"interval": interval, "timeout": 0.3, "unhealthy_after": 3}
    sqsuper = sqsuper_process(
        {
            "gateway": {"workers": workers, "listen": [f"tcp:{port}:interface=127.0.0.1"]},
            "defaults": {"engine": "command", "command": server, "health": health},
            "tenants": {"alice": {"tokens": ["alices-secret-token"]}},
        },
        port=port,
    )
    data = sqsuper.directory / "data" / "alice"
    answers: list[int] = []

    def ask() -> None:
        answer = sqsuper.request("GET", "/api/v2/work", token="alices-secret-token")
        answers.append(answer.status)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        running_eventually(lambda: "too busy to answer" in sqsuper.output, "it is busy", PATIENCE)
    finally:
        (data / "done").touch()
        asking.join(PATIENCE)
    assert answers == [204]
    assert "unhealthy" not in sqsuper.output


@pytest.mark.parametrize(("does", "limits", "cause"), EXCESSES)
@in_reactor
async def test_one_over_its_limits_is_ended(
    short_dir: Path, server: list[str], does: str, limits: Limits, cause: Cause
) -> None:
    one = command_tenant(short_dir, *server, does, **{**FAST, "limits": limits})
    async with running(config(short_dir, one)) as supervisor:
        await upstream_of(supervisor)
        await eventually(lambda: cause in causes(supervisor), "it is ended", PATIENCE)
        event = next(e for e in supervisor.events.recent if e.kind is Kind.LIMIT)
        assert event.cause == cause.value
        over = "memory_hard 60 MiB" if cause is Cause.MEMORY else "threads 8"
        assert event.text.endswith(f" over {over}")
        assert any(event.text in change.reason for change in supervisor.history("alice"))


@in_reactor
async def test_a_soft_limit_warns_and_ends_nothing(short_dir: Path, server: list[str]) -> None:
    limits = Limits(memory_soft=60 * MIB, memory_hard=400 * MIB)
    one = command_tenant(short_dir, *server, "memory=80", **{**FAST, "limits": limits})
    async with running(config(short_dir, one)) as supervisor:
        await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        (event,) = await eventually(lambda: list(supervisor.events.recent), "an event", PATIENCE)
        assert (event.kind, event.cause) == (Kind.LIMIT, "memory_soft")
        details = supervisor.monitor.samples("alice").detail_at
        await eventually(
            lambda: supervisor.monitor.samples("alice").detail_at != details, timeout=PATIENCE
        )
        assert len(supervisor.events.recent) == 1
        assert supervisor.pid("alice") == pid


@in_reactor
async def test_samples_of_a_real_engine(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "chosen_launcher", Launcher.AUTO)
    one = tenant(short_dir, settings=settings(**FAST))
    async with running(config(short_dir, one)) as supervisor:
        await upstream_of(supervisor)
        await eventually(
            lambda: (
                supervisor.monitor.samples("alice").detail_at is not None
                and len(supervisor.monitor.samples("alice").recent) > 3
            ),
            "samples",
            PATIENCE,
        )
        samples = supervisor.monitor.samples("alice")
        assert samples.detail is not None
        assert 0 < samples.detail.unique <= samples.detail.memory < 50 * MIB
        assert samples.detail.descriptors is not None
        assert samples.detail.descriptors > 6
        assert samples.processes == 1
        assert all(0 < memory < 60 * MIB for memory in samples.recent.memory)
        assert all(1 <= threads <= 8 for threads in samples.recent.threads)
        assert list(samples.recent.at) == sorted(samples.recent.at)
