"""Systems that lend less: what each place does then, forced here piece by piece."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sqsuper.backup import making
from sqsuper.backup.errors import UnsupportedError
from sqsuper.cli.copying import copy_directory
from sqsuper.cli.errors import CommandError
from sqsuper.engine import disk as disks
from sqsuper.engine import options as command_line
from sqsuper.engine.control import Control, Report
from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.disk import Disk
from sqsuper.engine.errors import ForbiddenNameError, LockedError
from sqsuper.engine.files import OpenFile, ReadFile
from sqsuper.engine.path_disk import PathDisk
from sqsuper.gateway import nest
from sqsuper.sockets import Loop, capabilities, locking
from sqsuper.sockets.capabilities import HERE, Capabilities
from sqsuper.sockets.wakeup import Wakeup
from sqsuper.supervisor import child, groups, plan, procfs, rundir, sampling
from sqsuper.supervisor.errors import LaunchError, RunDirInUseError, UnsafeDirectoryError
from sqsuper.supervisor.events import Event, Kind
from sqsuper.supervisor.hooks import Hooks
from sqsuper.supervisor.launchers import LaunchProtocol, StandardLauncher
from sqsuper.supervisor.log_files import LogFiles
from tests.running import ROOT, eventually
from tests.unit.engine.driving import Opened
from tests.unit.supervisor.support import (
    alive,
    command_tenant,
    config,
    in_reactor,
    settings,
    tenant,
)
from tests.unit.supervisor.support import eventually as eventually_in_reactor

MASKS = Path(__file__).with_name("masked_imports.py")
MARKER = "5" * 32
# The first coordinate: nine times 1, ten bits each.
FIRST = sum(1 << 10 * place for place in range(9))


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Takes capabilities from this system, for one test."""

    def take(*names: str) -> None:
        for name in names:
            assert getattr(HERE, name) is True
            monkeypatch.setattr(HERE, name, False)

    return take


class TestCapabilities:
    def test_what_each_system_has(self) -> None:
        linux, mac, windows = (Capabilities.of(name) for name in ("linux", "darwin", "win32"))
        flags = [name for name in Capabilities.__slots__ if name != "socket_path"]
        assert all(getattr(linux, name) for name in flags)
        assert {name for name in flags if not getattr(mac, name)} == {"epoll", "proc", "zygote"}
        assert not any(getattr(windows, name) for name in flags)
        assert (linux.socket_path, mac.socket_path, windows.socket_path) == (107, 103, 0)

    def test_forced_it_only_loses(self) -> None:
        mac = Capabilities.of("linux").forced("darwin")
        assert (mac.epoll, mac.groups, mac.socket_path) == (False, True, 103)
        assert not Capabilities.of("win32").forced("linux").groups
        for nothing in (None, ""):
            assert mac.forced(nothing) is mac
        with pytest.raises(ValueError, match="linux, darwin or win32, not 'beos'"):
            mac.forced("beos")

    def test_it_is_decided_once_by_the_environment(self) -> None:
        told = "import sqsuper.sockets.capabilities as c; print(c.HERE.groups, c.HERE.epoll)"
        said = subprocess.run(
            [sys.executable, "-c", told],
            cwd=ROOT,
            env={**os.environ, capabilities.FORCED: "darwin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.split() == ["True", "False"]


def test_every_module_is_imported_without_what_windows_lacks() -> None:
    done = subprocess.run(
        [sys.executable, str(MASKS)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


class Msvcrt:
    """`msvcrt.locking`, by the lock of a byte; of one open file, not of one process, as there."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []
        self.error = 0

    def locking(self, fd: int, mode: int, count: int) -> None:
        self.calls.append((os.lseek(fd, 0, os.SEEK_CUR), mode, count))
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


class TestLocks:
    def test_a_byte_behind_the_contents_where_there_is_no_flock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = Msvcrt()
        monkeypatch.setattr(locking, "_msvcrt", fake)
        monkeypatch.setattr(locking, "fcntl", None)
        first, second = (locking.open_to_lock(tmp_path, directories=False) for _ in range(2))
        locking.lock(first)
        assert fake.calls == [(1 << 30, fake.LK_NBLCK, 1)]
        assert os.lseek(first, 0, os.SEEK_CUR) == 0
        with pytest.raises(BlockingIOError):
            locking.lock(second)
        os.close(first)
        locking.lock(second)
        fake.error = errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            locking.lock(second)
        os.close(second)
        assert os.listdir(tmp_path) == [locking.LOCK_FILE]

    def test_the_engine_and_the_supervisor_mean_the_same(self, tmp_path: Path) -> None:
        engine = DataDirectory(str(tmp_path), PathDisk())
        engine.lock()
        held = locking.open_to_lock(tmp_path, directories=False)
        with pytest.raises(BlockingIOError):
            locking.lock(held)
        engine.close()
        locking.lock(held)
        second = DataDirectory(str(tmp_path), PathDisk())
        with pytest.raises(LockedError):
            second.lock(0.01)
        second.close()
        os.close(held)

    def test_a_run_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(locking, "_msvcrt", Msvcrt())
        monkeypatch.setattr(locking, "fcntl", None)
        lock = rundir.Lock(tmp_path, "lock")
        with pytest.raises(RunDirInUseError) as raised:
            rundir.Lock(tmp_path, "lock")
        assert raised.value.pid == os.getpid()
        lock.release()


class TestWakeup:
    @pytest.mark.parametrize("pipes", [True, False])
    def test_it_wakes_and_never_blocks(self, pipes: bool, without: Callable[..., None]) -> None:
        if not pipes:
            without("pipes")
        loop = Loop()
        woken: list[bytes] = []
        wakeup = Wakeup(loop, woken.append)
        wakeup.wake()
        wakeup.wake()
        loop.turn(1.0)
        assert woken == [b"\0\0"]
        os.write(wakeup.fileno(), b"\x0f")
        loop.turn(1.0)
        assert woken == [b"\0\0", b"\x0f"]
        for _ in range(100_000):
            wakeup.wake()  # more than any buffer takes
        loop.turn(1.0)
        assert woken[2].strip(b"\0") == b""
        wakeup.wake()
        assert loop.turn(1.0) == 1
        wakeup.close()
        loop.close()


def opened_files() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to rename, replace or remove a file that is open, as Windows does."""
    replace, unlink = os.replace, os.unlink

    def checked(call: Callable[..., None], *paths: Any, **options: Any) -> None:
        busy = opened_files()
        for path in paths:
            if os.path.realpath(os.fsdecode(path)) in busy:
                raise PermissionError(errno.EACCES, "used by another process", path)
        call(*paths, **options)

    monkeypatch.setattr(os, "replace", lambda *paths, **o: checked(replace, *paths, **o))
    monkeypatch.setattr(os, "unlink", lambda *paths, **o: checked(unlink, *paths, **o))


class TestPaths:
    """An engine's directory where directories are not opened."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        data = tmp_path / "data"
        data.mkdir()
        return data

    @pytest.fixture
    def directory(self, data: Path) -> Iterator[DataDirectory]:
        directory = DataDirectory(str(data), PathDisk())
        yield directory
        directory.close()

    def test_it_is_chosen_where_it_is_needed(self, without: Callable[..., None]) -> None:
        assert type(disks.local()) is Disk
        without("directories")
        assert type(disks.local()) is PathDisk

    @pytest.mark.usefixtures("strict")
    def test_a_whole_life_with_files_that_cannot_be_replaced_while_open(self, data: Path) -> None:
        opened = Opened(data, disk=PathDisk())
        for number in range(3):
            opened.apply("a", {FIRST: b"x%d" % number})
            opened.settle()
        opened.apply("a", {FIRST + 1: b"y"})
        opened.close()  # killed: all is in the journal
        opened = Opened(data, disk=PathDisk())
        assert opened.get("a", FIRST) == b"x2"
        assert opened.get("a", FIRST + 1) == b"y"
        opened.stop()
        assert sorted(os.listdir(data)) == [locking.LOCK_FILE, "a.phext"]

    @pytest.mark.usefixtures("strict")
    def test_what_is_being_sent_is_no_open_file(self, data: Path) -> None:
        (data / "a.phext").write_bytes(b"text" * 30_000)
        directory = DataDirectory(str(data), PathDisk())
        signature = directory.signature(b"a.phext")
        assert signature is not None
        file = directory.open(b"a.phext", signature)
        assert type(file) is ReadFile
        assert str(data / "a.phext") not in opened_files()
        first = file.read()
        assert first + file.read() + file.read_all() == b"text" * 30_000
        assert file.read() == b""
        directory.close()
        plain = DataDirectory(str(data), Disk())
        assert type(plain.open(b"a.phext", signature)) is OpenFile
        plain.close()

    def test_links_lead_nowhere_else(self, directory: DataDirectory, data: Path) -> None:
        (data.parent / "secret").write_bytes(b"secret")
        (data / "out.phext").symlink_to(data.parent / "secret")
        (data / "sub").mkdir()
        (data / "sub" / "target").write_bytes(b"inside")
        (data / "in.phext").symlink_to("sub/target")
        with pytest.raises(ForbiddenNameError):
            directory.place("out")
        place = directory.place("in")
        file = directory.read("in", place)
        assert file is not None
        assert file.data == b"inside"
        # What is a link only when it is opened is not followed either, at any step.
        with pytest.raises(ForbiddenNameError):
            directory.read("out", b"out.phext")
        (data / "sub").rename(data / "other")
        (data / "sub").symlink_to("other")
        with pytest.raises(ForbiddenNameError):
            directory.read("in", b"sub/target")
        (data / "fifo.phext").mkdir()
        with pytest.raises(ForbiddenNameError):
            directory.read("fifo", b"fifo.phext")

    def test_a_file_exchanged_while_it_is_opened_is_refused(
        self, directory: DataDirectory, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (data / "a.phext").write_bytes(b"mine")
        (data.parent / "secret").write_bytes(b"secret")
        before = os.open

        def exchanging(path: Any, *rest: Any, **options: Any) -> int:
            if os.fsdecode(path).endswith("a.phext"):
                return before(data.parent / "secret", *rest, **options)
            return before(path, *rest, **options)

        monkeypatch.setattr(os, "open", exchanging)
        with pytest.raises(ForbiddenNameError):
            directory.read("a", b"a.phext")

    def test_the_directory_itself_must_stay_where_it_was(
        self, directory: DataDirectory, data: Path
    ) -> None:
        (data / "a.phext").write_bytes(b"mine")
        elsewhere = data.parent / "elsewhere"
        data.rename(elsewhere)
        data.symlink_to(elsewhere)
        with pytest.raises(ForbiddenNameError):
            directory.read("a", b"a.phext")
        with pytest.raises(OSError, match="symbolic"):
            directory.replacement(b"a.phext", [b"new"]).step()

    def test_a_failed_rename_leaves_the_file_open_as_it_was(self, data: Path) -> None:
        disk = PathDisk()
        root = disk.open_root(str(data))
        fd = disk.create(b"new", root)
        (data / "taken").mkdir()
        with pytest.raises(OSError, match="irectory"):
            disk.rename(b"new", b"taken", root)
        disk.pwrite(fd, b"text", 0)
        disk.rename(b"new", b"old", root)
        disk.pwrite(fd, b"TE", 0)
        disk.fdatasync(fd)
        disk.fsync(root)
        disk.close(fd)
        disk.close(root)
        assert (data / "old").read_bytes() == b"TExt"

    def test_a_system_that_syncs_no_directory(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = PathDisk()
        root = disk.open_root(str(data))

        def refuse(path: object, *_: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        disk.fsync(root)
        disk.close(root)


class TestControlByStandardInput:
    def test_lines_come_through_a_thread(self, without: Callable[..., None]) -> None:
        without("pipes")
        loop = Loop()
        read, write = os.pipe()
        told: list[object] = []
        Control(
            loop,
            read,
            "alice",
            opened=told.append,
            ended=lambda: told.append("end"),
            failed=told.append,
            pinged=told.append,
            adjusted=told.append,
            held=told.append,
            released=told.append,
            stopped=lambda: told.append("stop"),
        )
        os.write(write, b'{"key": "K"}\n{"ping": 1')
        os.write(write, b'}\n{"stop": true}\n{"stop": 1}\n')
        eventually(lambda: loop.turn(0.1) and len(told) == 3, "three lines")
        assert told[1:] == [1, "stop"]
        os.close(write)
        eventually(lambda: loop.turn(0.1) and len(told) == 4, "the end")
        assert told[3] == "end"
        loop.close()
        os.close(read)

    def test_a_port_that_the_engine_chose_is_told(self) -> None:
        read, write = os.pipe()
        Report(write).ready(7001)
        assert json.loads(os.read(read, 100)) == {"event": "ready", "port": 7001}
        os.close(read)
        os.close(write)

    @pytest.mark.parametrize(
        "line",
        ["--gateway-port 0 --key K", "--gateway-port 0 --control-fd 0 --listen-fd 5"],
    )
    def test_a_gateways_port_needs_a_control_pipe(self, line: str) -> None:
        with pytest.raises(command_line.UsageError):
            command_line.parse(line.split())


class TestPlans:
    def test_an_engine_by_standard_streams(
        self, tmp_path: Path, without: Callable[..., None]
    ) -> None:
        without("inheritance")
        one = tenant(tmp_path, port=7001)
        made = plan.embedded(config(tmp_path, one), one, MARKER)
        words = made.argv[made.argv.index("--") + 2 :]
        chosen = command_line.parse(list(words))
        assert (chosen.gateway_port, chosen.port, chosen.listen_fds) == (0, 7001, [])
        assert (chosen.control_fd, chosen.report_fd) == (0, 1)
        assert (made.control, made.report) == (0, 1)
        assert "--standard" in child.options(list(made.words))[0]

    def test_a_program_that_nothing_can_become(
        self, tmp_path: Path, without: Callable[..., None]
    ) -> None:
        without("execution")
        home = tmp_path / "data" / "alice"
        home.mkdir(parents=True)
        (home / "prog").write_text("#!/bin/sh\n")
        (home / "prog").chmod(0o755)

        def made(*words: str) -> plan.Plan:
            one = command_tenant(tmp_path, *words)
            return plan.command(config(tmp_path, one), one, marker=MARKER, key="K", port=7001)

        found = made("sleep", "{port}")
        assert os.path.basename(found.argv[0]) == "sleep"
        assert found.argv[1:] == ("7001",)
        assert (found.control, found.report, found.directory) == (None, None, str(home))
        with pytest.raises(LaunchError, match="is in a tenant's data directory"):
            made(str(home / "prog"))
        with pytest.raises(LaunchError, match="not found in PATH"):
            made("no-such-program-of-ours")


class Spoken(LaunchProtocol):
    """Keeps what a process said, by descriptor."""

    def __init__(self) -> None:
        self.said: dict[int, bytes] = {}
        self.ended: Deferred[None] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.said[childFD] = self.said.get(childFD, b"") + data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


TELL = """
import os, sys
print(os.getcwd(), sorted(os.listdir("/proc/self/fd"))[:3], sys.stdin.read())
"""


@pytest_twisted.inlineCallbacks  # type: ignore[untyped-decorator]
def test_a_process_with_the_standard_streams_alone(tmp_path: Path) -> Iterator[Deferred[None]]:
    from twisted.internet import reactor

    spoken = Spoken()
    made = plan.Plan(
        "alice",
        (sys.executable, "-I", "-S", "-c", TELL),
        {"PATH": os.defpath},
        MARKER,
        forks=True,
        control=None,
        report=None,
        directory=str(tmp_path),
    )
    launcher = StandardLauncher(reactor)
    launcher.start(preload=False)
    launcher.launch(spoken, made, {})
    yield spoken.ended
    assert spoken.said == {1: f"{os.path.realpath(tmp_path)} ['0', '1', '2'] \n".encode()}
    assert launcher.stop().called


@in_reactor
async def test_a_program_for_events_is_ended_without_a_group(
    tmp_path: Path, without: Callable[..., None]
) -> None:
    from twisted.internet import reactor

    without("groups")
    script = "cat > told; sleep 1000 & echo $! > part; mv part child; wait"
    hooks = Hooks(["sh", "-c", script], tmp_path, reactor=reactor)
    hooks.open()
    hooks.take(Event(1.5, Kind.FAILED, "alice", "crash", "it failed", {}))
    await eventually_in_reactor((tmp_path / "child").exists, "its child")
    child = int((tmp_path / "child").read_text())
    assert os.getpgid(child) == os.getpgid(os.getpid())
    assert json.loads((tmp_path / "told").read_text())["tenant"] == "alice"
    await hooks.close()
    eventually(lambda: not alive(child), "its child is gone")


class TestProcesses:
    def test_members_are_found_by_their_marker_alone(self, without: Callable[..., None]) -> None:
        without("groups", "proc")
        sleeper = subprocess.Popen(
            ["sleep", "1000"],
            env={**os.environ, groups.MARKER: MARKER},
            start_new_session=True,
        )
        try:
            start = groups.start_time(sleeper.pid)
            assert start is not None
            assert start <= groups.now()
            group = groups.Group("alice", sleeper.pid, start, groups.boot_id(), "~", MARKER)
            other = groups.Group("bob", sleeper.pid, start, groups.boot_id(), "~", "6" * 32)
            found = eventually(lambda: groups.members([group]).get(group))
            assert found == [sleeper.pid]
            assert not groups.end_group(sleeper.pid)
            assert sleeper.poll() is None
            groups.send(group, sleeper.pid, groups.KILL)
            assert sleeper.wait(10) == -groups.KILL
            assert groups.members([other]) == {other: []}
        finally:
            sleeper.kill()
            sleeper.wait()

    def test_figures_come_from_elsewhere(self, without: Callable[..., None]) -> None:
        without("proc", "groups")
        assert not procfs.available()
        measure = sampling.sampler()
        assert isinstance(measure, sampling.PsutilSampler)
        figures = measure.figures(os.getpid())
        assert figures is not None
        assert figures.threads >= 1
        with subprocess.Popen(["sleep", "1000"]) as sleeper:
            assert sleeper.pid in sampling.Sessions(lambda: 0.0).members(os.getpid())
            sleeper.kill()
        assert sampling.Sessions(lambda: 0.0).members(sleeper.pid) == []


class TestFiles:
    def test_logs_where_directories_are_not_opened(
        self, tmp_path: Path, without: Callable[..., None]
    ) -> None:
        without("directories")
        files = LogFiles(tmp_path / "log", 10, 2, lambda: 0.0)
        for line in (b"first\n", b"second\n", b"third\n", b"fourth\n"):
            files.append("alice", line)
        (tmp_path / "log" / "bob.log").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="symbolic"):
            files.append("bob", b"line\n")
        files.close()
        found = {p.name: p.read_bytes() for p in (tmp_path / "log").glob("alice*")}
        assert found == {
            "alice.log": b"fourth\n",
            "alice.log.1": b"third\n",
            "alice.log.2": b"second\n",
        }
        assert not (tmp_path / "elsewhere").exists()

    def test_directories_where_modes_say_nothing(
        self, tmp_path: Path, without: Callable[..., None]
    ) -> None:
        without("owners")
        there = tmp_path / "a" / "b"
        rundir.ensure(there, 0o700)
        assert there.is_dir()
        there.chmod(0o777)
        rundir.ensure(there, 0o700)
        rundir.check(there)
        (tmp_path / "file").touch()
        with pytest.raises(UnsafeDirectoryError, match="not a directory"):
            rundir.ensure(tmp_path / "file", 0o700)
        other = tenant(tmp_path, settings=settings(user="nobody"))
        with pytest.raises(LaunchError, match="another user on this system"):
            rundir.owner_of(other)

    def test_backups_and_copies_are_refused_with_what_to_do(
        self, tmp_path: Path, without: Callable[..., None]
    ) -> None:
        without("directories")
        with pytest.raises(UnsupportedError, match="stop the tenant and copy its directory"):
            making.make(tmp_path, "daily", ["alice"], lambda _: None, made=0.0)  # type: ignore[arg-type,return-value]
        (tmp_path / "source").mkdir()
        with pytest.raises(CommandError, match="copy it by hand"):
            copy_directory(tmp_path / "source", tmp_path / "new", lambda _: None)
        assert os.listdir(tmp_path) == ["source"]


def test_the_gateway_nests_only_over_epoll(without: Callable[..., None]) -> None:
    from twisted.internet import reactor

    assert nest.possible(reactor)
    without("epoll")
    assert not nest.possible(reactor)
    loop = Loop()
    assert not loop._epoll
    loop.close()
