"""Segments and groups as bytes: headers, frames, checksums. All numbers are big-endian.

A segment is a header, groups one behind the other, zeros, and the header again. A group is a
frame and its payload, filled up with zeros to a multiple of eight bytes.
"""

from __future__ import annotations

import re
from struct import Struct

from xxhash import xxh3_64_intdigest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"sqsuperJ"
VERSION = 1

# magic, version, generation, kept, index, size, salt, marker, first, flags; then a checksum
_HEADER = Struct(">8sIIIIQQIQI")
_CHECKSUM = Struct(">Q")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size

# checksum, marker, payload's length, number
_FRAME = Struct(">QIIQ")
_FRAME_AFTER_CHECKSUM = Struct(">IIQ")
_MARKER = Struct(">I")
FRAME_BYTES = _FRAME.size
_ROOM_FOR_FRAME = bytes(FRAME_BYTES)
ALIGNMENT = 8
MAX_PAYLOAD = (1 << 32) - 1

# The first group repeats unsaved texts of an older generation and was whole from the start.
CARRIES = 1

_NAME = re.compile(rb"\.journal-([0-9a-f]{8})([0-9a-f]{8})")


class Header:
    """What a segment says of itself.

    `generation` of the journal and `index` in it order the segments; generations below `kept`
    are void. `size`: the file's, in bytes. `salt` seeds the groups' checksums, `marker` (not 0)
    begins each frame. `first`: the number of the group that the segment was created with, or 0.
    """

    __slots__ = ("first", "flags", "generation", "index", "kept", "marker", "salt", "size")

    def __init__(
        self,
        *,
        generation: int,
        kept: int,
        index: int,
        size: int,
        salt: int,
        marker: int,
        first: int = 0,
        flags: int = 0,
    ) -> None:
        self.generation = generation
        self.kept = kept
        self.index = index
        self.size = size
        self.salt = salt
        self.marker = marker
        self.first = first
        self.flags = flags

    def pack(self) -> bytes:
        """Return the header's bytes."""
        body = _HEADER.pack(
            MAGIC,
            VERSION,
            self.generation,
            self.kept,
            self.index,
            self.size,
            self.salt,
            self.marker,
            self.first,
            self.flags,
        )
        return body + _CHECKSUM.pack(xxh3_64_intdigest(body))


class ForeignVersion(Exception):  # noqa: N818  # a finding; `errors.VersionError` tells it
    """A whole header of another version. `version`: which."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def segment_name(generation: int, index: int) -> bytes:
    """Return a segment's file name."""
    return b".journal-%08x%08x" % (generation, index)


def parse_name(name: bytes) -> tuple[int, int] | None:
    """Return (generation, index) of a segment's file name, or None if it is none."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match[1], 16), int(match[2], 16))


def unpack_header(data: bytes) -> Header | None:
    """Return the header that `data` begins with, or None. Raises ForeignVersion."""
    data = data[:HEADER_BYTES]
    if len(data) < HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
        return None
    body = data[: _HEADER.size]
    if _CHECKSUM.unpack_from(data, _HEADER.size)[0] != xxh3_64_intdigest(body):
        return None
    _magic, version, generation, kept, index, size, salt, marker, first, flags = _HEADER.unpack(
        body
    )
    if version != VERSION:
        raise ForeignVersion(version)
    return Header(
        generation=generation,
        kept=kept,
        index=index,
        size=size,
        salt=salt,
        marker=marker,
        first=first,
        flags=flags,
    )


def framed_bytes(payload: int) -> int:
    """Return the length of a group whose payload has `payload` bytes."""
    return (FRAME_BYTES + payload + ALIGNMENT - 1) & -ALIGNMENT


def frame(header: Header, number: int, payload: Iterable[bytes], length: int) -> bytearray:
    """Return a group. `payload` are pieces, together `length` bytes."""
    data = bytearray().join((_ROOM_FOR_FRAME, *payload))
    data.extend(bytes(-len(data) % ALIGNMENT))
    _FRAME_AFTER_CHECKSUM.pack_into(data, _CHECKSUM.size, header.marker, length, number)
    with memoryview(data) as view:
        checksum = xxh3_64_intdigest(view[_CHECKSUM.size :], header.salt)
    _CHECKSUM.pack_into(data, 0, checksum)
    return data


class Frame:
    """A valid group: its number, where its payload lies, and where the next one begins."""

    __slots__ = ("end", "next", "number", "start")

    def __init__(self, number: int, start: int, end: int, following: int) -> None:
        self.number = number
        self.start = start
        self.end = end
        self.next = following


def read_frame(data: bytes, offset: int, header: Header) -> Frame | None:
    """Return the valid group at `offset` of a segment's bytes, or None."""
    limit = min(len(data), header.size - HEADER_BYTES)
    if offset + FRAME_BYTES > limit:
        return None
    checksum, marker, length, number = _FRAME.unpack_from(data, offset)
    end = offset + framed_bytes(length)
    if marker != header.marker or end > limit:
        return None
    with memoryview(data) as view:
        if xxh3_64_intdigest(view[offset + _CHECKSUM.size : end], header.salt) != checksum:
            return None
    start = offset + FRAME_BYTES
    return Frame(number, start, start + length, end)


def find_frame(data: bytes, offset: int, header: Header, above: int) -> int | None:
    """Return the offset of the first valid group from `offset` on numbered over `above`."""
    marker = _MARKER.pack(header.marker)
    position = data.find(marker, offset + _CHECKSUM.size)
    while position >= 0:
        start = position - _CHECKSUM.size
        if start % ALIGNMENT == 0:
            found = read_frame(data, start, header)
            if found is not None and found.number > above:
                return start
        position = data.find(marker, position + 1)
    return None
