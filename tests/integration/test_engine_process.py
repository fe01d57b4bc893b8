"""The engine as a process: by hand, under a supervisor, stopped, killed."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from sqsuper.http1.credentials import digest
from tests.unit.engine.servers import (
    DEADLINE,
    KEY,
    ROOT,
    Client,
    engine_command,
    finish,
    running_engine,
    wait_for,
)

UPDATE = "/api/v2/update?p=t&c=1.1.1/1.1.1/1.1.1"
SELECT = "/api/v2/select?p=t&c=1.1.1/1.1.1/1.1.1"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        engine_command(*arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=DEADLINE,
        check=False,
    )


class TestByHand:
    def test_serves_on_loopback_alone(self, tmp_path: Path) -> None:
        with running_engine(tmp_path / "made") as engine, engine.client() as client:
            assert client.post(UPDATE, b"hello").text == "Updated 5 bytes"
            assert client.get(SELECT).text == "hello"
            assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
            with pytest.raises(OSError, match=r"."):
                # The whole of 127/8 is this machine: bound is 127.0.0.1 alone.
                socket.create_connection(("127.0.0.2", engine.port), 1)

    def test_version_and_help(self) -> None:
        assert "SQ API 0.5.5" in run("version").stdout
        for word in ("--help", "-h"):
            result = run(word)
            assert result.returncode == 0
            assert "--data-dir" in result.stdout
            assert result.stderr == ""

    @pytest.mark.parametrize(
        "arguments", [[], ["serve"], ["host"], ["host", "0"], ["host", "x", "--key", "K"]]
    )
    def test_wrong_usage_is_one_line_and_2(self, arguments: list[str]) -> None:
        result = run(*arguments)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""

    def test_port_taken(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            result = run("host", port, "--key", "K", "--data-dir", str(tmp_path))
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert port in result.stderr

    def test_bad_data_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        result = run("host", "0", "--key", "K", "--data-dir", str(tmp_path / "file"))
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("option", "fd"),
        [("--listen-fd", "0"), ("--listen-fd", "9"), ("--control-fd", "9"), ("--report-fd", "9")],
    )
    def test_bad_descriptors(self, tmp_path: Path, option: str, fd: str) -> None:
        port = [] if option == "--listen-fd" else ["0"]
        result = run("host", *port, "--key", "K", "--data-dir", str(tmp_path), option, fd)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert f"{option} {fd}" in result.stderr

    def test_data_directory_in_use_names_the_holder(self, tmp_path: Path) -> None:
        with running_engine(tmp_path) as engine:
            result = run("host", "0", "--key", "K", "--data-dir", str(tmp_path))
            assert result.returncode == 1
            assert result.stderr.count("\n") == 1
            assert str(engine.process.pid) in result.stderr

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_after_the_request_under_way(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        with running_engine(tmp_path) as engine, engine.client() as client:
            client.send(client.head("POST", UPDATE, b"hello") + b"he")
            with engine.client() as idle:
                assert idle.get("/api/v2/version").status == 200
                engine.process.send_signal(number)
                assert idle.eof()
            client.send(b"llo")
            reply = client.reply()
            assert reply.text == "Updated 5 bytes"
            assert reply.field("connection") == "close"
            assert client.eof()
            client.close()
            assert engine.process.wait(DEADLINE) == 0
        assert (tmp_path / "t.phext").read_bytes() == b"hello"

    def test_without_epoll(self, tmp_path: Path) -> None:
        body = b"x" * 5_000_000
        before = "import select; del select.epoll"
        with running_engine(tmp_path, before=before) as engine, engine.client() as client:
            assert client.post(UPDATE, body).status == 200
            assert client.get(SELECT).body == body
            assert engine.end() == 0

    def test_a_file_size_limit_is_507_and_keeps_the_text(self, tmp_path: Path) -> None:
        before = (
            "import resource, signal;"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000));"
            "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)"
        )
        with running_engine(tmp_path, before=before) as engine, engine.client() as client:
            assert client.post(UPDATE, b"kept").status == 200
            reply = client.post(UPDATE, b"x" * 600_000)
            assert (reply.status, reply.field("x-sq-code")) == (507, "disk_full")
            assert json.loads(reply.body)["code"] == "disk_full"
            assert client.get(SELECT).text == "kept"
            assert client.post(UPDATE, b"kept still").status == 200
            assert engine.end() == 0
            assert os.listdir(tmp_path) == ["t.phext"]
            assert (tmp_path / "t.phext").read_bytes() == b"kept still"

    def test_standard_input_is_left_alone(self, tmp_path: Path) -> None:
        read, write = os.pipe()
        os.write(write, b"for the shell")
        process = subprocess.Popen(
            engine_command("host", "0", "--key", KEY, "--data-dir", str(tmp_path)),
            stdin=read,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().split(b":")[2].split(b"/")[0])
            os.close(write)
            with Client(("127.0.0.1", port)) as client:
                assert client.get("/api/v2/version").status == 200
            assert os.read(read, 100) == b"for the shell"
        finally:
            os.close(read)
            finish(process)

    def test_too_many_connections(self, tmp_path: Path) -> None:
        with running_engine(tmp_path, "--max-connections", "3") as engine:
            clients = [engine.client() for _ in range(3)]
            for client in clients:
                assert client.get("/api/v2/version").status == 200
            with engine.client() as late:
                late.connect()
                reply = late.reply()
                assert reply.status == 503
                assert reply.field("connection") == "close"
                assert json.loads(reply.body)["code"] == "overloaded"
                assert late.eof()
            clients.pop().close()

            def has_room() -> bool:
                with engine.client() as client:
                    try:
                        return client.get("/api/v2/version").status == 200
                    except OSError:
                        return False

            wait_for(has_room)
            for client in clients:
                client.close()

    def test_guessing_is_slowed_and_the_key_still_works(self, tmp_path: Path) -> None:
        with running_engine(tmp_path, "--wrong-tokens-per-minute", "2") as engine:
            statuses = []
            for number in range(4):
                with engine.client(key=f"guess{number}") as client:
                    reply = client.get("/api/v2/version")
                    statuses.append(reply.status)
                    if reply.status == 429:
                        assert 0 < int(reply.field("retry-after") or 0) <= 61
            assert statuses == [401, 401, 429, 429]
            with engine.client() as client:
                assert client.get("/api/v2/version").status == 200
            with engine.client(key=None) as client:
                assert client.get("/api/v2/version").status == 401

    def test_timeouts_on_the_port(self, tmp_path: Path) -> None:
        options = ["--head-timeout", "0.2", "--idle-timeout", "0.4", "--body-timeout", "0.2"]
        with running_engine(tmp_path, *options) as engine:
            with engine.client() as silent:
                assert silent.eof()
            with engine.client() as slow:
                slow.send(b"GET /")
                reply = slow.reply()
                assert (reply.status, reply.field("x-sq-code")) == (408, "timeout")
                assert slow.eof()
            with engine.client() as slow:
                slow.send(slow.head("POST", UPDATE, b"hello") + b"hel")
                assert slow.reply().status == 408
            with engine.client() as idle:
                assert idle.get("/api/v2/version").status == 200
                assert idle.eof()
            assert not (tmp_path / "t.phext").exists()


@attrs.define
class Supervised:
    """An engine with everything that a supervisor gives it."""

    process: subprocess.Popen[bytes]
    control: int
    report: int
    unix: str
    port: int

    def say(self, message: object) -> None:
        os.write(self.control, json.dumps(message).encode() + b"\n")

    def hang_up(self) -> None:
        if self.control >= 0:
            os.close(self.control)
            self.control = -1

    def ping(self, number: int) -> dict[str, Any]:
        self.say({"ping": number})
        pong = self.event()
        assert (pong.pop("event"), pong.pop("ping")) == ("pong", number)
        return pong

    def event(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self.report, 1)
            assert byte, "the engine ended"
            line += byte
        event: dict[str, Any] = json.loads(line)
        return event

    def gateway(self, key: str | None = KEY) -> Client:
        return Client(self.unix, key=key)

    def user(self, token: str | None) -> Client:
        return Client(("127.0.0.1", self.port), key=token)


def token(text: str, **facts: object) -> dict[str, object]:
    return {
        "sha256": digest(text.encode()).hex(),
        "label": None,
        "scope": "rw",
        "not_before": None,
        "expires": None,
        **facts,
    }


@pytest.fixture
def supervised(tmp_path: Path, short_dir: Path) -> Iterator[Supervised]:
    path = str(short_dir / "s")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen(100)
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    control_read, control_write = os.pipe()
    report_read, report_write = os.pipe()
    process = subprocess.Popen(
        engine_command(
            *("host", "--data-dir", str(tmp_path / "data"), "--name", "alice"),
            *("--listen-fd", str(unix.fileno()), "--listen-fd", str(tcp.fileno())),
            *("--control-fd", str(control_read), "--report-fd", str(report_write)),
            *("--coordinates", "strict", "--max-head-bytes", "65536"),
            *("--max-body-bytes", "1000000", "--max-phext-mb", "480"),
            *("--quota-mb", "1000", "--max-loaded", "64"),
        ),
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        pass_fds=(unix.fileno(), tcp.fileno(), control_read, report_write),
    )
    for fd in (control_read, report_write):
        os.close(fd)
    unix.close()
    tcp.close()
    supervised = Supervised(process, control_write, report_read, path, port)
    try:
        yield supervised
    finally:
        supervised.hang_up()
        os.close(report_read)
        finish(process)


class TestSupervised:
    def test_waits_for_the_key_and_says_when_it_serves(self, supervised: Supervised) -> None:
        with supervised.gateway() as client:
            # In the backlog, before anything is known of a key.
            client.send(client.head("GET", "/api/v2/version"))
            supervised.say({"key": KEY, "tokens": []})
            assert supervised.event() == {"event": "ready"}
            assert client.reply().text == "0.5.5"

    def test_who_is_admitted_where(self, supervised: Supervised) -> None:
        tokens = [token("mine"), token("reader", scope="ro"), token("old", expires=1.0)]
        supervised.say({"key": KEY, "tokens": tokens})
        supervised.event()

        def ask(client: Client, target: str = SELECT) -> int:
            with client:
                return client.get(target).status

        assert ask(supervised.gateway()) == 200
        assert ask(supervised.gateway("mine")) == 401
        assert ask(supervised.gateway(None)) == 401
        assert ask(supervised.user(KEY)) == 200
        assert ask(supervised.user("mine")) == 200
        assert ask(supervised.user("mine"), UPDATE + "&s=x") == 200
        assert ask(supervised.user("reader")) == 200
        assert ask(supervised.user("reader"), UPDATE + "&s=x") == 403
        assert ask(supervised.user("reader"), "/api/v2/search?p=t&q=x") == 200
        with supervised.user("reader") as client:
            assert client.post("/api/v2/batch", b"[]").status == 403
        assert ask(supervised.user("old")) == 401
        assert ask(supervised.user("Mine")) == 401
        # The gateway counts for itself.
        for _ in range(30):
            assert ask(supervised.gateway("guess")) == 401
        # A new list holds at once, also on connections that are open.
        with supervised.user("mine") as client:
            assert client.get(SELECT).status == 200
            supervised.say({"tokens": [token("new")]})
            wait_for(lambda: client.get(SELECT).status == 401)
            assert ask(supervised.user("new")) == 200
            assert ask(supervised.gateway()) == 200

    def test_a_ping_is_answered_with_what_its_own_port_did(self, supervised: Supervised) -> None:
        supervised.say({"key": KEY, "tokens": [token("mine")]})
        supervised.event()
        pong = supervised.ping(7)
        assert 0 <= pong.pop("lag") < DEADLINE
        assert pong == {"requests": 0, "bytes": 0, "inflight": 0, "storage": None}
        with supervised.gateway() as client:
            assert client.post(UPDATE, b"12345").status == 200
        pong = supervised.ping(8)
        assert (pong["requests"], pong["bytes"], pong["inflight"]) == (0, 0, 0)
        # Measured by the write: the text and the breaks before it.
        assert pong["storage"] >= 5
        with supervised.user("mine") as client:
            asked = client.head("GET", SELECT)
            client.send(asked)
            assert client.reply().text == "12345"
            pong = supervised.ping(9)
            assert pong["requests"] == 1
            assert len(asked) + 5 < pong["bytes"] < len(asked) + 2000
            # The head is whole: it is worked on until its body is.
            client.send(client.head("POST", UPDATE, b"hello") + b"he")
            wait_for(lambda: supervised.ping(10)["inflight"] == 1)
            client.send(b"llo")
            assert client.reply().status == 200
        assert supervised.ping(11)["inflight"] == 0

    def test_other_options_hold_at_once_on_open_connections_too(
        self, supervised: Supervised
    ) -> None:
        supervised.say({"key": KEY, "tokens": [token("mine")]})
        supervised.event()

        def told(*words: str) -> None:
            supervised.say({"options": list(words)})
            supervised.ping(1)

        odd = "/api/v2/select?p=t&c=1.1"
        with supervised.gateway() as client, supervised.user("mine") as user:
            assert client.get(odd).status == 400
            assert client.post(UPDATE, b"x" * 2000).status == 200
            told("--coordinates", "lenient", "--quota", "10", "--max-body-bytes", "1000000")
            assert client.get(odd).status == 200
            assert client.post(UPDATE, b"x" * 3000).status == 507
            assert user.post(UPDATE, b"x" * 3000).status == 507
            told("--max-phext-mb", "0")
            assert client.post(UPDATE, b"x" * 3000).status == 507
            told("--max-body-bytes", "1000000")
            assert client.get(odd).status == 400
            assert client.post(UPDATE, b"x" * 3000).status == 200
            told("--max-body-bytes", "100")
            assert client.post(UPDATE, b"x" * 101).status == 413
            assert user.post(UPDATE, b"x" * 101).status == 413

    def test_a_hung_engine_answers_no_ping(self, supervised: Supervised) -> None:
        supervised.say({"key": KEY, "tokens": []})
        supervised.event()
        supervised.ping(1)
        os.kill(supervised.process.pid, signal.SIGSTOP)
        supervised.say({"ping": 2})
        assert select.select([supervised.report], [], [], 0.2)[0] == []
        os.kill(supervised.process.pid, signal.SIGCONT)
        assert supervised.event()["ping"] == 2

    def test_ends_with_its_control_pipe(self, supervised: Supervised) -> None:
        supervised.say({"key": KEY, "tokens": []})
        supervised.event()
        with supervised.gateway() as client:
            assert client.post(UPDATE, b"hello").status == 200
            start = time.monotonic()
            supervised.hang_up()
            assert supervised.process.wait(DEADLINE) == 0
            assert time.monotonic() - start < 1
            assert client.eof()

    def test_ends_when_the_supervisor_ends_before_it_said_anything(
        self, supervised: Supervised
    ) -> None:
        supervised.hang_up()
        assert supervised.process.wait(DEADLINE) == 0

    def test_a_bad_first_line_is_an_error(self, supervised: Supervised) -> None:
        supervised.say({"tokens": []})
        assert supervised.process.wait(DEADLINE) == 1

    def test_term_ends_it(self, supervised: Supervised) -> None:
        supervised.say({"key": KEY, "tokens": []})
        supervised.event()
        supervised.process.terminate()
        assert supervised.process.wait(DEADLINE) == 0

    def test_the_key_is_nowhere_to_be_seen(self, supervised: Supervised) -> None:
        supervised.say({"key": KEY, "tokens": []})
        supervised.event()
        proc = Path(f"/proc/{supervised.process.pid}")
        if proc.exists():
            assert KEY.encode() not in (proc / "cmdline").read_bytes()
            assert KEY.encode() not in (proc / "environ").read_bytes()


def writer(port: int, acknowledged: list[int], stop: threading.Event) -> None:
    number = 0
    try:
        with Client(("127.0.0.1", port)) as client:
            while not stop.is_set():
                number += 1
                body = b"%d " % number * 2000
                assert client.post(UPDATE, body).status == 200
                acknowledged.append(number)
    except (OSError, EOFError):
        return


def is_whole(content: bytes) -> int:
    """Return the number that a whole text repeats, and fail for a torn one."""
    words = content.split(b" ")
    assert words.pop() == b""
    assert len(words) == 2000
    assert len(set(words)) == 1
    return int(words[0])


@pytest.mark.parametrize("seed", range(5))
def test_killed_while_writing_leaves_old_or_new(tmp_path: Path, seed: int) -> None:
    delays = random.Random(seed)
    acknowledged: list[int] = []
    stop = threading.Event()
    with running_engine(tmp_path) as engine:
        thread = threading.Thread(target=writer, args=(engine.port, acknowledged, stop))
        thread.start()
        wait_for(lambda: len(acknowledged) > 3)
        # Anywhere in a write, not at a moment that something can be waited for.
        stop.wait(delays.uniform(0, 0.02))
        engine.process.kill()
        engine.process.wait(DEADLINE)
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()
    with running_engine(tmp_path) as engine, engine.client() as client:
        found = is_whole(client.get(SELECT).body)
        assert found in (acknowledged[-1], acknowledged[-1] + 1)
        assert engine.end() == 0
    assert os.listdir(tmp_path) == ["t.phext"]
    assert is_whole((tmp_path / "t.phext").read_bytes()) == found
