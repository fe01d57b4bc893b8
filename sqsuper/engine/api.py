"""SQ's HTTP API: a request in, an answer out. No I/O but through the store."""

from __future__ import annotations

from sqsuper.engine import search, texts, views
from sqsuper.engine.answer import JSON, Answer, failure, unchanged
from sqsuper.engine.conditions import conditions_of, etag
from sqsuper.engine.content_types import type_of
from sqsuper.engine.errors import (
    BadParameterError,
    EngineError,
    NotFoundError,
    PreconditionError,
    WrongMethodError,
)
from sqsuper.engine.loaded import Full, Unloaded
from sqsuper.engine.query import Query
from sqsuper.http1 import target as targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqsuper.engine.coordinates import Reading
    from sqsuper.engine.document import Snapshot
    from sqsuper.engine.loaded import Phext
    from sqsuper.engine.request import Request
    from sqsuper.engine.store import Store
    from sqsuper.engine.turns import Job

    Handler = Callable[["Api", "Request"], Answer | Job[Answer]]

# Clients compare it: the version of the API that is spoken.
API_VERSION = "0.5.5"


class Api:
    """Answers requests on one store.

    `host`: what `status` without a phext calls the tenant. `reading`: of coordinates.
    """

    def __init__(self, store: Store, reading: Reading, host: str = "sqsuper") -> None:
        self._store = store
        self._reading = reading
        self._host = host

    def read_as(self, reading: Reading) -> None:
        """Read coordinates so from the next request on."""
        self._reading = reading

    @property
    def store(self) -> Store:
        """Where the phexts are."""
        return self._store

    def check_path(self, method: bytes, target: bytes) -> None:
        """Raise NotFoundError or WrongMethodError for what `answer` would answer so.

        To be asked before a body is read.
        """
        _endpoint(method, targets.split(target)[0])

    def answer(self, request: Request) -> Answer | Job[Answer]:
        """Do what a request asks, or return the job of doing it.

        Errors of the engine are answers; no other is raised.
        """
        path, query = targets.split(request.target)
        try:
            handler = _endpoint(request.method, path)
            request.query = Query(query)
            answer = handler(self, request)
        except EngineError as error:
            return failure(error)
        except (Unloaded, Full):
            return self._work(request, handler)
        return answer if isinstance(answer, Answer) else self._work(request, handler)

    def _work(self, request: Request, handler: Handler) -> Job[Answer]:
        # What was loaded stays until the request is answered, however many it needs.
        held: list[Phext] = []
        try:
            while True:
                try:
                    answer = handler(self, request)
                    return answer if isinstance(answer, Answer) else (yield from answer)
                except Full:
                    yield from self._store.room()
                    continue
                except Unloaded as unloaded:
                    missing = unloaded
                yield from self._store.loading(missing)
                loaded = self._store.phext_at(missing.place)
                if loaded is not None:
                    loaded.pins += 1
                    held.append(loaded)
        except EngineError as error:
            return failure(error)
        finally:
            if held:
                for phext in held:
                    phext.pins -= 1
                self._store.trim()

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

    def _load(self, request: Request) -> Job[Answer]:
        name = self._name(request)
        yield from self._store.load(name)
        return Answer(f"Loaded {name}.phext".encode())

    def _select(self, request: Request) -> Answer:
        name = self._name(request)
        self._store.check(name)
        key = self._reading.of_read(self._coordinate(request))
        conditions = conditions_of(request.fields)
        phext = self._store.open(name)
        text = phext.document.get(key)
        if conditions is not None:
            try:
                if conditions.is_unchanged(text):
                    return unchanged(etag(text), phext.group, name)
            except PreconditionError as error:
                return failure(error, phext.group, name)
        filename = request.query.raw(b"f")
        return Answer(
            text,
            content_type=None if filename is None else type_of(filename),
            etag=etag(text),
            after=phext.group,
            name=name,
            key=key if conditions is None else None,
        )

    def _insert(self, request: Request) -> Answer | Job[Answer]:
        return self._write(request, b"Inserted %d bytes", append=True)

    def _update(self, request: Request) -> Answer | Job[Answer]:
        return self._write(request, b"Updated %d bytes", append=False)

    def _write(self, request: Request, said: bytes, *, append: bool) -> Answer | Job[Answer]:
        name = self._name(request)
        self._store.check(name)
        key = self._reading.of_write(self._coordinate(request))
        text = request.text
        if len(text) > texts.LARGE_BYTES:
            return self._write_large(request, said, name, key, append=append)
        texts.check_utf8(text)
        if request.query.raw(b"splice") == b"1":
            changes = texts.splice(text, key)
        else:
            texts.check_single(text)
            changes = {key: text}
        return self._apply(request, said, name, key, changes, append=append)

    def _write_large(
        self, request: Request, said: bytes, name: str, key: int, *, append: bool
    ) -> Job[Answer]:
        text = request.text
        yield from texts.checking_utf8(text)
        changes: dict[int, bytes] = {}
        if request.query.raw(b"splice") == b"1":
            yield from texts.splicing(text, key, changes)
        else:
            yield from texts.checking_single(text)
            changes[key] = text
        return self._apply(request, said, name, key, changes, append=append)

    def _apply(
        self,
        request: Request,
        said: bytes,
        name: str,
        key: int,
        changes: dict[int, bytes],
        *,
        append: bool,
    ) -> Answer:
        conditions = conditions_of(request.fields)
        self._store.check_room()
        phext = self._store.open(name)
        document = phext.document
        if conditions is not None:
            try:
                conditions.check_write(document.get(key))
            except PreconditionError as error:
                return failure(error, phext.group, name)
        if append:
            changes = {each: document.get(each) + piece for each, piece in changes.items()}
        self._store.apply(phext, changes)
        return Answer(
            said % len(request.text), etag=etag(document.get(key)), after=phext.group, name=name
        )

    def _delete(self, request: Request) -> Answer:
        name = self._name(request)
        self._store.check(name)
        key = self._reading.of_write(self._coordinate(request))
        conditions = conditions_of(request.fields)
        self._store.check_room()
        phext = self._store.open(name)
        text = phext.document.get(key)
        if conditions is not None:
            try:
                conditions.check_write(text)
            except PreconditionError as error:
                return failure(error, phext.group, name)
        self._store.apply(phext, {key: b""})
        return Answer(b"Removed %d bytes" % len(text), etag=etag(b""), after=phext.group, name=name)

    def _batch(self, request: Request) -> Answer:
        # Costs start time that few engines need.
        from json import dumps  # noqa: PLC0415

        from sqsuper.engine import batch  # noqa: PLC0415

        operations = batch.parse(request.body)
        self._store.check_room()
        results, group = batch.Batch(self._store, self._reading, operations).run()
        name = operations[0].name if operations else ""
        return Answer(
            dumps(results, ensure_ascii=False).encode("utf-8"),
            content_type=JSON,
            after=group,
            name=name,
        )

    def _toc(self, request: Request) -> Job[Answer]:
        return self._streamed(request, views.toc, views.toc_lengths)

    def _json_export(self, request: Request) -> Job[Answer]:
        return self._streamed(request, views.json_export, views.json_lengths)

    def _streamed(
        self,
        request: Request,
        text: Callable[[Snapshot], Iterator[bytes]],
        lengths: Callable[[Snapshot], Iterator[int]],
    ) -> Job[Answer]:
        """Measure a text in pieces, so that it can be sent in pieces."""
        name = self._name(request)
        snapshot, group = yield from self._store.snapshot(name)
        length = 0
        for part in lengths(snapshot):
            length += part
            yield None
        return Answer(pieces=text(snapshot), length=length, after=group, name=name)

    def _get(self, request: Request) -> Job[Answer]:
        name = self._name(request)
        phext = self._store.open(name)
        file = self._store.file_of(phext)
        if file is not None:
            return Answer(file=file, length=phext.file_size, after=phext.group, name=name)
        snapshot, group = yield from self._store.snapshot(name)
        return Answer(pieces=snapshot.pieces(), length=snapshot.length, after=group, name=name)

    def _checksum(self, request: Request) -> Job[Answer]:
        name = self._name(request)
        snapshot, group = yield from self._store.snapshot(name)
        checksum = views.Checksum()
        for piece in snapshot.pieces():
            checksum.update(piece)
            yield None
        return Answer(checksum.digits(), after=group, name=name)

    def _delta(self, request: Request) -> Job[Answer]:
        name = self._name(request)
        self._store.check(name)
        listing = request.text
        yield from texts.checking_utf8(listing)
        client = yield from views.client_checksums(listing, self._reading)
        snapshot, group = yield from self._store.snapshot(name)
        difference = yield from views.delta(snapshot, client)
        return Answer(pieces=difference.pieces(), length=difference.length, after=group, name=name)

    def _search(self, request: Request) -> Job[Answer]:
        from json import dumps  # noqa: PLC0415  # costs 1 ms that few engines need

        name = self._name(request)
        self._store.check(name)
        low, high = search.bounds(request.query.text(b"prefix"))
        wanted = search.Search(
            search.needle(request.query.text(b"q")),
            low,
            high,
            ignoring_case=request.query.raw(b"i") == b"1",
            limit=search.limit_of(request.query.text(b"limit")),
        )
        snapshot, group = yield from self._store.snapshot(name)
        found = yield from wanted.run(snapshot)
        return Answer(
            dumps(found, ensure_ascii=False).encode("utf-8"),
            content_type=JSON,
            after=group,
            name=name,
        )

    def _where(self, request: Request) -> Job[Answer]:
        self._store.check(self._name(request))
        text = request.text
        yield from texts.checking_utf8(text)
        algorithm = "checksum" if request.query.raw(b"algo") == b"checksum" else "xor"
        limit = views.parse_limit(request.query.raw(b"limit"))
        coordinate = yield from views.infer_coordinate(text, algorithm, limit)
        return Answer(
            f"Calculated coordinate {coordinate} for input"
            f" (algo={algorithm}, limit={limit}).".encode("ascii")
        )

    def _status(self, request: Request) -> Answer | Job[Answer]:
        name = request.query.text(b"p")
        if not name:
            return self._totals(request)
        phext = self._store.open(name)
        document = phext.document
        # As SQ: an empty phext has one empty scroll.
        count = document.count or 1
        return self._figures(
            request, f"{name}.phext", document.length, count, after=phext.group, name=name
        )

    def _totals(self, request: Request) -> Job[Answer]:
        totals = yield from self._store.totals()
        return self._figures(
            request, self._host, totals.length, totals.scrolls, after=totals.group, name=""
        )

    def _figures(
        self, request: Request, hosting: str, length: int, scrolls: int, *, after: int, name: str
    ) -> Answer:
        return Answer(
            f"Hosting: {hosting}\nConnection ID: {request.connection}\n"
            f"Phext Size: {length}\nScrolls: {scrolls}".encode(),
            after=after,
            name=name,
        )

    def _list(self, _request: Request) -> Answer:
        from json import dumps  # noqa: PLC0415  # costs 1 ms that few engines need

        return Answer(
            dumps(self._store.names(), ensure_ascii=False).encode("utf-8"),
            after=self._store.commits.newest,
        )


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
    b"search": (_READ, Api._search),
    b"batch": ((b"POST",), Api._batch),
}


_ROUTES = {targets.API + name: endpoint for name, endpoint in _ENDPOINTS.items()}


def _endpoint(method: bytes, path: bytes) -> Handler:
    endpoint = _ROUTES.get(path) or _ROUTES.get(targets.merge_slashes(path))
    if endpoint is None:
        raise NotFoundError
    methods, handler = endpoint
    if method not in methods:
        raise WrongMethodError([*(known.decode("ascii") for known in methods), "OPTIONS"])
    return handler
