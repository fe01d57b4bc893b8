"""Records, the payload of a group: each is its kind, its body's length and its body.

A place is a phext file's path relative to the data directory, in the file system's bytes.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812  # it is a class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqsuper.engine.journal.identity import Identity

    # place, key, resulting text
    Change = tuple[bytes, int, bytes]

WRITE = 1
"""One request's changes, applied all or none: (place, key, resulting text) each."""
BASE = 2
"""The file that a phext's next records start from."""
TARGET = 3
"""A file that a checkpoint may have renamed into place."""
CHECKPOINTED = 4
"""The file that certainly is in place, with all of a phext's records up to a group."""

KEY_BYTES = 12
MAX_PLACE_BYTES = (1 << 16) - 1

# kind, length of the body
_HEAD = Struct(">BI")
# place's length, text's length, key
_CHANGE = Struct(">HI12s")
# place's length, up to which group, file is there, its size, its checksum
_FILE = Struct(">HQBQ16s")


class BadRecord(Exception):  # noqa: N818  # a finding; `errors.RecordError` tells it
    """A payload that is no sequence of known records."""


class Changes:
    """One request's changes."""

    __slots__ = ("changes",)
    kind = WRITE

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes


class FileRecord:
    """A statement on a phext's file: BASE, TARGET or CHECKPOINTED."""

    __slots__ = ("identity", "kind", "place", "up_to")

    def __init__(self, kind: int, place: bytes, up_to: int, identity: Identity) -> None:
        self.kind = kind
        self.place = place
        self.up_to = up_to
        self.identity = identity


def pack_write(changes: Iterable[Change]) -> tuple[list[bytes], int]:
    """Return a WRITE record in parts, and its length: (place, key, resulting text) each."""
    parts = [b""]
    length = 0
    for place, key, text in changes:
        parts += (
            _CHANGE.pack(len(place), len(text), key.to_bytes(KEY_BYTES, "big")),
            place,
            text,
        )
        length += _CHANGE.size + len(place) + len(text)
    parts[0] = _HEAD.pack(WRITE, length)
    return parts, _HEAD.size + length


def pack_file(kind: int, place: bytes, up_to: int, identity: Identity) -> bytes:
    """Return a BASE, TARGET or CHECKPOINTED record."""
    size, digest = (0, bytes(16)) if identity is None else identity
    body = _FILE.pack(len(place), up_to, identity is not None, size, digest)
    return _HEAD.pack(kind, len(body) + len(place)) + body + place


def unpack(payload: bytes) -> Iterator[Changes | FileRecord]:
    """Iterate over a payload's records. Raises BadRecord."""
    position = 0
    try:
        while position < len(payload):
            kind, length = _HEAD.unpack_from(payload, position)
            position += _HEAD.size
            end = position + length
            if end > len(payload):
                raise BadRecord
            if kind == WRITE:
                yield _unpack_changes(payload, position, end)
            elif kind in (BASE, TARGET, CHECKPOINTED):
                yield _unpack_file(kind, payload, position, end)
            else:
                raise BadRecord
            position = end
    except StructError:
        raise BadRecord from None


def _unpack_changes(payload: bytes, position: int, end: int) -> Changes:
    changes = []
    while position < end:
        place_length, text_length, key = _CHANGE.unpack_from(payload, position)
        middle = position + _CHANGE.size + place_length
        place = payload[position + _CHANGE.size : middle]
        position = middle + text_length
        if position > end:
            raise BadRecord
        changes.append((place, int.from_bytes(key, "big"), payload[middle:position]))
    return Changes(changes)


def _unpack_file(kind: int, payload: bytes, position: int, end: int) -> FileRecord:
    place_length, up_to, exists, size, digest = _FILE.unpack_from(payload, position)
    position += _FILE.size
    if position + place_length != end:
        raise BadRecord
    return FileRecord(kind, payload[position:end], up_to, (size, digest) if exists else None)
