"""A child's output: lines, cut, escaped, counted."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sqsuper.supervisor.output import (
    BYTES_PER_SECOND,
    LINES_PER_SECOND,
    MAX_LINE,
    Lines,
    printable,
)


class Log:
    """Lines with a clock set by hand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.dropped: list[int] = []
        self.now = 100.0
        self.feed = Lines(self.lines.extend, self.dropped.append, lambda: self.now)


def test_lines_come_whole_however_they_were_read() -> None:
    log = Log()
    for part in (b"one\ntw", b"o", b"\n", b"\nfour"):
        log.feed.feed(part)
    assert log.lines == ["one", "two", ""]
    log.feed.end()
    assert log.lines == ["one", "two", "", "four"]
    log.feed.end()
    assert len(log.lines) == 4


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_no_split_changes_the_lines(data: bytes, cuts: list[int]) -> None:
    whole, split = Log(), Log()
    whole.feed.feed(data)
    places = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(places):
        split.feed.feed(data[start:end])
    whole.feed.end()
    split.feed.end()
    assert split.lines == whole.lines
    assert whole.lines == [printable(x) for x in data.removesuffix(b"\n").split(b"\n") if data]


def test_control_bytes_are_escaped() -> None:
    assert printable(b"\x1b[31mred\x07\r\t\x00") == r"\x1b[31mred\x07\x0d\x09\x00"
    assert printable(b"\x7f") == r"\x7f"
    assert printable("é ✓".encode()) == "é ✓"
    assert printable(b"\xff\xfe") == r"\xff\xfe"
    assert printable("\x9b31m".encode()) == r"\x9b31m"
    assert printable("a\u202eb\u2028c".encode()) == r"a\u202eb\u2028c"


@given(st.binary(max_size=100))
def test_nothing_unprintable_is_left(line: bytes) -> None:
    text = printable(line)
    assert all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in text)


def test_long_lines_are_cut_and_cost_no_more_memory() -> None:
    log = Log()
    for _ in range(100):
        log.feed.feed(b"x" * 65536)
    assert len(log.feed._partial) == MAX_LINE
    log.feed.feed(b"tail\nnext\n")
    assert log.lines == ["x" * MAX_LINE, "next"]


def test_a_flood_is_counted() -> None:
    log = Log()
    log.feed.feed(b"x\n" * (LINES_PER_SECOND + 5) + b"rest")
    assert len(log.lines) == LINES_PER_SECOND
    assert log.feed.losing
    assert log.dropped == []
    log.now += 0.5
    log.feed.feed(b" of it\n")
    assert len(log.lines) == LINES_PER_SECOND
    log.now += 0.6
    log.feed.feed(b"again\n")
    assert log.dropped == [6]
    assert log.lines[-1] == "again"
    assert not log.feed.losing


def test_what_was_dropped_is_told_at_the_end_too() -> None:
    log = Log()
    log.feed.feed(b"x\n" * (LINES_PER_SECOND + 1) + b"unfinished")
    log.feed.end()
    assert log.dropped == [2]


def test_a_flush_tells_what_was_dropped() -> None:
    log = Log()
    log.feed.feed(b"x\n" * (LINES_PER_SECOND + 3))
    log.feed.flush()
    log.feed.flush()
    assert log.dropped == [3]


def test_far_too_much_is_not_even_read() -> None:
    log = Log()
    piece = b"x\n" * 4096
    for _ in range(BYTES_PER_SECOND // len(piece)):
        log.feed.feed(piece)
    assert log.feed.excess == 0
    log.now += 0.25
    log.feed.feed(b"x\n")
    assert log.feed.excess == 0.75
    log.now += 0.75
    log.feed.feed(b"x\n")
    assert log.feed.excess == 0


def test_a_clock_that_goes_back_does_not_silence_a_child() -> None:
    log = Log()
    log.feed.feed(b"x\n" * LINES_PER_SECOND)
    log.now -= 1000
    log.feed.feed(b"y\n")
    assert log.lines[-1] == "y"
