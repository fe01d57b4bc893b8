"""Other parsers must not see another message boundary in what we accept.

`SQSUPER_FUZZ_EXAMPLES` sets how many inputs are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.fuzz.others import (
    Reading,
    answers_by_h11,
    answers_by_httptools,
    compare,
    our_answers,
    our_requests,
    requests_by_h11,
    requests_by_httptools,
)
from tests.unit.http1.generated import answer_streams, streams

EXAMPLES = int(os.environ.get("SQSUPER_FUZZ_EXAMPLES", "500"))

LENGTH = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1 ; a = "\\"x"\r\nx\r\n0\r\nX: y\r\n\r\n'
)
SIMPLE = b"GET /d?e HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
PIECES = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
slow = [HealthCheck.too_slow]  # on a busy machine
fuzz = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=slow)
fuzz_answers = settings(fuzz, max_examples=EXAMPLES // 2)


# One test a parser, as pytest-twisted would wrap a property once more for each parameter.


@fuzz
@given(streams)
@example(LENGTH + SIMPLE)
@example(CHUNKED + SIMPLE)
def test_no_other_boundary_of_requests_for_h11(stream: bytes) -> None:
    compare(our_requests(stream), requests_by_h11(stream))


@fuzz
@given(streams)
@example(LENGTH + SIMPLE)
@example(CHUNKED + SIMPLE)
def test_no_other_boundary_of_requests_for_httptools(stream: bytes) -> None:
    compare(our_requests(stream), requests_by_httptools(stream))


@fuzz_answers
@given(answer_streams)
@example(OK + PIECES)
@example(EMPTY + OK)
def test_no_other_boundary_of_answers_for_h11(stream: bytes) -> None:
    compare(our_answers(stream), answers_by_h11(stream))


@fuzz_answers
@given(answer_streams)
@example(OK + PIECES)
@example(EMPTY + OK)
def test_no_other_boundary_of_answers_for_httptools(stream: bytes) -> None:
    compare(our_answers(stream), answers_by_httptools(stream))


@pytest.mark.parametrize("read", [requests_by_h11, requests_by_httptools])
def test_the_comparison_of_requests_compares(read: Callable[[bytes], Reading]) -> None:
    stream = LENGTH + CHUNKED.replace(b' ; a = "\\"x"', b"") + SIMPLE
    assert compare(our_requests(stream), read(stream)) == 3
    # A reader that took one byte less for the body would be found out.
    with pytest.raises(AssertionError):
        compare(our_requests(stream), read(stream.replace(b"Length: 3", b"Length: 2")))
    with pytest.raises(AssertionError):
        compare(our_requests(stream), read(stream.replace(b"1\r\nx\r\n", b"")))


@pytest.mark.parametrize("read", [answers_by_h11, answers_by_httptools])
def test_the_comparison_of_answers_compares(read: Callable[[bytes], Reading]) -> None:
    stream = EMPTY + OK + PIECES + OK
    assert compare(our_answers(stream), read(stream)) == 4
    with pytest.raises(AssertionError):
        compare(our_answers(stream), read(stream.replace(b"Length: 3", b"Length: 2")))
    with pytest.raises(AssertionError):
        compare(our_answers(stream), read(stream.replace(b"204", b"200")))
