"""What the parser costs: linear in its input however that comes, and cheap to import."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sqsuper
from sqsuper.http1.body import ChunkedBody
from sqsuper.http1.errors import FramingError
from sqsuper.http1.reader import RequestReader, ResponseReader

Feed = Callable[[bytes], None]


def request_feed() -> Feed:
    reader = RequestReader()

    def feed(piece: bytes) -> None:
        reader.buffer += piece
        assert reader.head() is None

    return feed


def response_feed() -> Feed:
    reader = ResponseReader()

    def feed(piece: bytes) -> None:
        reader.buffer += piece
        assert reader.head() is None

    return feed


def chunked_feed() -> Feed:
    body = ChunkedBody(None, 65_536)
    buffer = bytearray()

    def feed(piece: bytes) -> None:
        buffer.extend(piece)
        body.take(buffer)

    return feed


def trailer_feed() -> Feed:
    feed = chunked_feed()
    feed(b"0\r\n")
    return feed


def seconds(make: Callable[[], Feed], data: bytes) -> float:
    """Return the time that `data` takes byte by byte, the best of three."""
    best = float("inf")
    for _ in range(3):
        feed = make()
        began = time.process_time()
        for position in range(len(data)):
            feed(data[position : position + 1])
        best = min(best, time.process_time() - began)
    return best


LINES = b"".join(b"X%03d: %b\r\n" % (number, b"y" * 280) for number in range(240))
START = b"POST / HTTP/1.1\r\n"
SMALL, LARGE = 7_000, 63_000


@pytest.mark.parametrize(
    ("make", "data"),
    [
        pytest.param(request_feed, b"G" * LARGE, id="method"),
        pytest.param(request_feed, b"GET /" + b"x" * LARGE, id="target"),
        pytest.param(request_feed, START + b"X" * LARGE, id="name"),
        pytest.param(request_feed, START + b"X:" + b"y" * LARGE, id="value"),
        pytest.param(request_feed, START + LINES, id="lines"),
        pytest.param(response_feed, b"HTTP/1.1 200 OK\r\n" + LINES, id="answer"),
        pytest.param(response_feed, b"HTTP/1.1 200 OK\r\nX: " + b"y" * LARGE, id="answer-value"),
        pytest.param(trailer_feed, LINES, id="trailers"),
        pytest.param(trailer_feed, b"X: " + b"y" * LARGE, id="trailer-value"),
        pytest.param(trailer_feed, b"X" * LARGE, id="trailer-name"),
        pytest.param(chunked_feed, b"1\r\nx\r\n" * (LARGE // 6), id="small-chunks"),
        pytest.param(chunked_feed, b"f618\r\n" + b"x" * LARGE, id="one-chunk"),
    ],
)
def test_nine_times_the_bytes_take_no_more_than_a_multiple_of_it(
    make: Callable[[], Feed], data: bytes
) -> None:
    # Quadratic work would take 81 times as long. A little is added for the clock's grain.
    assert seconds(make, data[:LARGE]) < 27 * (seconds(make, data[:SMALL]) + 0.001)


@pytest.mark.parametrize(
    "line",
    [b'1;a="', b"1;", b"1;a=", b"1", b'1;a="\\'],
    ids=["quoted", "name", "value", "blank", "pair"],
)
def test_a_chunk_line_is_looked_at_once(line: bytes) -> None:
    fill = b" " if line == b"1" else b"\\\\" if line.endswith(b"\\") else b"x"

    def data(size: int) -> bytes:
        return (line + fill * size)[:size]

    small, large = seconds(chunked_feed, data(450)), seconds(chunked_feed, data(4050))
    assert large < 27 * (small + 0.001)


@pytest.mark.parametrize(
    "line",
    [
        b"1" + b";a" * 2047 + b"@",
        b"1;" + b"a" * 4000 + b"@",
        b'1;a="' + b"\\x" * 2000 + b"\0",
        b"1" + b" ; a = b" * 500 + b"=",
        b'1;a="' + b"x" * 4000 + b'"@',
        b"1" + b" " * 4000 + b"@",
        b"1;a" + b" " * 4000 + b"@",
    ],
)
def test_a_wrong_chunk_line_costs_no_search_for_a_way_out(line: bytes) -> None:
    began = time.process_time()
    for _ in range(5):
        with pytest.raises(FramingError):
            ChunkedBody(None, 100).take(bytearray(line + b"\r\n"))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("wrong", [b"\0", b"\n", b""])
def test_a_wrong_head_costs_no_search_for_a_way_out(wrong: bytes) -> None:
    heads = [
        START + LINES[:-2] + wrong + b"\r\nX\r\n\r\n",
        START + b"X: " + b"y" * 65_000 + wrong + b"\r\nX\r\n\r\n",
        b"GET /" + b"x" * 65_000 + wrong + b" HTTP/9\r\n\r\n",
        b"G" * 65_000 + wrong + b"\r\n\r\n",
    ]
    began = time.process_time()
    for head in heads:
        reader = RequestReader(1 << 20)
        reader.buffer += head
        with pytest.raises(FramingError):
            reader.head()
    assert time.process_time() - began < 1


def test_importing_brings_nothing_but_what_re_brings() -> None:
    names = sorted(
        f"sqsuper.http1.{path.stem}"
        for path in (Path(sqsuper.__file__).parent / "http1").glob("[!_]*.py")
    )
    assert len(names) >= 9
    program = (
        f"import sys; sys.path.insert(0, {str(Path(sqsuper.__file__).parent.parent)!r})\n"
        "import re; before = set(sys.modules)\n"
        f"import {', '.join(names)}\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    own = {name for name in loaded if name.split(".")[0] == "sqsuper"}
    assert set(names) <= own
    assert own - {"sqsuper", "sqsuper.http1"} == set(names)
    # typing, dataclasses, logging, json, socket and the like would cost each engine milliseconds.
    assert loaded - own <= {"__future__", "_sha2", "_sha256"}
