"""Connections: reuse, pipelining, clients that half-close or go, instances that come and go."""

from __future__ import annotations

import json
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sqsuper.gateway.nested import NestedWire
from sqsuper.http1 import answers
from sqsuper.instances import Unavailable, Upstream
from sqsuper.testing import ANSWER, FixedInstances, Peer, RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import Client, ReactorThread, request, tenant
from tests.running import eventually, free_port

CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def reset(client: Client) -> None:
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# Reuse


def test_a_connection_is_used_again_after_keep_alive(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(upstream=upstream)
    for _ in range(5):
        assert under_test.ask(request()).status == 200
    assert len(upstream.peers) == 1
    # At once, and again with a sweep.
    eventually(lambda: len(under_test.instances.uses) > 1)
    assert len(under_test.instances.uses) <= 5


@pytest.mark.parametrize(
    "answer",
    [
        CLOSING,
        ANSWER.replace(b"keep-alive", b"close"),
        ANSWER.replace(b"keep-alive", b"keep-alive, close"),
        ANSWER.replace(b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
        ANSWER + b"x",
        ANSWER + ANSWER,
    ],
)
def test_and_after_nothing_else(gateway: StartGateway, answer: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(answer)
        peer.to_end()

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    for number in range(3):
        client = under_test.connect()
        client.send(request())
        got = client.answer()
        assert (got.status, got.body) == (200, b"ok")
        assert len(upstream.peers) == number + 1
    upstream.close()


def test_bytes_on_an_idle_connection_end_it(gateway: StartGateway) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(ANSWER)
        late.append(peer)
        peer.to_end()
        ended.append(True)

    late: list[Peer] = []
    ended: list[bool] = []
    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    assert under_test.ask(request()).status == 200
    eventually(lambda: late)
    late[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    eventually(lambda: ended)
    assert under_test.ask(request()).body == b"ok"
    assert len(upstream.peers) == 2
    upstream.close()


def test_an_instance_may_close_an_idle_connection(gateway: StartGateway) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(ANSWER)

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    for number in range(20):
        client.send(request(f"/{number}", method="POST", body=b"x"))
        assert client.answer().status == 200
        # The end may not have come yet: the next request must find it out or be before it.
        eventually(lambda: upstream.peers[-1].sock.fileno() < 0)
    assert b"".join(upstream.received).count(b"POST /") == 20
    upstream.close()


def test_no_connection_crosses_epochs_or_tenants(gateway: StartGateway) -> None:
    first, second = RecordingUpstream(), RecordingUpstream()
    under_test = gateway(upstream=first)
    instances = under_test.instances
    assert under_test.ask(request("/a")).status == 200
    assert under_test.ask(request("/b", token="bobtok")).status == 200
    assert len(first.peers) == 2
    for epoch, key in ((2, "KEY2"), (3, "KEY3")):
        # Even at the same address.
        instances.upstreams["alice"] = first.upstream(epoch=epoch, key=key)
        assert under_test.ask(request(f"/c{epoch}")).status == 200
        assert len(first.peers) == epoch + 1
        assert f"Bearer {key}".encode() in first.received[-1]
    instances.upstreams["alice"] = second.upstream(epoch=4)
    assert under_test.ask(request("/d")).status == 200
    assert len(second.peers) == 1
    assert b"GET /d" not in b"".join(first.received)
    first.close()
    second.close()


def test_an_answer_before_the_whole_request_closes_both_sides(gateway: StartGateway) -> None:
    def serve(peer: Peer) -> None:
        peer.until(b"\r\n\r\n")
        peer.send(ANSWER)
        peer.to_end()
        ended.append(True)

    ended: list[bool] = []
    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(request("/u", "Content-Length: 1000", method="POST") + b"x")
    answer = client.answer()
    assert (answer.status, answer.one("connection")) == (200, "close")
    client.send(b"x" * 999 + request("/smuggled"))
    assert client.rest() == b""
    eventually(lambda: ended)
    assert b"smuggled" not in b"".join(upstream.received)
    upstream.close()


# Pipelining and half-closed clients


def test_pipelined_requests_are_answered_in_order(
    gateway: StartGateway,
) -> None:
    def serve(peer: Peer) -> None:
        while True:
            target = peer.request().split(b" ")[1]
            peer.send(ANSWER.replace(b"2\r\n\r\nok", b"%d\r\n\r\n%b" % (len(target), target)))

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    batch = b""
    for number in range(50):
        body = b"GET / HTTP/1.1\r\n\r\n" if number % 3 == 0 else b""
        batch += request(f"/{number}", method="POST", body=body)
    batch += request("/401", token="no") + request("/end")
    client.send(batch)
    for number in range(50):
        assert client.answer().body == b"/%d" % number
    assert client.answer().status == 401
    assert client.answer().body == b"/end"
    upstream.close()


def test_no_more_than_64_kib_is_read_ahead(
    gateway: StartGateway,
) -> None:
    release: list[bool] = []

    def serve(peer: Peer) -> None:
        while True:
            peer.request()
            eventually(lambda: release)
            peer.send(ANSWER)

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(request())
    eventually(lambda: under_test.inflight() == 1)
    flood = request("/p", "X-Pad: " + "x" * 1000)
    count = 12_000
    client.sock.setblocking(False)
    sent = 0
    data = flood * count
    quiet = time.monotonic()
    while time.monotonic() < quiet + 0.3 and sent < len(data):
        try:
            sent += client.sock.send(data[sent : sent + 262_144])
            quiet = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    (connection,) = under_test.service._clients
    assert sent < len(data)  # the kernel's buffers are full, ours is not
    assert len(connection.buffer) <= 2 * 65_536
    release.append(True)
    client.sock.settimeout(15)
    for _ in range(20):
        assert client.answer().status == 200
    client.close()
    upstream.close()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_half_closed_client_is_answered(
    gateway: StartGateway, upstream: RecordingUpstream, count: int, chunked: bool
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    one = request("/u", method="POST", body=b"hello")
    if chunked:
        one = request("/u", "Transfer-Encoding: chunked", method="POST")
        one += b"5\r\nhello\r\n0\r\n\r\n"
    client.send(one * count)
    client.finish()
    for _ in range(count):
        assert client.answer().status == 200
    assert client.rest() == b""
    eventually(lambda: under_test.connections() == 0)
    assert b"".join(upstream.received).count(b"POST /u") == count


@pytest.mark.parametrize("chunked", [False, True])
def test_a_half_closed_client_is_answered_once_its_instance_is_there(
    gateway: StartGateway, upstream: RecordingUpstream, chunked: bool
) -> None:
    under_test = gateway()
    client = under_test.connect()
    one = request("/u", method="POST", body=b"hello")
    if chunked:
        one = request("/u", "Transfer-Encoding: chunked", method="POST")
        one += b"5\r\nhello\r\n0\r\n\r\n"
    client.send(one)
    client.finish()
    eventually(lambda: under_test.instances.waiting("alice") == 1)
    under_test.call(lambda: under_test.instances.settle("alice", upstream.upstream()))
    answer = client.answer()
    assert (answer.status, answer.one("connection")) == (200, "close")
    assert client.rest() == b""
    assert upstream.received[0].endswith(b"\r\n\r\nhello")


INCOMPLETE = {
    "head": b"GET / HTTP/1.1\r\nHos",
    "length": request("/u", "Content-Length: 10", method="POST") + b"hello",
    "length, nothing": request("/u", "Content-Length: 10", method="POST"),
    "length, expecting": request("/u", "Content-Length: 10", "Expect: 100-continue", method="POST"),
    "chunk": request("/u", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhel",
    "chunk line": request("/u", "Transfer-Encoding: chunked", method="POST") + b"5",
    "no last chunk": request("/u", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n",
    "trailer": request("/u", "Transfer-Encoding: chunked", method="POST") + b"0\r\nX-",
}


@pytest.mark.parametrize("data", INCOMPLETE.values(), ids=INCOMPLETE)
@pytest.mark.parametrize("how", ["half-close", "close", "reset"])
def test_a_client_that_ends_inside_a_request(gateway: StartGateway, data: bytes, how: str) -> None:
    ended: list[bool] = []

    def serve(peer: Peer) -> None:
        peer.to_end()
        ended.append(True)

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(data)
    if b"Content-Length" in data:
        eventually(lambda: upstream.peers and upstream.received[0])
    else:
        eventually(lambda: under_test.connections() == 1)
    if how == "half-close":
        client.finish()
        with suppress(ConnectionError):
            assert b"200" not in client.rest()
    elif how == "close":
        client.close()
    else:
        reset(client)
    eventually(lambda: under_test.connections() == 0)
    eventually(lambda: under_test.inflight() == 0)
    if b"Content-Length" in data:
        # Cut, never padded, never used again.
        eventually(lambda: ended)
        got = upstream.received[0]
        assert len(got.partition(b"\r\n\r\n")[2]) < 10
    else:
        assert upstream.peers == []
    upstream.close()


# A client that closes after its request looks as one that half-closed, until it resets.
@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("starting", "reset"),
        ("queued", "reset"),
        ("awaiting", "reset"),
        ("relaying", "reset"),
        ("relaying", "close"),
    ],
)
def test_a_client_that_goes_frees_its_slot(gateway: StartGateway, state: str, how: str) -> None:
    ended: list[bool] = []

    def serve(peer: Peer) -> None:
        request_ = peer.request()
        if b"GET /next" in request_:
            peer.send(CLOSING)
            return
        if state == "relaying":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        peer.to_end()
        ended.append(True)

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream, settings={"max_inflight": 1})
    if state == "starting":
        under_test.instances.upstreams.clear()
    blocker = under_test.connect()
    if state == "queued":
        blocker.send(request("/blocker"))
        eventually(lambda: under_test.inflight() == 1)
    client = under_test.connect()
    client.send(request("/first"))
    pool = under_test.service.pool("alice")
    if state == "starting":
        eventually(lambda: under_test.instances.waiting("alice") == 1)
    elif state == "queued":
        eventually(lambda: len(pool._waiting) == 1)
    else:
        eventually(lambda: upstream.peers)
        if state == "relaying":
            # What stays unread makes a reset of the close.
            socket.socket.recv(client.sock, 1, socket.MSG_PEEK)
    following = under_test.connect()
    following.send(request("/next"))
    if state == "queued":
        eventually(lambda: len(pool._waiting) == 2)
    elif state == "starting":
        eventually(lambda: under_test.instances.waiting("alice") == 2)
    if how == "close":
        client.close()
    else:
        reset(client)
    if state == "starting":
        eventually(lambda: under_test.instances.waiting("alice") == 1)
        under_test.call(lambda: under_test.instances.settle("alice", upstream.upstream()))
    elif state == "queued":
        eventually(lambda: len(pool._waiting) == 1)
        reset(blocker)
    assert following.answer().status == 200
    if state in ("awaiting", "relaying"):
        eventually(lambda: ended)
    if state in ("starting", "queued"):
        assert b"/first" not in b"".join(upstream.received)
    eventually(lambda: under_test.inflight() == 0)
    upstream.close()


# Instances that come and go


def check_error(answer: Any, status: int, code: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(answer.body)
    assert (answer.status, facts["code"]) == (status, code)
    assert answer.one("x-sq-code") == code
    assert facts["request_id"] == answer.one("x-request-id")
    if status == 503:
        assert int(answer.one("retry-after")) > 0
    return facts


def test_a_starting_instance_is_waited_for(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway()
    clients = [under_test.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(request(f"/{number}", method="POST", body=b"x" * 1000))
    eventually(lambda: under_test.instances.waiting("alice") == 5)
    assert under_test.inflight() == 0
    under_test.call(lambda: under_test.instances.settle("alice", upstream.upstream()))
    for client in clients:
        assert client.answer().status == 200


def test_an_instance_that_does_not_come_is_a_503(gateway: StartGateway) -> None:
    under_test = gateway()
    clients = [under_test.connect() for _ in range(2)]
    clients[0].send(request("/a"))
    clients[1].send(request("/api/v2/delta?p=x", method="POST", body=b"x"))
    eventually(lambda: under_test.instances.waiting("alice") == 2)
    reason = Unavailable("failed", "it failed 5 times", 30, cause="crash")
    under_test.call(lambda: under_test.instances.settle("alice", reason))
    answer = clients[0].answer()
    facts = check_error(answer, 503, "failed")
    assert "it failed 5 times" not in facts["error"]  # the operator's to know
    assert facts["cause"] == "crash"
    assert "executed" not in facts
    assert answer.one("retry-after") == "30"
    assert answer.all("connection") == []
    delta = clients[1].answer()
    assert (delta.status, delta.body, delta.one("connection")) == (503, b"", "close")
    assert json.loads(delta.one("x-sq-error"))["code"] == "failed"


def test_refused_connections_are_tried_again_for_a_second(gateway: StartGateway) -> None:
    under_test = gateway()
    under_test.instances.upstreams["alice"] = Upstream("alice", 1, "K", port=free_port())
    began = time.monotonic()
    facts = check_error(under_test.ask(request()), 502, "unreachable")
    assert 0.8 < time.monotonic() - began < 2
    assert "executed" not in facts
    assert 8 <= len(under_test.instances.refusals) <= 14


@pytest.mark.parametrize("unix", [False, True])
def test_an_instance_that_comes_within_a_second_is_found(
    gateway: StartGateway, short_dir: Path, unix: bool
) -> None:
    under_test = gateway()
    path = str(short_dir / "s") if unix else None
    port = free_port()
    under_test.instances.upstreams["alice"] = Upstream("alice", 1, "K", path=path, port=port)
    client = under_test.connect()
    client.send(request(method="POST", body=b"x"))
    eventually(lambda: under_test.instances.refusals)
    upstream = RecordingUpstream(path=path)
    if not unix:
        under_test.instances.upstreams["alice"] = upstream.upstream()
    assert client.answer().status == 200
    assert upstream.received[0].count(b"POST") == 1
    upstream.close()


def test_a_restarting_instance_is_waited_for(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    class Restarting(FixedInstances):
        def refused(self, upstream: Upstream) -> None:
            super().refused(upstream)
            self.upstreams.pop("alice", None)

    under_test = gateway(instances=Restarting())
    under_test.instances.upstreams["alice"] = Upstream("alice", 1, "K", port=free_port())
    clients = [under_test.connect() for _ in range(3)]
    for client in clients:
        client.send(request("/u", "Transfer-Encoding: chunked", method="POST"))
        client.send(b"5\r\nhello\r\n0\r\n\r\n")
    eventually(lambda: under_test.instances.waiting("alice") == 3)
    under_test.call(lambda: under_test.instances.settle("alice", upstream.upstream(epoch=2)))
    for client in clients:
        assert client.answer().status == 200
    assert b"".join(upstream.received).count(b"\r\n\r\nhello") == 3


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 100_000])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_is_never_sent_twice(gateway: StartGateway, body: bytes, how: str) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        if how == "reset":
            peer.reset()

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream)
    answer = under_test.ask(request("/insert", method="POST", body=body))
    assert check_error(answer, 502, "upstream_failed")["executed"] == "unknown"
    assert len(upstream.peers) == 1
    upstream.close()


def test_a_full_backlog_is_no_failure(gateway: StartGateway, short_dir: Path) -> None:
    path = str(short_dir / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    fillers = []
    while True:
        filler = socket.socket(socket.AF_UNIX)
        filler.setblocking(False)
        fillers.append(filler)
        try:
            filler.connect(path)
        except BlockingIOError:
            break
    under_test = gateway()
    under_test.instances.upstreams["alice"] = Upstream("alice", 1, "KEY", path=path)
    client = under_test.connect()
    client.send(request())
    eventually(lambda: under_test.inflight() == 1)
    client.sock.settimeout(1.2)  # longer than a refused connection is tried again
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    assert under_test.instances.refusals == []
    for _ in fillers[:-1]:
        listener.accept()[0].close()
    sock, _ = listener.accept()
    peer = Peer(sock)
    peer.request()
    peer.send(CLOSING)
    assert client.answer().status == 200
    for filler in (*fillers, listener, sock):
        filler.close()


def test_a_backlog_that_stays_full_is_a_503(gateway: StartGateway, short_dir: Path) -> None:
    path = str(short_dir / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    filler = socket.socket(socket.AF_UNIX)
    filler.connect(path)
    under_test = gateway(settings={"queue_timeout": 0.3})
    under_test.instances.upstreams["alice"] = Upstream("alice", 1, "KEY", path=path)
    check_error(under_test.ask(request()), 503, "overloaded")
    assert under_test.instances.refusals == []
    filler.close()
    listener.close()


def test_unix_sockets_on_both_sides(gateway: StartGateway, short_dir: Path) -> None:
    upstream = RecordingUpstream(path=str(short_dir / "up"))
    gateway(
        upstream=upstream,
        listen=(f"unix:{short_dir / 'down'}",),
        max_connections_per_address=1,
        wrong_tokens_per_minute=1,
    )
    clients = []
    for _ in range(3):  # they have no address that could be counted
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(short_dir / "down"))
        clients.append(Client(sock))
    for client in clients:
        client.send(b"POST /u HTTP/1.0\r\nAuthorization: tok\r\n\r\n")
        assert client.answer().status == 200
        client.close()
    assert b"\r\nHost: 127.0.0.1\r\n" in upstream.received[0]
    assert len(upstream.peers) == 1
    upstream.close()


def test_stopping_minds_no_missing_socket_file(gateway: StartGateway, short_dir: Path) -> None:
    under_test = gateway(listen=(f"unix:{short_dir / 'down'}", "tcp:0:interface=127.0.0.1"))
    (short_dir / "down").unlink()
    tcp: Any = under_test.addresses[1]
    took = stop(under_test.thread, under_test)
    eventually(lambda: took)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", tcp.port))


def test_an_ipv6_listener(gateway: StartGateway, upstream: RecordingUpstream) -> None:
    under_test = gateway(upstream=upstream, listen=("tcp6:0:interface=\\:\\:1",))
    with socket.create_connection(("::1", under_test.port)) as sock:
        client = Client(sock)
        client.send(request())
        assert client.answer().status == 200


def test_the_wires_do_not_wait_for_more(gateway: StartGateway, upstream: RecordingUpstream) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(request())
    assert client.answer().status == 200

    def options() -> list[int]:
        (connection,) = under_test.service._clients
        pool = under_test.service.pool("alice")
        wires: list[Any] = [connection.wire, *(idle.wire for idle in pool._idle)]
        return [
            # Each kind of wires keeps its socket in a place of its own.
            (w._socket if isinstance(w, NestedWire) else w.transport.socket).getsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY
            )
            for w in wires
        ]

    assert [bool(value) for value in under_test.call(options)] == [True, True]


# Stopping


def stop(thread: ReactorThread, under_test: Any) -> list[float]:
    """Begin to stop; return a list that gets how long it took."""
    took: list[float] = []
    began = time.monotonic()

    def begin() -> None:
        stopped = under_test.service.stopService()
        stopped.addCallback(lambda _: took.append(time.monotonic() - began))

    thread.call(begin)
    return took


def test_stopping_finishes_what_is_under_way(gateway: StartGateway) -> None:
    release: list[bool] = []

    def serve(peer: Peer) -> None:
        while True:
            peer.request()
            eventually(lambda: release)
            peer.send(ANSWER)

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream, settings={"drain": 10.0})
    idle, served, pipelining, reading = (under_test.connect() for _ in range(4))
    idle.send(request("/health", token=""))
    assert idle.answer().status == 200
    served.send(request("/a"))
    pipelining.send(request("/b") + request("/health", token=""))
    reading.send(b"GET /health HT")
    eventually(lambda: under_test.inflight() == 2)
    eventually(lambda: under_test.connections() == 4)
    took = stop(under_test.thread, under_test)
    assert idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        under_test.connect()
    reading.send(b"TP/1.1\r\nHost: h\r\n\r\n")
    health = reading.answer()
    assert (health.status, health.one("connection")) == (503, "close")
    assert json.loads(health.body)["status"] == "stopping"
    assert took == []
    release.append(True)
    for client in (served, pipelining):
        answer = client.answer()
        assert (answer.status, answer.one("connection")) == (200, "close")
        assert client.rest() == b""
        client.close()
    reading.close()
    eventually(lambda: took)
    assert took[0] < 5
    upstream.close()


@pytest.mark.parametrize("phase", ["relaying", "to the end", "stuck"])
def test_stopping_cuts_an_answer_that_outlasts_drain(gateway: StartGateway, phase: str) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        if phase == "relaying":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        elif phase == "to the end":
            peer.send(b"HTTP/1.0 200 OK\r\n\r\nhel")
        elif phase == "stuck":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
            peer.send(b"x" * 20_000_000)
        peer.to_end()

    upstream = RecordingUpstream(serve)
    one = tenant("alice", "tok", drain=0.3)
    under_test = gateway(tenants=(one,), upstream=upstream)
    client = under_test.connect()
    client.send(request(version="1.0" if phase == "to the end" else "1.1"))
    eventually(lambda: under_test.inflight() == 1)
    eventually(lambda: upstream.peers)
    took = stop(under_test.thread, under_test)
    eventually(lambda: took, timeout=5)
    assert took[0] > 0.2
    client.until_reset()
    upstream.close()


@pytest.mark.parametrize("phase", ["awaiting", "sending", "half head sent", "queued", "spooling"])
def test_stopping_answers_what_was_not_answered_within_drain(
    gateway: StartGateway, phase: str
) -> None:
    def serve(peer: Peer) -> None:
        peer.until(b"\r\n\r\n")
        if phase == "half head sent":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        peer.to_end()

    upstream = RecordingUpstream(serve)
    one = tenant("alice", "tok", drain=0.3)
    under_test = gateway(tenants=(one,), upstream=None if phase == "queued" else upstream)
    client = under_test.connect()
    fields = {"sending": ["Content-Length: 9"], "spooling": ["Transfer-Encoding: chunked"]}
    given = fields.get(phase, [])
    client.send(request("/api/v2/update", *given, method="POST" if given else "GET"))
    if phase == "sending":
        client.send(b"half")
    if phase == "queued":
        eventually(lambda: under_test.instances.waiting("alice") == 1)
    else:
        eventually(lambda: under_test.inflight() == 1)
        eventually(lambda: phase == "spooling" or [p for p in upstream.peers if p.received])
    took = stop(under_test.thread, under_test)
    answer = client.answer()
    said = json.loads(answer.body)
    sent = phase in {"awaiting", "sending", "half head sent"}
    assert (answer.status, said["code"]) == (502 if sent else 503, "draining")
    assert said.get("executed") == ("unknown" if sent else None)
    assert answer.one("connection") == "close"
    assert client.rest() == b""
    client.close()
    eventually(lambda: took, timeout=5)
    assert took[0] > 0.2
    upstream.close()


def test_stopping_answers_half_a_head_after_drain(gateway: StartGateway) -> None:
    under_test = gateway(tenants=(tenant("alice", "tok", drain=0.3),))
    idle, reading = under_test.connect(), under_test.connect()
    reading.send(b"GET /health HT")
    eventually(lambda: under_test.connections() == 2)
    took = stop(under_test.thread, under_test)
    answer = reading.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "draining")
    assert answer.one("retry-after") == "1"
    assert reading.rest() == idle.rest() == b""
    reading.close()
    eventually(lambda: took, timeout=5)


def test_stopping_waits_not_for_clients_that_stay(gateway: StartGateway) -> None:
    one = tenant("alice", "tok", drain=0.1, stop_grace=0.4)
    under_test = gateway(tenants=(one,))
    client = under_test.connect()
    client.send(request())
    eventually(lambda: under_test.instances.waiting("alice") == 1)
    took = stop(under_test.thread, under_test)
    eventually(lambda: took, timeout=5)
    assert took[0] < answers.LINGER_SECONDS
    assert client.answer().status == 503
    assert client.rest() == b""


def test_an_endpoint_that_cannot_be_bound_fails_the_start(gateway: StartGateway) -> None:
    from twisted.internet.error import CannotListenError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListenError):
            gateway(listen=(f"tcp:{port}:interface=127.0.0.1",))
