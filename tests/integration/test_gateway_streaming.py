"""Bodies and answers of any size stream through, and cost little memory."""

from __future__ import annotations

import hashlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sqsuper.testing import Peer, RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import Client, request
from tests.running import ROOT, eventually
from tests.tls_support import Made, wrap

MIB = 1 << 20
SIZE = 64 * MIB
BLOCK = bytes(range(256)) * 4096  # 1 MiB

CHILD = """
import sys
from pathlib import Path
from twisted.internet import reactor
from sqsuper.config.model import Config, Gateway
from sqsuper.gateway.service import GatewayService
from sqsuper.instances import Upstream
from sqsuper.testing import FixedInstances
from tests.integration.gateway_support import tenant

directory = Path(sys.argv[1])
config = Config(
    directory / "x", directory, directory,
    gateway=Gateway(listen=(sys.argv[3],)),
    tenants=(tenant("alice", "tok"),),
)
instances = FixedInstances({"alice": Upstream("alice", 1, "KEY", port=int(sys.argv[2]))})
service = GatewayService(config, instances, reactor)
service.startService()
print(service.addresses()[0].port, flush=True)
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""


class Sink:
    """Digests what it reads of each body; answers with the digest, or with a body of its own."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.hold.set()
        self.upstream = RecordingUpstream(self._serve)

    def _serve(self, peer: Peer) -> None:
        while True:
            head = peer.until(b"\r\n\r\n")
            if head.startswith(b"GET"):
                size = int(head.split(b"size=")[1].split(b" ")[0])
                start = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n"
                if b"chunked" in head.split(b"\r\n")[0]:
                    peer.send(start + b"Transfer-Encoding: chunked\r\n\r\n")
                    for _ in range(size // MIB):
                        peer.send(b"100000\r\n" + BLOCK + b"\r\n")
                    peer.send(b"0\r\n\r\n")
                else:
                    peer.send(start + b"Content-Length: %d\r\n\r\n" % size)
                    for _ in range(size // MIB):
                        peer.send(BLOCK)
                continue
            self.hold.wait(20)
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            digest = hashlib.sha256()
            for data in peer.pieces(length):
                digest.update(data)
            text = digest.hexdigest().encode()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: keep-alive\r\n\r\n")
            peer.send(text)


class Child:
    """A gateway in a process of its own."""

    def __init__(
        self, directory: Path, upstream: RecordingUpstream, tls: Made | None = None
    ) -> None:
        self._tls = tls
        listen = "tcp:0:interface=127.0.0.1" if tls is None else tls.endpoint()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(directory), str(upstream.upstream().port), listen],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._begin()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _begin(self) -> None:
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self._process = psutil.Process(self.process.pid)
        self._client = self.connect()
        for _ in range(20):  # everything is loaded
            self._client.send(request(method="POST", body=b"x"))
            self._client.answer()

    def connect(self, receive_buffer: int | None = None) -> Client:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", self.port))
        if self._tls is not None:
            sock = wrap(sock)
            sock.do_handshake()
        return Client(sock)

    def memory(self) -> int:
        return int(self._process.memory_info().rss)

    def close(self) -> None:
        self._client.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    one = Sink()
    yield one
    one.upstream.close()


@pytest.fixture(
    scope="module",
    params=[
        "plain",
        pytest.param(
            "tls", marks=pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
        ),
    ],
)
def child(
    request: pytest.FixtureRequest, sink: Sink, site: Made, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Child]:
    tls = site if request.param == "tls" else None
    one = Child(tmp_path_factory.mktemp("run"), sink.upstream, tls)
    yield one
    one.close()


class Watch:
    """The largest growth of a process' memory while the block runs."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._stop = threading.Event()
        self.growth = 0

    def __enter__(self) -> Watch:
        self._before = self._child.memory()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.growth = max(self.growth, self._child.memory() - self._before)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


DIGEST = hashlib.sha256(BLOCK * 64).hexdigest().encode()


def test_64_mib_up(child: Child) -> None:
    client = child.connect()
    with Watch(child) as watch:
        client.send(request("/u", f"Content-Length: {SIZE}", method="POST"))
        for _ in range(64):
            client.send(BLOCK)
        assert client.answer().body == DIGEST
    assert watch.growth < 4 * MIB
    client.close()


def test_64_mib_up_in_chunks(child: Child) -> None:
    client = child.connect()
    with Watch(child) as watch:
        client.send(request("/u", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(64):
            client.send(b"100000\r\n" + BLOCK + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.answer().body == DIGEST
    assert watch.growth < 6 * MIB
    client.close()


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_64_mib_down(child: Child, kind: str) -> None:
    client = child.connect()
    with Watch(child) as watch:
        client.send(request(f"/{kind}?size={SIZE}"))
        answer = client.answer()
    assert len(answer.body) == SIZE
    assert hashlib.sha256(answer.body).hexdigest().encode() == DIGEST
    assert watch.growth < 4 * MIB
    client.close()


def test_a_slow_reader_costs_less_than_a_mebibyte(child: Child) -> None:
    with Watch(child) as watch:
        clients = [child.connect(receive_buffer=8192) for _ in range(4)]
        for client in clients:
            client.send(request(f"/?size={SIZE * 16}"))
        got = [0] * 4
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for index, client in enumerate(clients):
                got[index] += len(client.sock.recv(65_536))
        assert all(got)
        assert max(got) < SIZE * 16
    assert watch.growth < 4 * MIB
    for client in clients:
        client.close()


def test_a_slow_instance_holds_the_client_back(child: Child, sink: Sink) -> None:
    sink.hold.clear()
    client = child.connect()
    client.send(request("/u", f"Content-Length: {SIZE}", method="POST"))
    client.sock.setblocking(False)
    body = BLOCK * 64
    sent = 0
    with Watch(child) as watch:
        quiet = time.monotonic()
        while time.monotonic() < quiet + 0.3 and sent < SIZE:
            try:
                sent += client.sock.send(body[sent : sent + MIB])
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
    assert sent < SIZE
    assert watch.growth < 2 * MIB
    sink.hold.set()
    client.sock.settimeout(15)
    client.send(body[sent:])
    assert client.answer().body == DIGEST
    client.close()


def test_the_next_request_follows_a_large_one(gateway: StartGateway, sink: Sink) -> None:
    under_test = gateway(upstream=sink.upstream)
    client = under_test.connect()
    for body in (BLOCK * 3, b"", BLOCK[:65_537], b"x"):
        for chunked in (False, True):
            if chunked:
                client.send(request("/u", "Transfer-Encoding: chunked", method="POST"))
                if body:
                    client.send(b"%x\r\n%b\r\n" % (len(body), body))
                client.send(b"0\r\n\r\n" + request("/health"))
            else:
                client.send(request("/u", method="POST", body=body) + request("/health"))
            answer = client.answer()
            assert answer.body == hashlib.sha256(body).hexdigest().encode()
            assert client.answer().body.startswith(b'{"status": "ok"')
    eventually(lambda: under_test.inflight() == 0)
