"""SQ's HTTP API: a request in, an answer out. No I/O but through the store."""

from __future__ import annotations

from sqsuper.engine import texts, views
from sqsuper.engine.answer import Answer, failure, streamed
from sqsuper.engine.errors import (
    BadParameterError,
    EngineError,
    NotFoundError,
    WrongMethodError,
)
from sqsuper.engine.query import Query
from sqsuper.http1 import target as targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqsuper.engine.coordinates import Reading
    from sqsuper.engine.document import Document
    from sqsuper.engine.store import Store

    Handler = Callable[["Api", "Request"], Answer]

# Clients compare it: the version of the API that is spoken.
API_VERSION = "0.5.5"

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


class Request:
    """One request.

    `method` and `target` as sent; `body`: its whole content; `connection`: the number of the
    connection it came on.
    """

    __slots__ = ("body", "connection", "method", "query", "target")

    def __init__(
        self, method: bytes, target: bytes, body: bytes = b"", connection: int = 0
    ) -> None:
        self.method = method
        self.target = target
        self.body = body
        self.connection = connection
        self.query = Query(b"")

    @property
    def text(self) -> bytes:
        """The scroll text: a POST's body, or `s` where there is none. Not checked."""
        if self.method == b"POST" and self.body:
            return self.body
        return self.query.raw(b"s") or b""


class Api:
    """Answers requests on one store.

    `host`: what `status` without a phext calls the tenant. `reading`: of coordinates.
    """

    def __init__(self, store: Store, reading: Reading, host: str = "sqsuper") -> None:
        self._store = store
        self._reading = reading
        self._host = host

    def check_path(self, method: bytes, target: bytes) -> None:
        """Raise NotFoundError or WrongMethodError for what `answer` would answer so.

        To be asked before a body is read.
        """
        _endpoint(method, targets.split(target)[0])

    def answer(self, request: Request) -> Answer:
        """Do what a request asks. Errors of the engine are answers; no other is raised."""
        path, query = targets.split(request.target)
        try:
            handler = _endpoint(request.method, path)
            request.query = Query(query)
            return handler(self, request)
        except EngineError as error:
            return failure(error)

    def _name(self, request: Request) -> str:
        name = request.query.text(b"p")
        if not name:
            raise BadParameterError(
                "p", "p, the phext's name, is missing: parameters belong in the query"
            )
        return name

    def _coordinate(self, request: Request) -> str | None:
        if self._reading.lenient:
            # Bytes that are no text do not count there either.
            return (request.query.raw(b"c") or b"").decode("utf-8", "replace")
        return request.query.text(b"c")

    def _version(self, _request: Request) -> Answer:
        return Answer(API_VERSION.encode("ascii"))

    def _load(self, request: Request) -> Answer:
        name = self._name(request)
        self._store.load(name)
        return Answer(f"Loaded {name}.phext".encode())

    def _select(self, request: Request) -> Answer:
        name = self._name(request)
        self._store.check(name)
        key = self._reading.of_read(self._coordinate(request))
        filename = request.query.raw(b"f") or b""
        extension = filename.decode("utf-8", "replace").rpartition(".")
        return Answer(
            self._store.get(name, key),
            content_type=CONTENT_TYPES.get(extension[2].lower()) if extension[1] else None,
        )

    def _insert(self, request: Request) -> Answer:
        def appended(document: Document, pieces: Mapping[int, bytes]) -> dict[int, bytes]:
            return {key: document.get(key) + piece for key, piece in pieces.items()}

        return Answer(b"Inserted %d bytes" % self._write(request, appended))

    def _update(self, request: Request) -> Answer:
        def replaced(_document: Document, pieces: Mapping[int, bytes]) -> Mapping[int, bytes]:
            return pieces

        return Answer(b"Updated %d bytes" % self._write(request, replaced))

    def _write(
        self,
        request: Request,
        change: Callable[[Document, Mapping[int, bytes]], Mapping[int, bytes]],
    ) -> int:
        name = self._name(request)
        self._store.check(name)
        key = self._reading.of_write(self._coordinate(request))
        text = request.text
        texts.check_utf8(text)
        if request.query.raw(b"splice") == b"1":
            pieces = texts.splice(text, key)
        else:
            texts.check_single(text)
            pieces = {key: text}
        self._store.apply(name, lambda document: change(document, pieces))
        return len(text)

    def _delete(self, request: Request) -> Answer:
        name = self._name(request)
        self._store.check(name)
        key = self._reading.of_write(self._coordinate(request))
        removed = len(self._store.get(name, key))
        self._store.apply(name, lambda _document: {key: b""})
        return Answer(b"Removed %d bytes" % removed)

    def _toc(self, request: Request) -> Answer:
        snapshot = self._store.snapshot(self._name(request))
        return streamed(lambda: views.toc(snapshot))

    def _get(self, request: Request) -> Answer:
        name = self._name(request)
        own = self._store.own_text(name)
        if own is not None:
            length, pieces = own
            return Answer(pieces=pieces, length=length)
        snapshot = self._store.snapshot(name)
        return streamed(snapshot.pieces, snapshot.length)

    def _checksum(self, request: Request) -> Answer:
        snapshot = self._store.snapshot(self._name(request))
        return Answer(views.checksum(snapshot.pieces()).encode("ascii"))

    def _delta(self, request: Request) -> Answer:
        snapshot = self._store.snapshot(self._name(request))
        listing = request.text
        texts.check_utf8(listing)
        difference = views.delta(snapshot, views.client_checksums(listing, self._reading))
        return streamed(difference.pieces, difference.length)

    def _where(self, request: Request) -> Answer:
        self._store.check(self._name(request))
        text = request.text
        texts.check_utf8(text)
        algorithm = "checksum" if request.query.raw(b"algo") == b"checksum" else "xor"
        limit = views.parse_limit(request.query.raw(b"limit"))
        coordinate = views.infer_coordinate(text, algorithm, limit)
        return Answer(
            f"Calculated coordinate {coordinate} for input"
            f" (algo={algorithm}, limit={limit}).".encode("ascii")
        )

    def _status(self, request: Request) -> Answer:
        name = request.query.text(b"p")
        if name:
            snapshot = self._store.snapshot(name)
            hosting, length = f"{name}.phext", snapshot.length
            # As SQ: an empty phext has one empty scroll.
            scrolls = len(snapshot.keys) or 1
        else:
            totals = self._store.totals()
            hosting, length, scrolls = self._host, totals.length, totals.scrolls
        return Answer(
            f"Hosting: {hosting}\nConnection ID: {request.connection}\n"
            f"Phext Size: {length}\nScrolls: {scrolls}".encode()
        )

    def _json_export(self, request: Request) -> Answer:
        snapshot = self._store.snapshot(self._name(request))
        return streamed(lambda: views.json_export(snapshot))

    def _list(self, _request: Request) -> Answer:
        from json import dumps  # noqa: PLC0415  # costs 1 ms that few engines need

        return Answer(dumps(self._store.names(), ensure_ascii=False).encode("utf-8"))


_READ = (b"GET", b"HEAD")
_ENDPOINTS: dict[bytes, tuple[tuple[bytes, ...], Handler]] = {
    b"version": (_READ, Api._version),
    b"load": ((b"GET",), Api._load),
    b"select": (_READ, Api._select),
    b"insert": ((b"GET", b"POST"), Api._insert),
    b"update": ((b"GET", b"POST"), Api._update),
    b"delete": ((b"GET", b"POST", b"DELETE"), Api._delete),
    b"toc": (_READ, Api._toc),
    b"get": (_READ, Api._get),
    b"export": (_READ, Api._get),
    b"checksum": (_READ, Api._checksum),
    b"delta": ((b"GET", b"POST", b"HEAD"), Api._delta),
    b"where": ((b"POST",), Api._where),
    b"status": (_READ, Api._status),
    b"json-export": (_READ, Api._json_export),
    b"list": (_READ, Api._list),
}


def _endpoint(method: bytes, path: bytes) -> Handler:
    path = targets.merge_slashes(path)
    endpoint = _ENDPOINTS.get(path[len(targets.API) :])
    if endpoint is None or not path.startswith(targets.API):
        raise NotFoundError
    methods, handler = endpoint
    if method not in methods:
        raise WrongMethodError([*(known.decode("ascii") for known in methods), "OPTIONS"])
    return handler
