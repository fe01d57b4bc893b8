"""An answer's body on its way, piece by piece, as the kernel takes it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqsuper.engine.answer import Answer
    from sqsuper.engine.files import OpenFile, ReadFile
    from sqsuper.engine.service import Service
    from sqsuper.sockets import Connection

# Of a file, at a time.
_FILE_BYTES = 1 << 20
_SENDFILE = hasattr(os, "sendfile")


class Sending:
    """Sends the body of one answer, which has `pieces` or a `file`; its head is out.

    `sent`: called when all of it was given to the connection, unless that is closed. A body
    that is not as long as was announced ends the connection.
    """

    __slots__ = (
        "_connection",
        "_file",
        "_left",
        "_pieces",
        "_scheduled",
        "_sent",
        "_service",
        "over",
    )

    def __init__(
        self, service: Service, connection: Connection, answer: Answer, sent: Callable[[], None]
    ) -> None:
        self._service = service
        self._connection = connection
        self._file: OpenFile | ReadFile | None = answer.file
        self._pieces: Iterator[bytes] | None = answer.pieces
        self._left = answer.length or 0
        self._sent = sent
        self._scheduled = False
        self.over = False
        """Whether there is no more to give to the connection."""

    def go_on(self) -> None:
        """Send further pieces in the turns to come."""
        if not self._scheduled and not self.over:
            self._scheduled = True
            self._service.turns.add(self._step)

    def drained(self) -> None:
        """Go on as there is room again: the first piece waits for nobody."""
        if not self._scheduled and not self.over:
            self._scheduled = True
            if self._step():
                self._service.turns.add(self._step)

    def drop(self) -> None:
        """Send no more, and let go of the document's version, or the file."""
        self.over = True
        self._pieces = self._file = None

    def _step(self) -> bool:
        """Send a piece. False: the kernel is full, or there are no more."""
        self._scheduled = self._send()
        return self._scheduled

    def _send(self) -> bool:
        connection = self._connection
        if connection.closed:
            return False
        sent = self._send_file() if self._file is not None else self._send_piece()
        # None: the kernel takes nothing; `drained` tells when it does.
        if connection.closed or sent is None:
            return False
        self._service.bytes += sent
        self._left -= sent
        if self._left < 0 or (not sent and self._left):
            # Less than was announced, as when a file shrank, or more: no filling, no cutting.
            connection.abort()
            return False
        if self._left:
            return not connection.pending
        self.drop()
        self._sent()
        return False

    def _send_piece(self) -> int:
        piece = b"" if self._pieces is None else next(self._pieces, b"")
        if piece and len(piece) <= self._left:
            self._connection.send(piece)
        return len(piece)

    def _send_file(self) -> int | None:
        file = self._file
        assert file is not None
        try:
            if not _SENDFILE or file.fd < 0:
                piece = file.read()[: self._left]
                self._connection.send(piece)
                return len(piece)
            count = min(self._left, _FILE_BYTES)
            sent = self._connection.send_file(file.fd, file.position, count)
        except OSError:
            return 0
        file.position += sent or 0
        return sent


def whole(answer: Answer) -> bytes:
    """Return a body that is sent at once; shorter than announced where it cannot be read."""
    if answer.file is None:
        return b"" if answer.pieces is None else b"".join(answer.pieces)
    try:
        return answer.file.read_all()
    except OSError:
        return b""
