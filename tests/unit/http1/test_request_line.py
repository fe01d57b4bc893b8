"""Request lines (RFC 9112 2.2, 2.3, 3)."""

from __future__ import annotations

import pytest

from tests.unit.http1.feeding import outcome, refused, request

REST = b"Host: h\r\n\r\n"
TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_plain_request() -> None:
    got = outcome(b"GET /api/v2/select?p=a&c=1.1.1/1.1.1/1.1.1 HTTP/1.1\r\n" + REST).only
    assert (got.method, got.minor) == (b"GET", 1)
    assert got.target == b"/api/v2/select?p=a&c=1.1.1/1.1.1/1.1.1"
    assert got.fields == ((b"host", b"h", b"Host: h\r\n"),)
    assert got.content_length is None
    assert not got.chunked
    assert got.body == b""


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS"])
def test_methods_taken(method: bytes) -> None:
    assert outcome(request(start=method + b" / HTTP/1.1")).only.method == method


@pytest.mark.parametrize(
    "method",
    [b"PUT", b"TRACE", b"CONNECT", b"PATCH", b"get", b"Get", b"GETT", b"GE", b"QUERY", TCHARS],
)
def test_other_tokens_are_405(method: bytes) -> None:
    refused(request(start=method + b" / HTTP/1.1"), 405)


@pytest.mark.parametrize("value", sorted(set(range(256)) - set(TCHARS)))
def test_a_method_that_is_no_token(value: int) -> None:
    byte = bytes((value,))
    # A blank in the method makes the rest of it a target without a slash.
    if byte != b" ":
        refused(b"G" + byte + b"T / HTTP/1.1\r\n" + REST, 400, at=1)
    if byte != b"\r":
        refused(byte + b"GET / HTTP/1.1\r\n" + REST, 400, at=0)


def test_one_empty_line_is_skipped_once() -> None:
    plain = request()
    assert outcome(b"\r\n" + plain) == outcome(plain)
    # Each request may have one.
    two = outcome(b"\r\n" + plain + b"\r\n" + plain)
    assert two.refusal is None
    assert len(two.requests) == 2


@pytest.mark.parametrize(
    ("before", "at"),
    [
        (b"\r\n\r\n", 2),
        (b"\r\n\r\n\r\n\r\n", 2),
        (b"\n", 0),
        (b"\r\n\n", 2),
        (b"\rG", 1),
        (b"\r\r\n", 1),
        (b" ", 0),
        (b"\t", 0),
        (b"\0", 0),
        (b"\r\n ", 2),
        (b"\r\n\0", 2),
        (b"\x0b", 0),
        (b"\xef\xbb\xbf", 0),
    ],
)
def test_what_must_not_stand_before_a_request(before: bytes, at: int) -> None:
    refused(before + request(), 400, at=at)
    # The same behind another request.
    first = request(b"Content-Length: 2", start=b"POST / HTTP/1.1", body=b"ab")
    got = outcome(first + before + request())
    assert (len(got.requests), got.status) == (1, 400)


@pytest.mark.parametrize(
    ("line", "at"),
    [
        (b"GET  / HTTP/1.1\r\n", 4),
        (b"GET /  HTTP/1.1\r\n", 6),
        (b"GET\t/ HTTP/1.1\r\n", 3),
        (b"GET /\tHTTP/1.1\r\n", 5),
        (b"GET\x0b/ HTTP/1.1\r\n", 3),
        (b"GET /\x0cHTTP/1.1\r\n", 5),
        (b" GET / HTTP/1.1\r\n", 0),
        (b"GET / HTTP/1.1 \r\n", 14),
        (b"GET / HTTP/1.1\t\r\n", 14),
        (b"GET / x HTTP/1.1\r\n", 6),
        (b"GET / HTTP/1.1 HTTP/1.1\r\n", 14),
        (b"GET / HTTP/1.1\n", 14),
        (b"GET / HTTP/1.1\rX", 15),
        (b"GET / HTTP/1.1\r\r\n", 15),
        (b"GET /\r\n", 5),
        (b"GET /\n", 5),
        (b"GET \r\n", 4),
        (b"GET\r\n", 3),
        (b"GET\n", 3),
        (b"GET / \r\n", 6),
        (b"GET / HTTP/1.1 /etc\r\n", 14),
        (b"GET / http/1.1\r\n", 6),
        (b"GET / Http/1.1\r\n", 7),
        (b"GET / HTTP/1.10\r\n", 14),
        (b"GET / HTTP/01.1\r\n", 12),
        (b"GET / HTTP/1\r\n", 12),
        (b"GET / HTTP/1.\r\n", 13),
        (b"GET / HTTP/.1\r\n", 11),
        (b"GET / HTTP/1,1\r\n", 12),
        (b"GET / HTTP/11\r\n", 12),
        (b"GET / HTTP/1.x\r\n", 13),
        (b"GET / HTTP 1.1\r\n", 10),
        (b"GET / HTTP/-1.1\r\n", 11),
        (b"GET / HTTP/+1.1\r\n", 11),
        (b"GET / HTTP/1.\xb2\r\n", 13),
        (b"GET / HTTP/\xef\xbc\x91.1\r\n", 11),
        (b"GET / HTTPS/1.1\r\n", 10),
        (b"GET / ICE/1.0\r\n", 6),
        (b"GET / SIP/2.0\r\n", 6),
        (b"GET / XHTTP/1.1\r\n", 6),
    ],
)
def test_malformed_request_lines(line: bytes, at: int) -> None:
    refused(line + REST, 400, at=at)


@pytest.mark.parametrize(
    "version", [f"{a}.{b}".encode() for a in range(10) for b in range(10) if (a, b) > (1, 1)]
)
def test_versions_nobody_speaks(version: bytes) -> None:
    refused(request(start=b"GET / HTTP/" + version), 505)


@pytest.mark.parametrize("version", [b"0.0", b"0.9"])
def test_versions_before_the_first(version: bytes) -> None:
    refused(request(start=b"GET / HTTP/" + version), 505)


def test_http2_preface() -> None:
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)


def test_http_1_0() -> None:
    got = outcome(request(start=b"GET /x HTTP/1.0", host=b"")).only
    assert (got.minor, got.target) == (0, b"/x")


TARGET_BYTES = sorted(({*range(0x21, 0x7F)} - {0x23}) | {*range(0x80, 0x100)})


@pytest.mark.parametrize("value", range(256))
def test_every_byte_in_a_target(value: int) -> None:
    target = b"/a" + bytes((value,)) + b"b?s=" + bytes((value,)) + b"&t"
    data = request(start=b"GET " + target + b" HTTP/1.1")
    if value in TARGET_BYTES:
        assert outcome(data).only.target == target
    else:
        # A blank ends the target, and what comes then is no version.
        refused(data, 400, at=7 if value == 0x20 else 6)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"//",
        b"/api/v2//select?p=np",
        b"/?s=a%17b",
        b"/?s=a%20b",
        b"/?s=a+b",
        "/?s=\u00fc\u4e2d\U0001f600".encode(),
        b"/?s=\xff\xfe\x80",
        b"/?c=1.1.1%2F1.1.1%2F1.1.2",
        b"/?c=1%2f1",
        b"/?a;b%3Bc;d",
        b"/?%",
        b"/?%zz&%4",
        b"/?a&&b=&=c",
        b"/?u=http://x/y?z",
        b'/<>"\\^{}`|',
        b"/a/../b/./c",
        b"/%00%0d%0a",
        b"/" + bytes(TARGET_BYTES),
        b"/*",
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_targets_pass_as_they_are(target: bytes, version: bytes) -> None:
    data = request(start=b"POST " + target + b" HTTP/" + version)
    assert outcome(data).only.target == target


@pytest.mark.parametrize("kilobytes", [9, 20, 60])
def test_long_targets(kilobytes: int) -> None:
    target = b"/api/v2/update?s=" + b"x" * (kilobytes * 1024)
    assert outcome(request(start=b"GET " + target + b" HTTP/1.1")).only.target == target


@pytest.mark.parametrize(
    "target",
    [
        b"http://h/",
        b"HTTP://h/api/v2/version",
        b"https://h",
        b"h:80",
        b"api/v2/version",
        b"?p=x",
        b"*",
        b"*/",
        b"**",
        b"\\api",
        b"%2Fapi",
        b"\xc0\xaf",
    ],
)
def test_targets_that_are_no_path(target: bytes) -> None:
    refused(request(start=b"GET " + target + b" HTTP/1.1"), 400)
    if target != b"*":
        refused(request(start=b"OPTIONS " + target + b" HTTP/1.1"), 400)


def test_asterisk_with_options() -> None:
    assert outcome(request(start=b"OPTIONS * HTTP/1.1")).only.target == b"*"


def test_nothing_is_refused_before_its_end() -> None:
    for data in (b"", b"\r", b"\r\n", b"\r\n\r", b"G", request()[:-1]):
        # A second empty line has begun at its CR.
        expected = 400 if data == b"\r\n\r" else None
        assert outcome(data).status == expected
        assert outcome(data).requests == ()
