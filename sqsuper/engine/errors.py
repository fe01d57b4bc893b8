"""What can go wrong in the engine; each error knows how it is answered.

`status` and `code` are the HTTP status and the machine code (`X-SQ-Code`); `str()` is one line
for people, without a path of the server.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class EngineError(Exception):
    """Base of the engine's errors."""

    status = 500
    code = "internal"


class BadRequestError(EngineError):
    """The request cannot be meant so (400)."""

    status = 400
    code = "bad_request"


class BadParameterError(BadRequestError):
    """A parameter's bytes are no UTF-8, or it is missing. `name`: the parameter."""

    code = "bad_parameter"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class BadCoordinateError(BadRequestError):
    """A coordinate that does not parse or is out of range. `text`: what was sent."""

    code = "bad_coordinate"

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 80 else text[:77] + "..."
        super().__init__(
            f"'{shown}' is no coordinate: a coordinate is nine numbers from 1 to 999,"
            " library.shelf.series/collection.volume.book/chapter.section.scroll,"
            " such as 1.1.1/1.1.1/1.1.1"
            if text
            else "c is missing: a write needs a coordinate, nine numbers from 1 to 999,"
            " library.shelf.series/collection.volume.book/chapter.section.scroll,"
            " such as 1.1.1/1.1.1/1.1.1"
        )
        self.text = text


class BadTextError(BadRequestError):
    """Scroll text that is not UTF-8. `offset`: of the first wrong byte."""

    code = "not_utf8"

    def __init__(self, offset: int) -> None:
        super().__init__(f"the text is not UTF-8: wrong byte at offset {offset}")
        self.offset = offset


class DelimiterInTextError(BadRequestError):
    """Scroll text that holds a phext delimiter. `offset` in bytes; `delimiter`: the byte."""

    code = "delimiter_in_text"

    def __init__(self, offset: int, delimiter: int, dimension: str) -> None:
        super().__init__(
            f"the text holds a phext delimiter, 0x{delimiter:02X} ({dimension} break), at offset"
            f" {offset}; with splice=1 the text is stored as a phext relative to c"
        )
        self.offset = offset
        self.delimiter = delimiter


class SpliceOverflowError(BadRequestError):
    """A spliced text that leads past 999 in some dimension."""

    code = "splice_overflow"

    def __init__(self, offset: int, dimension: str) -> None:
        super().__init__(f"the delimiter at offset {offset} leads past {dimension} 999")
        self.offset = offset
        self.dimension = dimension


class TooManyPiecesError(BadRequestError):
    """A spliced text of more scrolls than one request may write (413). `limit`: how many."""

    status = 413
    code = "too_many_pieces"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a spliced text has at most {limit} scrolls: send it in parts")
        self.limit = limit


class BadBatchError(BadRequestError):
    """A batch that is refused whole, nothing of it applied.

    `operation`: the index of the operation at fault, or None; `cause`: the error that it met
    alone, whose status and code this one has.
    """

    code = "bad_batch"

    def __init__(
        self, operation: int | None, reason: str, cause: EngineError | None = None
    ) -> None:
        super().__init__(reason if operation is None else f"operation {operation}: {reason}")
        self.operation = operation
        self.cause = cause
        if cause is not None:
            self.status = cause.status
            self.code = cause.code


class BatchTooLargeError(BadRequestError):
    """A batch past its limits (413)."""

    status = 413
    code = "batch_too_large"


class PreconditionError(EngineError):
    """A conditional request whose condition is false (412). `etag`: the scroll's present one."""

    status = 412
    code = "precondition_failed"

    def __init__(self, etag: bytes) -> None:
        super().__init__("the scroll is not what the request expects; nothing changed")
        self.etag = etag


class ForbiddenNameError(EngineError):
    """A phext name that is refused, or that leads to something that is no phext (403)."""

    status = 403
    code = "forbidden_name"

    def __init__(self) -> None:
        super().__init__("Forbidden: invalid phext path")


class NotFoundError(EngineError):
    """A path that is no endpoint (404)."""

    status = 404
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("Not Found")


class WrongMethodError(EngineError):
    """An endpoint that does not take the method (405). `allowed`: those it takes."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this endpoint takes {', '.join(allowed)}")
        self.allowed = tuple(allowed)


class StoreError(EngineError):
    """The data cannot be read or written. `name`: the phext's."""

    code = "store"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class NotUtf8FileError(StoreError):
    """A file on disk that is no UTF-8 and therefore no phext; it is never written."""

    code = "file_not_utf8"

    def __init__(self, name: str, offset: int) -> None:
        super().__init__(
            name,
            f"the file of phext '{name}' is not UTF-8 (wrong byte at offset {offset});"
            " it is neither read nor written",
        )
        self.offset = offset


class ReadError(StoreError):
    """The system could not read. `errno`: why."""

    code = "read_failed"

    def __init__(self, name: str, errno: int | None, why: str) -> None:
        super().__init__(name, f"phext '{name}' could not be read: {why}")
        self.errno = errno


class WriteError(StoreError):
    """The system could not write; memory and disk keep the old text. `errno`: why."""

    code = "write_failed"

    def __init__(self, name: str, errno: int | None, why: str) -> None:
        super().__init__(name, f"phext '{name}' could not be written: {why}; nothing changed")
        self.errno = errno


class NoSpaceError(WriteError):
    """The disk, or the system's quota, is full (507)."""

    status = 507
    code = "disk_full"


_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_error(name: str, error: BaseException) -> WriteError:
    """Return the error for a failed system call that a write needed."""
    number = error.errno if isinstance(error, OSError) else None
    why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    if number in _NO_SPACE:
        return NoSpaceError(name, number, why)
    return WriteError(name, number, why)


class OverQuotaError(StoreError):
    """A write that would grow the data past the tenant's quota (507). Sizes in bytes."""

    status = 507
    code = "quota"

    def __init__(self, name: str, size: int, quota: int) -> None:
        super().__init__(
            name, f"over quota: the data would be {size} bytes of {quota}; nothing changed"
        )
        self.size = size
        self.quota = quota


class PhextTooLargeError(StoreError):
    """A write that would grow a phext past its limit (507). Sizes in bytes."""

    status = 507
    code = "phext_too_large"

    def __init__(self, name: str, size: int, limit: int) -> None:
        super().__init__(
            name, f"phext '{name}' would be {size} bytes of {limit} allowed; nothing changed"
        )
        self.size = size
        self.limit = limit


class DirectoryError(EngineError):
    """The data directory cannot be used at all."""

    code = "data_directory"


class LockedError(DirectoryError):
    """Another process has the data directory. `holder`: its process id, or None."""

    def __init__(self, path: str, holder: int | None) -> None:
        who = "another process" if holder is None else f"process {holder}"
        super().__init__(f"data directory {path} is in use by {who}")
        self.holder = holder
