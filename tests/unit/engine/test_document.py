"""Documents: what a change does to text, length, neighbours and readers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqsuper.engine import phext
from sqsuper.engine.document import BLOCK, Document
from sqsuper.engine.phext import ORIGIN

PARTS = st.tuples(*[st.sampled_from([1, 1, 1, 2, 3, 998, 999])] * 9)
KEYS = st.one_of(PARTS.map(phext.pack), st.integers(0, 998).map(lambda number: ORIGIN + number))
TEXTS = st.sampled_from([b"", b"", b"a", b"bc", b"x" * 300])
CHANGES = st.lists(st.dictionaries(KEYS, TEXTS, max_size=4), max_size=30)


def text_of(document: Document) -> bytes:
    return b"".join(document.snapshot().pieces())


def check(document: Document, model: dict[int, bytes]) -> None:
    """Everything that a document says agrees with a plain dict."""
    text = phext.implode(model)
    snapshot = document.snapshot()
    assert b"".join(snapshot.pieces()) == text
    assert document.length == snapshot.length == len(text)
    assert document.count == snapshot.count == len(document) == len(model)
    assert list(snapshot.items()) == sorted(model.items())
    for key, scroll in model.items():
        assert document.get(key) == scroll


@given(st.dictionaries(KEYS, TEXTS.filter(bool), max_size=20), CHANGES, st.booleans())
@settings(deadline=None)
def test_changes_and_undo_against_a_dict(
    initial: dict[int, bytes], changes: list[dict[int, bytes]], reading: bool
) -> None:
    document = Document(phext.implode(initial))
    model = dict(initial)
    readers = []
    undos = []
    for change in changes:
        if reading:
            readers.append((document.snapshot(), phext.implode(model)))
        undos.append((document.apply(change), dict(model)))
        model.update(change)
        model = {key: text for key, text in model.items() if text}
        check(document, model)
    for snapshot, text in readers:
        assert b"".join(snapshot.pieces()) == text
    for undo, before in reversed(undos):
        document.apply(undo)
        check(document, before)


@pytest.mark.parametrize("order", [1, -1])
def test_many_scrolls_in_any_order(order: int) -> None:
    document = Document()
    model = {}
    keys = [
        phext.pack((1, 1, 1, 1, 1, 1, 1, section, scroll))
        for section in (1, 2, 5)
        for scroll in range(1, 1000, 2)
    ][::order]
    for number, key in enumerate(keys):
        model[key] = b"%d" % number
        document.apply({key: model[key]})
    check(document, model)
    for key in keys[::3]:
        document.apply({key: b""})
        del model[key]
    check(document, model)
    for key in list(model):
        document.apply({key: b""})
    check(document, {})


def test_snapshots_stay_and_are_shared() -> None:
    document = Document(b"a\x17b")
    snapshot = document.snapshot()
    assert document.snapshot() is snapshot
    assert document.current
    document.apply({ORIGIN: b"", ORIGIN + 7: b"new"})
    assert not document.current
    assert b"".join(snapshot.pieces()) == b"a\x17b"
    assert text_of(document) == b"\x17b\x17\x17\x17\x17\x17\x17new"


def test_versions_are_counted_and_their_end_is_told() -> None:
    document = Document(b"a")
    released: list[int] = []
    document.released = lambda: released.append(document.versions)
    one = document.snapshot()
    same = document.snapshot()
    document.apply({ORIGIN: b"b"})
    two = document.snapshot()
    assert document.versions == 2
    del one
    assert released == []
    del same
    assert released == [1]
    document.apply({ORIGIN: b"c"})
    del two
    assert released == [1, 0]


def test_a_change_leaves_all_other_blocks_shared() -> None:
    document = Document(b"\x17".join(b"%d" % number for number in range(999)))
    before = document.snapshot()
    document.apply({ORIGIN: b"new"})
    after = document.snapshot()
    old, new = list(before.blocks()), list(after.blocks())
    assert len(old) == len(new) == -(-999 // BLOCK)
    assert [a[1] is b[1] for a, b in zip(old, new, strict=True)] == [False, True, True, True]


def test_part_of_the_blocks() -> None:
    document = Document(b"\x17".join(b"%d" % number for number in range(999)))
    found = list(document.snapshot().blocks(ORIGIN + 250, ORIGIN + 600))
    assert [key for keys, _ in found for key in keys] == list(range(ORIGIN + 250, ORIGIN + 601))
    assert list(document.snapshot().blocks(ORIGIN + 999, ORIGIN + 2000)) == []


@pytest.mark.parametrize("count", [0, 1, 998, 999, 1500])
@pytest.mark.parametrize("delimiter", [b"\x17", b"\x18", b"\x01"])
def test_runs_of_delimiters_past_999(count: int, delimiter: bytes) -> None:
    text = b"a" + delimiter * count + b"b\x17c" + delimiter * count + b"d"
    document = Document(text)
    scrolls = dict(document.snapshot().items())
    assert scrolls == phext.explode(text)
    assert document.length == len(phext.implode(scrolls))


def test_reading_pauses() -> None:
    text = b"\x18".join(b"\x17".join([b"x" * 2000] * 90) for _ in range(20))
    document = Document()
    assert sum(1 for _ in document.reading(text)) > 10
    assert text_of(document) == text


def test_megabytes_of_delimiters_take_no_time() -> None:
    # A second and more, a delimiter at a time.
    document = Document(b"a" + b"\x18" * 10_000_000 + b"\x17" * 10_000_000 + b"b")
    assert [text for _, text in document.snapshot().items()] == [b"a", b"b"]


@pytest.mark.parametrize("keys", [[0], [0, 1], [0, 5], [3]], ids=str)
def test_a_large_text_is_a_piece_of_its_own_and_not_copied(keys: list[int]) -> None:
    large = b"x" * (1 << 19)
    document = Document()
    document.apply({ORIGIN + key: b"small" for key in keys[:-1]} | {ORIGIN + keys[-1]: large})
    pieces = list(document.snapshot().pieces())
    assert all(pieces)
    assert any(piece is large for piece in pieces)
    assert b"".join(pieces) == phext.implode(dict(document.snapshot().items()))


@given(st.sets(st.integers(0, 40)), st.integers(0, 45))
def test_a_scroll_is_found_wherever_it_stands(places: set[int], wanted: int) -> None:
    document = Document()
    document.apply({ORIGIN + place: b"%d" % place for place in places})
    assert document.get(ORIGIN + wanted) == (b"%d" % wanted if wanted in places else b"")
