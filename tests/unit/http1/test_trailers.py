"""Trailer sections of chunked bodies (RFC 9112 7.1.2, RFC 9110 6.5)."""

from __future__ import annotations

import pytest

from tests.unit.http1.feeding import Outcome, outcome, refused_at, request

HEAD = request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1")
NEXT = request(start=b"GET /next HTTP/1.1")


def trailers(lines: bytes, *fields: bytes, max_head: int = 65_536) -> Outcome:
    head = request(b"Transfer-Encoding: chunked", *fields, start=b"POST / HTTP/1.1")
    return outcome(head + b"1\r\nx\r\n0\r\n" + lines + b"\r\n" + NEXT, max_head=max_head)


@pytest.mark.parametrize(
    "lines",
    [
        b"X: y\r\n",
        b"X:\r\nX: \t\r\ny: \xff\r\n",
        b"Digest: sha-256=x\r\nServer-Timing: a;b=c\r\n",
        b"HTTP2-Settings: x\r\n",
        b"X-Forwarded-For: 1.2.3.4\r\n",
        b"Hosts: a\r\nXHost: a\r\nContent_Length: 5\r\n",
    ],
)
def test_harmless_trailers_are_dropped(lines: bytes) -> None:
    got = trailers(lines)
    assert got.refusal is None
    assert [each.body for each in got.requests] == [b"x", b""]
    assert got.requests[0].raw_fields == b"Host: h\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Proxy-Authorization",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Content-Type",
        b"Authorization",
        b"X-SQ-API-Key",
        b"Cookie",
        b"Origin",
        b"Expect",
    ],
)
def test_trailers_that_only_attackers_send(name: bytes) -> None:
    for spelling in (name, name.lower(), name.upper()):
        assert trailers(spelling + b": x\r\n").refusal == (400, "bad_request")
        assert trailers(b"X: y\r\n" + spelling + b":\r\nZ: a\r\n").status == 400
    # Certain at the colon.
    start = HEAD + b"0\r\nX: y\r\n" + name
    assert refused_at(start + b": x") == len(start)


def test_trailers_that_connection_named() -> None:
    assert trailers(b"X-Hop: y\r\n", b"Connection: close, x-hop").status == 400
    assert trailers(b"X-Other: y\r\n", b"Connection: x-hop").status is None


@pytest.mark.parametrize(
    ("lines", "at"),
    [
        (b"X: a\r\n b\r\n", 6),
        (b" X: a\r\n", 0),
        (b"X : a\r\n", 1),
        (b"X\r\n", 1),
        (b": a\r\n", 0),
        (b"X: a\n", 4),
        (b"X: a\rb\r\n", 5),
        (b"X: \0\r\n", 3),
        (b"X\xa0: a\r\n", 1),
        (b"\rX: a\r\n", 1),
        (b"\n", 0),
        (b"GET / HTTP/1.1\r\n", 3),
    ],
)
def test_malformed_trailers(lines: bytes, at: int) -> None:
    assert trailers(lines).status == 400
    for before in (b"0\r\n", b"0\r\nA: b\r\n"):
        start = HEAD + before
        assert refused_at(start + lines + b"\r\n") == len(start) + at


def test_the_size_of_trailers() -> None:
    limit = 200
    fits = b"X: " + b"y" * (limit - 7) + b"\r\n"
    assert len(fits) + 2 == limit
    assert trailers(fits, max_head=limit).status is None
    assert trailers(b"y" + fits, max_head=limit).status == 431
    # What comes first decides.
    assert trailers(b"Host: h\r\n" + fits, max_head=limit).status == 400
    assert trailers(fits + b"Host: h\r\n", max_head=limit).status == 431
    assert outcome(HEAD + b"0\r\n" + b"X: " + b"y" * limit, max_head=limit).status == 431
    assert outcome(HEAD + b"0\r\n" + b"X" * (limit + 1), max_head=limit).status == 431
    assert trailers(b"X: " + b"y" * (limit - 10) + b"\0" + b"y" * 99, max_head=limit).status == 400


def test_the_count_of_trailers() -> None:
    assert trailers(b"X: y\r\n" * 256).status is None
    assert trailers(b"X: y\r\n" * 257).status == 431
    assert trailers(b"X: y\r\n" * 257 + b"\0").status == 431
    assert trailers(b"X: y\r\n" * 256 + b"\0").status == 400


def test_an_unfinished_trailer_section_is_not_the_end() -> None:
    for lines in (b"", b"X", b"X: y\r\n", b"X: y\r\n\r"):
        got = outcome(HEAD + b"0\r\n" + lines)
        assert got.refusal is None
        assert got.requests[-1].body is None
