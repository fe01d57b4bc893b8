"""`twistd sqsuper` as people run it: the real program, in the foreground and as a daemon."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import StartSqsuper
from tests.running import (
    Running,
    eventually,
    free_port,
    listens,
    processes_in,
    sockets_in,
    start,
    twistd,
)

TOKEN = "pmb-v1-0123456789abcdef0123456789abcdef"
ALICE = {"alice": {"token_sha256": [sha256(TOKEN.encode()).hexdigest()]}}


def configure(directory: Path, port: int, tenants: object = ALICE) -> Path:
    file = directory / "tenants.yaml"
    listen = [f"tcp:{port}:interface=127.0.0.1"]
    admin = {"listen": ["tcp:0:interface=127.0.0.1"]}
    config = {"gateway": {"listen": listen}, "admin": admin, "tenants": tenants}
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("mode", ["foreground", "daemon"])
@pytest.mark.parametrize(
    "text",
    ["", "tenants: [\n", "gatway: {}\n", "gateway: {workers: 0}\n", "tenants: {A: {}}\n", None],
    ids=["empty", "syntax", "unknown key", "range", "name", "missing"],
)
def test_a_broken_file_leaves_one_line_and_nothing_else(
    text: str | None, mode: str, short_dir: Path
) -> None:
    file = short_dir / "tenants.yaml"
    if text is not None:
        file.write_text(text)
    before = sorted(short_dir.iterdir())
    done = twistd(
        *(["-n"] if mode == "foreground" else []), "sqsuper", "-c", "tenants.yaml", cwd=short_dir
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"tenants\.yaml:.+\n", done.stderr)
    assert sorted(short_dir.iterdir()) == before
    assert processes_in(short_dir) == []


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-c", "tenants.yaml", "stray"]])
def test_a_wrong_command_line_ends_with_status_1(arguments: list[str], short_dir: Path) -> None:
    configure(short_dir, free_port())
    done = twistd("-n", "sqsuper", *arguments, cwd=short_dir)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert [p.name for p in short_dir.iterdir()] == ["tenants.yaml"]


def test_help_comes_with_status_0(short_dir: Path) -> None:
    done = twistd("sqsuper", "--help", cwd=short_dir)
    assert done.returncode == 0
    assert "twistd -n sqsuper -c" in done.stdout
    assert done.stderr == ""
    assert list(short_dir.iterdir()) == []


def test_a_taken_port_ends_the_start_with_its_holder_named(
    short_dir: Path, taken_port: int
) -> None:
    configure(short_dir, taken_port)
    done = twistd("-n", "sqsuper", "-c", "tenants.yaml", cwd=short_dir)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert str(taken_port) in line
    assert f"pid {os.getpid()}" in line
    assert "Traceback" not in done.stdout
    assert not (short_dir / "twistd.pid").exists()
    assert processes_in(short_dir) == []
    assert sockets_in(short_dir) == []


def test_a_taken_port_ends_a_daemon_too_and_its_caller_learns_of_it(
    short_dir: Path, taken_port: int
) -> None:
    configure(short_dir, taken_port, {"alice": {**ALICE["alice"], "start": "eager"}})
    done = twistd("sqsuper", "-c", "tenants.yaml", cwd=short_dir)
    assert done.returncode == 1
    assert str(taken_port) in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr + (short_dir / "twistd.log").read_text()
    # All of it is over when the caller is told.
    eventually(lambda: processes_in(short_dir) == [], "no process left", 1)
    assert not (short_dir / "twistd.pid").exists()
    assert sockets_in(short_dir) == []


def test_a_second_one_on_the_same_directories_names_the_first(
    sqsuper_process: StartSqsuper,
) -> None:
    first = sqsuper_process({"tenants": ALICE})
    other = first.directory / "other.yaml"
    configured = yaml.safe_load((first.directory / "tenants.yaml").read_text())
    configured["gateway"]["listen"] = [f"tcp:{free_port()}:interface=127.0.0.1"]
    other.write_text(yaml.safe_dump(configured))
    done = twistd("-n", "--pidfile=", "sqsuper", "-c", "other.yaml", cwd=first.directory)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"pid {first.pid}" in line
    assert "Traceback" not in done.stdout
    assert first.healthy()


def test_as_a_daemon_it_serves_when_its_caller_returns_and_leaves_nothing(short_dir: Path) -> None:
    port = free_port()
    configure(short_dir, port)
    done = twistd(
        "--pidfile=sq.pid", "--logfile=sq.log", "sqsuper", "-c", "tenants.yaml", cwd=short_dir
    )
    assert done.returncode == 0, done.stderr
    daemon = psutil.Process(int((short_dir / "sq.pid").read_text()))
    try:
        assert (done.stdout, done.stderr) == ("", "")
        running = Running(process=None, directory=short_dir, port=port)  # type: ignore[arg-type]
        assert running.request("GET", "/health").status == 200
        answer = running.request("GET", "/api/v2/version", token=TOKEN)
        assert (answer.status, answer.body) == (200, b"0.5.5")
        assert running.request("GET", "/api/v2/version", token="wrong").status == 401
        assert (short_dir / "sq.log").stat().st_mode & 0o777 == 0o600
        assert (short_dir / "sq.pid").stat().st_mode & 0o777 == 0o600
        assert TOKEN not in (short_dir / "sq.log").read_text()
        assert len(processes_in(short_dir)) == 2
    finally:
        daemon.send_signal(signal.SIGTERM)
    eventually(lambda: not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE)
    eventually(lambda: processes_in(short_dir) == [])
    assert not (short_dir / "sq.pid").exists()
    assert sockets_in(short_dir) == []
    assert not listens(port)
    assert "Traceback" not in (short_dir / "sq.log").read_text()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_children(
    sent: signal.Signals, sqsuper_process: StartSqsuper
) -> None:
    running = sqsuper_process({"tenants": ALICE})
    assert running.request("GET", "/api/v2/version", token=TOKEN).status == 200
    children = running.children()
    assert children
    assert running.stop(sent) in (0, -sent)
    assert [child for child in children if child.is_running()] == []
    assert not running.pidfile.exists()
    assert sockets_in(running.directory) == []
    assert "Traceback" not in running.output


def test_what_it_makes_is_its_users_alone(sqsuper_process: StartSqsuper) -> None:
    running = sqsuper_process({"tenants": ALICE})
    running.request("GET", "/api/v2/update?p=n&c=1.1.1/1.1.1/1.1.1&s=x", token=TOKEN)
    eventually(lambda: list(running.directory.rglob("n.phext")), "the phext file is written")
    made = [p for p in running.directory.rglob("*") if p.name != "output"]
    assert [p for p in made if p.lstat().st_mode & 0o077] == []


def test_with_no_tenant_it_serves_and_logs_the_next_step(sqsuper_process: StartSqsuper) -> None:
    running = sqsuper_process({})
    assert "no tenant" in running.output
    assert "token_sha256" in running.output
    assert str(running.directory / "tenants.yaml") in running.output


def test_warnings_of_the_configuration_are_logged(sqsuper_process: StartSqsuper) -> None:
    running = sqsuper_process({"tenants": {"alice": {"tokens": ["short"]}}})
    assert "tenants.alice.tokens" in running.output


def test_a_stale_pid_file_does_not_hold_up_a_start(short_dir: Path) -> None:
    file = configure(short_dir, port := free_port())
    gone = twistd("--version", cwd=short_dir)
    assert gone.returncode == 0
    dead = psutil.Popen(["true"])
    dead.wait()
    (short_dir / "sqsuper.pid").write_text(str(dead.pid))
    running = start(short_dir, file, port)
    try:
        eventually(running.healthy)
    finally:
        running.close()
