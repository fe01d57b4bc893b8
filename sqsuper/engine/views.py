"""Texts that SQ makes of a whole phext: toc, JSON, checksum, delta, coordinate of a text."""

from __future__ import annotations

import re

import xxhash

from sqsuper.engine import coordinates, phext
from sqsuper.engine.document import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqsuper.engine.coordinates import Reading

MISSING = b"---sq:Scroll-Missing---"
DEFAULT_LIMIT = 100

_BATCH = 256
_MAX_USIZE = 2**64 - 1
_USIZE = re.compile(rb"\+?[0-9]+")


def checksum(pieces: Iterable[bytes]) -> str:
    """Return the xxh3-128 of a text in pieces, as 32 hex digits."""
    state = xxhash.xxh3_128()
    for piece in pieces:
        state.update(piece)
    return str(state.hexdigest())


def scroll_checksum(scroll: bytes) -> bytes:
    """Return the xxh3-128 of one scroll, as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(scroll).encode("ascii")


def _batched(snapshot: Snapshot, render: Callable[[int, bytes], bytes]) -> Iterator[bytes]:
    keys, scrolls = snapshot.keys, snapshot.scrolls
    for start in range(0, len(keys), _BATCH):
        yield b"".join(render(key, scrolls[key]) for key in keys[start : start + _BATCH])


def toc(snapshot: Snapshot) -> Iterator[bytes]:
    """Iterate over SQ's table of contents: a line a scroll; an empty phext has one too."""
    if not snapshot.keys:
        yield b"* %b: \n" % phext.format_key(phext.ORIGIN).encode("ascii")
        return
    yield from _batched(snapshot, _toc_line)


def _toc_line(key: int, scroll: bytes) -> bytes:
    end = scroll.find(b"\n")
    first = scroll if end < 0 else scroll[:end] + b"..."
    return b"* %b: %b\n" % (phext.format_key(key).encode("ascii"), first)


def json_export(snapshot: Snapshot) -> Iterator[bytes]:
    """Iterate over the JSON form, SQ's in layout, valid for every text.

    As SQ, an empty phext shows one empty scroll.
    """
    from json import JSONEncoder  # noqa: PLC0415  # costs 1 ms that few engines need

    encode = JSONEncoder(ensure_ascii=False).encode
    yield b"[\n"
    first = phext.ORIGIN if not snapshot.keys else snapshot.keys[0]

    def line(key: int, scroll: bytes) -> bytes:
        return b'%b   { "coord": "%b", "scroll": %b }\n' % (
            b"" if key == first else b",",
            phext.format_key(key).encode("ascii"),
            encode(scroll.decode("utf-8")).encode("utf-8"),
        )

    if snapshot.keys:
        yield from _batched(snapshot, line)
    else:
        yield line(first, b"")
    yield b"]\n"


def client_checksums(listing: bytes, reading: Reading) -> dict[int, bytes]:
    """Read what a client says it has: lines `COORD: CHECKSUM`, ended by LF or CRLF.

    As SQ, a line without `: ` is passed over, and of several on one coordinate the last
    counts. So is, where coordinates are read strictly, one that has not the form of a
    coordinate. Raises BadCoordinateError for one outside 1..999.
    """
    found = {}
    for line in listing.split(b"\n"):
        parts = line.removesuffix(b"\r").split(b": ")
        if len(parts) < 2:
            continue
        text = parts[0].decode("utf-8", "replace")
        if reading.lenient or coordinates.has_form(text):
            found[reading.of_read(text)] = parts[1]
    return found


def delta(snapshot: Snapshot, client: Mapping[int, bytes]) -> Snapshot:
    """Return what a client has to take over: scrolls that differ or that it lacks.

    A coordinate that only the client has carries a marker.
    """
    if not client:
        return snapshot
    scrolls = snapshot.scrolls
    differing = {
        key: scroll
        for key, scroll in scrolls.items()
        if key not in client or client[key] != scroll_checksum(scroll)
    }
    for key in client:
        # An empty phext has, for SQ, one empty scroll at the origin.
        if key not in scrolls and (scrolls or key != phext.ORIGIN):
            differing[key] = MISSING
    return Snapshot(sorted(differing), differing)


def infer_coordinate(text: bytes, algorithm: str, limit: int) -> str:
    """Return the coordinate that SQ calculates from a text (`xor` or `checksum`)."""
    if algorithm == "checksum":
        digits = scroll_checksum(text)
        parts = tuple(
            (256 * digits[index] + digits[index + 1]) % 999 or 1 for index in range(0, 18, 2)
        )
        return phext.format_key(phext.pack(parts))
    composite = phext.ORIGIN
    for key, scroll in phext.tokens(text):
        if len(scroll) >= limit:
            # Parts are below 1024 before and after: all nine at once.
            composite ^= key
    return phext.format_key(composite)


def parse_limit(text: bytes | None) -> int:
    """Read `limit` as SQ does: anything but an unsigned 64-bit number is 100."""
    if text is None or len(text) > 64 or _USIZE.fullmatch(text) is None:
        return DEFAULT_LIMIT
    number = int(text)
    return number if number <= _MAX_USIZE else DEFAULT_LIMIT


__all__ = [
    "checksum",
    "client_checksums",
    "delta",
    "infer_coordinate",
    "json_export",
    "parse_limit",
    "scroll_checksum",
    "toc",
]
