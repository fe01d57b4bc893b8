"""Content-Length and Transfer-Encoding of requests (RFC 9112 6, RFC 9110 8.6)."""

from __future__ import annotations

import pytest

from sqsuper.http1.body import EndlessBody, LengthBody
from sqsuper.http1.reader import DEFAULT_MAX_BODY_BYTES
from tests.unit.http1.feeding import feed, outcome, refused, request

METHODS = [b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS"]
POST = b"POST /api/v2/update?p=a HTTP/1.1"
LAST = b"0\r\n\r\n"
EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("body", [b"", b"x", b"\r\n\r\n", EVERY_BYTE, b"a=b&c=%zz+d"])
@pytest.mark.parametrize(
    "line", [b"Content-Length: %d", b"content-length:%d\t ", b"CONTENT-LENGTH:\t%d"]
)
def test_a_body_of_known_length(method: bytes, version: bytes, body: bytes, line: bytes) -> None:
    first = request(
        line % len(body),
        b"Content-Type: application/x-www-form-urlencoded",
        start=method + b" / HTTP/" + version,
        body=body,
    )
    got = outcome(first + request(start=b"GET /next HTTP/1.1"))
    assert [each.body for each in got.requests] == [body, b""]
    assert got.requests[0].content_length == len(body)
    assert got.requests[1].target == b"/next"


@pytest.mark.parametrize("method", METHODS)
def test_no_length_and_no_coding_is_no_body(method: bytes) -> None:
    got = outcome(request(start=method + b" / HTTP/1.1") + request())
    assert len(got.requests) == 2
    assert got.requests[0].content_length is None


def test_a_cut_body() -> None:
    got = outcome(request(b"Content-Length: 5", start=POST, body=b"abcd"))
    assert got.refusal is None
    assert got.requests[-1].body is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\t",
        b"+5",
        b"-5",
        b"-0",
        b"00",
        b"05",
        b"005",
        b"0x5",
        b"0X5",
        b"5h",
        b"0b1",
        b"0o5",
        b"1_0",
        b"5.0",
        b"5.",
        b".5",
        b"5e0",
        b"1e1",
        b"5,5",
        b"5, 5",
        b"5,",
        b",5",
        b"5;x",
        b"5 5",
        b"5\t5",
        b"5 bytes",
        b'"5"',
        b"'5'",
        b"\xb2",
        b"5\xa0",
        b"\xc2\xa05",
        "\u0665".encode(),
        "\uff15".encode(),
        "\u0967".encode(),
        b"five",
        b"None",
        b"NaN",
        b"inf",
        b"%35",
        b"(5)",
        b"0" * 5000,
        b"0" * 4999 + b"5",
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_lengths_that_are_no_plain_number(value: bytes, method: bytes) -> None:
    start = method + b" / HTTP/1.1"
    refused(request(b"Content-Length: " + value, start=start, body=b"abcde"), 400)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5", b"content-length: 6"),
        (b"Content-Length: 0", b"X: y", b"Content-Length: 0"),
        (b"Content-Length: 5", b"CONTENT-LENGTH:"),
        (b"Content-Length: 5",) * 3,
    ],
)
def test_more_than_one_length(lines: tuple[bytes, ...], version: bytes) -> None:
    refused(request(*lines, start=b"POST / HTTP/" + version, body=b"abcde"), 400)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "digits",
    [
        str(DEFAULT_MAX_BODY_BYTES + 1).encode(),
        b"9" * 18,
        b"9" * 19,
        b"9" * 20,
        str(2**31).encode(),
        str(2**32).encode(),
        str(2**32 + 5).encode(),
        str(2**63).encode(),
        str(2**64).encode(),
        str(2**64 + 5).encode(),
        b"1" + b"0" * 4999,
        b"9" * 5000,
        b"9" * 60_000,
    ],
)
def test_lengths_over_the_limit(digits: bytes, method: bytes) -> None:
    refused(request(b"Content-Length: " + digits, start=method + b" / HTTP/1.1"), 413)


@pytest.mark.parametrize("limit", [0, 1, 9, 10, 99_999])
def test_the_limit_is_exact(limit: int) -> None:
    def taken(length: int) -> int | None:
        data = request(b"Content-Length: %d" % length, start=POST)
        return outcome(data, max_body=limit).status

    assert taken(limit) is None
    assert taken(limit + 1) == 413


def test_a_length_at_the_default_limit_is_read() -> None:
    reader_fed, _ = feed([request(b"Content-Length: %d" % DEFAULT_MAX_BODY_BYTES, start=POST)])
    assert reader_fed.requests[0].content_length == 64 * 1024 * 1024


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED", b" \tchunked\t "])
@pytest.mark.parametrize(
    "name", [b"Transfer-Encoding:", b"transfer-encoding: ", b"TRANSFER-ENCODING:"]
)
@pytest.mark.parametrize("method", METHODS)
def test_chunked(coding: bytes, name: bytes, method: bytes) -> None:
    data = request(name + coding, start=method + b" / HTTP/1.1", body=b"3\r\nabc\r\n" + LAST)
    got = outcome(data).only
    assert got.chunked
    assert got.content_length is None
    assert got.body == b"abc"


@pytest.mark.parametrize(
    "value",
    [
        b"gzip, chunked",
        b"gzip,chunked",
        b"GZIP ,\tCHUNKED",
        b"gzip, deflate, chunked",
        b"identity, chunked",
        b"xchunked, chunked",
        b"x, chunked",
    ],
)
def test_codings_not_implemented(value: bytes) -> None:
    refused(request(b"Transfer-Encoding: " + value, start=POST, body=LAST), 501)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"gzip",
        b"identity",
        b"deflate",
        b"none",
        b"xchunked",
        b"chunkedx",
        b"chunke",
        b"x-chunked",
        b"chunked, gzip",
        b"chunked, identity",
        b"chunked, chunked",
        b"gzip, chunked, chunked",
        b"chunked, gzip, chunked",
        b",chunked",
        b"chunked,",
        b"gzip,,chunked",
        b"gzip, , chunked",
        b",",
        b'"chunked"',
        b"'chunked'",
        b'"gzip", chunked',
        b"chunked;q=1",
        b"chunked; x",
        b"gzip;q=1, chunked",
        b"chunked\xa0",
        b"\xa0chunked",
        b"chunked\x85",
        b"chun ked",
        b"gzip chunked",
        b"gzip; chunked",
        b"chunked chunked",
        b"c%68unked",
        "chun\u212aed".encode(),
        b"[chunked]",
        b"chunked:",
    ],
)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_codings_that_are_wrong(value: bytes, method: bytes) -> None:
    start = method + b" / HTTP/1.1"
    refused(request(b"Transfer-Encoding: " + value, start=start, body=LAST), 400)


@pytest.mark.parametrize(
    "values",
    [
        (b"chunked", b"chunked"),
        (b"gzip", b"chunked"),
        (b"chunked", b"identity"),
        (b"", b"chunked"),
        (b"chunked", b""),
        (b"gzip, chunked", b"chunked"),
    ],
)
def test_two_coding_lines(values: tuple[bytes, bytes]) -> None:
    lines = [b"Transfer-Encoding: " + value for value in values]
    refused(request(*lines, start=POST, body=LAST), 400)
    refused(request(lines[0], b"X: y", lines[1], start=POST, body=LAST), 400)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coding", [b"chunked", b"identity", b"gzip, chunked", b""])
@pytest.mark.parametrize("length", [b"5", b"0", b"x", b"", b"9" * 5000])
def test_length_and_coding_together(method: bytes, coding: bytes, length: bytes) -> None:
    one = (b"Content-Length: " + length, b"Transfer-Encoding: " + coding)
    for lines in (one, one[::-1], (one[1], b"X: y", one[0])):
        refused(request(*lines, start=method + b" / HTTP/1.1", body=LAST), 400)


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity"])
@pytest.mark.parametrize("method", METHODS)
def test_coding_in_http_1_0(coding: bytes, method: bytes) -> None:
    start = method + b" / HTTP/1.0"
    refused(request(b"Transfer-Encoding: " + coding, start=start, body=LAST), 400)
    refused(request(b"Transfer-Encoding: " + coding, b"Connection: keep-alive", start=start), 400)


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer_Encoding: chunked",
        b"X-Transfer-Encoding: chunked",
        b"TE: chunked",
        b"Transfer-Encodin: chunked",
        b"Content_Length: 5",
        b"X: Content-Length: 5",
    ],
)
def test_names_that_only_look_like_framing(line: bytes) -> None:
    got = outcome(request(line, start=POST)).only
    assert not got.chunked
    assert got.content_length is None


# The readers of bodies by themselves


def test_a_length_body_takes_its_own_bytes_alone() -> None:
    buffer = bytearray(b"abcdef")
    body = LengthBody(4)
    assert not body.done
    assert body.take(buffer) == b"abcd"
    assert body.done
    assert (body.remaining, buffer) == (0, b"ef")
    assert body.take(buffer) == b""
    assert buffer == b"ef"
    assert LengthBody(0).done


def test_an_endless_body_takes_all_until_its_owner_ends_it() -> None:
    body = EndlessBody()
    buffer = bytearray(EVERY_BYTE)
    assert body.take(buffer) == EVERY_BYTE
    assert not buffer
    assert not body.done
    body.done = True
    assert body.done
