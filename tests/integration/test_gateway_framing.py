"""What is refused, at which byte, and that the instance sees nothing of it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from sqsuper.testing import RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import Answer, GatewayUnderTest, request
from tests.running import eventually

HEAD = b"POST /api/v2/update?p=x&c=1.1.1/1.1.1/1.1.1 HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n"
GET = HEAD.replace(b"POST", b"GET", 1)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /api/v2/smuggled HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n\r\n"

# Each ends with the byte that makes the refusal certain.
AT_ONCE = {
    # request line
    "lf-first": (400, b"\n"),
    "nul-first": (400, b"\0"),
    "blank-first": (400, b" "),
    "second-empty-line": (400, b"\r\n\r"),
    "bare-lf-line": (400, b"GET / HTTP/1.1\n"),
    "bare-cr-line": (400, b"GET / HTTP/1.1\rH"),
    "two-blanks": (400, b"GET  "),
    "tab-separator": (400, b"GET\t"),
    "vertical-tab": (400, b"GET\x0b"),
    "method-no-token": (400, b"G(T"),
    "trailing-blank": (400, b"GET / HTTP/1.1 "),
    "fragment": (400, b"GET /a#"),
    "delete-in-target": (400, b"GET /a\x7f"),
    "control-in-target": (400, b"GET /a\x01"),
    "no-version": (400, b"GET /\r"),
    "version-two-digits": (400, b"GET / HTTP/1.10"),
    "version-lower-case": (400, b"GET / h"),
    # field lines
    "obs-fold": (400, GET + b" "),
    "obs-fold-tab": (400, GET + b"\t"),
    "blank-before-colon": (400, GET + b"A "),
    "empty-name": (400, GET + b":"),
    "no-colon": (400, GET + b"abc\r"),
    "8-bit-name": (400, GET + b"\xa0"),
    "bracket-in-name": (400, GET + b"a["),
    "nul-in-value": (400, GET + b"A: \0"),
    "delete-in-value": (400, GET + b"A: \x7f"),
    "bare-lf-value": (400, GET + b"A: b\n"),
    "bare-cr-value": (400, GET + b"A: b\rc"),
    # whole heads
    "no-host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two-hosts": (400, GET + b"Host: h\r\n\r\n"),
    "two-hosts-1.0": (400, b"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"),
    "host-userinfo": (400, b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"),
    "host-empty": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "host-port": (400, b"GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n"),
    "absolute-form": (400, b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    "authority-form": (400, b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
    "asterisk-get": (400, b"GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
    "version-1.2": (505, b"GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
    "http2-preface": (505, b"PRI * HTTP/2.0\r\n\r\n"),
    "put": (405, b"PUT / HTTP/1.1\r\nHost: h\r\n\r\n"),
    "connect": (405, b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
    "lower-case-method": (405, b"get / HTTP/1.1\r\nHost: h\r\n\r\n"),
    "length-sign": (400, HEAD + b"Content-Length: +5\r\n\r\n"),
    "length-list": (400, HEAD + b"Content-Length: 5, 5\r\n\r\n"),
    "length-twice": (400, HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    "length-leading-zero": (400, HEAD + b"Content-Length: 05\r\n\r\n"),
    "length-empty": (400, HEAD + b"Content-Length:\r\n\r\n"),
    "length-on-get": (400, GET + b"Content-Length: 0x5\r\n\r\n"),
    "length-huge": (413, HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "length-over": (413, HEAD + b"Content-Length: 67108865\r\n\r\n"),
    "gzip-chunked": (501, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "xchunked": (400, HEAD + b"Transfer-Encoding: xchunked\r\n\r\n"),
    "coding-identity": (400, HEAD + b"Transfer-Encoding: identity\r\n\r\n"),
    "chunked-twice": (400, HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
    "coding-two-lines": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "coding-quoted": (400, HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n'),
    "te-then-cl": (400, HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    "cl-then-te": (400, GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "te-1.0": (
        400,
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n",
    ),
    "expect-other": (417, HEAD + b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\n"),
    "expect-twice": (
        417,
        HEAD + b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ),
    "connection-names-host": (400, GET + b"Connection: Host\r\n\r\n"),
    "connection-names-key": (400, GET + b"Connection: close, x-sq-api-KEY\r\n\r\n"),
    "authorization-twice": (400, GET + b"Authorization: tok\r\n\r\n"),
    "api-key-twice": (400, GET + b"X-SQ-API-Key: tok\r\nx-sq-api-key: tok\r\n\r\n"),
    # framing comes before the token
    "framing-before-token": (
        400,
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    ),
    "method-before-token": (405, b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n"),
    # chunks
    "chunk-sign": (400, CHUNKED + b"+"),
    "chunk-0x": (400, CHUNKED + b"0x"),
    "chunk-underscore": (400, CHUNKED + b"1_"),
    "chunk-empty-size": (400, CHUNKED + b"\r"),
    "chunk-blank-first": (400, CHUNKED + b" "),
    "chunk-17-digits": (400, CHUNKED + b"0" * 17),
    "chunk-bare-lf": (400, CHUNKED + b"5\n"),
    "chunk-semicolon-alone": (400, CHUNKED + b"5;\r"),
    "chunk-extension-control": (400, CHUNKED + b"5;a=\x01"),
    "chunk-quoted-lf": (400, CHUNKED + b'5;a="\n'),
    "chunk-line-long": (400, CHUNKED + b"5;" + b"a" * 4095),
    "chunk-too-much": (413, CHUNKED + b"4000001\r\n"),
    "chunk-sum-too-much": (413, CHUNKED + b"5\r\nhello\r\n3fffffc\r\n"),
    "chunk-no-crlf": (400, CHUNKED + b"5\r\nhellox"),
    "chunk-lf-behind": (400, CHUNKED + b"5\r\nhello\n"),
    "end-without-crlf": (400, CHUNKED + b"0\r\nX-T: a\nb"),
    # trailers
    "trailer-length": (400, CHUNKED + b"0\r\nContent-Length:"),
    "trailer-authorization": (400, CHUNKED + b"5\r\nhello\r\n0\r\nAuthorization:"),
    "trailer-fold": (400, CHUNKED + b"0\r\nX-T: a\r\n "),
    "trailers-large": (431, CHUNKED + b"0\r\nX-T: " + b"a" * 65_536),
    # sizes
    "line-too-long": (414, b"GET /" + b"a" * 65_532),
    "head-too-large": (431, GET + b"X-A: " + b"a" * 65_536),
    "too-many-lines": (431, GET + b"A: b\r\n" * 300),
}


def check_refusal(answer: Answer, status: int, head_only: bool = False) -> None:
    assert answer.status == status
    assert answer.one("connection") == "close"
    assert answer.one("access-control-allow-origin") == "*"
    assert answer.one("x-sq-code")
    assert answer.body.count(b"\n") == 1
    assert answer.body.endswith(b"\n")
    assert int(answer.one("content-length")) == len(answer.body)
    assert bool(answer.all("allow")) == (status == 405)


def check_nothing_reached(gateway: GatewayUnderTest, upstream: RecordingUpstream) -> None:
    """A later request reaches the instance, and nothing came before it."""
    assert gateway.ask(request("/api/v2/after")).status == 200
    assert len(upstream.peers) == 1
    assert upstream.received[0].startswith(b"GET /api/v2/after ")


@pytest.mark.parametrize(("status", "data"), AT_ONCE.values(), ids=AT_ONCE)
def test_refused_at_the_first_certain_byte(
    gateway: StartGateway, upstream: RecordingUpstream, status: int, data: bytes
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(data)
    check_refusal(client.answer(), status)
    assert client.rest() == b""  # the half-close: nothing follows the answer
    # What goes on to be sent is thrown away, and no reset comes before all was read.
    with suppress(ConnectionError):
        client.send(b"\r\n" + SMUGGLED)
    check_nothing_reached(under_test, upstream)


@pytest.mark.parametrize(("status", "data"), AT_ONCE.values(), ids=AT_ONCE)
def test_refused_in_one_piece_with_what_follows(
    gateway: StartGateway, upstream: RecordingUpstream, status: int, data: bytes
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(data + b"\r\n\r\n" + SMUGGLED * 3)
    check_refusal(client.answer(), status)
    assert client.rest() == b""
    check_nothing_reached(under_test, upstream)


SMALL = {name: case for name, case in AT_ONCE.items() if len(case[1]) < 300}


@pytest.mark.parametrize(("status", "data"), SMALL.values(), ids=SMALL)
def test_refused_byte_by_byte(
    gateway: StartGateway, upstream: RecordingUpstream, status: int, data: bytes
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send_bytewise(data + b"\r\n\r\n" + SMUGGLED)
    check_refusal(client.answer(), status)
    assert client.rest() == b""
    check_nothing_reached(under_test, upstream)


@pytest.mark.parametrize(
    "name", ["two-blanks", "length-twice", "chunk-no-crlf", "authorization-twice", "put"]
)
def test_good_requests_before_a_bad_one_are_answered(
    gateway: StartGateway, upstream: RecordingUpstream, name: str
) -> None:
    status, bad = AT_ONCE[name]
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(request("/api/v2/a") + request("/api/v2/b") + bad + SMUGGLED)
    assert client.answer().status == 200
    assert client.answer().status == 200
    check_refusal(client.answer(), status)
    assert client.rest() == b""
    assert b"smuggled" not in b"".join(upstream.received)
    assert b"".join(upstream.received).count(b"GET /api/v2/") == 2


@pytest.mark.parametrize("mebibytes", [1, 6])
def test_the_answer_arrives_though_the_client_goes_on_sending(
    gateway: StartGateway, upstream: RecordingUpstream, mebibytes: int
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(HEAD + b"Content-Length: 5, 5\r\n\r\n")
    client.send(b"x" * (mebibytes << 20))
    check_refusal(client.answer(), 400)
    assert client.rest() == b""
    assert upstream.received == []


def test_no_more_than_8_mib_is_read_behind_a_refusal(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(b"\n")
    with pytest.raises(ConnectionError):
        client.send(b"x" * (64 << 20))


def test_reading_on_ends_after_two_seconds(
    gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(b"\n")
    check_refusal(client.answer(), 400)

    def refused() -> bool:
        try:
            client.send(b"x")
        except ConnectionError:
            return True
        return False

    eventually(refused, "the gateway closes", 4)


RELOADS = [
    "/api/v2/reload",
    "/api/v2//reload?x",
    "/API/v2/Reload",
    "/api/v2/%72eload",
    "/api/v2/reloadX",
    "/api/v2/../v2/reload",
    "/api/x/..\\v2/reload",
    "/%61pi/v2/reload/y",
]


@pytest.mark.parametrize("target", RELOADS)
def test_reload_never_reaches_an_instance(
    gateway: StartGateway, upstream: RecordingUpstream, target: str
) -> None:
    under_test = gateway(upstream=upstream)
    for method in ("GET", "POST"):
        answer = under_test.ask(request(target, method=method))
        assert answer.status == 403
        assert answer.all("access-control-allow-origin") == ["*"]
    assert upstream.received == []
    assert under_test.ask(request(target, method="OPTIONS"), "OPTIONS").status == 204


@pytest.mark.parametrize("target", ["/admin/", "/admin", "/api/v2/admin/tenants"])
def test_the_admin_api_is_not_served(
    gateway: StartGateway, upstream: RecordingUpstream, target: str
) -> None:
    assert gateway(upstream=upstream).ask(request(target)).status == 404
    assert upstream.received == []


def test_errors_on_delta_have_no_body(gateway: StartGateway, upstream: RecordingUpstream) -> None:
    under_test = gateway(upstream=upstream)
    for data in (
        request("/api/v2/delta?p=x", token=""),
        b"POST /api/v2/delta HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v2//delta?p=x HTTP/1.1\r\nHost: h\r\nA: \0",
    ):
        answer = under_test.ask(data)
        assert answer.body == b""
        assert answer.one("content-length") == "0"
        assert answer.one("x-sq-error")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_error_to_head_has_no_body(
    gateway: StartGateway, upstream: RecordingUpstream, method: str
) -> None:
    under_test = gateway(upstream=upstream)
    client = under_test.connect()
    client.send(request(method="HEAD", token="") + request(method=method, token=""))
    head = client.answer("HEAD")
    other = client.answer()
    assert (head.status, other.status) == (401, 401)
    assert head.all("content-length") == other.all("content-length")
