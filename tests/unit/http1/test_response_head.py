"""Heads of an instance's answers."""

from __future__ import annotations

import pytest

from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import ResponseHead
from sqsuper.http1.reader import ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"


def facts(head: ResponseHead) -> tuple[object, ...]:
    return tuple(getattr(head, name) for name in ResponseHead.__slots__)


def read(pieces: list[bytes], limit: int = 65_536) -> tuple[list[tuple[object, ...]], bytes, bool]:
    """Return facts of the heads, the bytes left over, and whether it was refused."""
    reader = ResponseReader(limit)
    heads: list[tuple[object, ...]] = []
    for piece in pieces:
        reader.buffer += piece
        if heads:
            continue
        try:
            head = reader.head()
        except FramingError as error:
            assert (error.status, error.code) == (502, "bad_answer")  # noqa: PT017
            return heads, b"", True
        if head is not None:
            heads.append(facts(head))
    return heads, bytes(reader.buffer), False


def outcome(data: bytes, limit: int = 65_536) -> tuple[list[tuple[object, ...]], bytes, bool]:
    whole = read([data], limit)
    assert read([data[at : at + 1] for at in range(len(data))], limit) == whole
    if len(data) < 300:
        for cut in range(1, len(data)):
            assert read([data[:cut], data[cut:]], limit) == whole
    return whole


def parsed(data: bytes) -> ResponseHead:
    heads, rest, refused = outcome(data)
    assert not refused, data
    reader = ResponseReader()
    reader.buffer += data
    head = reader.head()
    assert head is not None
    assert heads == [facts(head)]
    assert rest == bytes(reader.buffer)
    return head


def refused(data: bytes) -> None:
    assert outcome(data)[2], data


def test_a_plain_answer() -> None:
    lines = b"Content-Length: 5\r\ncontent-type:text/plain\r\nX:\t \xff \r\n"
    head = parsed(OK + lines + b"\r\nhello\r\n\r\n")
    assert (head.minor, head.status, head.reason) == (1, 200, b"OK")
    assert (head.content_length, head.chunked, head.keep_alive) == (5, False, False)
    assert b"".join(line for _name, _value, line in head.fields) == lines
    assert [name for name, _value, _line in head.fields] == [
        b"content-length",
        b"content-type",
        b"x",
    ]
    assert head.fields[2][1] == b"\xff"


@pytest.mark.parametrize(
    ("line", "minor", "status", "reason"),
    [
        (b"HTTP/1.0 200 OK", 0, 200, b"OK"),
        (b"HTTP/1.1 100 Continue", 1, 100, b"Continue"),
        (b"HTTP/1.1 599 x", 1, 599, b"x"),
        (b"HTTP/1.1 204 ", 1, 204, b""),
        (b"HTTP/1.1 204", 1, 204, b""),
        (b"HTTP/1.1 404 Not  Found\t", 1, 404, b"Not  Found\t"),
        (b"HTTP/1.1 200 \xc3\xbc\xff", 1, 200, b"\xc3\xbc\xff"),
        (b"HTTP/1.1 200  OK", 1, 200, b" OK"),
    ],
)
def test_status_lines(line: bytes, minor: int, status: int, reason: bytes) -> None:
    head = parsed(line + b"\r\n\r\n")
    assert (head.minor, head.status, head.reason) == (minor, status, reason)


@pytest.mark.parametrize("status", range(1000))
def test_statuses(status: int) -> None:
    heads, _, bad = read([b"HTTP/1.1 %03d x\r\n\r\n" % status])
    assert bad is not (100 <= status <= 599)
    assert len(heads) == (100 <= status <= 599)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/1.10 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 20x OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 \xb200 OK",
        b"HTTP/1.1 200OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1",
        b"200 OK",
        b"ICY 200 OK",
        b"GET / HTTP/1.1",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 200 O\x7fK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200 O\nK",
        b"\r\nHTTP/1.1 200 OK",
    ],
)
def test_malformed_status_lines(line: bytes) -> None:
    refused(line + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        b"X: a\r\n b\r\n",
        b" X: a\r\n",
        b"X : a\r\n",
        b"X\r\n",
        b": a\r\n",
        b"X: \0\r\n",
        b"X: \x1f\r\n",
        b"X: \x7f\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\rY: b\r\n",
        b"X\xa0: a\r\n",
        b"X: y\r\n" * 257,
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\ncontent-length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 05\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked;x\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Connection: Content-Length\r\nContent-Length: 5\r\n",
        b"Connection: close, Transfer-Encoding\r\n",
    ],
)
def test_malformed_fields_and_framing(lines: bytes) -> None:
    refused(OK + lines + b"\r\n")


def test_a_coding_in_http_1_0() -> None:
    refused(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize(
    ("lines", "length", "chunked"),
    [
        (b"", None, False),
        (b"Content-Length: 0\r\n", 0, False),
        (b"content-length:\t67108865 \r\n", 67_108_865, False),
        (b"Content-Length: 1073741824\r\n", 1 << 30, False),
        (b"Transfer-Encoding: chunked\r\n", None, True),
        (b"transfer-encoding:CHUNKED\t\r\n", None, True),
    ],
)
def test_framing(lines: bytes, length: int | None, chunked: bool) -> None:
    head = parsed(OK + lines + b"\r\n")
    assert (head.content_length, head.chunked) == (length, chunked)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"", False),
        (b"Connection: keep-alive\r\n", True),
        (b"connection:KEEP-ALIVE\r\n", True),
        (b"Connection: x, keep-alive\r\n", True),
        (b"Connection: x\r\nConnection: keep-alive\r\n", True),
        (b"Connection: close\r\n", False),
        (b"Connection: keep-alive, close\r\n", False),
        (b"Connection: close\r\nConnection: keep-alive\r\n", False),
        (b"Connection: keep-alive;x\r\n", False),
        (b"Keep-Alive: timeout=5\r\n", False),
        (b"Proxy-Connection: keep-alive\r\n", False),
    ],
)
def test_only_an_announcement_keeps_the_connection(lines: bytes, kept: bool) -> None:
    assert parsed(OK + lines + b"\r\n").keep_alive is kept
    assert parsed(b"HTTP/1.0 200 OK\r\n" + lines + b"\r\n").keep_alive is kept


def test_names_that_connection_lists() -> None:
    assert parsed(OK + b"Connection: X-Hop\r\n\r\n").connection_names == {b"x-hop"}


def test_bytes_behind_the_head_stay() -> None:
    assert outcome(OK + b"\r\n\n\n\0rest")[1] == b"\n\n\0rest"


def test_interim_answers_one_after_another() -> None:
    reader = ResponseReader()
    reader.buffer += (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n" + OK + b"\r\n"
    )
    statuses = []
    while (head := reader.head()) is not None:
        statuses.append(head.status)
    assert statuses == [100, 103, 200]
    assert not reader.buffer


def test_a_bare_line_feed_is_refused_before_the_head_ends() -> None:
    for data in (b"HTTP/1.1 200 OK\n", b"\n", OK + b"X: y\n", OK + b"\n", OK[:-2] + b"\n\n"):
        refused(data)


def test_limit() -> None:
    def head_of(total: int) -> bytes:
        return OK + b"X:" + b"y" * (total - len(OK) - 6) + b"\r\n\r\n"

    assert len(head_of(200)) == 200
    assert not outcome(head_of(200), 200)[2]
    assert not outcome(head_of(200) + b"body" * 100, 200)[2]
    assert outcome(head_of(201), 200)[2]
    assert outcome(b"x" * 201, 200)[2]
    assert not outcome(b"x" * 200, 200)[2]
    assert not read([head_of(65_536)])[2]
    assert read([head_of(65_537)])[2]
