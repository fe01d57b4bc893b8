"""Several operations in one request: all or none, durable together, answered together."""

from __future__ import annotations

import xxhash

from sqsuper.engine import texts
from sqsuper.engine.errors import BadBatchError, BatchTooLargeError, EngineError
from sqsuper.engine.transaction import Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.coordinates import Reading
    from sqsuper.engine.loaded import Phext
    from sqsuper.engine.store import Store

MAX_OPERATIONS = 1000
MAX_BYTES = 8 << 20
# Of all scrolls that are shown, and of all that are looked at: nobody else is answered meanwhile.
MAX_SHOWN_BYTES = 16 << 20
MAX_READ_BYTES = 256 << 20
_KEYS = {"op", "p", "c", "s"}
_OPERATIONS = ("select", "update", "insert", "delete")


class Operation:
    """One operation, checked as far as it can be without looking at a phext."""

    __slots__ = ("coordinate", "name", "op", "text")

    def __init__(self, op: str, name: str, coordinate: str | None, text: bytes) -> None:
        self.op = op
        self.name = name
        self.coordinate = coordinate
        self.text = text


def parse(body: bytes) -> list[Operation]:
    """Read a batch: a JSON list of objects with `op`, `p`, `c` and, for writes, `s`.

    Raises BadBatchError, BatchTooLargeError, BadTextError.
    """
    from json import loads  # noqa: PLC0415  # costs 1 ms that few engines need

    if len(body) > MAX_BYTES:
        raise BatchTooLargeError(f"a batch has at most {MAX_BYTES} bytes")
    texts.check_utf8(body)
    try:
        entries = loads(body)
    except (ValueError, RecursionError):
        raise BadBatchError(None, "the body is no JSON") from None
    if not isinstance(entries, list):
        raise BadBatchError(None, "the body is no JSON list of operations")
    if len(entries) > MAX_OPERATIONS:
        raise BatchTooLargeError(f"a batch has at most {MAX_OPERATIONS} operations")
    return [_operation(index, entry) for index, entry in enumerate(entries)]


def _operation(index: int, entry: object) -> Operation:
    if not isinstance(entry, dict):
        raise BadBatchError(index, "it is no JSON object")
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        raise BadBatchError(index, f"'{unknown[0]}' is not known: op, p, c and s are")
    op, name, coordinate = entry.get("op"), entry.get("p"), entry.get("c")
    if op not in _OPERATIONS:
        raise BadBatchError(index, f"op is one of {', '.join(_OPERATIONS)}")
    if not isinstance(name, str) or not name:
        raise BadBatchError(index, "p, the phext's name, is missing")
    if coordinate is not None and not isinstance(coordinate, str):
        raise BadBatchError(index, "c is no text")
    text = entry.get("s", "")
    if not isinstance(text, str):
        raise BadBatchError(index, "s is no text")
    try:
        name.encode("utf-8")
        return Operation(op, name, coordinate, text.encode("utf-8"))
    except UnicodeEncodeError:
        raise BadBatchError(index, "half a surrogate pair is no text") from None


class _Scroll:
    """What a scroll is after the operations so far; adding to it costs what is added alone."""

    __slots__ = ("_checksum", "_parts", "length")

    def __init__(self, text: bytes) -> None:
        self._checksum = xxhash.xxh3_128(text)
        self._parts = [text]
        self.length = len(text)

    def add(self, text: bytes) -> None:
        self._checksum.update(text)
        self._parts.append(text)
        self.length += len(text)

    @property
    def text(self) -> bytes:
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    @property
    def tag(self) -> str:
        return f'"{self._checksum.hexdigest()}"'


class Batch:
    """Applies operations to a store, each seeing what those before it did.

    `run` returns the results for JSON, in order, and the group of the journal to wait for.
    """

    def __init__(self, store: Store, reading: Reading, operations: list[Operation]) -> None:
        self._store = store
        self._reading = reading
        self._operations = operations
        # By place and key: those that were looked at
        self._scrolls: dict[bytes, dict[int, _Scroll]] = {}
        self._shown = 0
        self._read = 0

    def run(self) -> tuple[list[dict[str, object]], int]:
        """Raises EngineError, of which `operation` is the index, and Unloaded: nothing changed."""
        phexts = self._open()
        written: dict[bytes, tuple[Phext, dict[int, None]]] = {}
        results = []
        for index, operation in enumerate(self._operations):
            phext = phexts[operation.name]
            try:
                key = self._key(operation)
                results.append(self._apply(operation, phext, key))
            except EngineError as error:
                raise BadBatchError(index, str(error), error) from None
            if operation.op != "select":
                written.setdefault(phext.place, (phext, {}))[1][key] = None
        transaction = Transaction(self._store)
        for place, (phext, keys) in written.items():
            scrolls = self._scrolls[place]
            transaction.change(phext, {key: scrolls[key].text for key in keys})
        group = transaction.commit()
        shown = [phext.group for phext in phexts.values()]
        return results, max([group, *shown])

    def _open(self) -> dict[str, Phext]:
        phexts: dict[str, Phext] = {}
        by_place: dict[bytes, Phext] = {}
        for index, operation in enumerate(self._operations):
            if operation.name not in phexts:
                try:
                    phext = self._store.open(operation.name)
                except EngineError as error:
                    raise BadBatchError(index, str(error), error) from None
                # Two names may be one file.
                phexts[operation.name] = by_place.setdefault(phext.place, phext)
        return phexts

    def _key(self, operation: Operation) -> int:
        if operation.op == "select":
            return self._reading.of_read(operation.coordinate)
        return self._reading.of_write(operation.coordinate)

    def _apply(self, operation: Operation, phext: Phext, key: int) -> dict[str, object]:
        scrolls = self._scrolls.setdefault(phext.place, {})
        text = operation.text
        if operation.op == "update":
            texts.check_single(text)
            scroll = scrolls[key] = _Scroll(text)
            return {"bytes": len(text), "etag": scroll.tag}
        found = scrolls.get(key)
        if found is None:
            before = phext.document.get(key)
            self._read += len(before)
            if self._read > MAX_READ_BYTES:
                raise BatchTooLargeError(f"a batch reads at most {MAX_READ_BYTES} bytes")
            found = scrolls[key] = _Scroll(before)
        if operation.op == "select":
            self._shown += found.length
            if self._shown > MAX_SHOWN_BYTES:
                raise BatchTooLargeError(f"a batch shows at most {MAX_SHOWN_BYTES} bytes")
            return {"s": found.text.decode("utf-8"), "etag": found.tag}
        if operation.op == "delete":
            scroll = scrolls[key] = _Scroll(b"")
            return {"bytes": found.length, "etag": scroll.tag}
        texts.check_single(text)
        found.add(text)
        return {"bytes": len(text), "etag": found.tag}
