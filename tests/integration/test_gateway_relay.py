"""Requests reach the instance byte for byte, changed only where it is meant."""

from __future__ import annotations

import re

import pytest

from sqsuper.testing import RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import request
from tests.running import eventually

ID = b"X-Request-ID: rid-1\r\n"


def sent(gateway: StartGateway, upstream: RecordingUpstream, data: bytes) -> bytes:
    """Return what the instance got of `data`, whole and byte by byte alike, less the made id."""
    under_test = gateway(upstream=upstream)
    assert under_test.ask(data).status == 200
    whole = without_id(upstream.received[0])
    if len(data) < 2000:
        client = under_test.connect()
        client.send_bytewise(data)
        assert client.answer().status == 200
        assert without_id(b"".join(upstream.received)) == whole * 2
    return whole


def without_id(data: bytes) -> bytes:
    return re.sub(rb"X-Request-ID: [0-9a-f]{12}-[0-9a-f]+\r\n", b"", data)


CANONICAL = {
    "get": (
        b"GET /api/v2/select?p=np HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer tok\r\n\r\n",
        b"GET /api/v2/select?p=np HTTP/1.1\r\nHost: h:1\r\n\r\n",
    ),
    "post-1.0-without-host": (
        b"POST /api/v2/update?p=np&c=1.1.1/1.1.1/1.1.3 HTTP/1.0\r\nAuthorization: tok\r\n"
        b"Content-Length: 3\r\n\r\nabc",
        b"POST /api/v2/update?p=np&c=1.1.1/1.1.1/1.1.3 HTTP/1.1\r\n"
        b"Content-Length: 3\r\nHost: 127.0.0.1:PORT\r\n\r\nabc",
    ),
    "post-without-length": (
        b"POST /api/v2/update?c=1&s=x HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n\r\n",
        b"POST /api/v2/update?c=1&s=x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    ),
    "post-three-chunks": (
        b"POST /api/v2/update?c=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n"
        b"X-SQ-API-Key: tok\r\n\r\n"
        b'3;a="b;c"\r\nabc\r\n0003 ; x = y\r\ndef\r\nA\r\n0123456789\r\n0\r\nX-T: v\r\n\r\n',
        b"POST /api/v2/update?c=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n"
        b"abcdef0123456789",
    ),
    "empty-chunked": (
        b"POST /api/v2/update?s=a HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v2/update?s=a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    ),
    "get-with-body": (
        b"GET /api/v2/select HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n"
        b"Content-Length: 2\r\n\r\n\0\xff",
        b"GET /api/v2/select HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n\0\xff",
    ),
    "delete-with-body": (
        b"DELETE /api/v2/delete?p=a HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n"
        b"Content-Length: 1\r\n\r\nx",
        b"DELETE /api/v2/delete?p=a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
    ),
    "hop-by-hop": (
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Mine , upgrade,HTTP2-Settings\r\n"
        b"Keep-Alive: timeout=5\r\nx-mine: 1\r\nX-Kept:  two  words \r\nTE: trailers\r\n"
        b"Proxy-Connection: close\r\nProxy-Authorization: tok\r\nTrailer: X\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMA\r\nAuthorization: tok\r\nACCEPT-encoding:gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Kept:  two  words \r\nACCEPT-encoding:gzip\r\n\r\n",
    ),
    "fields-kept": (
        b"\r\nGET / HTTP/1.1\r\nhost:  h  \r\nX-A:\t\xe9\r\nx-a:\r\nAuthorization: tok\r\n"
        b"Cookie: a=b\r\nX_SQ_API_Key: no\r\nExpect-CT: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost:  h  \r\nX-A:\t\xe9\r\nx-a:\r\nCookie: a=b\r\n"
        b"X_SQ_API_Key: no\r\nExpect-CT: 1\r\n\r\n",
    ),
    "expect-without-body": (
        b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nAuthorization: tok\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    "expect-1.0": (
        b"POST / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nAuthorization: tok\r\n"
        b"Content-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
    ),
}


@pytest.mark.parametrize(("data", "expected"), CANONICAL.values(), ids=CANONICAL)
def test_the_canonical_request(
    gateway: StartGateway, upstream: RecordingUpstream, data: bytes, expected: bytes
) -> None:
    head, _, body = expected.partition(b"\r\n\r\n")
    head = head.replace(b"PORT", str(upstream.upstream().port).encode())
    assert sent(gateway, upstream, data) == (head + b"\r\nAuthorization: Bearer KEY\r\n\r\n" + body)


TARGETS = [
    b"/api/v2/update?p=np&s=four",
    b"/api/v2/toc?p=np",
    b"/api/v2/select?s=a%17b",
    b"/?s=a%20b+c",
    b"/api/v2//select?s=" + "café ☃".replace(" ", "_").encode(),
    b"/x?c=1.1.1%2F1.1.1%2f1.1.2",
    b"/x?s=a;b%3Bc&&key&=&?",
    b"/x?s=a%2Fb%3Bc;d%&%zz",
    b'/"<>\\^{}`|x/../y/./z',
    b"/" + bytes(b for b in range(0x21, 0x100) if b not in b"#\x7f"),
    b"/" + b"a" * 9_000,
    b"/" + b"b%20" * 5_000,
    b"/" + b"c" * 60_000,
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: repr(t[:24]))
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_targets_pass_unchanged(
    gateway: StartGateway, upstream: RecordingUpstream, target: bytes, version: bytes
) -> None:
    data = b"GET %b HTTP/%b\r\nHost: h\r\nAuthorization: tok\r\n%b\r\n" % (target, version, ID)
    expected = b"GET %b HTTP/1.1\r\nHost: h\r\n%bAuthorization: Bearer KEY\r\n\r\n" % (target, ID)
    assert sent(gateway, upstream, data) == expected


@pytest.mark.parametrize("target", [t for t in TARGETS if len(t) < 100], ids=repr)
@pytest.mark.parametrize("split", [1, 5, 30])
def test_targets_pass_in_pieces(
    gateway: StartGateway, upstream: RecordingUpstream, target: bytes, split: int
) -> None:
    data = b"POST %b HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n\r\n" % target
    client = gateway(upstream=upstream).connect()
    for at in range(0, len(data), split):
        client.send(data[at : at + split])
    assert client.answer().status == 200
    assert upstream.received[0].startswith(b"POST %b HTTP/1.1\r\n" % target)


BODIES = {
    "every byte": bytes(range(256)) * 3,
    "form": b"a=b&c=%zz+d",
    "multipart": b"--x\r\nContent-Disposition: form-data\r\n\r\n--x-",
    "looks like a request": b"GET /api/v2/x HTTP/1.1\r\nHost: h\r\n\r\n",
    "1.1 MB": b"0123456789" * 115_000,
}
TYPES = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_unchanged(
    gateway: StartGateway, upstream: RecordingUpstream, body: bytes, kind: str, chunked: bool
) -> None:
    under_test = gateway(upstream=upstream)
    if chunked:
        data = request("/u", f"Content-Type: {kind}", "Transfer-Encoding: chunked", method="POST")
        for start in range(0, len(body), 70_001):
            piece = body[start : start + 70_001]
            data += b"%x\r\n%b\r\n" % (len(piece), piece)
        data += b"0\r\n\r\n"
    else:
        data = request("/u", f"Content-Type: {kind}", method="POST", body=body)
    assert under_test.ask(data).status == 200
    head, _, got = upstream.received[0].partition(b"\r\n\r\n")
    assert got == body
    assert f"\r\nContent-Type: {kind}\r\n".encode() in head
    assert head.count(b"Content-Length:") == 1
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"ransfer-" not in head


def test_a_thousand_posts_on_one_connection(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    for number in range(1000):
        client.send(request(f"/api/v2/insert?n={number}", method="POST", body=b"x"))
        assert client.answer().status == 200
    (got,) = upstream.received
    numbers = [int(part.split(b" ")[0]) for part in got.split(b"insert?n=")[1:]]
    assert numbers == list(range(1000))


# Credentials

ADMITTED = [
    ["Authorization: Bearer tok"],
    ["authorization: bearer tok"],
    ["AUTHORIZATION:BEARER    tok"],
    ["Authorization: \t tok \t"],
    ["X-SQ-API-Key: tok"],
    ["x-sq-api-KEY:tok"],
    ["Authorization: Basic bm8=", "X-SQ-API-Key: tok"],
    ["X-SQ-API-Key: nobody", "Authorization: tok"],
    ["X-SQ-API-Key: tok", "Authorization: Bearer tok"],
    ["X-SQ-API-Key:", "Authorization: Bearer tok"],
]
UNKNOWN = [
    [],
    ["Authorization:"],
    ["Authorization: Bearer"],
    ["Authorization: Bearer to"],
    ["Authorization: Bearer tok2"],
    ["Authorization: Bearer Tok"],
    ["Authorization: Bearer tok, Bearer tok"],
    ["Authorization: Basic tok"],
    ["Authorization: Bearer\ttok"],
    ["X-SQ-API-Key: Bearer tok"],
    ["X_SQ_API_Key: tok"],
    ["Cookie: X-SQ-API-Key=tok"],
    ["Proxy-Authorization: Bearer tok"],
    ["Authorization: Bearer " + "t" * 513],
    ["Authorization: Bearer tok\xe9"],
    ["Authorization: Bearer tok", "X-SQ-API-Key: bobtok"],
    ["Authorization: Bearer %74ok"],
]


@pytest.mark.parametrize("fields", ADMITTED, ids=repr)
def test_a_known_token_is_found(
    gateway: StartGateway, upstream: RecordingUpstream, fields: list[str]
) -> None:
    under_test = gateway(upstream=upstream)
    assert under_test.ask(request("/", *fields, token="")).status == 200
    head = upstream.received[0].lower()
    assert head.count(b"authorization:") == 1
    assert b"api-key" not in head
    assert b"tok" not in head


@pytest.mark.parametrize("fields", UNKNOWN, ids=repr)
@pytest.mark.parametrize("query", ["", "?token=tok&X-SQ-API-Key=tok"])
def test_all_else_gets_one_and_the_same_401(
    gateway: StartGateway, upstream: RecordingUpstream, fields: list[str], query: str
) -> None:
    under_test = gateway(upstream=upstream)
    answer = under_test.ask(request("/api/v2/select" + query, *fields, token=""))
    assert answer.raw == under_test.ask(request(token="")).raw
    assert answer.status == 401
    assert answer.one("www-authenticate") == "Bearer"
    assert answer.all("access-control-allow-origin") == ["*"]
    assert answer.all("connection") == []  # no body came with it: the connection goes on
    assert upstream.received == []


def test_a_401_before_an_unread_body_closes(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    client = gateway(upstream=upstream).connect()
    client.send(request(method="POST", token="no", body=b"x" * 100_000) + request())
    answer = client.answer()
    assert (answer.status, answer.one("connection")) == (401, "close")
    assert client.rest() == b""
    assert upstream.received == []


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("target", ["/health", "/api/v2/select"])
def test_our_own_answers_before_an_unread_body_close(
    gateway: StartGateway, upstream: RecordingUpstream, method: str, target: str
) -> None:
    client = gateway(upstream=upstream).connect()
    client.send(request(target, method=method, token="", body=b"body") + request())
    answer = client.answer()
    assert answer.one("connection") == "close"
    assert client.rest() == b""
    assert upstream.received == []


def test_health_and_options_need_no_token(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    client = gateway(upstream=upstream).connect()
    client.send(request("/health", token=""))
    health = client.answer()
    assert (health.status, health.one("content-type")) == (200, "application/json")
    assert health.body == b'{"status": "ok", "tenants": 2}\n'
    for target in ("/api/v2/update", "*", "/health", "/api/v2/reload"):
        client.send(request(target, method="OPTIONS", token=""))
        answer = client.answer()
        assert answer.status == 204
        assert answer.all("content-length") == []
        assert answer.one("access-control-allow-origin") == "*"
        assert answer.one("access-control-allow-methods") == "GET, POST, DELETE, HEAD, OPTIONS"
        assert answer.one("access-control-max-age") == "86400"
    client.send(request("/health", token="", method="POST"))
    assert client.answer().status == 405
    client.send(request("/health?x", token="", method="HEAD"))
    assert client.answer("HEAD").status == 200
    assert upstream.received == []


def test_request_ids_are_passed_through_or_made(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    client = gateway(upstream=upstream).connect()
    client.send(request("/", "X-Request-ID: mine-7"))
    assert client.answer().one("x-request-id") == "mine-7"
    made = []
    for _ in range(2):
        client.send(request("/"))
        made.append(client.answer().one("x-request-id"))
    assert len(set(made)) == 2
    for value in made:
        assert upstream.received[0].count(f"X-Request-ID: {value}\r\n".encode()) == 1
    client.send(request("/", "X-Request-ID: " + "x" * 129))
    assert client.answer().one("x-request-id") != "x" * 129


def test_100_continue_comes_with_the_slot_alone(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(settings={"max_inflight": 1})
    under_test.instances.upstreams.clear()
    client = under_test.connect()
    head = request("/u", "Expect: 100-continue", "Content-Length: 5", method="POST")
    client.send(head)
    eventually(lambda: under_test.instances.waiting("alice") == 1)
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    under_test.call(lambda: under_test.instances.settle("alice", upstream.upstream()))
    assert client.answer().status == 100
    client.send(b"hello")
    assert client.answer().status == 200
    assert b"xpect" not in upstream.received[0]
    assert upstream.received[0].endswith(b"\r\n\r\nhello")


def test_100_continue_of_a_chunked_body(gateway: StartGateway, upstream: RecordingUpstream) -> None:
    client = gateway(upstream=upstream).connect()
    client.send(request("/u", "Expect: 100-continue", "Transfer-Encoding: chunked", method="POST"))
    assert client.answer().status == 100
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    assert client.answer().status == 200
    assert upstream.received[0].endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Authorization: no", "Content-Length: 5"], 401),
        (["Authorization: tok", "Content-Length: 99999999"], 413),
    ],
)
def test_no_100_for_what_is_refused(
    gateway: StartGateway, upstream: RecordingUpstream, fields: list[str], status: int
) -> None:
    data = request("/u", "Expect: 100-continue", *fields, method="POST", token="")
    answer = gateway(upstream=upstream).ask(data)
    assert (answer.status, answer.one("connection")) == (status, "close")
