"""The supervisor's pipes: key and tokens come in, events go out, its end is ours."""

from __future__ import annotations

import os
from contextlib import suppress

from sqsuper.engine.keyring import Keyring
from sqsuper.engine.options import UsageError, parse_live

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.options import Options
    from sqsuper.sockets import Loop

_READ_BYTES = 65_536
# Ten thousand tokens take a third of it.
_MAX_LINE = 16 << 20


class ControlError(Exception):
    """A line from the supervisor that cannot be meant so; `str()` says why, without it."""


class Control:
    """Reads the control pipe in a loop.

    `opened(keyring)`: called once, with the first line's key and tokens. `ended()`: called
    once, at the pipe's end. `failed(error)`: called with ControlError for a malformed line,
    which changes nothing. `pinged(number)`: called for each question whether the loop turns.
    `adjusted(options)`: called with other options that hold from now on.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        tenant: str,
        *,
        opened: Callable[[Keyring], None],
        ended: Callable[[], None],
        failed: Callable[[ControlError], None],
        pinged: Callable[[int], None],
        adjusted: Callable[[Options], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._tenant = tenant
        self._opened = opened
        self._ended = ended
        self._failed = failed
        self._pinged = pinged
        self._adjusted = adjusted
        self._buffer = bytearray()
        self._keyring: Keyring | None = None
        os.set_blocking(fd, False)
        loop.register(fd, self)

    def readable(self) -> None:
        """Read what is there (for the loop)."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.hung_up()
            return
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            try:
                self._take(line)
            except ControlError as error:
                self._failed(error)
        if len(self._buffer) > _MAX_LINE:
            self._buffer.clear()
            self._failed(ControlError("a control line is too long"))

    def writable(self) -> None:
        """Never asked for."""

    def hung_up(self) -> None:
        """End: nobody holds the other end (for the loop)."""
        self._loop.unregister(self._fd)
        self._ended()

    def _take(self, line: bytes) -> None:
        import json  # noqa: PLC0415  # not needed by who starts an engine by hand

        try:
            message = json.loads(line)
            tokens = message.get("tokens") if isinstance(message, dict) else None
            key = message.get("key") if isinstance(message, dict) else None
            ping = message.get("ping") if isinstance(message, dict) else None
            words = message.get("options") if isinstance(message, dict) else None
        except ValueError:
            # Its text would show a key.
            raise ControlError("a control line is not JSON") from None
        if self._keyring is None:
            if not isinstance(key, str) or not key:
                raise ControlError("the first control line has no key")
            keyring = Keyring(self._tenant, key)
            self._replace(keyring, [] if tokens is None else tokens)
            self._keyring = keyring
            self._opened(keyring)
        elif tokens is not None:
            self._replace(self._keyring, tokens)
        if words is not None:
            self._adjusted(_options(words))
        if type(ping) is int:
            self._pinged(ping)
        elif ping is not None:
            raise ControlError("a control line's ping is no number")

    @staticmethod
    def _replace(keyring: Keyring, tokens: object) -> None:
        if not isinstance(tokens, list) or not all(isinstance(each, dict) for each in tokens):
            raise ControlError("a control line's tokens are no list of objects")
        try:
            keyring.replace(tokens)
        except ValueError as error:
            raise ControlError(str(error)) from None


def _options(words: object) -> Options:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ControlError("a control line's options are no list of words")
    try:
        return parse_live(words)
    except UsageError as error:
        raise ControlError(f"a control line's options: {error}") from None


class Pulse:
    """What an answered ping tells beside that the loop turns.

    `lag`: the longest turn of the loop since the last ping, in seconds: so long others waited.
    `requests` answered and bytes `moved` at the tenant's own port since the start. `inflight`:
    requests that are being worked on, wherever they came from. `storage`: bytes that count for
    the quota, None as long as they were not measured.
    """

    __slots__ = ("inflight", "lag", "moved", "requests", "storage")

    def __init__(
        self, *, lag: float, requests: int, moved: int, inflight: int, storage: int | None
    ) -> None:
        self.lag = lag
        self.requests = requests
        self.moved = moved
        self.inflight = inflight
        self.storage = storage


class Report:
    """Writes events to the supervisor, if there is one; what it does not take is lost."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_blocking(fd, False)

    def ready(self) -> None:
        """Tell that requests are served."""
        self._write(b'{"event": "ready"}\n')

    def standby(self) -> None:
        """Tell that all is loaded, and only the data directory is still another engine's."""
        self._write(b'{"event": "standby"}\n')

    def pong(self, ping: int, pulse: Pulse) -> None:
        """Answer the ping of that number."""
        storage = b"null" if pulse.storage is None else b"%d" % pulse.storage
        self._write(
            b'{"event": "pong", "ping": %d, "lag": %.6f, "requests": %d, "bytes": %d,'
            b' "inflight": %d, "storage": %b}\n'
            % (ping, pulse.lag, pulse.requests, pulse.moved, pulse.inflight, storage)
        )

    def _write(self, line: bytes) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.write(self._fd, line)
