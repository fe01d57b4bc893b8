"""The access log over real sockets, and under a real twistd whose logs are rotated."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import yaml

from sqsuper.testing import Peer, RecordingUpstream
from tests.conftest import StartSqsuper
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import Client, GatewayUnderTest, request, tenant
from tests.running import Running, eventually, free_port, processes_in, start, twistd

TOKEN = "pmb-v1-0123456789abcdef0123456789abcdef"
ALICE = {"alice": {"token_sha256": [sha256(TOKEN.encode()).hexdigest()]}}


@attrs.define
class Logged:
    """A gateway with a JSON access log."""

    gateway: GatewayUnderTest
    file: Path

    def lines(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many lines, and return them."""

        def whole() -> list[str]:
            text = self.file.read_text()
            lines = text.splitlines()
            return lines if len(lines) >= count and text.endswith("\n") else []

        found = eventually(whole, f"{count} lines in the access log")
        assert len(found) == count
        return [json.loads(line) for line in found]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines(1)
        return line


StartLogged = Callable[..., Logged]


@pytest.fixture
def logged(gateway: StartGateway, short_dir: Path) -> StartLogged:
    def begin(**options: Any) -> Logged:
        file = short_dir / "access.jsonl"
        return Logged(gateway(access_log=str(file), **options), file)

    return begin


def test_every_answer_has_its_line(logged: StartLogged, upstream: RecordingUpstream) -> None:
    under_test = logged(
        upstream=upstream,
        tenants=(
            tenant("alice", "tok", read_only=("ro",)),
            tenant("off", "offtok", enabled=False),
        ),
    )
    asked: list[tuple[bytes, str, int, str | None]] = [
        (request("/api/v2/select?p=x&c=1.1.1/1.1.1/1.1.1"), "GET", 200, "alice"),
        (request("/api/v2/update?p=x&s=a%20b", method="POST", body=b"text"), "POST", 200, "alice"),
        (request("/api/v2/toc?p=x", version="1.0"), "GET", 200, "alice"),
        (request("/api/v2/toc?p=x", token=""), "GET", 401, None),
        (request("/api/v2/toc?p=x", token="nobody"), "GET", 401, None),
        (request("/api/v2/toc?p=x", token="offtok"), "GET", 403, "off"),
        (request("/api/v2/insert?p=x", token="ro"), "GET", 403, "alice"),
        (request("/api/v2/reload"), "GET", 403, "alice"),
        (request("/admin"), "GET", 404, "alice"),
        (request("/health", token=""), "GET", 200, None),
        (request("/x", method="OPTIONS", token=""), "OPTIONS", 204, None),
        (request("/x", "Authorization: other"), "GET", 400, None),
        (request("/x", "Content-Length: 99999999999"), "GET", 413, None),
        (request("/x", "Transfer-Encoding: gzip, chunked"), "GET", 501, None),
        (request("/x", "Expect: tea"), "GET", 417, None),
        (request("/x", method="PUT"), "PUT", 405, None),
        (b"GET /x HTTP/1.1\nHost: h\n\n", "GET", 400, None),
        (b"GET /x HTTP/3.0\r\nHost: h\r\n\r\n", "GET", 505, None),
        (b"GET /" + b"x" * 70_000, "GET", 414, None),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, "GET", 431, None),
        (b"nonsense\r\n\r\n", "", 400, None),
    ]
    sizes = []
    for data, method, status, _ in asked:
        answer = under_test.gateway.ask(data, method)
        assert answer.status == status, data[:80]
        sizes.append((len(answer.raw), len(answer.body)))
    lines = under_test.lines(len(asked))
    for line, (data, method, status, name), (sent, body) in zip(lines, asked, sizes, strict=True):
        assert (line["status"], line["tenant"]) == (status, name), data[:80]
        assert (line["bytes"], line["body_bytes"], line["cut"]) == (sent, body, False)
        shown = method if method != "PUT" else None
        assert line["method"] == (shown or None)
        assert line["address"] == "127.0.0.1"
        assert 0 <= line["request_time"] < 5
        relayed = status == 200 and name is not None
        assert (line["upstream_time"] is not None) == relayed
        assert (line["request_id"] is not None) == relayed
    assert lines[1]["target"] == "/api/v2/update?p=x&s=<3>"
    assert lines[2]["version"] == "HTTP/1.0"


def test_the_id_that_the_client_gets_is_in_its_line(
    logged: StartLogged, upstream: RecordingUpstream
) -> None:
    under_test = logged(upstream=upstream)
    client = under_test.gateway.connect()
    ids = []
    for number in range(6):
        fields = [f"X-Request-ID: mine-{number}"] if number % 2 else []
        client.send(request("/api/v2/toc?p=x", *fields))
        ids.append(client.answer().one("x-request-id"))
    lines = under_test.lines(6)
    assert [line["request_id"] for line in lines] == ids
    assert ids[1] == "mine-1"
    assert len(set(ids)) == 6


def test_upstream_time_is_the_instances(logged: StartLogged) -> None:
    wait = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        wait.wait(0.3)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = RecordingUpstream(serve)
    under_test = logged(upstream=upstream)
    client = under_test.gateway.connect()
    client.send(request("/u", "Content-Length: 1", method="POST"))
    eventually(lambda: under_test.gateway.inflight() == 1)
    wait.wait(0.2)
    client.send(b"x")
    client.answer()
    line = under_test.line()
    assert 0.3 <= line["upstream_time"] <= line["request_time"] < 5
    assert line["request_time"] >= 0.5
    upstream.close()


FAILURES = {
    "502": (Peer.reset, 502),
    "502 answer": (lambda peer: peer.send(b"junk\r\n\r\n"), 502),
    "504": (Peer.to_end, 504),
}


@pytest.mark.parametrize(("script", "status"), FAILURES.values(), ids=FAILURES)
def test_a_failed_request_has_its_tenant_and_id(
    logged: StartLogged, script: Callable[[Peer], None], status: int
) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        script(peer)

    upstream = RecordingUpstream(serve)
    under_test = logged(upstream=upstream, upstream_timeout=0.3)
    answer = under_test.gateway.ask(request())
    line = under_test.line()
    assert (answer.status, line["status"], line["tenant"]) == (status, status, "alice")
    assert line["request_id"] == answer.one("x-request-id")
    assert line["upstream_time"] is not None
    upstream.close()


def test_a_request_that_nobody_took_has_no_upstream_time(logged: StartLogged) -> None:
    under_test = logged(settings={"queue": 0})
    answer = under_test.gateway.ask(request())
    line = under_test.line()
    assert (answer.status, line["status"], line["tenant"]) == (503, 503, "alice")
    assert line["upstream_time"] is None


def gone_while_waiting(client: Client, under_test: Logged) -> None:
    client.send(request())
    eventually(lambda: under_test.gateway.inflight() == 1)
    # Not an orderly end, after which the answer would still be waited for.
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def gone_inside_the_body(client: Client, under_test: Logged) -> None:
    client.send(request("/u", "Content-Length: 100", method="POST") + b"x")
    eventually(lambda: under_test.gateway.inflight() == 1)
    client.close()


@pytest.mark.parametrize("go", [gone_while_waiting, gone_inside_the_body])
def test_a_client_that_goes_has_a_line(
    logged: StartLogged, go: Callable[[Client, Logged], None]
) -> None:
    upstream = RecordingUpstream(Peer.to_end)
    under_test = logged(upstream=upstream)
    go(under_test.gateway.connect(), under_test)
    line = under_test.line()
    assert (line["status"], line["cut"], line["tenant"]) == (499, True, "alice")
    assert (line["bytes"], line["body_bytes"]) == (0, 0)
    assert line["request_id"]
    upstream.close()


def test_an_answer_that_breaks_off_is_told_as_cut(logged: StartLogged) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 40)
        peer.reset()

    upstream = RecordingUpstream(serve)
    under_test = logged(upstream=upstream)
    client = under_test.gateway.connect()
    client.send(request())
    client.until_reset()
    line = under_test.line()
    assert (line["status"], line["cut"]) == (200, True)
    assert line["body_bytes"] <= 40
    upstream.close()


def test_too_slow_requests_have_a_line(logged: StartLogged, upstream: RecordingUpstream) -> None:
    under_test = logged(upstream=upstream, head_timeout=0.3, body_timeout=0.3)
    for part in (
        b"GET /api/v2/update?s=abc HTTP/1.1\r\nHo",
        request("/u", "Content-Length: 9", method="POST") + b"x",
        request("/u", "Transfer-Encoding: chunked", method="POST") + b"3\r\nab",
    ):
        assert under_test.gateway.ask(part).status == 408
    head, *bodies = under_test.lines(3)
    assert (head["status"], head["tenant"], head["target"]) == (408, None, "/api/v2/update?s=<3>")
    for line in bodies:
        assert (line["status"], line["tenant"], line["target"]) == (408, "alice", "/u")


def test_who_is_turned_away_has_a_line(logged: StartLogged, upstream: RecordingUpstream) -> None:
    under_test = logged(upstream=upstream, max_connections=1, max_connections_per_address=1)
    first = under_test.gateway.connect()
    first.send(request())
    assert first.answer().status == 200
    assert under_test.gateway.connect().answer().status == 503
    served, away = under_test.lines(2)
    assert served["status"] == 200
    assert (away["status"], away["method"], away["target"]) == (503, None, None)
    assert away["address"] == "127.0.0.1"


def test_a_silent_connection_has_none(logged: StartLogged, upstream: RecordingUpstream) -> None:
    under_test = logged(upstream=upstream, head_timeout=0.2)
    silent = under_test.gateway.connect()
    assert silent.rest() == b""
    assert under_test.gateway.ask(request()).status == 200
    assert under_test.line()["status"] == 200


def test_pipelined_requests_have_a_line_each(
    logged: StartLogged, upstream: RecordingUpstream
) -> None:
    under_test = logged(upstream=upstream)
    client = under_test.gateway.connect()
    client.send(b"".join(request(f"/api/v2/toc?p=n{n}") for n in range(50)))
    for _ in range(50):
        assert client.answer().status == 200
    lines = under_test.lines(50)
    assert [line["target"] for line in lines] == [f"/api/v2/toc?p=n{n}" for n in range(50)]


def test_nothing_of_tokens_keys_or_users_text_is_in_it(
    logged: StartLogged, upstream: RecordingUpstream
) -> None:
    secret = "s3cret-token"
    under_test = logged(upstream=upstream, tenants=(tenant("alice", secret),))
    under_test.gateway.instances.upstreams["alice"] = upstream.upstream(key="s3cret-key")
    asked = [
        request("/api/v2/update?p=x&s=s3cret-text", token=secret),
        request(f"/api/v2/select?p={secret}", token=secret),
        request(f"/api/v2/select?token={secret}", token=""),
        request(f"/api/v2/select?p={secret}", token=""),
        request(f"/{secret}", token="s3cret-guess"),
        request("/x", f"Referer: http://h/?k={secret}", f"User-Agent: a {secret}", token=secret),
        request("/x", f"X-SQ-API-Key: {secret}", token=secret),
        request("/x?k=s3cret-guess", f"X-Request-ID: {secret}", token=secret),
        f"X-SQ-API-Key: {secret}\r\n\r\n".encode(),
        f"Authorization: {secret}".encode() + b"\n",
        f"{secret} {secret} {secret}\r\n\r\n".encode(),
        request("/u", method="POST", body=b"s3cret-body", token=secret),
    ]
    for data in asked:
        under_test.gateway.ask(data)
    lines = under_test.lines(len(asked))
    assert {line["status"] for line in lines} == {200, 400, 401}
    assert "s3cret" not in under_test.file.read_text()


def test_lines_of_many_at_once_are_whole(logged: StartLogged, upstream: RecordingUpstream) -> None:
    under_test = logged(upstream=upstream)

    def ask(name: str) -> None:
        client = under_test.gateway.connect()
        for number in range(60):
            client.send(request(f"/api/v2/toc?p={name}-{number}"))
            client.answer()

    threads = [threading.Thread(target=ask, args=(f"n{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    targets = [line["target"] for line in under_test.lines(300)]
    assert len(set(targets)) == 300


def test_a_stop_writes_what_is_left(
    gateway: StartGateway, short_dir: Path, upstream: RecordingUpstream
) -> None:
    file = short_dir / "access.log"
    under_test = gateway(upstream=upstream, access_log=str(file))
    client = under_test.connect()
    client.send(request())
    client.answer()
    client.close()
    under_test.call(under_test.service.stopService)
    assert len(file.read_text().splitlines()) == 1


def test_a_hung_log_does_not_hold_up_requests(
    gateway: StartGateway, short_dir: Path, upstream: RecordingUpstream
) -> None:
    fifo = short_dir / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        under_test = gateway(upstream=upstream, access_log=str(fifo))
        client = under_test.connect()
        agent = "User-Agent: " + "x" * 380
        for _ in range(400):  # far more than a pipe holds
            client.send(request("/api/v2/toc?p=x", agent))
            assert client.answer().status == 200
        assert under_test.service.access is not None
    finally:
        os.close(reader)


def test_a_log_that_cannot_be_opened_fails_the_start(
    gateway: StartGateway, short_dir: Path
) -> None:
    with pytest.raises(IsADirectoryError):
        gateway(access_log=str(short_dir))


# Under twistd


def asks(running: Running, name: str) -> None:
    answer = running.request("GET", f"/api/v2/toc?p={name}", token=TOKEN)
    assert answer.status == 200


def holds(file: Path, text: str) -> Callable[[], bool]:
    return lambda: file.exists() and text in file.read_text(errors="replace")


def configure(directory: Path, port: int, access_log: str) -> Path:
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    listen = [f"tcp:{port}:interface=127.0.0.1"]
    gateway = {"listen": listen, "access_log": access_log}
    admin = {"listen": ["tcp:0:interface=127.0.0.1"]}
    file.write_text(yaml.safe_dump({"gateway": gateway, "admin": admin, "tenants": ALICE}))
    return file


def rotate(directory: Path, *names: str, number: int) -> None:
    """Do what logrotate does, its `nocreate` way."""
    for name in names:
        (directory / name).rename(directory / f"{name}-{number}")


def check_rotation(running: Running, pid: int) -> None:
    """Rotate both logs three times; nothing is lost, rotated otherwise, or open to others."""
    directory = running.directory
    for number in range(3):
        asks(running, f"before-{number}")
        # It need not be written yet.
        rotate(directory, "sq.log", "access.log", number=number)
        os.kill(pid, signal.SIGUSR1)
        eventually(holds(directory / "sq.log", "opened anew"), "the new log of twistd")
        eventually((directory / "access.log").exists, "the new access log")
        asks(running, f"after-{number}")
        eventually(holds(directory / "access.log", f"after-{number}"))
        text = (directory / "access.log").read_text()
        assert f"before-{number}" not in text
        assert f"before-{number}" in (directory / f"access.log-{number}").read_text()
    made = sorted(path.name for path in directory.iterdir() if ".log" in path.name)
    assert made == sorted(
        f"{name}{end}" for name in ("sq.log", "access.log") for end in ("", "-0", "-1", "-2")
    )
    for name in made:
        assert (directory / name).stat().st_mode & 0o777 == 0o600
    everything = "".join((directory / name).read_text() for name in made)
    assert TOKEN not in everything
    assert "Traceback" not in everything


def test_sigusr1_reopens_every_log_in_the_foreground(short_dir: Path) -> None:
    port = free_port()
    file = configure(short_dir, port, "access.log")
    running = start(short_dir, file, port, arguments=("-n", "--logfile=sq.log"))
    try:
        eventually(running.healthy, "GET /health answers 200", 20)
        check_rotation(running, running.pid)
    finally:
        running.close()


def test_and_of_a_daemon(short_dir: Path) -> None:
    port = free_port()
    file = configure(short_dir, port, "access.log")
    done = twistd("--pidfile=sq.pid", "--logfile=sq.log", "sqsuper", "-c", str(file), cwd=short_dir)
    assert done.returncode == 0, done.stderr
    daemon = psutil.Process(int((short_dir / "sq.pid").read_text()))
    try:
        (short_dir / "output").touch()
        running = Running(_Daemon(daemon), short_dir, port)  # type: ignore[arg-type]
        check_rotation(running, daemon.pid)
    finally:
        daemon.terminate()
        eventually(lambda: not processes_in(short_dir), "all processes gone")


class _Daemon:
    """A daemon as a `Popen`, as far as making requests needs that."""

    def __init__(self, process: psutil.Process) -> None:
        self.pid = process.pid
        self._process = process

    def poll(self) -> int | None:
        return None if self._process.is_running() else 0


def test_sigusr1_ends_nothing_when_the_log_is_the_terminal(sqsuper_process: StartSqsuper) -> None:
    running = sqsuper_process({"gateway": {"access_log": "-"}, "tenants": ALICE})
    asks(running, "first")
    os.kill(running.pid, signal.SIGUSR1)
    eventually(lambda: "opened anew" in running.output)
    asks(running, "second")
    eventually(lambda: "/toc?p=second" in running.output)
    lines = [line for line in running.output.splitlines() if "/api/v2/toc" in line]
    assert len(lines) == 2
    assert all(line.startswith("127.0.0.1 - - [") for line in lines)


def test_a_log_that_cannot_be_opened_ends_the_start_with_a_line(short_dir: Path) -> None:
    (short_dir / "taken").mkdir()
    file = configure(short_dir, free_port(), "taken")
    done = twistd("-n", "--pidfile=", "sqsuper", "-c", str(file), cwd=short_dir)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert str(short_dir / "taken") in line
    assert "Is a directory" in line


def test_a_line_over_a_unix_socket_has_no_address(
    gateway: StartGateway, short_dir: Path, upstream: RecordingUpstream
) -> None:
    path = short_dir / "sock"
    file = short_dir / "access.log"
    gateway(upstream=upstream, listen=(f"unix:{path}",), access_log=str(file))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        client = Client(sock)
        client.send(request())
        assert client.answer().status == 200
    eventually(lambda: file.read_text().startswith("- - - ["))
