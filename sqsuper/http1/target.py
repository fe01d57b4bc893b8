"""Decisions about a request's path. The target itself is never changed by them."""

from __future__ import annotations

import re

_SLASHES = re.compile(rb"/{2,}")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

API = b"/api/v2/"
HEALTH = b"/health"
_API = [b"api", b"v2"]

# The exact paths that a read-only token may ask for; doubled slashes are tolerated, since
# clients send them. The real sq routes by prefix, so nothing less than equality is safe.
READ_ONLY = frozenset(
    API + name
    for name in (
        b"version",
        b"select",
        b"toc",
        b"get",
        b"export",
        b"checksum",
        b"delta",
        b"status",
        b"where",
        b"json-export",
        b"list",
        b"search",
    )
)


def split(target: bytes) -> tuple[bytes, bytes]:
    """Return path and query (without the `?`), split at the first `?`."""
    path, _, query = target.partition(b"?")
    return path, query


def merge_slashes(path: bytes) -> bytes:
    """Return `path` with each run of slashes as one."""
    return _SLASHES.sub(b"/", path) if b"//" in path else path


def is_read_only(target: bytes) -> bool:
    """Whether a token of scope `ro` may ask for this target (an allow-list of exact paths)."""
    return merge_slashes(split(target)[0]) in READ_ONLY


def is_delta(target: bytes) -> bool:
    """Whether the client loads the answer's body as a phext whatever the status."""
    return merge_slashes(split(target)[0]).endswith(b"/delta")


def _beginnings(target: bytes) -> list[list[bytes]]:
    """Return the first three segments of each path that a router could take this for.

    Percent-decoded once, backslashes as slashes, slashes merged, dot segments resolved,
    lower case. The last is that of the whole path; before it comes each path as it stood
    where a `..` was resolved: a router by prefix that resolves nothing goes by that one.
    """
    path = split(target)[0]
    path = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), path)
    beginnings: list[list[bytes]] = []
    segments: list[bytes] = []
    for segment in path.replace(b"\\", b"/").lower().split(b"/"):
        if segment == b"..":
            beginnings.append(segments[:3])
            if segments:
                segments.pop()
        elif segment not in (b"", b"."):
            segments.append(segment)
    beginnings.append(segments[:3])
    return beginnings


def _cannot_hold(target: bytes, word: bytes) -> bool:
    # Cheap, and never wrong in the negative: no reading makes letters but by decoding.
    return b"%" not in target and word not in target.lower()


def is_reload(target: bytes) -> bool:
    """Whether some router could take this for `/api/v2/reload`, which is for loopback alone."""
    if _cannot_hold(target, b"reload"):
        return False
    return any(
        path[:2] == _API and path[2:] and path[2].startswith(b"reload")
        for path in _beginnings(target)
    )


def is_growing(target: bytes) -> bool:
    """Whether some router could take this for an insert or an update."""
    if _cannot_hold(target, b"insert") and _cannot_hold(target, b"update"):
        return False
    return any(
        path[:2] == _API and path[2:] and path[2].startswith((b"insert", b"update"))
        for path in _beginnings(target)
    )


def is_admin(target: bytes) -> bool:
    """Whether this asks for the admin API, which is not served beside tenants' data."""
    if _cannot_hold(target, b"admin"):
        return False
    path = _beginnings(target)[-1]
    return path[:1] == [b"admin"] or path == [*_API, b"admin"]
