"""Laws of the phext reader and writer, against the format's own library and SQ's tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phext.phext import Phext

from sqsuper.engine import phext
from sqsuper.engine.views import checksum

PARTS = st.tuples(*[st.one_of(st.integers(1, 4), st.sampled_from([998, 999]))] * 9)
SMALL_PARTS = st.tuples(*[st.integers(1, 4)] * 9)
TEXT = st.text(
    st.characters(
        exclude_categories=["Cs"], exclude_characters=list("\x01\x17\x18\x19\x1a\x1c\x1d\x1e\x1f")
    ),
    min_size=1,
    max_size=12,
).map(str.encode)
DOCUMENTS = st.dictionaries(PARTS.map(phext.pack), TEXT, max_size=12)
SMALL_DOCUMENTS = st.dictionaries(SMALL_PARTS.map(phext.pack), TEXT, max_size=12)
RAW = st.lists(
    st.one_of(st.sampled_from([bytes([byte]) for byte in phext.DELIMITERS]), TEXT), max_size=40
).map(b"".join)


def step(parts: list[int], delimiter: int) -> None:
    """SQ's walk, written down as plainly as can be."""
    dimension = phext.DELIMITERS.index(delimiter)
    if parts[dimension] < 999:
        parts[dimension] += 1
    parts[dimension + 1 :] = [1] * (8 - dimension)


def plain_tokens(text: bytes) -> list[tuple[tuple[int, ...], bytes]]:
    """libphext's `phokenize`, byte by byte."""
    found = []
    parts = [1] * 9
    position = 0
    while True:
        begin = tuple(parts)
        collected = b""
        while position < len(text):
            byte = text[position]
            if byte in phext.DELIMITERS:
                step(parts, byte)
                if collected:
                    position += 1
                    break
            else:
                if not collected:
                    begin = tuple(parts)
                collected += bytes([byte])
            position += 1
        found.append((begin, collected))
        if position >= len(text):
            return found


@given(DOCUMENTS)
def test_what_was_written_is_read_back(document: dict[int, bytes]) -> None:
    assert phext.explode(phext.implode(document)) == document


@given(DOCUMENTS)
def test_length_is_known_without_writing(document: dict[int, bytes]) -> None:
    assert phext.imploded_length(sorted(document), document) == len(phext.implode(document))


@given(RAW, st.integers(1, 9), st.integers(1, 9))
def test_read_in_pieces_it_is_the_same(text: bytes, window: int, section: int) -> None:
    whole = phext.explode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phext, "_WINDOW_BYTES", window)
        patch.setattr(phext, "_SECTION_BYTES", section)
        patch.setattr(phext, "_PAUSE_RUNS", 2)
        patch.setattr(phext, "_BREAK_BYTES", 1)
        assert phext.explode(text) == whole


def test_a_large_section_past_its_last_scroll_comes_in_pieces() -> None:
    text = b"\x17".join(b"%d" % number * 400 for number in range(1500)) + b"\x18\x19" * 2000
    assert len(text) > 1 << 20
    assert phext.explode(text) == {
        phext.ORIGIN + min(number, 998): b"%d" % number * 400 for number in range(1500)
    }
    parts = [len(texts) for _keys, texts, _end in phext.sections(text)]
    assert max(parts) < 1000
    assert parts.count(0) > 4


@given(DOCUMENTS, st.integers(1, 50))
def test_pieces_are_the_whole(document: dict[int, bytes], size: int) -> None:
    pieces = list(phext.implode_pieces(sorted(document), document, size))
    assert b"".join(pieces) == phext.implode(document)
    assert all(pieces)


@given(SMALL_DOCUMENTS)
@settings(deadline=None)
def test_the_library_reads_and_writes_the_same(document: dict[int, bytes]) -> None:
    oracle = Phext()
    text = phext.implode(document).decode("utf-8")
    theirs = {
        coordinate.as_tuple(): scroll
        for coordinate, scroll in oracle.explode(text).items()
        if scroll
    }
    assert theirs == {phext.unpack(key): scroll.decode("utf-8") for key, scroll in document.items()}
    assert oracle.normalize(text) == text
    assert oracle.checksum(text) == checksum([text.encode("utf-8")])


@given(RAW)
def test_any_text_is_read_as_sq_reads_it(text: bytes) -> None:
    expected: dict[int, bytes] = {}
    for parts, scroll in plain_tokens(text):
        if scroll:
            expected[phext.pack(parts)] = scroll
    assert phext.explode(text) == expected


@given(RAW)
def test_tokens_are_those_of_sq(text: bytes) -> None:
    assert list(phext.tokens(text)) == [
        (phext.pack(parts), scroll) for parts, scroll in plain_tokens(text)
    ]


@given(PARTS)
def test_keys_keep_their_parts(parts: tuple[int, ...]) -> None:
    key = phext.pack(parts)
    assert phext.unpack(key) == parts
    assert phext.format_key(key).replace("/", ".") == ".".join(map(str, parts))


@given(PARTS, PARTS)
def test_keys_sort_as_coordinates(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert (phext.pack(one) < phext.pack(other)) == (one < other)


@given(PARTS, PARTS)
def test_delimiters_lead_there_and_none_is_spare(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    before, after = sorted((phext.pack(one), phext.pack(other)))
    delimiters = phext.delimiters_between(before, after)
    key = before
    for delimiter in delimiters:
        key = phext.advance(key, delimiter)
    assert key == after
    # Coarse ones first: any other order would reset what a finer one did.
    order = [phext.DELIMITERS.index(delimiter) for delimiter in delimiters]
    assert order == sorted(order)


@pytest.mark.parametrize("count", [998, 999, 1500])
def test_past_999_the_last_scroll_stays(count: int) -> None:
    text = b"\x17".join(b"%d" % number for number in range(1, count + 1))
    scrolls = phext.explode(text)
    last = phext.pack((1,) * 8 + (min(count, 999),))
    assert scrolls[last] == b"%d" % count
    assert len(scrolls) == min(count, 999)
