"""What tells the contents of a phext file apart: its size and checksum."""

from __future__ import annotations

from xxhash import xxh3_128

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # size in bytes and xxh3-128 (seed 0, 16 bytes, big-endian); None: there is no file
    Identity = tuple[int, bytes] | None


class IdentityHash:
    """Computes an identity from pieces, as they pass by."""

    __slots__ = ("_hash", "_size")

    def __init__(self) -> None:
        self._hash = xxh3_128()
        self._size = 0

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self._hash.update(piece)
        self._size += len(piece)

    def identity(self) -> tuple[int, bytes]:
        """Return the identity of all pieces so far."""
        return self._size, self._hash.digest()


def identity_of(pieces: Iterable[bytes]) -> tuple[int, bytes]:
    """Return the identity of a file that holds `pieces`."""
    seen = IdentityHash()
    for piece in pieces:
        seen.update(piece)
    return seen.identity()
