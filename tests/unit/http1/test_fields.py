"""Field lines (RFC 9112 5, RFC 9110 5) and Host (RFC 9112 3.2)."""

from __future__ import annotations

import pytest

from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import parse_field_lines
from tests.unit.http1.feeding import outcome, refused, request

START = b"GET / HTTP/1.1\r\nHost: h\r\n"
TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("value", range(256))
def test_every_byte_in_a_name(value: int) -> None:
    byte = bytes((value,))
    data = START + b"X" + byte + b"Y: v\r\n\r\n"
    if byte == b":":
        assert outcome(data).only.fields[1] == (b"x", b"Y: v", b"X:Y: v\r\n")
    elif value in TCHARS:
        assert outcome(data).only.fields[1][0] == (b"X" + byte + b"Y").lower()
    else:
        refused(data, 400, at=len(START) + 1)


@pytest.mark.parametrize("value", range(256))
@pytest.mark.parametrize("around", [b"%b", b"a%bb", b"%b "])
def test_every_byte_in_a_value(value: int, around: bytes) -> None:
    field = b"X:" + around % bytes((value,))
    data = START + field + b"\r\n\r\n"
    if value == 0x09 or 0x20 <= value <= 0x7E or value >= 0x80:
        name, content, line = outcome(data).only.fields[1]
        assert (name, line) == (b"x", field + b"\r\n")
        assert content == field[2:].strip(b" \t")
    else:
        at = len(START) + 2 + around.index(b"%")
        # After a CR only the next byte tells.
        refused(data, 400, at=at + 1 if value == 0x0D else at)


@pytest.mark.parametrize(
    "lines",
    [
        b"X:\r\n",
        b"X: \r\n",
        b"X:\t \t\r\n",
        b"X:v\r\n",
        b"X:  v  \r\n",
        b"x-y: a\r\nX-Y: b\r\nx-Y:b\r\n",
        b"X: a:b:c\r\n",
        b'X: "q\\"" (c), d;e=f\r\n',
        b"!#$%&'*+-.^_`|~: v\r\n",
        b"0: v\r\n",
        b"X-Bytes: \x80\xff\xc3\xbc \xa0\x85\r\n",
        b"Content-Type: application/phext; charset=utf-8\r\nAccept-Encoding: gzip\r\n",
        b"Cookie: a=b; c=d\r\n",
        b"X_SQ_API_Key: t\r\nHost_: x\r\nContent_Length: 5\r\n",
    ],
)
def test_field_lines_keep_their_bytes(lines: bytes) -> None:
    got = outcome(START + lines + b"\r\n").only
    assert got.raw_fields == b"Host: h\r\n" + lines
    assert got.content_length is None


@pytest.mark.parametrize(
    ("lines", "at"),
    [
        # obs-fold, and a blank before the first field
        (b"X: a\r\n b\r\n", 6),
        (b"X: a\r\n\tb\r\n", 6),
        (b"X: a\r\n \r\n", 6),
        (b" X: a\r\n", 0),
        (b"\tX: a\r\n", 0),
        (b" \r\n", 0),
        (b"Content-Length:\r\n 5\r\n", 17),
        (b"Transfer-Encoding:\r\n\tchunked\r\n", 20),
        (b"Transfer-Encoding: chunked\r\n ,identity\r\n", 28),
        # no name directly before a colon
        (b"X : a\r\n", 1),
        (b"X\t: a\r\n", 1),
        (b"Content-Length : 5\r\n", 14),
        (b"Transfer-Encoding\t: chunked\r\n", 17),
        (b"Content-Length\x0b: 5\r\n", 14),
        (b": a\r\n", 0),
        (b":\r\n", 0),
        (b"X\r\n", 1),
        (b"Xxx\r\n", 3),
        (b"X a: b\r\n", 1),
        (b"Transfer-Encoding\0: chunked\r\n", 17),
        (b"\xa0Transfer-Encoding: chunked\r\n", 0),
        (b"Transfer-Encoding\xc2\xa0: chunked\r\n", 17),
        (b"Transfer-Encoding\x85: chunked\r\n", 17),
        (b"[X]: a\r\n", 0),
        (b"X/Y: a\r\n", 1),
        (b"X(Y): a\r\n", 1),
        (b'"X": a\r\n', 0),
        # line ends
        (b"X: a\n", 4),
        (b"X: a\nY: b\r\n", 4),
        (b"X: a\rY: b\r\n", 5),
        (b"X: a\r\r\n", 5),
        (b"X: a\n\r\n", 4),
        (b"\n", 0),
        (b"\rX: a\r\n", 1),
        (b"X\n: a\r\n", 1),
        # control bytes
        (b"X: a\0\r\n", 4),
        (b"X: \x7f\r\n", 3),
        (b"X: a\x0cb\r\n", 4),
        (b"X: \x1b[2J\r\n", 3),
    ],
)
def test_malformed_field_lines(lines: bytes, at: int) -> None:
    refused(START + lines + b"\r\n", 400, at=len(START) + at)
    # The same where it is the first line.
    first = b"GET / HTTP/1.1\r\n"
    refused(first + lines + b"Host: h\r\n\r\n", 400, at=len(first) + at)


def test_a_head_in_bare_line_feeds_is_refused_at_the_first() -> None:
    refused(request().replace(b"\r\n", b"\n"), 400, at=request().index(b"\r\n"))
    # Also where only the end is bare.
    refused(START + b"\n", 400, at=len(START))
    refused(START[:-2] + b"\n\n", 400, at=len(START) - 2)


@pytest.mark.parametrize(
    "block", [b"X: a", b"X: a\r", b"X: a\n", b" X: a\r\n", b"X\r\n", b"X: \0\r\n", b"X : a\r\n"]
)
def test_field_lines_alone(block: bytes) -> None:
    with pytest.raises(FramingError) as caught:
        parse_field_lines(block)
    assert caught.value.status == 400


# Host


@pytest.mark.parametrize(
    "host",
    [
        b"h",
        b"H.example",
        b"localhost:1337",
        b"a-b_c~d.example.",
        b"127.0.0.1",
        b"127.0.0.1:0",
        b"h:65535",
        b"h:1",
        b"[::1]",
        b"[::1]:1337",
        b"[2001:DB8::a]:80",
        b"[::ffff:127.0.0.1]",
        b"1",
    ],
)
@pytest.mark.parametrize("spelling", [b"Host: %b", b"hOST:%b", b"HOST:\t %b \t"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_hosts_taken(host: bytes, spelling: bytes, version: bytes) -> None:
    line = spelling % host
    got = outcome(request(start=b"GET / HTTP/" + version, host=line)).only
    assert got.fields == ((b"host", host, line + b"\r\n"),)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b"h:65536",
        b"h:99999",
        b"h:123456",
        b"h:" + b"9" * 5000,
        b"h:-1",
        b"h:+80",
        b"h:8_0",
        b"h:80:80",
        b"h:0x50",
        b"h:\xb2",
        b":80",
        b"a,b",
        b"a, b",
        b"a b",
        b"user@h",
        b"user:pw@h",
        b"h/",
        b"h/path",
        b"http://h",
        b"h?x",
        b"h\\x",
        b"h%00",
        b"%68",
        b"\xc3\xbc.example",
        b"h\x80",
        b"h\xa0",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[::1]x",
        b"[::1]:",
        b"[::1]:65536",
        b"[1::2::3]",
        b"[12345::]",
        b"[::1%25eth0]",
        b"[v1.x]",
        b"[127.0.0.1]",
        b"[h]",
        b"[::1].example",
        b"h;x",
        b"(h)",
        b"*",
        b"'h'",
        b'"h"',
        b"h|x",
        b"<h>",
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_hosts_refused(host: bytes, version: bytes) -> None:
    refused(request(start=b"GET / HTTP/" + version, host=b"Host: " + host), 400)


def test_host_is_needed_in_1_1_alone() -> None:
    refused(request(b"X-Host: h", b"Hos: t", host=b""), 400)
    assert outcome(request(start=b"GET / HTTP/1.0", host=b"")).only.fields == ()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("second", [b"Host: h", b"host: other", b"HOST:"])
def test_host_twice(version: bytes, second: bytes) -> None:
    start = b"GET / HTTP/" + version
    refused(request(second, start=start), 400)
    refused(request(b"X: y", second, b"Z: a", start=start), 400)
