"""The page's static files: a table made at the start, so that no path is ever joined."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import attrs

from sqsuper.admin.errors import NotFoundError
from sqsuper.admin.routing import Answer, Call

DIRECTORY = Path(__file__).resolve().parent.parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The path holds a digest of them all: what is there never changes.
CACHE = "public, max-age=31536000, immutable"


@attrs.frozen
class _File:
    content: bytes
    packed: bytes
    kind: str
    etag: str


class Statics:
    """All files below `directory` that a browser needs, by their last name alone."""

    PATH = "/static/{version}/{file}"

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._files = {path.name: _read(path) for path in _all(directory)}
        digest = sha256()
        for name in sorted(self._files):
            digest.update(self._files[name].etag.encode())
        self._version = digest.hexdigest()[:16]

    def path(self, name: str) -> str:
        """Return the path of a file, which must be there."""
        assert name in self._files, name
        return f"/static/{self._version}/{name}"

    async def get(self, call: Call) -> Answer:
        """Answer a GET of `PATH`. Raises NotFoundError."""
        file = self._files.get(call.parts["file"])
        if file is None or call.parts["version"] != self._version:
            raise NotFoundError("there is no such file")
        headers = {"Cache-Control": CACHE, "ETag": file.etag, "Vary": "Accept-Encoding"}
        if call.asked.header("if-none-match") == file.etag:
            return Answer(304, content_type=file.kind, headers=headers)
        if "gzip" in (call.asked.header("accept-encoding") or ""):
            return Answer(200, file.packed, file.kind, {**headers, "Content-Encoding": "gzip"})
        return Answer(200, file.content, file.kind, headers)


def _all(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.suffix in TYPES)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    return _File(content, gzip.compress(content, mtime=0), TYPES[path.suffix], etag)
