"""Several operations in one request: all or none, durable together, answered together."""

from __future__ import annotations

from sqsuper.engine import texts
from sqsuper.engine.conditions import etag
from sqsuper.engine.errors import BadBatchError, BatchTooLargeError, EngineError
from sqsuper.engine.transaction import Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.coordinates import Reading
    from sqsuper.engine.loaded import Phext
    from sqsuper.engine.store import Store

MAX_OPERATIONS = 1000
MAX_BYTES = 8 << 20
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


class Batch:
    """Applies operations to a store, each seeing what those before it did.

    `run` returns the results for JSON, in order, and the group of the journal to wait for.
    """

    def __init__(self, store: Store, reading: Reading, operations: list[Operation]) -> None:
        self._store = store
        self._reading = reading
        self._operations = operations

    def run(self) -> tuple[list[dict[str, object]], int]:
        """Raises EngineError, of which `operation` is the index, and Unloaded: nothing changed."""
        phexts = self._open()
        transaction = Transaction(self._store)
        results = []
        for index, operation in enumerate(self._operations):
            try:
                results.append(self._apply(operation, phexts[operation.name], transaction))
            except EngineError as error:
                transaction.undo()
                raise BadBatchError(index, str(error), error) from None
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

    def _apply(
        self, operation: Operation, phext: Phext, transaction: Transaction
    ) -> dict[str, object]:
        document = phext.document
        if operation.op == "select":
            text = document.get(self._reading.of_read(operation.coordinate))
            return {"s": text.decode("utf-8"), "etag": _tag(text)}
        key = self._reading.of_write(operation.coordinate)
        if operation.op == "delete":
            removed = len(document.get(key))
            transaction.change(phext, {key: b""})
            return {"bytes": removed, "etag": _tag(b"")}
        text = operation.text
        texts.check_single(text)
        result = document.get(key) + text if operation.op == "insert" else text
        transaction.change(phext, {key: result})
        return {"bytes": len(text), "etag": _tag(result)}


def _tag(text: bytes) -> str:
    return etag(text).decode("ascii")
