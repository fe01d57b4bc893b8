"""Expect, Connection, keep-alive, pipelining, and which refusal comes first."""

from __future__ import annotations

import itertools

import pytest

from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import ALLOW, HOP_BY_HOP, NOT_HOP_BY_HOP
from sqsuper.http1.reader import RequestReader
from tests.unit.http1.feeding import outcome, refused, request

POST = b"POST / HTTP/1.1"
GET = b"GET / HTTP/1.1"


@pytest.mark.parametrize(
    "value", [b"100-continue", b"100-Continue", b"100-CONTINUE", b"\t100-continue "]
)
def test_expect_with_a_body(value: bytes) -> None:
    expect = b"Expect:" + value
    assert outcome(
        request(expect, b"Content-Length: 1", start=POST, body=b"x")
    ).only.expects_continue
    chunked = request(expect, b"Transfer-Encoding: chunked", start=POST, body=b"0\r\n\r\n")
    assert outcome(chunked).only.expects_continue


@pytest.mark.parametrize(
    "data",
    [
        request(b"Expect: 100-continue", start=POST),
        request(b"Expect: 100-continue", b"Content-Length: 0", start=POST),
        request(b"Expect: 100-continue", start=GET),
        request(b"Expect: 100-continue", b"Content-Length: 1", start=b"POST / HTTP/1.0", body=b"x"),
        request(b"Expected: 100-continue", b"Content-Length: 1", start=POST, body=b"x"),
        request(b"Content-Length: 1", start=POST, body=b"x"),
    ],
)
def test_no_continue_is_due(data: bytes) -> None:
    assert not outcome(data).only.expects_continue


@pytest.mark.parametrize(
    "lines",
    [
        (b"Expect: 200-ok",),
        (b"Expect:",),
        (b"Expect: 100",),
        (b"Expect: 100 continue",),
        (b"Expect: 100-continue, 100-continue",),
        (b"Expect: 100-continue,",),
        (b"Expect: 100-continue;x",),
        (b'Expect: "100-continue"',),
        (b"Expect: 100-continuex",),
        (b"Expect: x=y",),
        (b"Expect: 100-continue", b"Expect: 100-continue"),
        (b"Expect: 100-continue", b"X: y", b"expect: 100-continue"),
        (b"Expect:", b"Expect: 100-continue"),
    ],
)
@pytest.mark.parametrize("start", [POST, GET, b"POST / HTTP/1.0"])
def test_other_expectations(lines: tuple[bytes, ...], start: bytes) -> None:
    refused(request(*lines, start=start), 417)
    refused(request(*lines, b"Content-Length: 1", start=start, body=b"x"), 417)


@pytest.mark.parametrize(
    ("minor", "values", "kept"),
    [
        (1, (), True),
        (1, (b"",), True),
        (1, (b"keep-alive",), True),
        (1, (b"close",), False),
        (1, (b"Close",), False),
        (1, (b"CLOSE",), False),
        (1, (b" \tclose\t",), False),
        (1, (b"x, close",), False),
        (1, (b"x,close,y",), False),
        (1, (b",,close",), False),
        (1, (b"x", b"close"), False),
        (1, (b"close", b"keep-alive"), False),
        (1, (b"keep-alive, close",), False),
        (1, (b"closed",), True),
        (1, (b"x-close",), True),
        (1, (b"upgrade",), True),
        (0, (), False),
        (0, (b"",), False),
        (0, (b"keep-alive",), True),
        (0, (b"Keep-Alive",), True),
        (0, (b"KEEP-ALIVE, x",), True),
        (0, (b"x", b"keep-alive"), True),
        (0, (b"keep-alive, close",), False),
        (0, (b"close", b"keep-alive"), False),
        (0, (b"keepalive",), False),
        (0, (b"close",), False),
    ],
)
def test_keep_alive(minor: int, values: tuple[bytes, ...], kept: bool) -> None:
    lines = [b"Connection: " + value for value in values]
    got = outcome(request(*lines, start=b"GET / HTTP/1.%d" % minor)).only
    assert got.keep_alive is kept


def test_other_fields_do_not_decide_on_keep_alive() -> None:
    start = b"GET / HTTP/1.0"
    lines = (b"Proxy-Connection: keep-alive", b"Keep-Alive: timeout=5")
    assert not outcome(request(*lines, start=start)).only.keep_alive
    assert outcome(request(b"Proxy-Connection: close")).only.keep_alive


def test_names_that_connection_lists() -> None:
    lines = (b"Connection: X-One ,\tx-TWO,,", b"Y: z", b"connection:close", b"Connection: a b, (c)")
    got = outcome(request(*lines)).only
    assert got.connection_names == {b"x-one", b"x-two", b"close"}
    assert outcome(request()).only.connection_names == frozenset()


FOR_THE_RECIPIENT = [
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Content-Type",
    b"Authorization",
    b"X-SQ-API-Key",
    b"Cookie",
    b"Origin",
    b"Expect",
]


@pytest.mark.parametrize("name", FOR_THE_RECIPIENT)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_connection_must_not_name_these(name: bytes, version: bytes) -> None:
    start = b"GET / HTTP/" + version
    for value in (
        name,
        name.lower(),
        name.upper(),
        b"close, " + name,
        name + b" ,keep-alive",
        b",," + name + b",",
        b"x,\t" + name + b"\t,y",
    ):
        refused(request(b"Connection: " + value, start=start), 400)
    refused(request(b"Connection: x", b"connection:" + name, start=start), 400)


def test_the_sets_of_names() -> None:
    assert {name.lower() for name in FOR_THE_RECIPIENT} == NOT_HOP_BY_HOP
    assert {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
    } == HOP_BY_HOP


@pytest.mark.parametrize(
    "value", [b"upgrade", b"Upgrade, HTTP2-Settings", b"te", b"x-sq-api-keys", b"hosts"]
)
def test_connection_may_name_others(value: bytes) -> None:
    lines = (b"Connection: " + value, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    assert outcome(request(*lines)).only.keep_alive


# Pipelining


def test_several_requests_in_one_go() -> None:
    parts = [
        request(start=b"GET /1 HTTP/1.1"),
        request(b"Content-Length: 4", start=b"POST /2 HTTP/1.1", body=b"GET "),
        request(
            b"Transfer-Encoding: chunked", start=b"POST /3 HTTP/1.1", body=b"1\r\nx\r\n0\r\n\r\n"
        ),
        b"\r\n" + request(start=b"DELETE /4 HTTP/1.0"),
        request(start=b"GET /5 HTTP/1.1"),
    ]
    got = outcome(b"".join(parts))
    assert got.refusal is None
    assert [each.target for each in got.requests] == [b"/1", b"/2", b"/3", b"/4", b"/5"]
    assert [each.body for each in got.requests] == [b"", b"GET ", b"x", b"", b""]


def test_an_error_in_the_middle_comes_after_those_before_it() -> None:
    got = outcome(request() + request() + b"GET / HTTP/1.1\nHost: h\r\n\r\n" + request())
    assert len(got.requests) == 2
    assert got.status == 400


def test_what_a_reader_tells_of_a_refused_head() -> None:
    for data, method, target in (
        (b"POST /api/v2/delta?p=x HTTP/1.1\nHost: h", b"POST", b"/api/v2/delta?p=x"),
        (b"\r\nHEAD /x HTTP/1.1\r\nHost : h\r\n\r\n", b"HEAD", b"/x"),
        (b"GET\r\n\r\n", b"GET\r\n\r\n", b""),
        (b"\0", b"\0", b""),
    ):
        reader = RequestReader()
        reader.buffer += data
        with pytest.raises(FramingError):
            reader.head()
        assert (reader.method(), reader.target()) == (method, target)


def test_whether_a_request_has_begun() -> None:
    reader = RequestReader()
    assert not reader.started
    reader.buffer += b"\r\n"
    assert reader.head() is None
    assert reader.started
    reader.buffer += request()
    assert reader.head() is not None
    assert not reader.started
    reader.buffer += b"G"
    assert reader.started


# Which of several reasons decides: each stands for one step of the order, first to last.

ORDER: list[tuple[int, str, bytes, bytes]] = [
    (400, "bad_request", b"", b"Bad name: x"),
    (505, "http_version", b"HTTP/1.2", b""),
    (413, "body_too_large", b"", b"Content-Length: 999999999999"),
    (400, "bad_request", b"", b"Connection: host"),
    (417, "expectation_failed", b"", b"Expect: x"),
    (405, "method_not_allowed", b"PUT", b""),
    (400, "bad_request", b"http://h/", b""),
]


@pytest.mark.parametrize(
    "faults", [each for size in (1, 2, 7) for each in itertools.combinations(range(7), size)]
)
def test_the_first_reason_in_the_order_decides(faults: tuple[int, ...]) -> None:
    words = {b"H": b"HTTP/1.1", b"P": b"GET", b"h": b"/"}
    lines = []
    for fault in reversed(faults):
        _status, _code, word, line = ORDER[fault]
        if word:
            words[word[:1]] = word
        if line:
            lines.append(line)
    start = b" ".join((words[b"P"], words[b"h"], words[b"H"]))
    got = outcome(request(*lines, start=start))
    assert got.refusal == ORDER[min(faults)][:2]


def test_host_comes_before_the_body_and_the_body_before_connection() -> None:
    refused(request(b"Transfer-Encoding: gzip, chunked", host=b""), 400)
    refused(request(b"Connection: host", b"Transfer-Encoding: gzip, chunked"), 501)


def test_a_refused_method_says_which_are_allowed() -> None:
    reader = RequestReader()
    reader.buffer += request(start=b"PUT / HTTP/1.1")
    with pytest.raises(FramingError) as caught:
        reader.head()
    assert caught.value.fields == (ALLOW,)
    assert ALLOW == b"Allow: GET, POST, DELETE, HEAD, OPTIONS\r\n"
    assert str(caught.value).startswith("405 method_not_allowed: ")
