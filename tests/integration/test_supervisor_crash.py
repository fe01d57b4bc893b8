"""What is left when the supervisor itself is killed, and what the next one does about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from sqsuper.config.model import Launcher
from sqsuper.supervisor import groups
from sqsuper.supervisor.groups import Group
from sqsuper.supervisor.records import Records
from tests.running import ROOT, eventually
from tests.unit.supervisor.support import (
    alive,
    config,
    in_reactor,
    logged,
    over_both_launchers,
    running,
    tenant,
    upstream_of,
)

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="no death signal elsewhere; looks at /proc"
)

SQ = ("sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}")

Begin = Callable[..., "tuple[subprocess.Popen[str], dict[str, int]]"]


launcher = over_both_launchers()


@pytest.fixture
def begin(short_dir: Path, launcher: Launcher) -> Iterator[Begin]:
    """Start a supervisor process and give it with its children's pids."""
    processes: list[subprocess.Popen[str]] = []
    pids: list[int] = []

    def start(*command: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
        module = "tests.unit.supervisor.standalone"
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(short_dir), json.dumps(command), launcher.value],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        found: dict[str, int] = json.loads(process.stdout.readline())
        pids.extend(found.values())
        return process, found

    yield start
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    try:
        eventually(lambda: not any(alive(pid) for pid in pids), "no child left", 2)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def named(pid: int, name: str) -> list[int]:
    """Return the children of `pid` that have this name."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/comm").read_text() for child in listed}
    return [child for child, comm in names.items() if comm == f"{name}\n"]


def zygotes_of(pid: int) -> list[int]:
    return named(pid, "sqsuper-zygote")


def run_dir(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "run").iterdir())


@pytest.mark.real_sq
def test_no_child_outlives_a_killed_supervisor(begin: Begin) -> None:
    process, pids = begin(*SQ)
    assert all(alive(pid) for pid in pids.values())
    process.kill()
    process.wait()
    eventually(lambda: not any(alive(pid) for pid in pids.values()), "both gone", 2)


def test_a_stopped_supervisor_leaves_nothing(
    begin: Begin, short_dir: Path, launcher: Launcher
) -> None:
    process, pids = begin()
    zygotes = zygotes_of(process.pid)
    assert len(zygotes) == (launcher is Launcher.ZYGOTE)
    process.terminate()
    process.wait(10)
    assert not any(alive(pid) for pid in (*pids.values(), *zygotes))
    assert run_dir(short_dir) == ["supervisor.lock"]


@pytest.mark.parametrize("suspended", [False, True])
def test_no_zygote_outlives_a_killed_supervisor(
    begin: Begin, launcher: Launcher, suspended: bool
) -> None:
    process, _ = begin()
    zygotes = zygotes_of(process.pid)
    assert len(zygotes) == (launcher is Launcher.ZYGOTE)
    for zygote in zygotes if suspended else ():
        os.kill(zygote, signal.SIGSTOP)
    process.kill()
    process.wait()
    eventually(lambda: not any(map(alive, zygotes)), "no zygote left", 1)


# A command whose grandchildren live on: the leader gets the death signal, they do not.
FORKING = (
    "import http.server, subprocess, sys\n"
    "spawn = lambda **how: subprocess.Popen(['sleep', '60'], **how).pid\n"
    "pids = [spawn(), spawn(env={}), spawn(start_new_session=True)]\n"
    "open('pids', 'w').write(' '.join(map(str, pids)))\n"
    "class Any(http.server.BaseHTTPRequestHandler):\n"
    "    def do_OPTIONS(self):\n"
    "        self.send_response(200); self.end_headers()\n"
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Any).serve_forever()\n"
)


def test_what_a_program_forked_ends_with_a_killed_supervisor(begin: Begin, short_dir: Path) -> None:
    process, pids = begin(sys.executable, "-c", FORKING, "{port}")
    orphans = [int(text) for text in (short_dir / "data/bob/pids").read_text().split()]
    [warden] = named(process.pid, "sqsuper-warden")
    try:
        # It does not go before the supervisor does, whoever asks for it.
        os.kill(warden, signal.SIGTERM)
        assert all(alive(pid) for pid in (*pids.values(), *orphans, warden))
        process.kill()
        process.wait()
        eventually(lambda: not any(alive(pid) for pid in (*pids.values(), *orphans, warden)))
    finally:
        for pid in filter(alive, (*orphans, warden)):
            os.kill(pid, signal.SIGKILL)


@in_reactor
async def test_the_next_start_ends_what_a_crash_left(begin: Begin, short_dir: Path) -> None:
    process, pids = begin(sys.executable, "-c", FORKING, "{port}")
    orphans = [int(text) for text in (short_dir / "data/bob/pids").read_text().split()]
    os.kill(pids["alice"], signal.SIGSTOP)
    for warden in named(process.pid, "sqsuper-warden"):
        os.kill(warden, signal.SIGKILL)  # it would leave nothing for the next start
    process.kill()
    process.wait()
    eventually(lambda: not alive(pids["bob"]))
    assert all(alive(pid) for pid in (pids["alice"], *orphans))
    assert sum(name.endswith(".group") for name in run_dir(short_dir)) == 2
    assert sum(name.endswith(".sock") for name in run_dir(short_dir)) == 1
    with logged() as lines:
        async with running(config(short_dir, tenant(short_dir))) as next_one:
            assert not any(alive(pid) for pid in (pids["alice"], *orphans))
            assert not any(name.endswith((".group", ".sock")) for name in run_dir(short_dir))
            await upstream_of(next_one)
    assert sum("an earlier run was not stopped" in line for line in lines) == 1


@in_reactor
async def test_a_stranger_with_a_recorded_pid_is_left_alone(short_dir: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        began = groups.start_time(stranger.pid)
        assert began is not None
        wanted = config(short_dir)
        wanted.run_dir.mkdir(mode=0o700)
        other = Group(
            "alice", stranger.pid, "0" * 19 + "1", groups.boot_id(), groups.now(), "a" * 32
        )
        Records(wanted.run_dir).write(other)
        Records(wanted.run_dir).write(
            attrs.evolve(other, start=began, boot="another", marker="b" * 32)
        )
        async with running(wanted):
            assert run_dir(short_dir) == ["supervisor.lock"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_second_supervisor_names_the_first(begin: Begin, short_dir: Path) -> None:
    process, pids = begin()
    second = subprocess.run(
        [sys.executable, "-m", "tests.unit.supervisor.standalone", str(short_dir), "[]"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
    )
    assert len(second.stdout.splitlines()) == 1
    assert f"pid {process.pid}" in second.stdout
    assert alive(pids["alice"])


def test_a_crash_blocks_no_later_start(begin: Begin, short_dir: Path) -> None:
    for _ in range(3):
        process, _ = begin()
        process.kill()
        process.wait()
    process, _ = begin()
    process.terminate()
    process.wait(10)
    assert run_dir(short_dir) == ["supervisor.lock"]


def test_a_child_of_a_supervisor_that_died_meanwhile_does_nothing(short_dir: Path) -> None:
    child = ROOT / "sqsuper" / "supervisor" / "child.py"
    place = short_dir / "made"
    words = ["--data-dir", str(short_dir), "--", "touch", str(place)]
    for parent, told in ((os.getpid(), b""), (1, b"\n")):
        control, report = os.pipe(), os.pipe()
        os.write(control[1], told)
        os.close(control[1])
        actions = [
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, control[0], 3),
            (os.POSIX_SPAWN_DUP2, report[1], 4),
        ]
        argv = [sys.executable, "-I", "-S", str(child), "--parent", str(parent), *words]
        pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 124
        for fd in (control[0], *report):
            os.close(fd)
    assert not place.exists()
