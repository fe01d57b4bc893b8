"""Records and frames: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.engine.journal import format as form
from sqsuper.engine.journal import records

places = st.binary(min_size=1, max_size=60)
keys = st.integers(min_value=0, max_value=(1 << 90) - 1)
identities = st.none() | st.tuples(
    st.integers(min_value=0, max_value=(1 << 64) - 1), st.binary(min_size=16, max_size=16)
)
numbers = st.integers(min_value=0, max_value=(1 << 64) - 1)
changes = st.lists(st.tuples(places, keys, st.binary(max_size=200)), max_size=5)
statements = st.tuples(
    st.sampled_from((records.BASE, records.TARGET, records.CHECKPOINTED)),
    places,
    numbers,
    identities,
)
HEADER = form.Header(
    generation=3, kept=2, index=7, size=8192, salt=0xFEEDFACECAFEBEEF, marker=0xA1B2C3D4
)


@given(st.lists(changes | statements, max_size=6))
def test_records_come_back(
    written: list[
        list[tuple[bytes, int, bytes]] | tuple[int, bytes, int, tuple[int, bytes] | None]
    ],
) -> None:
    parts: list[bytes] = []
    for record in written:
        if isinstance(record, tuple):
            parts.append(records.pack_file(*record))
        else:
            more, length = records.pack_write(record)
            assert length == sum(map(len, more))
            parts += more
    read: list[object] = []
    for found in records.unpack(b"".join(parts)):
        if isinstance(found, records.Changes):
            read.append(found.changes)
        else:
            read.append((found.kind, found.place, found.up_to, found.identity))
    assert read == written


@given(st.binary(max_size=80))
def test_any_bytes_are_records_or_refused(payload: bytes) -> None:
    try:
        for _record in records.unpack(payload):
            pass
    except records.BadRecord:
        pass


@pytest.mark.parametrize("cut", range(1, 40))
def test_cut_records_are_refused(cut: int) -> None:
    payload = records.pack_file(records.BASE, b"a", 1, (1, bytes(16)))
    whole = b"".join(records.pack_write([(b"a", 1, b"t")])[0]) + payload
    with pytest.raises(records.BadRecord):
        list(records.unpack(whole[:-cut] if cut < len(payload) else whole[:-1]))


@given(
    generation=st.integers(0, (1 << 32) - 1),
    kept=st.integers(0, (1 << 32) - 1),
    index=st.integers(0, (1 << 32) - 1),
    size=numbers,
    salt=numbers,
    marker=st.integers(1, (1 << 32) - 1),
    first=numbers,
    flags=st.integers(0, (1 << 32) - 1),
)
def test_headers_come_back(**facts: int) -> None:
    data = form.Header(**facts).pack()
    assert len(data) == form.HEADER_BYTES == 64
    header = form.unpack_header(data + b"more")
    assert header is not None
    assert {name: getattr(header, name) for name in form.Header.__slots__} == facts


def test_no_byte_of_a_header_can_change_unseen() -> None:
    data = HEADER.pack()
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            assert form.unpack_header(bytes(changed)) is None
    for length in range(len(data)):
        assert form.unpack_header(data[:length]) is None


def test_version_is_told_only_of_a_whole_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "VERSION", 2)
    data = HEADER.pack()
    monkeypatch.undo()
    with pytest.raises(form.ForeignVersion) as caught:
        form.unpack_header(data)
    assert caught.value.version == 2


def test_names() -> None:
    assert form.segment_name(0x1F, 2) == b".journal-0000001f00000002"
    assert form.parse_name(b".journal-0000001f00000002") == (0x1F, 2)
    for name in (
        b".journal-0000001F00000002",
        b".journal-0000001f00000002x",
        b".journal-0000001f0000000",
        b"journal-0000001f00000002",
        b".journal-notes",
        b".journal-0000001f00000002\n",
    ):
        assert form.parse_name(name) is None


class TestFrames:
    def segment(self, *payloads: bytes) -> tuple[bytes, list[int]]:
        data = bytearray(HEADER.pack())
        offsets = []
        for number, payload in enumerate(payloads, 5):
            offsets.append(len(data))
            data += form.frame(HEADER, number, [payload], len(payload))
        return bytes(data.ljust(HEADER.size, b"\0")), offsets

    @given(st.lists(st.binary(max_size=64), min_size=1, max_size=6))
    def test_come_back(self, payloads: list[bytes]) -> None:
        data, offsets = self.segment(*payloads)
        offset = form.HEADER_BYTES
        for number, payload in enumerate(payloads, 5):
            assert offset in offsets
            assert offset % form.ALIGNMENT == 0
            frame = form.read_frame(data, offset, HEADER)
            assert frame is not None
            assert (frame.number, data[frame.start : frame.end]) == (number, payload)
            offset = frame.next
        assert form.read_frame(data, offset, HEADER) is None

    def test_no_byte_can_change_unseen(self) -> None:
        data, (first, second) = self.segment(b"some payload!", b"next")
        for position in range(first, second):
            for flip in (1, 0x80, 0xFF):
                changed = bytearray(data)
                changed[position] ^= flip
                assert form.read_frame(bytes(changed), first, HEADER) is None
                # and the one behind is found
                assert form.find_frame(bytes(changed), first, HEADER, 5) == second

    def test_another_salt_sees_nothing(self) -> None:
        data, (first,) = self.segment(b"x")
        other = form.Header(generation=3, kept=2, index=7, size=8192, salt=1, marker=HEADER.marker)
        assert form.read_frame(data, first, other) is None
        assert form.find_frame(data, first, other, 0) is None

    def test_search_passes_over_markers_in_texts(self) -> None:
        marker = HEADER.marker.to_bytes(4, "big")
        data, offsets = self.segment(marker * 9, bytes(4) + marker * 8, b"end")
        assert form.find_frame(data, offsets[0] + 1, HEADER, 5) == offsets[1]
        assert form.find_frame(data, offsets[0], HEADER, 6) == offsets[2]
        assert form.find_frame(data, offsets[0], HEADER, 7) is None

    def test_a_length_past_the_end_is_no_frame(self) -> None:
        small = form.Header(generation=1, kept=1, index=1, size=256, salt=1, marker=1)
        data = bytes(64) + bytes(form.frame(small, 1, [bytes(300)], 300))
        assert form.read_frame(data, 64, small) is None
