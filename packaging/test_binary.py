"""The single-file program itself, as its users start it: `make test-binary`.

$SQSUPER_BINARY names the file. No test has a Python in PATH or anything else of ours around it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "binary"))
import elf

BINARY = Path(os.environ["SQSUPER_BINARY"]).resolve()
CURL = shutil.which("curl") or "curl"
SCROLL = "1.1.1/1.1.1/1.1.1"
LINUX = sys.platform.startswith("linux")
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
GLIBC = (2, 34)
OTHER_USER = 65534


def eventually(condition: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (got := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return got


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def descendants(pid: int) -> set[int]:
    """Return the pids of all that `pid` has started, and they."""
    parents: dict[int, list[int]] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                text = (directory / "stat").read_text()
                parent = int(text.rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(directory.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = parents.get(waiting.pop(), [])
        found |= set(new)
        waiting += new
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class User:
    """Somebody with a directory of their own, and next to no environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.place = home / "place"
        self.temporary = home / "temporary"
        for directory in (self.place, self.temporary):
            directory.mkdir()
        self.environment = {
            "HOME": str(home),
            "TMPDIR": str(self.temporary),
            "PATH": str(home / "nothing"),
        }

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "sqsuper"

    def copies(self) -> list[Path]:
        """Return the directories that were unpacked where a user's cache is."""
        found = self.cache.iterdir() if self.cache.is_dir() else iter(())
        return [entry for entry in found if entry.name != ".lock"]

    def in_temporary(self) -> list[Path]:
        """Return those that were unpacked where temporary files are."""
        return [place for place in self.temporary.glob("*/*") if place.name != ".lock"]

    def run(
        self, *words: str, program: Path = BINARY, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *words],
            env={**self.environment, **variables},
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def version(self, **variables: str) -> str:
        ended = self.run("version", program=BINARY, **variables)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture
def user() -> Iterator[User]:
    # Short, for sockets have short names; in memory, where that can be; and not kept.
    home = Path(tempfile.mkdtemp(prefix="sqb-", dir=IN_MEMORY)).resolve()
    yield User(home)
    shutil.rmtree(home)


class Service:
    """`sqsuper run`, with tenants."""

    def __init__(self, user: User, prefix: Sequence[str] = ()) -> None:
        self.user = user
        self.port, self.admin = free_ports(2)
        self._prefix = prefix
        self.tokens: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._log = user.home / "log"

    def init(self) -> None:
        self._said("init", "--port", str(self.port), "--admin-port", str(self.admin), name="alice")

    def add(self, name: str) -> None:
        self._said("tenant", "add", name, name=name)

    def _said(self, *words: str, name: str) -> None:
        ended = self.user.run(*words)
        assert ended.returncode == 0, ended.stderr
        found = re.search(r"pmb-v1-[0-9a-f]+", ended.stdout)
        assert found is not None, ended.stdout
        self.tokens[name] = found[0]

    def start(self) -> int:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(BINARY), "run"],
                env=self.user.environment,
                cwd=self.user.place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._is_up, "the service is up")
        return self.process.pid

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        return self.curl("/health", tenant=None)[0] == "200"

    def curl(self, target: str, *words: str, tenant: str | None = "alice") -> tuple[str, str]:
        """Return status and body."""
        own = ["-H", f"Authorization: Bearer {self.tokens[tenant]}"] if tenant else []
        url = f"http://127.0.0.1:{self.port}{target}"
        done = subprocess.run(
            [CURL, "-sS", "-m", "60", "-w", "\n%{http_code}", *own, *words, url],
            capture_output=True,
            text=True,
            check=False,
        )
        body, _, status = done.stdout.rpartition("\n")
        return status, body

    def write_and_read(self, tenant: str, text: str) -> None:
        at = f"?p=notes&c={SCROLL}"
        wrote = self.curl(f"/api/v2/update{at}", "--data-binary", text, tenant=tenant)
        assert wrote[0] == "200", (wrote, self._log.read_text())
        assert self.curl(f"/api/v2/select{at}", tenant=tenant) == ("200", text)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                assert self.process.wait(60) in (0, -signal.SIGTERM)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise


@pytest.fixture
def service(user: User) -> Iterator[Service]:
    made = Service(user)
    yield made
    made.end()


def test_a_first_tenant_answers_a_real_curl_and_nothing_remains(service: Service) -> None:
    service.init()
    pid = service.start()
    service.write_and_read("alice", "Hello, phext")
    (copy,) = service.user.copies()
    if LINUX:
        # What the user started is the interpreter itself, and all else descends from it.
        assert Path(os.readlink(f"/proc/{pid}/exe")) == copy / "bin" / "python3"
    started = descendants(pid) if LINUX else set()
    service.end()
    assert not [one for one in started if runs(one)]
    assert service.user.copies() == [copy]


@pytest.mark.skipif(not LINUX, reason="elsewhere engines are spawned, and memory is told otherwise")
def test_children_are_forked_and_cheap_and_unpack_nothing(service: Service) -> None:
    service.init()
    (copy,) = service.user.copies()
    before = copy.stat()
    pid = service.start()
    service.add("bob")
    service.add("carol")
    for name in service.tokens:
        service.write_and_read(name, f"I am {name}")
    names = {Path(f"/proc/{one}/comm").read_text().strip(): one for one in descendants(pid)}
    assert "sqsuper-zygote" in names
    for name in service.tokens:
        rollup = Path(f"/proc/{names[f'sq:{name}']}/smaps_rollup").read_text()
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        assert found is not None
        # A whole interpreter of its own with the engine has three times that to itself.
        assert int(found[1]) < 8000, rollup
        assert Path(os.readlink(f"/proc/{names[f'sq:{name}']}/exe")) == copy / "bin" / "python3"
    assert service.user.copies() == [copy]
    after = copy.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_kill_9_of_what_the_user_started_ends_everything(service: Service) -> None:
    service.init()
    config = service.user.place / "conf" / "tenants.yaml"
    server = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port={port})"
    command = json.dumps([sys.executable, "-c", server])
    (config.parent / "tenants.d" / "rogue.yaml").write_text(
        f"tenants: {{rogue: {{tokens: [rogue-token-0123456789], engine: command,"
        f" start: eager, command: {command}}}}}\n"
    )
    (config.parent / "tenants.d" / "rogue.yaml").chmod(0o600)
    pid = service.start()
    service.write_and_read("alice", "gone soon")
    eventually(lambda: len(descendants(pid)) >= 4, "zygote, engine, command engine, warden")
    started = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    assert service.process is not None
    service.process.wait(30)
    eventually(lambda: not [one for one in started if runs(one)], "all have ended")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", service.port)) != 0


def test_workers_and_reload_start_the_same_interpreter(service: Service) -> None:
    service.init()
    config = service.user.place / "conf" / "tenants.yaml"
    text = config.read_text("utf-8")
    config.write_text(text.replace("gateway:\n", "gateway:\n  workers: 2\n", 1), "utf-8")
    assert "\n  workers: 2\n" in config.read_text("utf-8")
    pid = service.start()
    service.write_and_read("alice", "through a worker")
    service.add("bob")
    service.write_and_read("bob", "after a reload")
    (copy,) = service.user.copies()
    if LINUX:
        programs = {os.readlink(f"/proc/{one}/exe") for one in descendants(pid)}
        assert programs == {str(copy / "bin" / "python3")}


def test_the_version_is_told_from_one_private_copy(user: User) -> None:
    said = user.version()
    assert said.startswith("sqsuper ")
    assert user.version() == said
    (copy,) = user.copies()
    for directory in (user.cache, copy):
        found = directory.lstat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, os.geteuid())
    for file in copy.rglob("*"):
        assert not stat.S_IMODE(file.lstat().st_mode) & 0o077, file
    assert not user.in_temporary()


@pytest.mark.parametrize("umask", [0, 0o027, 0o777])
def test_the_umask_changes_no_mode_and_is_kept(user: User, umask: int) -> None:
    before = os.umask(umask)
    try:
        first = subprocess.run(
            [str(BINARY), "version"], env=user.environment, capture_output=True, check=False
        )
    finally:
        os.umask(before)
    assert first.returncode == 0, first.stderr
    (copy,) = user.copies()
    number = copy.stat().st_ino
    user.version()
    assert [one.stat().st_ino for one in user.copies()] == [number]


def test_exit_statuses_and_arguments_are_passed_on(user: User) -> None:
    assert user.run("frobnicate").returncode == 2
    assert user.run("status").returncode in (1, 3)
    odd = os.fsdecode(b"/nowhere/\xff \n*")
    assert user.run("-c", odd, "check").returncode == 1
    assert "usage" in user.run().stdout.lower()


def test_variables_for_python_and_the_loader_change_nothing(user: User) -> None:
    said = user.version()
    (user.place / "json.py").write_text("raise SystemExit(9)\n")
    (user.place / "sqsuper.py").write_text("raise SystemExit(9)\n")
    (user.home / "libpython3.11.so.1.0").write_text("")
    hostile = {
        "PYTHONPATH": str(user.place),
        "PYTHONHOME": str(user.place),
        "PYTHONSTARTUP": str(user.place / "json.py"),
        "PYTHONSAFEPATH": "",
        "PYTHONINSPECT": "1",
    }
    assert user.version(**hostile) == said


@pytest.mark.skipif(not LINUX, reason="ELF")
def test_a_directory_for_libraries_is_not_looked_into_for_ours(user: User) -> None:
    said = user.version()
    (copy,) = user.copies()
    for library in (copy / "lib").glob("*.so*"):
        (user.home / library.name).write_text("no library")
    assert user.version(LD_LIBRARY_PATH=str(user.home)) == said


@pytest.mark.skipif(not LINUX, reason="ELF")
def test_nothing_asks_for_a_newer_c_library_than_is_promised(user: User) -> None:
    user.version()
    (copy,) = user.copies()
    files = [file for file in copy.rglob("*") if file.is_file() and elf.is_elf(file)]
    assert len(files) > 3
    assert max(elf.glibc_needed(file) for file in files) <= GLIBC
    assert elf.glibc_needed(BINARY) == (0, 0)


@pytest.mark.parametrize("how", ["copy", "link"])
def test_called_sq_it_takes_what_the_real_sq_takes(user: User, how: str) -> None:
    sq = user.home / "bin" / "sq"
    sq.parent.mkdir()
    if how == "copy":
        shutil.copy(BINARY, sq)
    else:
        sq.symlink_to(BINARY)
    assert user.run("version", program=sq).stdout == "0.5.5\n"
    assert user.run("status", program=sq).returncode == 2
    (port,) = free_ports(1)
    words = ["host", str(port), "--key", "the-key", "--data-dir", str(user.home / "data")]
    process = subprocess.Popen(
        [str(sq), *words], env=user.environment, cwd=user.place, stdout=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}/api/v2/version"
        ask = [CURL, "-s", "-m", "10", "-H", "Authorization: Bearer the-key", url]

        def answered() -> bytes:
            return subprocess.run(ask, capture_output=True, check=False).stdout

        assert eventually(answered, "it answers") == b"0.5.5"
    finally:
        process.terminate()
        process.wait(30)
    assert len(user.copies()) == 1


def test_several_first_starts_at_a_time_unpack_once(user: User) -> None:
    starts = [
        subprocess.Popen(
            [str(BINARY), "version"], env=user.environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    said = {start.communicate(timeout=120)[0] for start in starts}
    assert [start.returncode for start in starts] == [0] * 6
    assert len(said) == 1
    assert len(user.copies()) == 1


def _truncate(copy: Path) -> None:
    file = next(copy.rglob("modules.index"))
    file.chmod(0o600)
    os.truncate(file, 3)
    file.chmod(0o400)


def _overwrite(copy: Path) -> None:
    file = next(copy.rglob("modules.00"))
    file.chmod(0o600)
    file.write_bytes(b"\0" * file.stat().st_size)
    file.chmod(0o400)


def _remove_file(copy: Path) -> None:
    (copy / "bin" / "python3").unlink()


def _remove_directory(copy: Path) -> None:
    shutil.rmtree(copy / "lib")


def _link(copy: Path) -> None:
    file = copy / "bin" / "python3"
    file.unlink()
    file.symlink_to("/bin/sh")


def _open_to_others(copy: Path) -> None:
    (copy / "bin" / "python3").chmod(0o777)


def _replace_by_file(copy: Path) -> None:
    shutil.rmtree(copy)
    copy.write_text("")


def _replace_by_link(copy: Path) -> None:
    elsewhere = copy.parent.parent.parent / "elsewhere"
    copy.rename(elsewhere)
    copy.symlink_to(elsewhere)


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes")
@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _overwrite,
        _remove_file,
        _remove_directory,
        _link,
        _open_to_others,
        _replace_by_file,
        _replace_by_link,
    ],
)
def test_a_damaged_copy_is_replaced(user: User, damage: Callable[[Path], None]) -> None:
    said = user.version()
    (copy,) = user.copies()
    damage(copy)
    assert user.version() == said
    assert user.copies() == [copy]
    assert copy.is_dir()
    assert not copy.is_symlink()
    number = copy.stat().st_ino
    assert user.version() == said
    assert copy.stat().st_ino == number


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_start_killed_while_it_unpacks_harms_no_later_one(user: User) -> None:
    start = subprocess.Popen([str(BINARY), "version"], env=user.environment)
    eventually(lambda: any(user.cache.glob(".unpacking-*/*")), "it unpacks")
    start.kill()
    start.wait()
    user.version()
    assert len(user.copies()) == 1


@pytest.mark.parametrize("variables", [{"HOME": ""}, {"HOME": "/proc"}, {"HOME": "relative"}])
@pytest.mark.skipif(not LINUX, reason="/proc is a directory that nobody can write to")
def test_without_a_home_to_write_to_it_uses_the_temporary_directory(
    user: User, variables: dict[str, str]
) -> None:
    said = user.version(**variables)
    (copy,) = user.in_temporary()
    assert copy.parent.name == f"sqsuper-{os.geteuid()}"
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    number = copy.stat().st_ino
    assert user.version(**variables) == said
    assert [one.stat().st_ino for one in user.in_temporary()] == [number]
    assert not user.copies()
    assert not (user.place / "relative").exists()


def _cache_is_a_link(user: User) -> Path:
    elsewhere = user.home / "prepared"
    elsewhere.mkdir(0o700)
    user.cache.parent.mkdir(0o700)
    user.cache.symlink_to(elsewhere)
    return elsewhere


def _cache_is_open(user: User) -> Path:
    user.cache.mkdir(parents=True)
    user.cache.chmod(0o777)
    return user.cache


def _cache_can_be_read(user: User) -> Path:
    user.cache.mkdir(parents=True)
    user.cache.chmod(0o755)
    return user.cache


def _others_can_exchange_it(user: User) -> Path:
    user.cache.mkdir(parents=True)
    user.cache.chmod(0o700)
    user.cache.parent.chmod(0o777)
    return user.cache


def _cache_is_anothers(user: User) -> Path:
    user.cache.mkdir(parents=True)
    user.cache.chmod(0o700)
    os.chown(user.cache, OTHER_USER, OTHER_USER)
    return user.cache


HOSTILE = [_cache_is_a_link, _cache_is_open, _cache_can_be_read, _others_can_exchange_it]
if LINUX and os.geteuid() == 0:
    HOSTILE.append(_cache_is_anothers)


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes")
@pytest.mark.parametrize("prepare", HOSTILE)
def test_a_directory_that_others_prepared_is_not_used(
    user: User, prepare: Callable[[User], Path]
) -> None:
    prepared = prepare(user)
    user.version()
    assert not list(prepared.iterdir())
    assert len(user.in_temporary()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
def test_a_name_taken_in_the_temporary_directory_is_not_used(user: User) -> None:
    taken = user.temporary / f"sqsuper-{os.geteuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    user.temporary.chmod(0o1777)
    # Nor the next usual place, which belongs to whoever else uses this machine.
    others = [Path(place) / taken.name for place in ("/tmp", "/var/tmp")]  # noqa: S108
    before = {place for place in others if place.exists()}
    user.version(HOME="/proc")
    assert not list(taken.iterdir())
    for place in {place for place in others if place.exists()} - before:
        shutil.rmtree(place)


def test_a_damaged_download_says_so_and_leaves_nothing(user: User) -> None:
    damaged = user.home / "damaged"
    text = bytearray(BINARY.read_bytes())
    text[len(text) // 2] ^= 1
    damaged.write_bytes(text)
    damaged.chmod(0o755)
    ended = user.run("version", program=damaged)
    assert ended.returncode == 1
    # One line: in no other place it would be whole.
    said = r"sqsuper: this program's file is damaged \(.+\): download it again\n"
    assert re.fullmatch(said, ended.stderr), ended.stderr
    assert not user.copies()
    assert not user.in_temporary()


@pytest.mark.skipif(not LINUX, reason="mounts")
@pytest.mark.parametrize("options", ["size=20m", "nr_inodes=50", "noexec", "ro"])
def test_a_place_that_is_full_or_runs_nothing_is_passed_over(user: User, options: str) -> None:
    place = user.home / "place-of-little-use"
    place.mkdir()
    inside = (
        f"mount -t tmpfs -o mode=700,{options} tmpfs {place} && {BINARY} version"
        f" && find {place} -mindepth 2 ! -name .lock"
    )
    enter = [] if os.geteuid() == 0 else ["sudo", "-n", "-E"]
    ended = subprocess.run(
        [*enter, "unshare", "--mount", "sh", "-c", inside],
        env={
            **user.environment,
            "XDG_CACHE_HOME": str(place),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # Nothing of a try is left behind there.
    assert ended.stdout == user.version()
    assert len(user.copies()) == 1


def _in_a_root(root: Path, before: str = "true") -> subprocess.CompletedProcess[str]:
    """Run it there as root, in a process that may mount; what it leaves is this user's again."""
    inside = (
        f"{before} && chroot {root} /bin/sqsuper version; status=$?;"
        f" find {root} -xdev -exec chown -h {os.geteuid()} {{}} +; exit $status"
    )
    bare = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    enter = bare if os.geteuid() == 0 else ["sudo", "-n", *bare]
    return subprocess.run(
        [*enter, "unshare", "--mount", "sh", "-c", inside],
        capture_output=True,
        text=True,
        check=False,
    )


def _bare_root(user: User, *directories: str) -> Path:
    root = user.home / "root"
    for directory in ("bin", "tmp", *directories):
        (root / directory).mkdir(parents=True)
    shutil.copy(BINARY, root / "bin" / "sqsuper")
    return root


@pytest.mark.skipif(not LINUX, reason="chroot")
def test_where_there_is_no_c_library_of_that_kind_it_says_what_it_needs(user: User) -> None:
    root = _bare_root(user)
    ended = _in_a_root(root)
    assert ended.returncode == 1
    assert "it needs the GNU C library (glibc) 2.34 or newer, and /proc" in ended.stderr
    (kept,) = (root / "tmp").iterdir()
    assert [left.name for left in kept.iterdir()] == [".lock"]


@pytest.mark.skipif(not LINUX, reason="mounts, chroot")
def test_where_no_program_may_be_run_it_blames_nothing_else(user: User) -> None:
    root = _bare_root(user)
    ended = _in_a_root(root, f"mount -t tmpfs -o noexec tmpfs {root / 'tmp'}")
    assert ended.returncode == 1
    assert "sqsuper-0: the interpreter cannot be started: Permission denied" in ended.stderr
    assert "it needs" not in ended.stderr


@pytest.mark.skipif(not LINUX, reason="chroot")
def test_a_service_without_the_variable_tries_the_home_in_the_list_of_users(user: User) -> None:
    root = _bare_root(user, "etc", "home")
    text = "broken\nother:x:1:1::/bin:/bin/sh\nroot:x:0:0::/home:/bin/sh\n"
    (root / "etc" / "passwd").write_text(text)
    assert "sqsuper:   /home/.cache/sqsuper: the interpreter" in _in_a_root(root).stderr


@pytest.mark.skipif(not LINUX, reason="chroot")
@pytest.mark.parametrize("owner", [0, OTHER_USER])
def test_in_a_root_with_nothing_but_the_c_library(user: User, owner: int) -> None:
    """`/` is nobody's that is known where a sandbox gives root no number."""
    root = _bare_root(user, "proc", "dev", "lib64")
    loader = subprocess.run(["ldd", sys.executable], capture_output=True, text=True, check=True)
    libraries = re.findall(r"(/\S*/(?:ld-linux\S*|libc|libm)\.so\.\d+)", loader.stdout)
    assert len(libraries) >= 3
    for library in {
        *libraries,
        *_beside(libraries, ("libpthread", "libdl", "libutil", "libgcc_s")),
    }:
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    # The loader asks /proc where a program is.
    owned = f"chown {owner} {root} {root / 'tmp'}"
    ended = _in_a_root(root, f"mount -t proc proc {root}/proc && {owned}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == user.version()


def _beside(libraries: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    for directory in {str(Path(library).parent) for library in libraries}:
        for name in names:
            yield from (str(found) for found in Path(directory).glob(f"{name}.so.*"))
