"""Command engines: the real sq, and programs that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from sqsuper.config.model import Health, Restart, Start
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.instance import State
from tests.unit.supervisor.support import (
    alive,
    command_tenant,
    config,
    descriptors,
    eventually,
    in_reactor,
    logged,
    outcome_of,
    running,
    status_of,
    upstream_of,
)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")

SQ = ("sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}")

# Answers any request in its own thread; what stands in `sys.argv[2]` runs first.
SERVER = """
import http.server, os, signal, subprocess, sys, time
exec(sys.argv[2])
class Any(http.server.BaseHTTPRequestHandler):
    def do_OPTIONS(self):
        self.send_response(501)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Any).serve_forever()
"""


def server(script: str = "pass") -> tuple[str, ...]:
    return (sys.executable, "-c", SERVER, "{port}", script)


def get(upstream: Upstream, target: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=5)
    try:
        fields = {"Authorization": f"Bearer {upstream.key}"}
        connection.request("GET", target, headers=fields)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.real_sq
@in_reactor
async def test_the_real_sq_serves_and_is_confined(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):  # the interpreter then makes up its own
        monkeypatch.delenv(name, raising=False)
    one = command_tenant(short_dir, *SQ)
    async with running(config(short_dir, one)) as supervisor:
        there = await upstream_of(supervisor)
        pid = supervisor.pid("alice")
        assert pid is not None
        assert get(there, "/api/v2/version")[0] == 200
        assert get(there, "/api/v2/update?p=x&c=1.1.1/1.1.1/1.1.1&s=hello")[0] == 200
        assert (one.data_dir / "x.phext").read_bytes() == b"hello"
        assert os.readlink(f"/proc/{pid}/cwd") == str(one.data_dir)
        assert os.readlink(f"/proc/{pid}/exe").endswith("/sq")
        held = descriptors(pid)
        assert held[0] == "/dev/null"
        assert held[1].startswith("pipe:")
        assert all(path.startswith("socket:") for fd, path in held.items() if fd > 2)
        status = status_of(pid)
        assert status["NoNewPrivs"] == "1"
        assert status["Umask"] == "0077"
        # Threads map far more than they use: no limit on that.
        assert resource.prlimit(pid, resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        assert os.getsid(pid) == os.getpgid(pid) == pid
        names = [
            text.partition("=")[0]
            for text in Path(f"/proc/{pid}/environ").read_text().split("\0")[:-1]
        ]
        assert set(names) - {"TZ"} == {"PATH", "HOME", "SQSUPER_INSTANCE"}
        assert len(names) == len(set(names))


@pytest.mark.real_sq
@in_reactor
async def test_the_real_sq_is_back_after_a_kill(short_dir: Path) -> None:
    one = command_tenant(short_dir, *SQ, restart=Restart())
    async with running(config(short_dir, one)) as supervisor:
        from twisted.internet import reactor

        before = await upstream_of(supervisor)
        get(before, "/api/v2/update?p=x&c=1.1.1/1.1.1/1.1.1&s=kept")
        pid = supervisor.pid("alice")
        assert pid is not None
        begun = reactor.seconds()
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: supervisor.ready("alice") is None)
        after = await upstream_of(supervisor)
        assert reactor.seconds() - begun < 1.0
        assert after.key != before.key
        assert get(after, "/api/v2/select?p=x&c=1.1.1/1.1.1/1.1.1") == (200, b"kept")


@pytest.mark.real_sq
@in_reactor
async def test_a_configured_port_is_the_commands_own(short_dir: Path) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        one = command_tenant(short_dir, *SQ)
        one = type(one)(
            one.name, one.tokens, one.data_dir, one.origin, port=port, settings=one.settings
        )
        async with running(config(short_dir, one)) as supervisor:
            pending = outcome_of(supervisor, "alice")
            await eventually(lambda: supervisor.state("alice") is State.BACKOFF)
            change = supervisor.history("alice")[-1]
            assert change.cause is Cause.PORT_TAKEN
            assert f"port {port}" in change.reason
            assert f"pid {os.getpid()}" in change.reason
            thief.close()
            there = await pending
            assert isinstance(there, Upstream)
            assert there.port == port


@linux
@in_reactor
async def test_a_program_finds_no_signal_ignored_or_blocked(short_dir: Path) -> None:
    one = command_tenant(short_dir, "sleep", "60", start=Start.EAGER)
    async with running(config(short_dir, one)) as supervisor:

        def comm() -> str:
            pid = supervisor.pid("alice")
            return Path(f"/proc/{pid}/comm").read_text().strip() if pid else ""

        await eventually(lambda: comm() == "sleep")
        status = status_of(supervisor.pid("alice") or 0)
        standard = 0x7FFFFFFF  # 32 and 33 are the C library's own
        assert int(status["SigIgn"], 16) & standard == 0
        assert int(status["SigBlk"], 16) & standard == 0


@linux
@in_reactor
async def test_grandchildren_end_with_it(short_dir: Path) -> None:
    forks = (
        "spawn = lambda **how: subprocess.Popen(['sleep', '60'], **how).pid;"
        "pids = [spawn(), spawn(env={}), spawn(start_new_session=True),"
        " spawn(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)];"
        "open('pids.new', 'w').write(' '.join(map(str, pids))); os.rename('pids.new', 'pids')"
    )
    one = command_tenant(short_dir, *server(forks))
    async with running(config(short_dir, one)) as supervisor:
        for end in ("exit", "kill", "stop"):
            await upstream_of(supervisor)
            pids = [int(text) for text in (one.data_dir / "pids").read_text().split()]
            assert all(alive(pid) for pid in pids)
            (one.data_dir / "pids").unlink()
            leader = supervisor.pid("alice")
            assert leader is not None
            if end == "stop":
                await supervisor.stop("alice")
            else:
                os.kill(leader, signal.SIGTERM if end == "exit" else signal.SIGKILL)
                await eventually(lambda: supervisor.state("alice") is not State.HEALTHY)
            assert not any(alive(pid) for pid in pids), end


@linux
@in_reactor
async def test_a_descendant_that_got_away_with_the_output_holds_nothing_up(
    short_dir: Path,
) -> None:
    away = (
        "p = subprocess.Popen(['sleep', '60'], env={}, start_new_session=True);"
        "open('pid', 'w').write(str(p.pid))"
    )
    one = command_tenant(short_dir, *server(away))
    pid = 0
    try:
        async with running(config(short_dir, one)) as supervisor:
            await upstream_of(supervisor)
            pid = int((one.data_dir / "pid").read_text())
            begun = time.monotonic()
            await supervisor.stop("alice")
            assert time.monotonic() - begun < 20
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # an orphan of ours, since we took it in
                os.waitpid(pid, 0)


@linux
@in_reactor
async def test_what_left_its_group_later_ends_with_it(short_dir: Path) -> None:
    # One carries the marker, in a session of its own; one is in the session without it.
    later = (
        "def fork(*_):"
        "\n    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}"
        "\n    marked = subprocess.Popen(['sleep', '60'], start_new_session=True, **quiet).pid"
        "\n    files = [(os.POSIX_SPAWN_CLOSE, 1), (os.POSIX_SPAWN_CLOSE, 2)]"
        "\n    near = os.posix_spawnp('sleep', ['sleep', '60'], {}, setpgroup=0,"
        " file_actions=files) if os.path.exists('near') else marked"
        "\n    open('pids.new', 'w').write(f'{marked} {near}'); os.rename('pids.new', 'pids')"
        "\nsignal.signal(signal.SIGUSR1, fork)"
    )
    one = command_tenant(short_dir, *server(later))
    async with running(config(short_dir, one)) as supervisor:
        for near in (False, True):
            await upstream_of(supervisor)
            if near:
                (one.data_dir / "near").touch()
            os.kill(supervisor.pid("alice") or 0, signal.SIGUSR1)
            await eventually((one.data_dir / "pids").exists)
            pids = [int(text) for text in (one.data_dir / "pids").read_text().split()]
            (one.data_dir / "pids").unlink()
            assert len(set(pids)) == 1 + near
            assert all(alive(pid) for pid in pids)
            await supervisor.stop("alice")
            assert not any(alive(pid) for pid in pids)


@in_reactor
async def test_a_stop_is_told_to_the_whole_group(short_dir: Path) -> None:
    worker = (
        "import signal, sys\n"
        "def end(*_):\n    open('termed', 'w'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); open('armed', 'w'); signal.pause()"
    )
    leader = (
        f"worker = subprocess.Popen([sys.executable, '-c', {worker!r}])"
        "\ndef end(*_):\n    worker.wait(); os._exit(0)"
        "\nsignal.signal(signal.SIGTERM, end)"
    )
    one = command_tenant(short_dir, *server(leader))
    async with running(config(short_dir, one)) as supervisor:
        await upstream_of(supervisor)
        await eventually((one.data_dir / "armed").exists)
        await supervisor.stop("alice")
        assert (one.data_dir / "termed").exists()
        assert supervisor.history("alice")[-1].reason == "exit status 0"


@in_reactor
async def test_one_that_ignores_term_is_killed_with_its_group(short_dir: Path) -> None:
    deaf = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen(['sleep', '60']); open('pid', 'w').write(str(p.pid))"
    )
    one = command_tenant(short_dir, *server(deaf), stop_grace=0.3)
    async with running(config(short_dir, one)) as supervisor:
        await upstream_of(supervisor)
        pid = int((one.data_dir / "pid").read_text())
        await supervisor.stop("alice")
        assert supervisor.history("alice")[-1].reason == "killed by SIGKILL"
        assert not alive(pid)


@pytest.mark.parametrize(
    ("program", "mode", "status", "said"),
    [
        ("none-of-that-name", None, 127, "none-of-that-name: not found in PATH"),
        ("./plain", 0o644, 126, "not executable"),
        ("./garbage", 0o755, 126, "cannot be executed"),
        ("{data_dir}/own", 0o755, 126, "data directory"),
    ],
)
@in_reactor
async def test_one_that_cannot_be_executed(
    short_dir: Path, program: str, mode: int | None, status: int, said: str
) -> None:
    one = command_tenant(short_dir, program, start=Start.EAGER)
    if mode is not None:
        one.data_dir.mkdir(parents=True, mode=0o700)
        place = Path(program.replace("{data_dir}", str(one.data_dir)))
        (short_dir / place).write_bytes(b"\x7fELF garbage")
        (short_dir / place).chmod(mode)
    with logged() as lines:
        async with running(config(short_dir, one)) as supervisor:
            await eventually(lambda: supervisor.state("alice") is State.FAILED)
            change = supervisor.history("alice")[-1]
    assert change.cause is Cause.CANNOT_EXECUTE
    assert f"exit status {status}" in change.reason
    assert said in change.reason
    assert any(line.startswith("alice stderr: sqsuper: ") and said in line for line in lines)


@in_reactor
async def test_any_status_line_is_an_answer_and_nothing_else_is(short_dir: Path) -> None:
    babble = (
        "import socket; s = socket.socket(); s.setsockopt(1, 2, 1);"
        "s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen();"
        "\nfor n in range(3):"
        "\n    c = s.accept()[0]; c.sendall(b'220 hello, mail here\\r\\n'); c.close()"
        "\ns.close()"
    )
    one = command_tenant(short_dir, *server(babble))
    async with running(config(short_dir, one)) as supervisor:
        there = await upstream_of(supervisor)
        assert get(there, "/")[0] == 501


@in_reactor
async def test_one_that_never_listens_is_killed_with_its_group(short_dir: Path) -> None:
    one = command_tenant(
        short_dir,
        "sh",
        "-c",
        "sleep 60 & echo $! > pid.new; mv pid.new pid; wait",
        health=Health(start_timeout=0.5),
        restart=Restart(backoff=5.0, backoff_max=5.0),
    )
    async with running(config(short_dir, one)) as supervisor:
        outcome = await outcome_of(supervisor, "alice")
        assert isinstance(outcome, Unavailable)
        await eventually(lambda: supervisor.state("alice") is State.BACKOFF)
        assert "not ready within 0.5 s" in supervisor.history("alice")[-1].reason
        assert not alive(int((one.data_dir / "pid").read_text()))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@linux
@in_reactor
async def test_a_user_of_its_own(short_dir: Path, request: pytest.FixtureRequest) -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")
    groups = os.getgroups()
    os.setgroups([*groups, 12345])
    request.addfinalizer(lambda: os.setgroups(groups))
    short_dir.chmod(0o711)
    one = command_tenant(
        short_dir, "sh", "-c", "id > id.new; mv id.new id; exec sleep 60", user="nobody"
    )
    async with running(config(short_dir, one)) as supervisor:
        supervisor.wait("alice", lambda _: None)
        await eventually((one.data_dir / "id").exists)
        pid = supervisor.pid("alice")
        assert pid is not None
        status = status_of(pid)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"] == ""
        assert status["NoNewPrivs"] == "1"
        found = one.data_dir.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (nobody.pw_uid, 0o700)
        assert one.data_dir.parent.stat().st_mode & 0o777 == 0o711
