"""Answers of an instance: what is passed on, what becomes a 502, what cuts the client off."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sqsuper.testing import Peer, RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import Answer, request
from tests.running import eventually

OK = b"HTTP/1.1 200 OK\r\n"


class Scripted(RecordingUpstream):
    """Answers each request with `pieces`, each sent on its own, and then `then`."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.then = "keep"
        self.ended: list[bool] = []
        super().__init__(self._serve)

    def _serve(self, peer: Peer) -> None:
        while True:
            peer.request()
            for piece in self.pieces:
                peer.send(piece)
            if self.then == "close":
                return
            if self.then == "reset":
                peer.reset()
                return


@pytest.fixture
def instance() -> Iterator[Scripted]:
    one = Scripted()
    yield one
    one.close()


def check_502(answer: Answer) -> None:
    assert answer.status == 502
    assert answer.one("access-control-allow-origin") == "*"
    assert answer.one("content-type") == "application/json"
    assert answer.body.count(b"\n") == 1
    facts = json.loads(answer.body)
    assert facts["executed"] == "unknown"
    assert facts["request_id"] == answer.one("x-request-id")
    assert facts["code"] == answer.one("x-sq-code")
    assert facts["error"]


MALFORMED = {
    "not http": b"SSH-2.0-OpenSSH\r\n\r\n",
    "http 2": b"HTTP/2.0 200 OK\r\n\r\n",
    "two blanks": b"HTTP/1.1  200 OK\r\n\r\n",
    "status 99": b"HTTP/1.1 099 OK\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\n\r\n",
    "status +20": b"HTTP/1.1 +20 OK\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare lf in a field": OK + b"A: b\nContent-Length: 0\r\n\r\n",
    "obs-fold": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "control": OK + b"A: \x01\r\nContent-Length: 0\r\n\r\n",
    "nul in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "bad length": OK + b"Content-Length: +1\r\n\r\nx",
    "list of lengths": OK + b"Content-Length: 1, 1\r\n\r\nx",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "length and coding": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\nx",
    "coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no colon": OK + b"abc\r\n\r\n",
    "large": OK + b"X-A: " + b"a" * 65_536 + b"\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "eleven 1xx": b"HTTP/1.1 100 Continue\r\n\r\n" * 11 + OK + b"Content-Length: 0\r\n\r\n",
    "401": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: X\r\nContent-Length: 0\r\n\r\n",
    "connection names length": OK + b"Connection: content-length\r\nContent-Length: 0\r\n\r\n",
    "half a head, then the end": OK + b"Content-Le",
    "nothing": b"",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_malformed_answer_is_a_502(
    gateway: StartGateway, instance: Scripted, data: bytes, bytewise: bool
) -> None:
    if bytewise and len(data) > 1000:
        data, bytewise = data[:-4], False  # a head without end
    under_test = gateway(upstream=instance)
    instance.pieces = [bytes((b,)) for b in data] if bytewise else [data]
    instance.then = "close" if data in (b"", OK + b"Content-Le") else "keep"
    client = under_test.connect()
    client.send(request())
    check_502(client.answer())
    # The client's connection goes on; the instance's does not.
    instance.pieces, instance.then = [OK + b"Content-Length: 1\r\n\r\nx"], "keep"
    client.send(request("/second"))
    assert client.answer().body == b"x"
    assert len(instance.peers) == 2
    assert instance.received[0].count(b"HTTP/1.1") == 1


def test_a_malformed_answer_on_delta(gateway: StartGateway, instance: Scripted) -> None:
    under_test = gateway(upstream=instance)
    instance.pieces = [b"nonsense\r\n\r\n"]
    answer = under_test.ask(request("/api/v2/delta?p=x", method="POST", body=b"a"))
    assert (answer.status, answer.body) == (502, b"")
    assert json.loads(answer.one("x-sq-error"))["executed"] == "unknown"


CUT = {
    "length": ([OK + b"Content-Length: 10\r\n\r\nhello"], "close"),
    "length, reset": ([OK + b"Content-Length: 10\r\n\r\nhello"], "reset"),
    "no body at all": ([OK + b"Content-Length: 10\r\n\r\n"], "close"),
    "chunk": ([OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"], "close"),
    "no last chunk": ([OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"], "close"),
    "bad trailer": (
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\r\n \r\n\r\n"],
        "keep",
    ),
    "endless, reset": ([OK + b"\r\nhello"], "reset"),
}


@pytest.mark.parametrize(("pieces", "then"), CUT.values(), ids=CUT)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_cut_answer_cuts_the_client_off(
    gateway: StartGateway, instance: Scripted, pieces: list[bytes], then: str, version: str
) -> None:
    under_test = gateway(upstream=instance)
    got = bytearray()
    client = under_test.connect()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(pieces[0])
        # The rest comes once the client has the beginning.
        eventually(lambda: got)
        for piece in pieces[1:]:
            peer.send(piece)
        if then == "reset":
            peer.reset()
        elif then == "close":
            peer.close()
        else:
            peer.to_end()

    instance.script = serve
    client.send(request(version=version))
    got += client.sock.recv(1)
    got += client.until_reset()
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"0\r\n\r\n" not in got.partition(b"\r\n\r\n")[2]
    eventually(lambda: under_test.inflight() == 0)


def test_a_bad_chunk_is_never_passed_on(gateway: StartGateway, instance: Scripted) -> None:
    under_test = gateway(upstream=instance)
    instance.pieces = [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX"]
    client = under_test.connect()
    client.send(request())
    check_502(client.answer())  # nothing was passed on yet


@pytest.mark.parametrize("count", [1, 10])
def test_interim_answers_are_dropped(gateway: StartGateway, instance: Scripted, count: int) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    instance.pieces = [interim] * count + [OK + b"Content-Length: 1\r\n\r\nx"]
    answer = gateway(upstream=instance).ask(request())
    assert (answer.status, answer.body, answer.all("link")) == (200, b"x", [])


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", OK + b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
        ("HEAD", OK + b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("leftover", [b"", b"hello"])
def test_answers_without_body(
    gateway: StartGateway, instance: Scripted, method: str, answer: bytes, leftover: bytes
) -> None:
    under_test = gateway(upstream=instance)
    instance.pieces = [answer + leftover]
    client = under_test.connect()
    client.send(request(method=method))
    first = client.answer("HEAD")
    if b" 204 " in answer:
        assert first.all("content-length") == []
    elif b"Content-Length" in answer:
        assert first.all("content-length") == ["5"]
    assert first.all("transfer-encoding") == []
    instance.pieces = [OK + b"Content-Length: 1\r\nConnection: keep-alive\r\n\r\nx"]
    client.send(request("/second"))
    assert client.answer().body == b"x"
    assert len(instance.peers) == (2 if leftover else 1)


UNKNOWN_LENGTH = {
    "chunked": (
        [
            OK + b"Transfer-Encoding: CHUNKED\r\nConnection: keep-alive\r\n\r\n5;x=1\r\nhel",
            b"lo\r\n6\r\n world\r\n",
            b"0\r\nX-T: v\r\n\r\n",
        ],
        "keep",
    ),
    "to the end": ([OK + b"\r\nhello", b" world"], "close"),
    "to the end, 1.0": ([b"HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\nhello world"], "close"),
}


@pytest.mark.parametrize(("pieces", "then"), UNKNOWN_LENGTH.values(), ids=UNKNOWN_LENGTH)
def test_answers_of_unknown_length(
    gateway: StartGateway, instance: Scripted, pieces: list[bytes], then: str
) -> None:
    under_test = gateway(upstream=instance)
    instance.pieces, instance.then = pieces, then
    client = under_test.connect()
    for _ in range(2):  # on one connection
        client.send(request())
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"hello world")
        assert answer.all("transfer-encoding") == ["chunked"]
        assert answer.all("content-length") == answer.all("x-t") == []
    assert len(instance.peers) == (1 if then == "keep" else 2)
    for fields in ([], ["Connection: keep-alive"]):
        client = under_test.connect()
        client.send(request("/", *fields, version="1.0"))
        got = client.rest()
        assert got.endswith(b"\r\n\r\nhello world")
        assert b"\r\nConnection: close\r\n" in got
        assert b"ransfer-" not in got


def test_fields_of_the_answer(gateway: StartGateway, instance: Scripted) -> None:
    instance.pieces = [
        b"HTTP/1.1 299 Odd  reason\r\nX-A:  b \r\nx-A: c\r\n"
        b"Access-Control-Allow-Origin: http://a\r\naccess-control-allow-origin: *\r\n"
        b"Access-Control-Expose-Headers: X-Other\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTrailer: a\r\nTE: x\r\n"
        b'X-Request-ID: theirs\r\nETag: "1"\r\nContent-Encoding: gzip\r\n'
        b"Content-Length: 3\r\n\r\n\0\xff\r"
    ]
    answer = gateway(upstream=instance).ask(request("/", "X-Request-ID: ours"))
    assert answer.raw == (
        b"HTTP/1.1 299 Odd  reason\r\nX-A:  b \r\nx-A: c\r\n"
        b'ETag: "1"\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n'
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: ETag, X-Request-ID, X-SQ-Error, X-SQ-Code, Retry-After\r\n"
        b"X-Request-ID: ours\r\n\r\n\0\xff\r"
    )


@pytest.mark.parametrize(
    ("version", "fields", "connection"),
    [
        ("1.1", [], []),
        ("1.1", ["Connection: close"], ["close"]),
        ("1.0", [], ["close"]),
        ("1.0", ["Connection: Keep-Alive"], ["keep-alive"]),
        ("1.0", ["Connection: keep-alive, close"], ["close"]),
    ],
)
def test_whether_the_clients_connection_goes_on(
    gateway: StartGateway,
    instance: Scripted,
    version: str,
    fields: list[str],
    connection: list[str],
) -> None:
    goes_on = connection != ["close"]
    instance.pieces = [OK + b"Content-Length: 1\r\n\r\nx"]
    client = gateway(upstream=instance).connect()
    for _ in range(2):
        client.send(request("/", *fields, version=version))
        answer = client.answer()
        assert answer.all("connection") == connection
        if not goes_on:
            assert client.rest() == b""
            break
    # The same holds of errors.
    client = gateway(upstream=instance).connect()
    client.send(request("/", *fields, version=version, token=""))
    answer = client.answer()
    assert (answer.status, answer.all("connection")) == (401, connection)
    if not goes_on:
        client.send(request())
        assert client.rest() == b""


def test_every_status_but_401_is_passed_on(gateway: StartGateway, instance: Scripted) -> None:
    client = gateway(upstream=instance).connect()
    for status in (200, 206, 400, 403, 404, 405, 413, 429, 500, 502, 503, 507, 599):
        instance.pieces = [b"HTTP/1.1 %d X\r\nContent-Length: 1\r\n\r\nx" % status]
        client.send(request())
        answer = client.answer()
        assert (answer.status, answer.body) == (status, b"x")
