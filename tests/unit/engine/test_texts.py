"""Texts in steps: the same findings as at once, and none of them takes long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.engine import phext, texts, views
from sqsuper.engine.errors import (
    BadTextError,
    DelimiterInTextError,
    SpliceOverflowError,
    TooManyPiecesError,
)
from sqsuper.engine.phext import ORIGIN

if TYPE_CHECKING:
    from sqsuper.engine.turns import Job

PIECES = [b"a", b"bcd", "é漢😀".encode(), *(bytes((byte,)) for byte in phext.DELIMITERS)]
WRONG = [b"\xff", b"\xc3", b"\x80", b"\xf0\x9f\x98", b"\xed\xa0\x80"]


def steps(job: Job[Any]) -> int:
    return sum(1 for _ in job)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(texts, "_STEP_BYTES", 8)
        patch.setattr(texts, "_STEP_PIECES", 2)
        patch.setattr(phext, "_NEAR_BYTES", 4)
        patch.setattr(phext, "_WINDOW_BYTES", 16)
        yield


@given(st.lists(st.sampled_from([*PIECES, *WRONG]), max_size=40).map(b"".join))
def test_the_first_wrong_byte_is_the_same_one(text: bytes) -> None:
    try:
        texts.check_utf8(text)
        wanted = None
    except BadTextError as error:
        wanted = str(error)
    try:
        steps(texts.checking_utf8(text))
        found = None
    except BadTextError as error:
        found = str(error)
    assert found == wanted


@given(st.lists(st.sampled_from([*PIECES, b"x" * 50]), max_size=40).map(b"".join))
def test_the_first_delimiter_is_the_same_one(text: bytes) -> None:
    first = min((at for at, byte in enumerate(text) if byte in phext.DELIMITERS), default=-1)
    assert phext.find_break(text) == first
    if first < 0:
        steps(texts.checking_single(text))
        return
    for check in (texts.check_single, lambda text: steps(texts.checking_single(text))):
        with pytest.raises(DelimiterInTextError) as caught:
            check(text)
        assert caught.value.offset == first


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_break_is_looked_for_where_it_is_said(at: int, start: int, end: int) -> None:
    text = b"x" * at + b"\x17" + b"x" * 60
    found = at if start <= at < end else -1
    assert phext.find_break(text, start, end) == found


@given(st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join))
def test_a_splice_in_steps_is_the_same(text: bytes) -> None:
    pieces: dict[int, bytes] = {}
    try:
        wanted = texts.splice(text, ORIGIN)
    except SpliceOverflowError:
        with pytest.raises(SpliceOverflowError):
            steps(texts.splicing(text, ORIGIN, pieces))
        return
    steps(texts.splicing(text, ORIGIN, pieces))
    assert pieces == wanted


@pytest.mark.parametrize(
    "job",
    [
        texts.checking_utf8("é".encode() * 500),
        texts.checking_single(b"x" * 1000),
        texts.splicing(b"\x18\x17" * 500, ORIGIN, {}),
        views.infer_coordinate(b"\x17\x18" * 5000, "xor", 0),
        views.infer_coordinate(b"x\x17" * 5000, "xor", 0),
    ],
    ids=["utf8", "single", "splice", "delimiters", "scrolls"],
)
def test_others_have_their_turn(job: Job[Any]) -> None:
    assert steps(job) > 5


def test_a_splice_is_of_so_many_scrolls_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_PIECES", 3)
    assert len(texts.splice(b"a\x17\x17b\x18c\x17", ORIGIN)) == 3
    with pytest.raises(TooManyPiecesError) as caught:
        texts.splice(b"a\x17b\x17c\x17d", ORIGIN)
    assert caught.value.status == 413
