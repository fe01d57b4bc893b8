"""Sizes of request heads: 414, 431, and 256 field lines."""

from __future__ import annotations

import pytest

from tests.unit.http1.feeding import Outcome, feed, outcome, refused_at, request, single_bytes

LIMIT = 120


def limited(data: bytes) -> Outcome:
    return outcome(data, max_head=LIMIT)


def padded(total: int, version: bytes = b"HTTP/1.1") -> bytes:
    """Return a request whose head is `total` bytes long, in its fields."""
    bare = request(b"X:", start=b"GET / " + version)
    return bare[:-4] + b"x" * (total - len(bare)) + b"\r\n\r\n"


def long_line(length: int) -> bytes:
    """Return a request whose request line is `length` bytes long, without its CRLF."""
    return request(start=b"GET /" + b"x" * (length - 14) + b" HTTP/1.1")


def test_a_head_at_its_limit() -> None:
    assert len(padded(LIMIT)) == LIMIT
    assert limited(padded(LIMIT)).only.target == b"/"
    assert limited(padded(LIMIT) + padded(LIMIT)).refusal is None
    # An empty line before it does not count.
    assert limited(b"\r\n" + padded(LIMIT)).only.target == b"/"


@pytest.mark.parametrize("over", [1, 2, 3, 4, 5, 500])
def test_a_head_over_its_limit(over: int) -> None:
    assert limited(padded(LIMIT + over)).refusal == (431, "head_too_large")
    assert limited(padded(LIMIT) + padded(LIMIT + over)).refusal == (431, "head_too_large")
    # It is refused without waiting for its end.
    assert limited(padded(LIMIT + over + 4)[: LIMIT + 1]).status == 431


@pytest.mark.parametrize("over", [1, 2, 3, 500])
def test_a_request_line_over_the_limit(over: int) -> None:
    assert limited(long_line(LIMIT + over)).refusal == (414, "target_too_long")
    assert refused_at(long_line(LIMIT + over), max_head=LIMIT) == LIMIT


@pytest.mark.parametrize("under", range(5))
def test_a_request_line_that_fits_in_a_head_that_does_not(under: int) -> None:
    assert limited(long_line(LIMIT - under)).refusal == (431, "head_too_large")


def test_a_method_without_end_is_too_long_a_line() -> None:
    assert limited(b"G" * (LIMIT + 1)).status == 414
    assert limited(b"G" * LIMIT).status is None


@pytest.mark.parametrize("end", [b"\rX", b"\r\n", b"\r", b"X\r\n", b"\n", b"\0"])
def test_the_bytes_around_the_limit_decide_alike_however_they_come(end: bytes) -> None:
    line = b"GET /" + b"x" * (LIMIT - 14) + b" HTTP/1.1"
    for shift in range(5):
        limited(line[:5] + line[5 + shift :] + end + b"X: y\r\n\r\n")


def test_wrong_syntax_within_the_limit_comes_before_it() -> None:
    assert limited(b"GET / HTTP/1.1\nX: " + b"y" * LIMIT).status == 400
    assert limited(b"GET /\0" + b"y" * LIMIT).status == 400
    assert limited(padded(LIMIT + 50)[:100] + b"\0" + b"y" * 99).status == 400
    assert limited(padded(LIMIT + 50)[:LIMIT] + b"\0").status == 431


def test_the_default_limit() -> None:
    assert feed([padded(65_536)])[0].refusal is None
    assert feed([padded(65_537)])[0].status == 431
    assert feed([long_line(65_537)])[0].status == 414


def lines_of(count: int, last: bytes = b"") -> bytes:
    """Return a request of `count` field lines, Host included."""
    lines = [b"X%d: y" % number for number in range(count - 1)]
    return request(*lines)[:-2] + last + b"\r\n"


def test_256_field_lines() -> None:
    assert len(outcome(lines_of(256)).only.fields) == 256
    assert outcome(lines_of(257)).refusal == (431, "head_too_large")
    assert outcome(lines_of(1000)).refusal == (431, "head_too_large")


def test_the_line_too_many_is_refused_when_it_ends() -> None:
    data = lines_of(257)
    assert refused_at(data) == len(data) - 3


def test_a_line_too_many_before_a_wrong_one() -> None:
    assert outcome(lines_of(257, b"wrong\r\n")).status == 431
    assert outcome(lines_of(256, b"wrong\r\n")).status == 400
    assert outcome(lines_of(256, b"X: \0\r\n")).status == 400
    assert outcome(lines_of(300, b"X: a\n")).status == 431


def test_limits_come_after_syntax_and_before_the_version() -> None:
    data = lines_of(257).replace(b"HTTP/1.1", b"HTTP/1.2")
    assert outcome(data).status == 431
    assert limited(padded(LIMIT + 1, b"HTTP/2.0")).status == 431
    assert limited(padded(LIMIT, b"HTTP/2.0")).status == 505


def test_pieces_that_end_at_every_byte_of_a_long_head() -> None:
    data = padded(5000) + padded(3000)
    assert feed(single_bytes(data))[0] == feed([data])[0]
    for size in (2, 3, 7, 1000, 4999, 5001):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert feed(pieces)[0] == feed([data])[0]
