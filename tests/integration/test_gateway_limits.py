"""Exhaustion: what is slow, too much or too many is ended, and the others are served."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from sqsuper.config.model import Token
from sqsuper.testing import ANSWER, Peer, RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import Client, request, tenant
from tests.running import eventually

SLOW = 0.3  # a configured time


def drip(client: Client, data: bytes, pause: float) -> None:
    """Send byte by byte with pauses, until the other side has enough."""
    for index in range(len(data)):
        try:
            client.send(data[index : index + 1])
        except ConnectionError:
            return
        client.sock.settimeout(pause)
        try:
            if client.sock.recv(1, socket.MSG_PEEK) is not None:
                return
        except TimeoutError:
            continue
        finally:
            client.sock.settimeout(15)


def took(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


# Slow clients


def test_a_client_that_sends_nothing_is_closed_silently(gateway: StartGateway) -> None:
    client = gateway(head_timeout=SLOW).connect()
    assert SLOW <= took(lambda: client.rest() == b"") < SLOW + 1.5
    assert client.rest() == b""


def test_a_slow_head_is_a_408_however_it_drips(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    client = gateway(upstream=upstream, head_timeout=SLOW).connect()
    seconds = took(lambda: drip(client, request("/" + "a" * 200), 0.05))
    assert SLOW <= seconds < SLOW + 1.5
    answer = client.answer()
    assert (answer.status, answer.one("connection")) == (408, "close")
    assert answer.one("x-sq-code") == "head_timeout"
    assert upstream.peers == []


def test_a_head_has_its_time_from_its_first_byte(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    client = gateway(upstream=upstream, head_timeout=1.0).connect()
    client.send(request())
    assert client.answer().status == 200
    time.sleep(0.8)  # idle: no time of the next head's
    client.send(b"GET /health HT")
    time.sleep(0.6)
    client.send(b"TP/1.1\r\nHost: h\r\n\r\n")
    assert client.answer().status == 200


def test_idle_keep_alive_is_closed_silently(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    client = gateway(upstream=upstream, idle_timeout=SLOW, head_timeout=5.0).connect()
    client.send(request())
    assert client.answer().status == 200
    assert SLOW <= took(client.rest) < SLOW + 1.5
    assert client.rest() == b""


BODIES = {
    "length": (request("/u", "Content-Length: 1000", method="POST"), b"x" * 1000),
    "chunks": (request("/u", "Transfer-Encoding: chunked", method="POST"), b"1\r\nx\r\n" * 100),
    "extension": (
        request("/u", "Transfer-Encoding: chunked", method="POST"),
        b"1;" + b"a" * 500,
    ),
    "trailer": (
        request("/u", "Transfer-Encoding: chunked", method="POST"),
        b"0\r\nX-T: " + b"a" * 500,
    ),
}


@pytest.mark.parametrize(("head", "body"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("kind", ["pause", "rate"])
def test_a_slow_body_is_a_408(gateway: StartGateway, head: bytes, body: bytes, kind: str) -> None:
    ended: list[bool] = []

    def serve(peer: Peer) -> None:
        peer.to_end()
        ended.append(True)

    upstream = RecordingUpstream(serve)
    limits: dict[str, Any] = (
        {"body_timeout": SLOW, "head_timeout": 60.0, "idle_timeout": 60.0}
        if kind == "pause"
        else {"body_timeout": 60.0, "head_timeout": SLOW, "idle_timeout": 60.0}
    )
    under_test = gateway(upstream=upstream, **limits)
    client = under_test.connect()
    client.send(head)
    if kind == "pause":
        client.send(body[:10])
    else:
        drip(client, body, 0.02)  # 50 bytes a second at most
    answer = client.answer()
    assert (answer.status, answer.one("x-sq-code")) == (408, "body_timeout")
    assert client.rest() == b""
    eventually(lambda: under_test.inflight() == 0)
    if b"Content-Length" in head:
        eventually(lambda: ended)  # as for a cut body
    else:
        assert upstream.peers == []
    upstream.close()


def test_a_fast_start_is_counted(gateway: StartGateway, upstream: RecordingUpstream) -> None:
    """What came with the head belongs to the body's average."""
    under_test = gateway(upstream=upstream, head_timeout=0.5, body_rate=20_000)
    client = under_test.connect()
    client.send(request("/u", "Content-Length: 60001", method="POST") + b"x" * 60_000)
    time.sleep(1.2)
    client.send(b"x")
    assert client.answer().status == 200


def test_the_clock_stops_while_we_do_not_read(gateway: StartGateway) -> None:
    release: list[bool] = []

    def serve(peer: Peer) -> None:
        head = peer.until(b"\r\n\r\n")
        eventually(lambda: release)
        peer.take(20_000_000)
        peer.send(ANSWER)
        assert head

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream, body_timeout=SLOW, head_timeout=SLOW)
    client = under_test.connect()
    body = b"x" * 20_000_000
    sender = threading.Thread(
        target=lambda: client.send(request("/u", method="POST", body=body)), daemon=True
    )
    sender.start()
    eventually(lambda: upstream.peers)
    time.sleep(SLOW * 4)
    release.append(True)
    assert client.answer().status == 200
    sender.join(5)
    upstream.close()


def big_answer(size: int, pieces: int = 1 << 20) -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            peer.send(b"x" * min(left, pieces))
            left -= min(left, pieces)
        peer.to_end()

    return serve


def test_a_client_that_takes_nothing_is_reset(gateway: StartGateway) -> None:
    upstream = RecordingUpstream(big_answer(64 << 20))
    under_test = gateway(upstream=upstream, send_timeout=SLOW, upstream_timeout=60.0)
    client = under_test.connect(receive_buffer=8192)
    client.send(request())
    eventually(lambda: under_test.inflight() == 1)
    eventually(lambda: under_test.inflight() == 0, "upstream released", 4)
    eventually(lambda: under_test.connections() == 0)
    client.until_reset()
    upstream.close()


def test_a_client_that_takes_little_is_served(gateway: StartGateway) -> None:
    upstream = RecordingUpstream(big_answer(8 << 20))
    under_test = gateway(upstream=upstream, send_timeout=0.5)
    client = under_test.connect(receive_buffer=8192)
    client.send(request())
    got = 0
    began = time.monotonic()
    while time.monotonic() < began + 2:  # in all far longer than the limit
        got += len(client.sock.recv(16_384))
        time.sleep(0.01)
    while got < (8 << 20):
        data = client.sock.recv(262_144)
        assert data
        got += len(data)
    upstream.close()


def test_our_own_answers_do_not_wait_for_ever(gateway: StartGateway) -> None:
    """Bytes too few for back-pressure, and a client that takes none of them."""
    under_test = gateway(send_timeout=SLOW, idle_timeout=60.0, head_timeout=60.0)
    client = under_test.connect(receive_buffer=4096)
    client.sock.setblocking(False)
    health = request("/health", token="") * 1000
    quiet = time.monotonic()
    while time.monotonic() < quiet + 0.2:
        try:
            client.sock.send(health)
            quiet = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        except ConnectionError:
            break
    eventually(lambda: under_test.connections() == 0, timeout=5)


# Slow instances


def test_no_answer_in_time_is_a_504(gateway: StartGateway) -> None:
    upstream = RecordingUpstream(Peer.to_end)
    under_test = gateway(upstream=upstream, upstream_timeout=SLOW)
    client = under_test.connect()
    for target in ("/", "/api/v2/delta"):
        client.send(request(target))
        answer = client.answer()
        text = answer.body.decode() or answer.one("x-sq-error")
        facts = json.loads(text)
        assert (answer.status, facts["executed"]) == (504, "unknown")
        assert facts["request_id"] == answer.one("x-request-id")
        assert answer.all("connection") == []
    eventually(lambda: under_test.inflight() == 0, "the instance is done")
    assert len(upstream.peers) == 2
    upstream.close()


def test_interim_answers_do_not_prolong_it(gateway: StartGateway) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        for _ in range(9):
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(SLOW / 2)
        peer.to_end()

    upstream = RecordingUpstream(serve)
    answer = gateway(upstream=upstream, upstream_timeout=SLOW).ask(request())
    assert answer.status == 504
    upstream.close()


def test_the_time_begins_when_the_request_was_sent(gateway: StartGateway) -> None:
    upstream = RecordingUpstream()
    under_test = gateway(upstream=upstream, upstream_timeout=SLOW)
    client = under_test.connect()
    client.send(request("/u", "Content-Length: 2", method="POST") + b"a")
    time.sleep(SLOW * 3)
    client.send(b"b")
    assert client.answer().status == 200
    upstream.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_pause_inside_an_answer_cuts_the_client(gateway: StartGateway, chunked: bool) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        if chunked:
            peer.send(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        else:
            peer.send(b"Content-Length: 9\r\n\r\nhello")
        peer.to_end()

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream, upstream_timeout=SLOW)
    client = under_test.connect()
    client.send(request())
    assert b"hello" in client.until_reset()
    eventually(lambda: under_test.inflight() == 0)
    upstream.close()


def test_an_answer_may_take_longer_than_any_pause(gateway: StartGateway) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            time.sleep(SLOW / 4)
            peer.send(b"x")

    upstream = RecordingUpstream(serve)
    answer = gateway(upstream=upstream, upstream_timeout=SLOW).ask(request())
    assert answer.body == b"x" * 20
    upstream.close()


# Too many


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_connections_over_the_limit_get_a_503(
    gateway: StartGateway, upstream: RecordingUpstream, limit: str
) -> None:
    limits = {"max_connections_per_address": 100, limit: 3}
    under_test = gateway(upstream=upstream, **limits)
    clients = [under_test.connect() for _ in range(3)]
    for client in clients:
        client.send(request())
        assert client.answer().status == 200
    for _ in range(5):
        client = under_test.connect()
        answer = client.answer()
        assert (answer.status, answer.one("connection")) == (503, "close")
        assert answer.one("access-control-allow-origin") == "*"
        assert json.loads(answer.body)["code"] == "overloaded"
        assert int(answer.one("retry-after")) > 0
        assert client.rest() == b""
    clients[0].close()
    eventually(lambda: under_test.connections() == 2)
    assert under_test.ask(request()).status == 200


def test_one_instance_gets_no_more_than_max_inflight(gateway: StartGateway) -> None:
    release: list[bool] = []
    running: list[int] = []

    def serve(peer: Peer) -> None:
        peer.request()
        running.append(1)
        eventually(lambda: release)
        peer.send(ANSWER.replace(b"keep-alive", b"close"))

    upstream = RecordingUpstream(serve)
    under_test = gateway(upstream=upstream, settings={"max_inflight": 2, "queue": 3})
    clients = [under_test.connect() for _ in range(5)]
    for client in clients:
        client.send(request())
    pool = under_test.service.pool("alice")
    eventually(lambda: len(pool._waiting) == 3)
    over = under_test.ask(request())
    assert (over.status, json.loads(over.body)["code"]) == (503, "overloaded")
    assert int(over.one("retry-after")) > 0
    # Another tenant is served as ever.
    other = under_test.connect()
    other.send(request(token="bobtok"))
    eventually(lambda: len(running) == 3)
    release.append(True)
    for client in (*clients, other):
        assert client.answer().status == 200
    upstream.close()


def test_who_waits_too_long_gets_a_503(gateway: StartGateway) -> None:
    upstream = RecordingUpstream(Peer.to_end)
    settings = {"max_inflight": 1, "queue_timeout": SLOW}
    under_test = gateway(upstream=upstream, settings=settings)
    under_test.connect().send(request())
    eventually(lambda: under_test.inflight() == 1)
    answers = []
    seconds = took(lambda: answers.append(under_test.ask(request(method="POST", body=b"x"))))
    assert SLOW <= seconds < SLOW + 1.5
    (answer,) = answers
    assert (answer.status, answer.one("connection")) == (503, "close")
    assert json.loads(answer.body)["code"] == "overloaded"
    upstream.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_little_is_read_of_a_held_request(gateway: StartGateway, chunked: bool) -> None:
    under_test = gateway(settings={"drain": 0.1})
    client = under_test.connect()
    field = "Transfer-Encoding: chunked" if chunked else "Content-Length: 30000000"
    client.send(request("/u", field, method="POST"))
    client.sock.setblocking(False)
    data = b"1000000\r\n" + b"x" * 16_000_000 if chunked else b"x" * 16_000_000
    sent = 0
    quiet = time.monotonic()
    while time.monotonic() < quiet + 0.2 and sent < len(data):
        try:
            sent += client.sock.send(data[sent : sent + 65_536])
            quiet = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    (connection,) = under_test.service._clients
    assert sent < len(data)
    assert 0 < len(connection.buffer) <= 65_536


def test_spooled_bodies_have_room_for_so_much(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(upstream=upstream)
    under_test.service._spool_room.limit = 3 << 20
    head = request("/u", "Transfer-Encoding: chunked", method="POST")
    first = under_test.connect()
    first.send(head + b"200000\r\n" + b"x" * (2 << 20))
    eventually(lambda: under_test.service._spool_room.used >= (2 << 20) - 65_536)
    second = under_test.connect()
    second.send(head + b"200000\r\n" + b"x" * (2 << 20))
    answer = second.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "overloaded")
    first.send(b"\r\n0\r\n\r\n")
    assert first.answer().status == 200
    eventually(lambda: under_test.service._spool_room.used == 0)


# Tokens


def test_guessing_is_slowed_and_known_tokens_are_served(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(upstream=upstream, wrong_tokens_per_minute=3)
    client = under_test.connect()
    statuses = []
    for number in range(6):
        client.send(request(token=f"guess{number}") + request(token=""))
        guess, missing = client.answer(), client.answer()
        statuses.append(guess.status)
        assert missing.status == 401
        client.send(request())
        assert client.answer().status == 200
    assert statuses == [401] * 3 + [429] * 3
    assert 1 <= int(guess.one("retry-after")) <= 60
    assert guess.all("access-control-allow-origin") == ["*"]


def test_guesses_through_a_trusted_proxy_are_counted_by_client(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(
        upstream=upstream,
        wrong_tokens_per_minute=1,
        trusted_proxies=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")),
    )

    def status(*addresses: str) -> int:
        fields = [f"X-Forwarded-For: {a}" for a in addresses]
        return under_test.ask(request("/", *fields, token="guess")).status

    assert status("198.51.100.1") == 401
    assert status("198.51.100.1, 10.1.1.1") == 429
    assert status("198.51.100.2") == 401
    assert status("198.51.100.3, 198.51.100.2") == 429  # what they claim themselves is nothing
    assert status("198.51.100.1", "198.51.100.9") == 401


def test_tokens_have_their_time_scope_and_tenant(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    now = datetime.now(timezone.utc)
    hour = timedelta(hours=1)

    def token(text: str, **more: Any) -> Token:
        return Token(sha256(text.encode()).digest(), **more)

    alice = tenant(
        "alice",
        "tok",
        read_only=("ro",),
        more=(
            token("old", expires=now - hour),
            token("future", not_before=now + hour),
            token("valid", not_before=now - hour, expires=now + hour),
        ),
    )
    off = tenant("off", "offtok", enabled=False)
    under_test = gateway(upstream=upstream, tenants=(alice, off))
    refused = under_test.ask(request(token="nobody")).raw
    for name in ("old", "future"):
        assert under_test.ask(request(token=name)).raw == refused
    assert under_test.ask(request(token="valid")).status == 200
    disabled = under_test.ask(request(token="offtok"))
    assert (disabled.status, disabled.one("x-sq-code")) == (403, "disabled")
    reads = ["version", "select?p=x", "toc", "get", "export", "checksum", "delta", "status"]
    reads += ["where", "json-export", "list", "search"]
    for path in reads:
        for slash in ("/", "//"):
            target = f"/api/v2{slash}{path}"
            for method in ("GET", "POST"):
                assert under_test.ask(request(target, method=method, token="ro")).status == 200
    before = b"".join(upstream.received)
    for path in (
        "/api/v2/insert?p=x",
        "/api/v2/update",
        "/api/v2/delete",
        "/api/v2/load",
        "/api/v2/selectX",
        "/api/v2/Select",
        "/api/v2/%73elect",
        "/api/v2/x/../select",
        "/api/v2/select/",
        "/",
    ):
        for method in ("GET", "HEAD"):
            answer = under_test.ask(request(path, method=method, token="ro"), method)
            assert (answer.status, answer.one("x-sq-code")) == (403, "read_only")
    assert b"".join(upstream.received) == before


def test_no_token_or_key_is_in_a_log_or_an_answer(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(repr(event) + str(formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    try:
        under_test = gateway(
            upstream=upstream,
            tenants=(tenant("alice", "s3cret-token"),),
            upstream_timeout=SLOW,
        )
        instances = under_test.instances
        instances.upstreams["alice"] = upstream.upstream(key="s3cret-key")
        raw = []

        def serve(peer: Peer) -> None:
            peer.until(b"\r\n\r\n")
            peer.send(b"HTTP/1.1 401 No\r\n\r\n")

        upstream.script = serve
        for scripted in (serve, Peer.to_end, Peer.reset):
            upstream.script = scripted
            for name in ("s3cret-token", "s3cret-guess"):
                raw.append(under_test.ask(request(token=name)).raw)
        raw.append(under_test.ask(request(token="s3cret-token") + b"\n").raw)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert any("502" in line for line in lines)
    assert "s3cret" not in "".join(lines)
    assert b"s3cret" not in b"".join(raw)
