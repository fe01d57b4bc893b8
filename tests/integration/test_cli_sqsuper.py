"""The `sqsuper` command as people run it: real programs, from a first tenant to its removal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import Running, environment, eventually, free_port

SQSUPER = (sys.executable, "-m", "sqsuper.cli")
PATIENCE = 60.0
SCROLL = "p=notes&c=1.1.1/1.1.1/1.1.1"

Serve = Callable[..., Running]


def sqsuper(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*SQSUPER, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def done(*arguments: str, cwd: Path) -> str:
    """Run one command that must succeed; return its output."""
    ended = sqsuper(*arguments, cwd=cwd)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def serve(short_dir: Path) -> Iterator[Serve]:
    """Start a command that serves on a port; each must leave nothing behind at its end."""
    running: list[Running] = []

    def begin(*arguments: str, port: int, ready: Callable[[Running], bool]) -> Running:
        with open(short_dir / "output", "wb") as output:
            process = subprocess.Popen(
                [*SQSUPER, *arguments],
                cwd=short_dir,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running.append(Running(process, short_dir, port))
        eventually(lambda: ready(running[-1]), "it serves", PATIENCE)
        return running[-1]

    yield begin
    for one in running:
        one.close()


def statuses(one: Running, token: str) -> int:
    return one.request("GET", f"/api/v2/select?{SCROLL}", token=token).status


def test_from_a_first_tenant_to_its_removal(serve: Serve, short_dir: Path) -> None:
    port, admin = free_port(), free_port()
    arguments = ("--port", str(port), "--admin-port", str(admin), "--json")
    first = json.loads(done("init", *arguments, cwd=short_dir))
    assert sqsuper("status", cwd=short_dir).returncode == 3
    service = serve("run", port=port, ready=Running.healthy)
    alice = first["api_key"]
    answer = service.request("POST", f"/api/v2/update?{SCROLL}", token=alice, body=b"Hello")
    assert (answer.status, answer.body) == (200, b"Updated 5 bytes")

    bob = json.loads(done("tenant", "add", "bob", "--json", cwd=short_dir))
    assert service.request("GET", f"/api/v2/select?{SCROLL}", token=bob["api_key"]).body == b""
    told = json.loads(done("status", "--json", cwd=short_dir))["tenants"]
    assert [one["tenant_id"] for one in told] == ["alice", "bob"]
    assert sqsuper("tenant", "add", "bob", cwd=short_dir).returncode == 6
    assert sqsuper("why", "nobody", cwd=short_dir).returncode == 5

    fresh = done("token", "rotate", "bob", "--overlap", "0s", cwd=short_dir).strip()
    assert statuses(service, fresh) == 200
    eventually(lambda: statuses(service, bob["api_key"]) == 401, "the old token ends", PATIENCE)
    done("tenant", "disable", "bob", cwd=short_dir)
    assert statuses(service, fresh) == 403
    done("tenant", "enable", "bob", cwd=short_dir)
    assert statuses(service, fresh) == 200
    assert "bob: stopped" in done("stop", "bob", cwd=short_dir)
    assert "state: stopped" in done("why", "bob", cwd=short_dir)
    done("start", "bob", cwd=short_dir)
    assert "unchanged" in done("plan", cwd=short_dir)
    done("reload", cwd=short_dir)

    carol = "mb-carol-0123456789abcdef01234567"
    (short_dir / "sold.csv").write_text(f"token,name,data_dir\n{carol},Carol,carol\n")
    done("import", "sold.csv", cwd=short_dir)
    done("reload", cwd=short_dir)
    assert statuses(service, carol) == 200

    file = short_dir / "conf/tenants.yaml"
    right = file.read_text()
    file.write_text(right + "tenants: [\n")
    assert "alice" in done("status", cwd=short_dir)
    refused = sqsuper("reload", cwd=short_dir)
    assert (refused.returncode, "conf/tenants.yaml:" in refused.stderr) == (6, True)
    file.write_text(right)

    done("tenant", "remove", "bob", "--yes", cwd=short_dir)
    assert statuses(service, fresh) == 401
    assert statuses(service, alice) == 200
    looked = json.loads(done("doctor", "--json", cwd=short_dir))
    assert {one["area"]: one["level"] for one in looked["findings"]}["service"] == "ok"
    output = service.output
    for secret in (alice, bob["api_key"], fresh, carol):
        assert secret not in output


def test_a_broken_configuration_is_one_line_and_status_1(short_dir: Path) -> None:
    (short_dir / "t.yaml").write_text("gatway: {}\n")
    ended = sqsuper("run", "-c", "t.yaml", cwd=short_dir)
    assert ended.returncode == 1
    assert ended.stderr.startswith("t.yaml:1: gatway: unknown key")
    assert len((ended.stdout + ended.stderr).splitlines()) == 1
    assert sorted(path.name for path in short_dir.iterdir()) == ["t.yaml"]


def test_host_serves_as_the_real_sq(serve: Serve, short_dir: Path) -> None:
    port = free_port()

    def ready(one: Running) -> bool:
        return f"http://127.0.0.1:{port}/" in one.output

    arguments = ("host", str(port), "--key", "some-key", "--data-dir", "d")
    one = serve(*arguments, port=port, ready=ready)
    answer = one.request("POST", f"/api/v2/update?{SCROLL}", token="some-key", body=b"Hi")
    assert answer.body == b"Updated 2 bytes"
    assert statuses(one, "another") == 401
    assert one.stop(signal.SIGTERM) == 0
    assert (short_dir / "d/notes.phext").read_bytes() == b"Hi"


def test_route_serves_a_routers_tenants(serve: Serve, short_dir: Path) -> None:
    entries = [
        {"token": f"token-of-{name}-0123456789", "port": free_port(), "data_dir": name}
        for name in ("a", "b")
    ]
    for entry in entries:
        (short_dir / str(entry["data_dir"])).mkdir(mode=0o700)
    (short_dir / "a/notes.phext").write_bytes(b"was there")
    router = short_dir / "router-config.json"
    router.write_text(json.dumps({"tenants": entries}))
    before = router.read_bytes()
    port = free_port()
    for _ in range(2):  # what it left behind is no obstacle
        one = serve("route", "router-config.json", str(port), port=port, ready=Running.healthy)
        bodies = [
            one.request("GET", f"/api/v2/select?{SCROLL}", token=str(entry["token"])).body
            for entry in entries
        ]
        assert bodies == [b"was there", b""]
        one.close()
    assert router.read_bytes() == before


def test_a_terminal_is_kept_up_to_date(serve: Serve, short_dir: Path) -> None:
    port, admin = free_port(), free_port()
    done("init", "--port", str(port), "--admin-port", str(admin), cwd=short_dir)
    serve("run", port=port, ready=Running.healthy)
    master, slave = pty.openpty()
    try:
        watching = subprocess.Popen(
            [*SQSUPER, "status", "--watch", "--interval", "0.2"],
            cwd=short_dir,
            env={**environment(), "TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
    finally:
        os.close(slave)
    shown = b""

    def seen() -> bool:
        nonlocal shown
        while select.select([master], [], [], 0)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
        return len(re.findall(rb"alice", shown)) >= 2

    try:
        eventually(seen, "two pictures", PATIENCE)
        watching.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        while watching.poll() is None and time.monotonic() < deadline:
            seen()  # a full terminal would hold it up
            select.select([master], [], [], 0.05)
        assert watching.returncode == 130
    finally:
        if watching.poll() is None:
            watching.kill()
        watching.wait()
        os.close(master)
    assert "tenants: 1 (1 stopped)" in shown.decode()
