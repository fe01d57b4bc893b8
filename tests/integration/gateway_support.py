"""A gateway alone, in a reactor of its own that runs in a thread, and raw clients of it."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor

from sqsuper.config.model import Config, Gateway, Origin, Scope, Settings, Tenant, Token
from sqsuper.gateway.service import GatewayService
from sqsuper.testing import FixedInstances, RecordingUpstream
from tests.running import eventually
from tests.tls_support import Made, client_context, wrap

Reactor: Any = SelectReactor
with suppress(ImportError):
    from twisted.internet.epollreactor import EPollReactor as Reactor

T = TypeVar("T")
ORIGIN = Origin(Path("tenants.yaml"), 1)
TIMEOUT = 15.0


class ReactorThread:
    """A reactor in a thread."""

    def __init__(self) -> None:
        self.reactor: Any = Reactor()
        self._thread = threading.Thread(
            target=self.reactor.run, kwargs={"installSignalHandlers": False}, daemon=True
        )
        self._thread.start()

    def call(self, what: Callable[[], T]) -> T:
        """Run `what` there; return its result (or, of a Deferred, that of the Deferred)."""
        done = threading.Event()
        result: list[Any] = []

        def settle(value: Any) -> None:
            result.append(value)
            done.set()

        def run() -> None:
            try:
                value = what()
            except BaseException as error:
                settle(error)
                return
            if isinstance(value, Deferred):
                value.addCallbacks(settle, lambda failure: settle(failure.value))
            else:
                settle(value)

        self.reactor.callFromThread(run)
        assert done.wait(TIMEOUT), "the reactor does not get to it"
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]  # type: ignore[no-any-return]

    def close(self) -> None:
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(TIMEOUT)


def tenant(
    name: str,
    *tokens: str,
    enabled: bool = True,
    read_only: tuple[str, ...] = (),
    more: tuple[Token, ...] = (),
    **settings: Any,
) -> Tenant:
    known = [Token(hashlib.sha256(token.encode()).digest()) for token in tokens]
    known += [
        Token(hashlib.sha256(token.encode()).digest(), scope=Scope.READ_ONLY) for token in read_only
    ]
    return Tenant(
        name,
        (*known, *more),
        Path("/nowhere"),
        ORIGIN,
        enabled=enabled,
        settings=Settings(**{"drain": 3.0, **settings}),
    )


@attrs.frozen
class Answer:
    """One answer off a raw stream. `fields`: in order, names in lower case."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    def all(self, name: str) -> list[str]:
        return [value for n, value in self.fields if n == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value


class Client:
    """A raw client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        self.sock = sock
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            for index in range(len(data)):
                self.sock.sendall(data[index : index + 1])

    def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer (a final one) by its framing; EOFError when it is not whole."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) ?(.*)", first)
        assert match, first
        fields = tuple(
            (name.lower(), value.strip()) for name, _, value in (ln.partition(":") for ln in lines)
        )
        status = int(match[1])
        found = dict(fields)
        if method == "HEAD" or status in (100, 204, 304):
            body = b""
        elif found.get("transfer-encoding") == "chunked":
            body = self._chunks()
        elif "content-length" in found:
            body = self._take(int(found["content-length"]))
        else:
            body = self._buffer + self.rest()
        return Answer(status, fields, body, head + b"\r\n\r\n" + body)

    def rest(self) -> bytes:
        """Read to the end of the stream; ConnectionError when it is reset."""
        taken, self._buffer = self._buffer, b""
        while data := self.sock.recv(262_144):
            taken += data
        return taken

    def until_reset(self) -> bytes:
        """Read until the stream ends with a reset; fail when it ends otherwise."""
        taken, self._buffer = self._buffer, b""
        while True:
            try:
                data = self.sock.recv(262_144)
            except ConnectionError:
                return taken
            assert data, "an orderly end"
            taken += data

    def close(self) -> None:
        self.sock.close()

    def _take(self, count: int) -> bytes:
        parts = [self._buffer]
        size = len(self._buffer)
        while size < count:
            data = self.sock.recv(262_144)
            if not data:
                raise EOFError
            parts.append(data)
            size += len(data)
        whole = b"".join(parts)
        self._buffer = whole[count:]
        return whole[:count]

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            while b"\r\n" not in self._buffer:
                self._more()
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line, 16)
            body += self._take(size)
            assert self._take(2) == b"\r\n"
            if not size:
                return bytes(body)

    def _more(self) -> None:
        data = self.sock.recv(262_144)
        if not data:
            raise EOFError
        self._buffer += data


class GatewayUnderTest:
    """A gateway for `alice` (token `tok`) and `bob` (token `bobtok`), unless told otherwise."""

    def __init__(
        self,
        thread: ReactorThread,
        run_dir: Path,
        *,
        tenants: tuple[Tenant, ...] | None = None,
        upstream: RecordingUpstream | None = None,
        instances: Any = None,
        settings: dict[str, Any] | None = None,
        nested: bool | None = None,
        tls: Made | None = None,
        **gateway: Any,
    ) -> None:
        settings = settings or {}
        if tenants is None:
            tenants = (tenant("alice", "tok", **settings), tenant("bob", "bobtok", **settings))
        listen = "tcp:0:interface=127.0.0.1" if tls is None else tls.endpoint()
        gateway.setdefault("listen", (listen,))
        self.tls = tls
        config = Config(
            Path("tenants.yaml"), run_dir, run_dir, gateway=Gateway(**gateway), tenants=tenants
        )
        self.instances: Any = instances if instances is not None else FixedInstances()
        if upstream is not None:
            for one in tenants:
                self.instances.upstreams[one.name] = upstream.upstream(one.name)
        self.thread = thread
        self.service = GatewayService(config, self.instances, thread.reactor, nested)
        thread.call(self.service.startService)
        self.addresses = thread.call(self.service.addresses)
        self._clients: list[Client] = []

    @property
    def port(self) -> int:
        return self.addresses[0].port  # type: ignore[attr-defined,no-any-return]

    def connect(self, receive_buffer: int | None = None) -> Client:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", self.port))
        if self.tls is not None:
            sock = wrap(sock, client_context(self.tls), "localhost")
            with suppress(ConnectionError, ssl.SSLEOFError):  # turned away
                sock.do_handshake()
        client = Client(sock)
        self._clients.append(client)
        return client

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Send on a connection of its own; return the first answer."""
        client = self.connect()
        client.send(data)
        try:
            return client.answer(method)
        finally:
            client.close()

    def call(self, what: Callable[[], T]) -> T:
        return self.thread.call(what)

    def inflight(self, name: str = "alice") -> int:
        return self.call(lambda: self.service.pool(name).inflight)

    def connections(self) -> int:
        return self.call(lambda: self.service._connections.total)

    def close(self) -> None:
        """Stop it; fail when a slot, a waiting request or a spooled byte is left."""
        for client in self._clients:
            client.close()
        self.call(self.service.stopService)
        eventually(lambda: self.connections() == 0, "all connections gone")
        for pool in self.service._pools:
            assert (pool.inflight, len(pool._waiting), len(pool._starting)) == (0, 0, 0)
        assert self.service._spool_room.used == 0


def request(
    target: str = "/api/v2/select?p=x",
    *fields: str,
    method: str = "GET",
    token: str = "tok",
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """Return a request; a body brings its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}", "Host: example.org"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines.extend(fields)
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
