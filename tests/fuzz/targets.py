"""What is checked of one input: any two pieces say the same, and no boundary moves."""

from __future__ import annotations

from tests.fuzz.others import (
    answers_by_h11,
    answers_by_httptools,
    compare,
    our_answers,
    our_requests,
    requests_by_h11,
    requests_by_httptools,
)
from tests.unit.http1.feeding import feed
from tests.unit.http1.generated import ANSWER_FRAGMENTS, FRAGMENTS

WORDS = sorted({*FRAGMENTS, *ANSWER_FRAGMENTS})

_REQUESTS = (
    b"GET /d?e HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1 ; a = "\\"x"\r\nx\r\n0\r\nX: y\r\n\r\n',
)
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\nx\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nto the end",
)
SEEDS = (*(b"\0\x20" + each for each in _REQUESTS), *(b"\1\x20" + each for each in _ANSWERS))


def check(data: bytes) -> None:
    """Take an input: a byte for its kind, one for where it is cut in two, and the stream."""
    if len(data) < 2:
        return
    kind, cut, stream = data[0], data[1], data[2:]
    if kind % 2:
        ours = our_answers(stream)
        compare(ours, answers_by_h11(stream))
        compare(ours, answers_by_httptools(stream))
        return
    whole, _ = feed([stream])
    assert feed([stream[:cut], stream[cut:]])[0] == whole
    ours = our_requests(stream)
    compare(ours, requests_by_h11(stream))
    compare(ours, requests_by_httptools(stream))
