"""What a scroll's text is, by the name of the file that a client takes it for."""

from __future__ import annotations

# Of the texts that scrolls can be; others are left for the browser to find out.
CONTENT_TYPES = {
    "css": b"text/css; charset=utf-8",
    "csv": b"text/csv; charset=utf-8",
    "htm": b"text/html; charset=utf-8",
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "json": b"application/json",
    "md": b"text/markdown; charset=utf-8",
    "mjs": b"text/javascript; charset=utf-8",
    "phext": b"application/phext; charset=utf-8",
    "svg": b"image/svg+xml",
    "text": b"text/plain; charset=utf-8",
    "txt": b"text/plain; charset=utf-8",
    "webmanifest": b"application/manifest+json",
    "xhtml": b"application/xhtml+xml",
    "xml": b"application/xml",
}


def type_of(filename: bytes) -> bytes | None:
    """Return the media type for a file name, or None if it is not known to be a text's."""
    _, dot, extension = filename.decode("utf-8", "replace").rpartition(".")
    return CONTENT_TYPES.get(extension.lower()) if dot else None
