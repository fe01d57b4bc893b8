"""The zygote over real processes: who its children are, and what happens when it does not do."""

from __future__ import annotations

import os
import pwd
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet import task

from sqsuper.config.model import Health, Launcher, Restart, Start
from sqsuper.instances import Upstream
from sqsuper.supervisor import reaper
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.service import Supervisor
from tests.running import eventually as patiently
from tests.unit.supervisor import support
from tests.unit.supervisor.support import (
    alive,
    ask,
    children,
    command_tenant,
    config,
    descriptors,
    eventually,
    fake_engine,
    in_reactor,
    logged,
    outcome_of,
    running,
    settings,
    status_of,
    tenant,
    upstream_of,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


@pytest.fixture(autouse=True)
def launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "chosen_launcher", Launcher.ZYGOTE)


@pytest.fixture
def paths(short_dir: Path) -> tuple[str, ...]:
    return fake_engine(short_dir)


@pytest.fixture
def suspended() -> Iterator[list[int]]:
    """Pids that are suspended in a test: none may be left so."""
    pids: list[int] = []
    yield pids
    for pid in filter(alive, pids):
        os.kill(pid, signal.SIGCONT)


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def zygote() -> int | None:
    """The pid of the one zygote that is a child of ours."""
    found: list[int] = []

    def at_most_one() -> bool:
        # What one that was killed has just forked bears its name for a moment.
        found[:] = [pid for pid in children() if comm(pid) == "sqsuper-zygote" and alive(pid)]
        return len(found) <= 1

    patiently(at_most_one, "one zygote")
    return found[0] if found else None


def forked(supervisor: Supervisor, name: str = "alice") -> bool:
    pid = supervisor.pid(name)
    assert pid is not None
    return comm(pid).startswith("sq:")


async def warm(but: int | None = None) -> int:
    """Wait for a zygote (another one than `but`) that waits for messages; return its pid."""

    def waits() -> int:
        pid = zygote()
        return pid if pid is not None and pid != but and idle(pid) else 0

    pid = await eventually(waits, "a warm zygote")
    # What it said is there by now, and read in the reactor's next turn.
    await task.deferLater(_reactor, 0, lambda: None)
    return pid


def idle(pid: int) -> bool:
    """Whether it sleeps with nothing but its own descriptors."""
    try:
        return status_of(pid)["State"][0] == "S" and len(descriptors(pid)) == 16
    except (OSError, KeyError):
        return False


async def gone(supervisor: Supervisor, pids: dict[str, int | None]) -> None:
    """Wait until each tenant has another process than this, or none."""
    await eventually(lambda: all(supervisor.pid(name) != pid for name, pid in pids.items()))


def opened() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def opened_but_figures() -> int:
    """As `opened`, without those by which children are measured, one for each at most."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed them
            found += not os.readlink(f"/proc/self/fd/{fd}").startswith("/proc/")
    assert opened() - found <= len(children()) + 1
    return found


def memory_of(pid: int) -> bytes:
    """What a process has in memory that can be written."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            start, end = (int(part, 16) for part in place.split("-"))
            if rights.startswith("rw"):
                memory.seek(start)
                found.append(memory.read(end - start))
    return b"".join(found)


@in_reactor
async def test_the_engine_is_our_child_and_the_zygote_knows_no_secret(short_dir: Path) -> None:
    tenants = [tenant(short_dir, name) for name in ("alice", "bob")]
    async with running(config(short_dir, *tenants)) as supervisor:
        keys = []
        for one in tenants:
            keys.append((await upstream_of(supervisor, one.name)).key)
            pid = supervisor.pid(one.name)
            assert pid in children()
            assert comm(pid) == f"sq:{one.name}"
            assert status_of(pid)["Threads"] == "1"
        parent = zygote()
        assert parent is not None
        assert status_of(parent)["Threads"] == "1"
        assert set(descriptors(parent)) == set(range(16))
        memory = memory_of(parent)
        assert b"Content-Length" in memory  # it is its memory that was read
        for secret in (*keys, *(one.tokens[0].sha256.hex() for one in tenants)):
            assert secret.encode() not in memory
        assert [key.encode() in memory_of(supervisor.pid("bob") or 0) for key in keys] == [
            False,
            True,
        ]
        assert not (short_dir / "run" / "warming-up").exists()
    assert zygote() is None
    assert not reaper.subreaper()


@in_reactor
async def test_what_was_set_in_one_child_is_not_in_another(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    other = tenant(short_dir, "bob")
    one = tenant(short_dir, settings=settings(environment=(("EXTRA", "1"),)))
    async with running(config(short_dir, one, other), engine_paths=paths) as supervisor:
        for name in ("alice", "bob"):
            await upstream_of(supervisor, name)
        pids = {name: supervisor.pid(name) for name in ("alice", "bob")}
        shown = {n: Path(f"/proc/{pid}/environ").read_bytes() for n, pid in pids.items()}
        assert b"EXTRA=1" in shown["alice"]
        assert b"EXTRA" not in shown["bob"]
        assert str(one.data_dir).encode() not in shown["bob"]
        # The same program, and each its own session and standard streams.
        assert os.getsid(pids["alice"] or 0) != os.getsid(pids["bob"] or 0)
        mine, others = (descriptors(pid or 0) for pid in pids.values())
        assert not set(list(mine.values())[1:6]) & set(others.values())


@in_reactor
async def test_a_killed_zygote_is_replaced_and_its_children_do_not_notice(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    tenants = [tenant(short_dir, name) for name in ("alice", "bob", "carol")]
    async with running(config(short_dir, *tenants), engine_paths=paths) as supervisor:
        there = await upstream_of(supervisor)
        before = supervisor.pid("alice")
        first = await warm()
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: zygote() is None)
        await upstream_of(supervisor, "bob")
        assert not forked(supervisor, "bob")
        assert await warm(first) != first
        await upstream_of(supervisor, "carol")
        assert forked(supervisor, "carol")
        assert supervisor.pid("alice") == before == ask(there)["pid"]
        # Its exit status comes to us as ever.
        os.kill(before or 0, signal.SIGKILL)
        await eventually(lambda: supervisor.state("alice") is not State.HEALTHY)
        assert supervisor.history("alice")[-1].reason == "killed by SIGKILL"


@in_reactor
async def test_one_that_does_not_answer_is_killed_and_the_start_spawned(
    short_dir: Path, paths: tuple[str, ...], suspended: list[int]
) -> None:
    tenants = [tenant(short_dir, name) for name in ("alice", "bob")]
    with logged() as lines:
        async with running(config(short_dir, *tenants), engine_paths=paths) as supervisor:
            await upstream_of(supervisor)
            hung = await warm()
            suspended.append(hung)
            os.kill(hung, signal.SIGSTOP)
            there = await upstream_of(supervisor, "bob")
            assert ask(there)["pid"] == supervisor.pid("bob")
            assert not forked(supervisor, "bob")
            await eventually(lambda: not alive(hung))
            await warm(hung)
    assert sum("does not answer" in line for line in lines) == 1


@in_reactor
async def test_a_zygote_that_cannot_be_costs_only_its_speed(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    (Path(paths[0]) / "sqsuper" / "engine" / "__main__.py").write_text(
        support.SERVE.replace("mode = sh", 'assert "alice" in argv\n    mode = sh')
    )
    with logged() as lines:
        async with running(config(short_dir, tenant(short_dir)), engine_paths=paths) as supervisor:
            ask(await upstream_of(supervisor))
            assert not forked(supervisor)
    assert any("the zygote is lost" in line for line in lines)


@in_reactor
async def test_a_stop_while_the_zygote_hangs(
    short_dir: Path, paths: tuple[str, ...], suspended: list[int]
) -> None:
    async with running(config(short_dir, tenant(short_dir)), engine_paths=paths) as supervisor:
        hung = await warm()
        suspended.append(hung)
        os.kill(hung, signal.SIGSTOP)
        supervisor.wait("alice", lambda _: None)
        assert supervisor.pid("alice") is None
        await supervisor.stop("alice")
        assert supervisor.state("alice") in {State.STOPPED, State.STARTING}
        assert isinstance(await outcome_of(supervisor, "alice"), Upstream)


@in_reactor
async def test_what_does_not_fit_a_message_is_spawned(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    large = tuple((f"LARGE{n}", "x" * 60_000) for n in range(2))
    one = tenant(short_dir, settings=settings(environment=large))
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        await warm()
        ask(await upstream_of(supervisor))
        assert not forked(supervisor)


@in_reactor
async def test_text_that_is_no_utf_8_arrives(short_dir: Path, paths: tuple[str, ...]) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    one = tenant(short_dir, settings=settings(environment=(("ODD", odd),)))
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        await upstream_of(supervisor)
        assert forked(supervisor)
        pid = supervisor.pid("alice")
        assert b"ODD=\xff\xfe\0" in Path(f"/proc/{pid}/environ").read_bytes()


@in_reactor
async def test_spawn_means_spawn(short_dir: Path, paths: tuple[str, ...]) -> None:
    tenants = [
        tenant(short_dir, "alice", settings=settings(launcher=Launcher.SPAWN)),
        tenant(short_dir, "bob"),
    ]
    async with running(config(short_dir, *tenants), engine_paths=paths) as supervisor:
        for name in ("alice", "bob"):
            await upstream_of(supervisor, name)
        assert (forked(supervisor, "alice"), forked(supervisor, "bob")) == (False, True)
    async with running(config(short_dir, tenants[0]), engine_paths=paths) as supervisor:
        await upstream_of(supervisor)
        assert zygote() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@in_reactor
async def test_a_user_of_its_own(short_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    short_dir.chmod(0o711)
    one = tenant(short_dir, settings=settings(user="nobody"))
    async with running(config(short_dir, one)) as supervisor:
        there = await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        assert pid is not None
        assert forked(supervisor)
        status = status_of(pid)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"] == ""
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapEff"], 16) == 0
        assert there.path is not None
        parent = zygote()
        assert parent is not None
        assert status_of(parent)["Uid"].split() == ["0"] * 4


@in_reactor
async def test_orphans_that_we_took_in_are_reaped(short_dir: Path) -> None:
    # A command whose child leaves its group and loses its parent; and one that dies alone.
    away = (
        "import os, subprocess, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    pid = os.fork()\n"
        "    if pid:\n"
        "        open('pid.new', 'w').write(str(pid)); os.rename('pid.new', 'pid')\n"
        "    else:\n"
        "        while not os.path.exists('go'): time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "time.sleep(60)\n"
    )
    one = command_tenant(
        short_dir, sys.executable, "-c", away, start=Start.EAGER, health=Health(start_timeout=60)
    )
    keeper = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    async with running(config(short_dir, one, tenant(short_dir, "bob"))):
        await eventually((one.data_dir / "pid").exists)
        pid = int((one.data_dir / "pid").read_text())
        await eventually(lambda: pid in children(), "we took it in")
        (one.data_dir / "go").touch()
        await eventually(lambda: pid not in children(), "it is reaped")
    # What others wait for by pid is theirs.
    assert keeper.wait() == 7


@in_reactor
async def test_a_hundred_at_once_and_many_killed_leave_nothing_behind(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    restart = Restart(backoff=0.01, backoff_max=0.02, intensity=1000)
    names = [f"t{n}" for n in range(100)]
    # Few enough that the fleet's brake stays off.
    mortals = names[:18]
    tenants = [
        tenant(short_dir, n, settings=settings(restart=restart, start=Start.LAZY)) for n in names
    ]
    dice = random.Random(13)
    held = opened()
    async with running(config(short_dir, *tenants), engine_paths=paths) as supervisor:
        for pending in [outcome_of(supervisor, name) for name in names]:
            assert isinstance(await pending, Upstream)
        assert all(forked(supervisor, name) for name in names)
        open_with_all = opened_but_figures()
        for _ in range(15):
            victims = dice.sample(mortals, 10)
            pids = {name: supervisor.pid(name) for name in victims}
            for pid in pids.values():
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            if dice.random() < 0.3 and (pid := zygote()):
                os.kill(pid, signal.SIGKILL)
            await gone(supervisor, pids)
            for name in victims:
                await upstream_of(supervisor, name)
        await warm()
        await eventually(lambda: opened_but_figures() <= open_with_all, "descriptors")
        await eventually(lambda: all(map(alive, children())), "no zombie")
        for name in names:
            assert ask(await upstream_of(supervisor, name))["pid"] == supervisor.pid(name)
    assert opened() <= held
