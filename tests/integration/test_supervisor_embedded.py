"""Embedded engines as real processes: what they get, how they end and come back."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import stat
import sys
from pathlib import Path

import attrs
import pytest

from sqsuper.config.model import GIB, MIB, Health, Launcher, Limits, Restart, Start
from sqsuper.instances import Unavailable
from sqsuper.supervisor.errors import RunDirInUseError, SocketPathError, UnsafeDirectoryError
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.lifecycle import Lifecycle
from tests.running import free_port
from tests.unit.supervisor.support import (
    ask,
    config,
    descriptors,
    eventually,
    fake_engine,
    in_reactor,
    logged,
    outcome_of,
    over_both_launchers,
    running,
    settings,
    status_of,
    tenant,
    upstream_of,
)

launcher = over_both_launchers()

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")


@pytest.fixture
def paths(short_dir: Path) -> tuple[str, ...]:
    return fake_engine(short_dir)


@linux
@in_reactor
async def test_what_a_child_gets(
    short_dir: Path,
    paths: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    launcher: Launcher,
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("TZ", raising=False)
    one = tenant(
        short_dir,
        port=free_port(),
        settings=settings(
            environment=(("EXTRA", "1"),),
            limits=Limits(open_files=77, nice=2, memory_hard=GIB),
        ),
    )
    others = [tenant(short_dir, name, port=free_port()) for name in ("bob", "carol")]
    # What we have open, inheritable or not, is none of a child's business.
    inheritable = os.dup(2)
    os.set_inheritable(inheritable, True)
    try:
        async with running(config(short_dir, one, *others), engine_paths=paths) as supervisor:
            for other in others:
                await upstream_of(supervisor, other.name)
            there = await upstream_of(supervisor)
            pid = supervisor.pid("alice")
            assert pid is not None
            facts = ask(there)
            assert facts["pid"] == pid
            assert facts["cwd"] == str(one.data_dir)
            assert facts["told"]["key"] == there.key
            open_now = descriptors(pid)
            assert set(open_now) == set(range(8))  # 7: its own epoll
            assert open_now[0] == "/dev/null"
            assert all(open_now[n].startswith("pipe:") for n in (1, 2, 3, 4))
            assert all(open_now[n].startswith("socket:") for n in (5, 6))
            assert len({open_now[n] for n in (1, 2, 3, 4)}) == 4
            mine = {open_now[n] for n in range(1, 7)}
            for other in others:
                other_pid = supervisor.pid(other.name)
                assert other_pid is not None
                assert not mine & set(descriptors(other_pid).values())
            status = status_of(pid)
            assert status["NoNewPrivs"] == "1"
            assert status["Umask"] == "0077"
            assert os.getsid(pid) == os.getpgid(pid) == pid
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (77, 77)
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
            most = 2 * GIB + 512 * MIB
            assert resource.prlimit(pid, resource.RLIMIT_AS) == (most, most)
            assert os.getpriority(os.PRIO_PROCESS, pid) == 2
            variables = dict(
                text.split("=", 1)
                for text in Path(f"/proc/{pid}/environ").read_text().split("\0")[:-1]
            )
            marker = variables.pop("SQSUPER_INSTANCE")
            assert marker
            assert variables == {
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "HOME": str(one.data_dir),
                "EXTRA": "1",
            }
            shown = Path(f"/proc/{pid}/cmdline").read_text()
            assert "alice" in shown
            assert shown.startswith("sqsuper-engine") == (launcher is Launcher.ZYGOTE)
            assert there.key not in shown + str(variables) + marker
            assert ask(one.port or 0)["pid"] == pid
    finally:
        os.close(inheritable)


@in_reactor
async def test_files_and_directories_are_private(short_dir: Path, paths: tuple[str, ...]) -> None:
    wanted = config(short_dir, tenant(short_dir))
    async with running(wanted, engine_paths=paths) as supervisor:
        there = await upstream_of(supervisor)
        for place in (wanted.run_dir, wanted.data_root, wanted.tenants[0].data_dir):
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
        for file in wanted.run_dir.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert there.path is not None
        assert len(Path(there.path).name) <= 24
        assert os.umask(0o077) == 0o077
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard


@in_reactor
async def test_a_killed_child_is_back_within_a_second(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    one = tenant(short_dir, settings=settings(restart=Restart()))
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        from twisted.internet import reactor

        before = await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        assert pid is not None
        begun = reactor.seconds()
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: supervisor.ready("alice") is None)
        after = await upstream_of(supervisor)
        assert ask(after)["pid"] == supervisor.pid("alice") != pid
        assert reactor.seconds() - begun < 1.0
        assert after.key != before.key
        assert before.path is not None
        assert not Path(before.path).exists()


@in_reactor
async def test_what_was_queued_with_an_old_key_reaches_no_successor(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    async with running(config(short_dir, tenant(short_dir)), engine_paths=paths) as supervisor:
        before = await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX) as queued:
            queued.connect(before.path or "")
            queued.sendall(b"GET / HTTP/1.1\r\n\r\n")
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: supervisor.ready("alice") is None)
            await upstream_of(supervisor)
            queued.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert queued.recv(100) == b""


@in_reactor
async def test_a_connection_to_the_tenants_port_starts_it(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    port = free_port()
    one = tenant(short_dir, port=port)
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await eventually(lambda: supervisor.state("alice") is State.HEALTHY)
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        await supervisor.stop("alice")
        assert supervisor.state("alice") is State.STOPPED
        with socket.create_connection(("127.0.0.1", port), 5):
            await eventually(lambda: supervisor.state("alice") is State.HEALTHY)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@in_reactor
async def test_one_that_is_never_ready_is_killed(short_dir: Path, paths: tuple[str, ...]) -> None:
    one = tenant(
        short_dir,
        settings=settings(environment=(("MODE", "mute"),), health=Health(start_timeout=0.3)),
    )
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        outcome = await outcome_of(supervisor, "alice")
        assert isinstance(outcome, Unavailable)
        assert outcome.code == "starting"
        await eventually(
            lambda: any("not ready" in change.reason for change in supervisor.history("alice"))
        )


@in_reactor
async def test_one_that_dies_at_once_is_tried_ever_more_rarely(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    restart = Restart(backoff=0.02, backoff_max=0.3, jitter=0.0)
    one = tenant(
        short_dir,
        settings=settings(environment=(("MODE", "die"),), start=Start.EAGER, restart=restart),
    )
    with logged() as lines:
        async with running(config(short_dir, one), engine_paths=paths) as supervisor:
            await eventually(lambda: len(supervisor.history("alice")) >= 12)
            changes = supervisor.history("alice")
            ends = [c.at for c in changes if c.after is State.BACKOFF]
            starts = [c.at for c in changes if c.after is State.STARTING][1:]
            gaps = [start - end for end, start in zip(ends, starts, strict=False)]
            least = [min(0.02 * 2**n, 0.3) for n in range(len(gaps))]
            assert all(gap >= low - 0.001 for gap, low in zip(gaps, least, strict=True))
            assert all("exit status 3" in c.reason for c in changes if c.after is State.BACKOFF)
    assert "alice stderr: about to die" in lines


@in_reactor
async def test_one_that_ignores_term_is_killed_after_the_grace(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    one = tenant(short_dir, settings=settings(environment=(("MODE", "deaf"),), stop_grace=0.3))
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        await upstream_of(supervisor)
        await supervisor.stop("alice")
        change = supervisor.history("alice")[-1]
        assert change.after is State.STOPPED
        assert change.reason == "killed by SIGKILL"


@in_reactor
async def test_one_that_is_suspended_stops_in_time(short_dir: Path, paths: tuple[str, ...]) -> None:
    one = tenant(short_dir, settings=settings(stop_grace=30.0))
    async with running(config(short_dir, one), engine_paths=paths) as supervisor:
        await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await supervisor.stop("alice")
        assert supervisor.history("alice")[-1].reason == "exit status 0"


@in_reactor
async def test_a_flood_neither_blocks_nor_fills_the_log(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    one = tenant(short_dir, settings=settings(environment=(("MODE", "flood"),)))
    with logged() as lines:
        async with running(config(short_dir, one), engine_paths=paths) as supervisor:
            ask(await upstream_of(supervisor))
            await eventually(lambda: any("dropped" in line for line in lines))
    floods = sum(line.split("\n").count("alice stdout: flood") for line in lines)
    dropped = [int(line.split()[2]) for line in lines if "dropped" in line]
    assert floods + sum(dropped) == 100_000
    assert floods < 20_000


@in_reactor
async def test_output_is_logged_to_the_last_byte_and_escaped(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    said = "one\n{braces} %s\n\x1b[31mred\nunfinished"
    one = tenant(short_dir, settings=settings(environment=(("MODE", "say"), ("SAY", said))))
    with logged() as lines:
        async with running(config(short_dir, one), engine_paths=paths) as supervisor:
            await upstream_of(supervisor)
    heard = [line for line in lines if line.startswith("alice stdout: ")]
    assert [line.removeprefix("alice stdout: ") for line in heard] == [
        "one", "{braces} %s", "\\x1b[31mred", "unfinished",
    ]  # fmt: skip


@in_reactor
async def test_no_key_is_ever_logged(short_dir: Path, paths: tuple[str, ...]) -> None:
    with logged() as lines:
        async with running(config(short_dir, tenant(short_dir)), engine_paths=paths) as supervisor:
            there = await upstream_of(supervisor)
    assert lines
    assert not any(there.key in line for line in lines)


@in_reactor
async def test_many_start_and_stop_together(short_dir: Path, paths: tuple[str, ...]) -> None:
    tenants = [tenant(short_dir, f"t{n}", settings=settings(start=Start.EAGER)) for n in range(12)]
    wanted = config(short_dir, *tenants, spawn_concurrency=3)
    async with running(wanted, engine_paths=paths) as supervisor:
        busiest = 0

        class Watching:
            def became(self, life: Lifecycle, change: Change) -> None:
                nonlocal busiest
                starting = {
                    one.name
                    for one in tenants
                    if supervisor.state(one.name) is State.STARTING
                    and supervisor.pid(one.name) is not None
                }
                if change.after is State.HEALTHY:  # until just now
                    starting.add(life.tenant.name)
                busiest = max(busiest, len(starting))

        supervisor.fleet.observers.append(Watching())
        await eventually(lambda: {supervisor.state(one.name) for one in tenants} == {State.HEALTHY})
        assert 1 <= busiest <= 3


@in_reactor
async def test_two_supervisors_do_not_share_directories(
    short_dir: Path, paths: tuple[str, ...]
) -> None:
    from twisted.internet import reactor

    from sqsuper.supervisor.service import Supervisor

    wanted = config(short_dir, tenant(short_dir))
    async with running(wanted, engine_paths=paths) as supervisor:
        await upstream_of(supervisor)
        for second in (wanted, attrs.evolve(wanted, run_dir=short_dir / "run2")):
            other = Supervisor(second, reactor=reactor)
            with pytest.raises(RunDirInUseError) as raised:
                other.privilegedStartService()
            assert raised.value.pid == os.getpid()
            await other.stopService()
        assert ask(await upstream_of(supervisor))["pid"] == supervisor.pid("alice")


def test_unsafe_and_overlong_directories_are_refused(short_dir: Path) -> None:
    from twisted.internet import reactor

    from sqsuper.supervisor.service import Supervisor

    mask = os.umask(0o022)
    try:
        deep = config(short_dir, run_dir=short_dir / ("x" * 100))
        with pytest.raises(SocketPathError):
            Supervisor(deep, reactor=reactor).privilegedStartService()
        one = tenant(short_dir)
        one.data_dir.mkdir(parents=True)
        one.data_dir.chmod(0o777)
        with pytest.raises(UnsafeDirectoryError, match="alice"):
            Supervisor(config(short_dir, one), reactor=reactor).privilegedStartService()
    finally:
        os.umask(mask)


@in_reactor
async def test_the_real_engine_keeps_what_it_acknowledged(short_dir: Path) -> None:
    port = free_port()
    async with running(config(short_dir, tenant(short_dir, port=port))) as supervisor:

        def get(path: str, target: str, key: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("localhost", timeout=5)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(path)
            connection.request("GET", target, headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            try:
                return answer.status, answer.read()
            finally:
                connection.close()

        scroll = "p=x&c=1.1.1/1.1.1/1.1.1"
        for text in ("one", "two"):
            there = await upstream_of(supervisor)
            assert there.path is not None
            assert get(there.path, f"/api/v2/update?{scroll}&s={text}", "wrong")[0] == 401
            assert get(there.path, f"/api/v2/update?{scroll}&s={text}", there.key)[0] == 200
            pid = supervisor.pid("alice")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: supervisor.ready("alice") is None)
            there = await upstream_of(supervisor)
            assert get(there.path or "", f"/api/v2/select?{scroll}", there.key) == (
                200,
                text.encode(),
            )
        # The tenant's own port takes the tenant's own token.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/api/v2/version", headers={"X-SQ-API-Key": "alice"})
        assert connection.getresponse().status == 200
        connection.close()
        await supervisor.stop("alice")
        assert supervisor.history("alice")[-1].reason == "exit status 0"
