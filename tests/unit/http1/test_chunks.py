"""Chunked bodies (RFC 9112 7.1)."""

from __future__ import annotations

import pytest

from sqsuper.http1.body import (
    LAST_CHUNK,
    MAX_CHUNK_LINE,
    MAX_EXTENSIONS,
    ChunkedBody,
    encode_chunk,
)
from sqsuper.http1.errors import FramingError
from tests.unit.http1.feeding import feed, outcome, refused_at, request

HEAD = request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1")
NEXT = request(start=b"GET /next HTTP/1.1")
EVERY_BYTE = bytes(range(256))


def taken(body: bytes, max_body: int = 1 << 20) -> bytes:
    """Return the content of a body that is followed by a further request."""
    got = outcome(HEAD + body + NEXT, max_body=max_body)
    assert got.refusal is None, (body, got.refusal)
    assert [each.target for each in got.requests] == [b"/", b"/next"]
    content = got.requests[0].body
    assert content is not None
    return content


def refuse(body: bytes, status: int, at: int | None = None) -> None:
    got = outcome(HEAD + body)
    assert got.status == status, body
    assert got.requests[0].body is None
    if at is not None:
        index = refused_at(HEAD + body)
        assert index is not None
        assert index - len(HEAD) == at, body


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"1\r\na\r\n0\r\n\r\n", b"a"),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
        (b"0a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b"000000000000000a\r\n0123456789\r\n0000000000000000\r\n\r\n", b"0123456789"),
        (b"100\r\n" + EVERY_BYTE + b"\r\n0\r\n\r\n", EVERY_BYTE),
        (b"aB\r\n" + b"x" * 0xAB + b"\r\n0\r\n\r\n", b"x" * 0xAB),
    ],
)
def test_well_formed(body: bytes, content: bytes) -> None:
    assert taken(body) == content


@pytest.mark.parametrize(
    "extension",
    [
        b";a",
        b";a=b",
        b";a;b;c=d",
        b" ;a",
        b"\t;a",
        b"; a",
        b";\ta",
        b";a =b",
        b";a= b",
        b" ; a = b ; c\t=\td",
        b" \t ;\t a \t= \tb",
        b';a=""',
        b';a="b"',
        b';a="b c\td"',
        b';a="\\""',
        b';a="\\\\"',
        b';a="\\a\\;\\\t\\ "',
        b';a="\\\xff\x80\xff"',
        b';a="x;y=z"',
        b';a="0\\r\\n";b="c"',
        b';a="b" ;c = "d"',
        b";!#$%&'*+-.^_`|~=!#$%&'*+-.^_`|~",
        b";0=0",
        b';a="(){}[]<>@,:/?=#"',
    ],
)
def test_extensions_by_the_grammar_are_dropped(extension: bytes) -> None:
    last = b"0" + extension + b"\r\n\r\n"
    assert taken(b"3" + extension + b"\r\nabc\r\n" + last) == b"abc"


@pytest.mark.parametrize(
    ("line", "at"),
    [
        # the size
        (b"\r\n", 0),
        (b"\n", 0),
        (b"+3\r\n", 0),
        (b"-3\r\n", 0),
        (b"-0\r\n", 0),
        (b"0x3\r\n", 1),
        (b"0X3\r\n", 1),
        (b"x3\r\n", 0),
        (b"1_0\r\n", 1),
        (b"_1\r\n", 0),
        (b"3h\r\n", 1),
        (b"3.0\r\n", 1),
        (b"3,\r\n", 1),
        (b"g\r\n", 0),
        (b"G\r\n", 0),
        (b" 3\r\n", 0),
        (b"\t3\r\n", 0),
        (b"3 3\r\n", 2),
        (b'"3"\r\n', 0),
        (b"\0", 0),
        (b"3\0\r\n", 1),
        (b"3\xa0\r\n", 1),
        (b"\xb2\r\n", 0),
        (b"\xef\xbc\x93\r\n", 0),
        (b";a\r\n", 0),
        (b"00000000000000003\r\n", 16),
        (b"00000000000000000\r\n", 16),
        (b"fffffffffffffffff\r\n", 16),
        (b"0" * 100, 16),
        # its end
        (b"3 \r\n", 2),
        (b"3\t\r\n", 2),
        (b"3 \t \r\n", 4),
        (b"3\x0b\r\n", 1),
        (b"3\n", 1),
        (b"3\rX", 2),
        (b"3\r\r\n", 2),
        # extensions
        (b"3;\r\n", 2),
        (b"3; \r\n", 3),
        (b"3;;\r\n", 2),
        (b"3;;a\r\n", 2),
        (b"3;a;\r\n", 4),
        (b"3;=b\r\n", 2),
        (b"3;a=\r\n", 4),
        (b"3;a= \r\n", 5),
        (b"3;a=;b\r\n", 4),
        (b"3;a==b\r\n", 4),
        (b"3;a=b=c\r\n", 5),
        (b"3;a b\r\n", 4),
        (b"3;a=b c\r\n", 6),
        (b"3;a \r\n", 4),
        (b"3;a=b \r\n", 6),
        (b'3;a="b" \r\n', 8),
        (b"3;a\0\r\n", 3),
        (b"3;a=\x7f\r\n", 4),
        (b"3;a\n", 3),
        (b"3;a=b\n", 5),
        (b"3;\n", 2),
        (b"3 \n", 2),
        (b"3;a\rb\r\n", 4),
        (b"3;a/b\r\n", 3),
        (b"3;(a)\r\n", 2),
        (b"3;\xff\r\n", 2),
        (b"3;a=\xff\r\n", 4),
        (b'3;"a"\r\n', 2),
        (b'3;a="b\r\n', 6),
        (b'3;a="\n"\r\n', 5),
        (b'3;a="\r\n"\r\n', 5),
        (b'3;a="\rb"\r\n', 5),
        (b'3;a="\\\n"\r\n', 6),
        (b'3;a="\\\r"\r\n', 6),
        (b'3;a="\\\0"\r\n', 6),
        (b'3;a="\x01"\r\n', 5),
        (b'3;a="\x7f"\r\n', 5),
        (b'3;a="b"c\r\n', 7),
        (b'3;a="b""c"\r\n', 7),
        (b'3;a=b"c"\r\n', 5),
        (b"3;a='b c'\r\n", 7),
        (b'3;a="b\\"\r\n', 8),
        (b"3 \x0b;a\r\n", 2),
        (b"3;\x0ba\r\n", 2),
        (b"3;a \x0c=b\r\n", 4),
        (b"3;a=\x0bb\r\n", 4),
        (b"3,a=b\r\n", 1),
        (b"3=a\r\n", 1),
    ],
)
def test_malformed_chunk_lines(line: bytes, at: int) -> None:
    refuse(line + b"abc\r\n0\r\n\r\n", 400, at)
    # The same in a later chunk, and in the last one where the size may be 0.
    refuse(b"1\r\nx\r\n" + line + b"abc\r\n0\r\n\r\n", 400, 6 + at)
    if line[:1] == b"3":
        refuse(b"0" + line[1:] + b"\r\n", 400, at)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"3\r\nabcd\r\n0\r\n\r\n", 6),
        (b"3\r\nabc0\r\n\r\n", 6),
        (b"3\r\nabc\n0\r\n\r\n", 6),
        (b"3\r\nabc\r0\r\n\r\n", 7),
        (b"3\r\nabc\r\r\n0\r\n\r\n", 7),
        (b"3\r\nabc\r\n\r\n0\r\n\r\n", 8),
        (b"3\r\nabc \r\n0\r\n\r\n", 6),
        (b"3\r\nab\r\n0\r\n\r\n", 6),
        (b"0\r\n\n", 3),
        (b"0\r\n\rX", 4),
        (b"0\r\n0\r\n\r\n", 4),
        (b"0\r\n \r\n\r\n", 3),
        (b"0\r\n\0", 3),
    ],
)
def test_wrong_ends_of_chunks(body: bytes, at: int) -> None:
    refuse(body, 400, at)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"3",
        b"3\r",
        b"3\r\n",
        b"3\r\nab",
        b"3\r\nabc",
        b"3\r\nabc\r",
        b"3\r\nabc\r\n",
        b"0\r\n\r",
    ],
)
def test_a_cut_body_is_not_done(body: bytes) -> None:
    got = outcome(HEAD + body)
    assert got.refusal is None
    assert got.requests[-1].body is None


# Limits


@pytest.mark.parametrize(
    ("sizes", "limit", "fits"),
    [
        ((10,), 10, True),
        ((11,), 10, False),
        ((5, 5), 10, True),
        ((5, 6), 10, False),
        ((1,) * 10, 10, True),
        ((1,) * 11, 10, False),
        ((), 0, True),
        ((1,), 0, False),
    ],
)
def test_the_sum_of_sizes(sizes: tuple[int, ...], limit: int, fits: bool) -> None:
    body = b"".join(encode_chunk(b"x" * size) for size in sizes) + LAST_CHUNK
    if fits:
        assert taken(body, limit) == b"x" * sum(sizes)
    else:
        assert outcome(HEAD + body, max_body=limit).refusal == (413, "body_too_large")


@pytest.mark.parametrize("size", [b"4000001", b"ffffffff", b"8000000000000000", b"f" * 16])
def test_a_size_over_the_limit_is_refused_before_its_data(size: bytes) -> None:
    data = HEAD + size + b"\r\n"
    assert outcome(data).status == 413
    assert refused_at(data) == len(data) - 1
    # Well-formed extensions do not hide it, wrong ones are worse.
    assert outcome(HEAD + size + b";a=b\r\n").status == 413
    assert outcome(HEAD + size + b";\r\n").status == 400


def test_no_limit() -> None:
    body = ChunkedBody(None, 100)
    buffer = bytearray(b"f" * 16 + b"\r\nabc")
    assert body.take(buffer) == b"abc"
    assert not body.done


def line_of(length: int, start: bytes = b'1;a="') -> bytes:
    return start + b"x" * (length - len(start) - 1) + b'"'


@pytest.mark.parametrize("start", [b'1;a="', b'1 ; \t b ; c = "\\"'])
def test_a_long_chunk_line(start: bytes) -> None:
    fits = line_of(MAX_CHUNK_LINE, start)
    assert len(fits) == 4096
    assert taken(fits + b"\r\nx\r\n0\r\n\r\n") == b"x"
    over = line_of(MAX_CHUNK_LINE + 1, start)
    refuse(over + b"\r\nx\r\n0\r\n\r\n", 400, at=4096)


def test_a_chunk_line_that_never_ends() -> None:
    for line in (
        b"1" + b" " * 5000,
        b"1;a=" + b"b" * 5000,
        b"1" + b";a" * 2500,
        b"1;" + b"\t" * 5000,
    ):
        refuse(line, 400, at=4096)
    refuse(b"1;a=" + b"b" * 4092 + b"\rX", 400, at=4097)


def test_extensions_of_one_body_together() -> None:
    def body(total: int) -> bytes:
        chunks = []
        while total:
            # An extension takes at least two bytes: none may be left for the last.
            size = min(total, 1000) if total != 1001 else 998
            chunks.append(b"1;" + b"e" * (size - 1) + b"\r\nx\r\n")
            total -= size
        return b"".join(chunks) + b"0\r\n\r\n"

    assert MAX_EXTENSIONS == 16 * 1024
    assert taken(body(MAX_EXTENSIONS)) == b"x" * 17
    refuse(body(MAX_EXTENSIONS + 1), 400)
    # Each body has its own.
    whole = HEAD + body(MAX_EXTENSIONS)
    assert feed([whole + whole])[0].refusal is None


def test_encoding() -> None:
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"
    assert taken(encode_chunk(EVERY_BYTE) + encode_chunk(b"a") + LAST_CHUNK) == EVERY_BYTE + b"a"


def test_bytes_behind_the_body_stay() -> None:
    body = ChunkedBody(10, 100)
    buffer = bytearray(b"1\r\na\r\n0\r\n\r\n0\r\n\r\n")
    assert body.take(buffer) == b"a"
    assert body.done
    assert buffer == b"0\r\n\r\n"
    assert body.take(buffer) == b""
    assert buffer == b"0\r\n\r\n"


def test_content_before_the_end_of_a_chunk_is_given_at_once() -> None:
    body = ChunkedBody(10, 100)
    buffer = bytearray(b"5\r\nab")
    assert body.take(buffer) == b"ab"
    assert not buffer
    buffer += b"c"
    assert body.take(buffer) == b"c"


def test_errors_carry_their_facts() -> None:
    body = ChunkedBody(10, 100)
    with pytest.raises(FramingError) as caught:
        body.take(bytearray(b"zz\r\n"))
    error = caught.value
    assert (error.status, error.code, error.fields) == (400, "bad_request", ())
    assert "hex digits" in error.reason
