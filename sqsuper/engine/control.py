"""The supervisor's pipes: key and tokens come in, events go out, its end is ours."""

from __future__ import annotations

import os

from sqsuper.engine.keyring import Keyring
from sqsuper.engine.options import UsageError, parse_live
from sqsuper.sockets.capabilities import HERE

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
    `adjusted(options)`: called with other options that hold from now on. `held(number)`: called
    to have everything saved, and the files left as they are; `released(number)`: to end that.
    `stopped()`: called to stop, as a signal tells where there are such.
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
        held: Callable[[int], None],
        released: Callable[[int], None],
        stopped: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._tenant = tenant
        self._opened = opened
        self._ended = ended
        self._failed = failed
        self._adjusted = adjusted
        self._numbered = {"ping": pinged, "hold": held, "release": released}
        self._stopped = stopped
        self._buffer = bytearray()
        self._keyring: Keyring | None = None
        if HERE.pipes:
            os.set_blocking(fd, False)
            loop.register(fd, self)
        else:
            from sqsuper.engine.piped import Piped  # noqa: PLC0415  # for few systems

            Piped(loop, fd, self._took)

    def readable(self) -> None:
        """Read what is there (for the loop)."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._took(data)

    def _took(self, data: bytes) -> None:
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
        try:
            message = _loads(line)
        except ValueError:
            # Its text would show a key.
            raise ControlError("a control line is not JSON") from None
        if not isinstance(message, dict):
            message = {}
        tokens, key, words = message.get("tokens"), message.get("key"), message.get("options")
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
        if message.get("stop") is True and self._stopped is not None:
            self._stopped()
        for name, call in self._numbered.items():
            number = message.get(name)
            if type(number) is int:
                call(number)
            elif number is not None:
                raise ControlError(f"a control line's {name} is no number")

    @staticmethod
    def _replace(keyring: Keyring, tokens: object) -> None:
        if not isinstance(tokens, list) or set(map(type, tokens)) - {dict}:
            raise ControlError("a control line's tokens are no list of objects")
        try:
            keyring.replace(tokens)
        except ValueError as error:
            raise ControlError(str(error)) from None


_decode: Callable[[str], tuple[object, int]] | None = None


def _loads(line: bytes) -> object:
    global _decode  # noqa: PLW0603  # once: to import it again is not free
    if _decode is None:
        from json import JSONDecoder  # noqa: PLC0415  # not for who starts an engine by hand

        _decode = JSONDecoder().raw_decode
    text = line.decode().strip()
    message, end = _decode(text)
    if end != len(text):
        raise ValueError("more than one value")
    return message


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


_READY_AT = b'{"event": "ready", "port": %d}\n'


class Report:
    """Writes events to the supervisor, if there is one; what it does not take is lost."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None and HERE.pipes:
            os.set_blocking(fd, False)

    def ready(self, port: int | None = None) -> None:
        """Tell that requests are served, the gateway's at `port` if it was to be a free one."""
        self._write(b'{"event": "ready"}\n' if port is None else _READY_AT % port)

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

    def held(self, hold: int, lost: int) -> None:
        """Tell that files stay as they are for the hold of that number.

        `lost`: how many phexts could not be saved before.
        """
        self._write(b'{"event": "held", "hold": %d, "lost": %d}\n' % (hold, lost))

    def released(self, hold: int, *, kept: bool) -> None:
        """Tell that the hold of that number is over; `kept`: it lasted until it was released."""
        self._write(
            b'{"event": "released", "hold": %d, "kept": %b}\n'
            % (hold, b"true" if kept else b"false")
        )

    def _write(self, line: bytes) -> None:
        if self._fd is not None:
            try:  # noqa: SIM105  # less is touched for a first line
                os.write(self._fd, line)
            except OSError:
                pass
