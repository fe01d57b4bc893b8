"""Listening sockets, their connections, the sweep over deadlines, and the end of it all."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from functools import partial

from sqsuper.engine.exchange import Exchange
from sqsuper.engine.guesses import DEFAULT_PER_MINUTE, Guesses
from sqsuper.engine.service import Service
from sqsuper.http1 import answers
from sqsuper.sockets import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.api import Api
    from sqsuper.engine.commits import Commits
    from sqsuper.engine.keyring import Keyring
    from sqsuper.engine.service import Limits
    from sqsuper.engine.turns import Turns
    from sqsuper.sockets import Loop

DEFAULT_MAX_CONNECTIONS = 10_000
_EXHAUSTED_SECONDS = 60.0
_AF_UNIX = getattr(socket, "AF_UNIX", None)
_AF_UNIX = None if _AF_UNIX is None else int(_AF_UNIX)


class Server:
    """Serves one API on any number of listening sockets, in one loop.

    `max_connections`: over it a connection gets 503 and is closed unread.
    `max_connections_per_address`: likewise, of one address; None: no limit.
    `wrong_tokens_per_minute`: over it an address' unknown tokens get 429. `wall_clock`: Unix
    seconds. `log`: takes one line.
    """

    def __init__(
        self,
        loop: Loop,
        api: Api,
        turns: Turns,
        commits: Commits,
        limits: Limits,
        *,
        wall_clock: Callable[[], float],
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        max_connections_per_address: int | None = None,
        wrong_tokens_per_minute: int = DEFAULT_PER_MINUTE,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._loop = loop
        self._api = api
        self._turns = turns
        self._commits = commits
        self._limits = limits
        self._wall_clock = wall_clock
        self._max_connections = max_connections
        self._max_per_address = max_connections_per_address
        self._addresses: dict[str, int] = {}
        self._clients = 0
        # One count for all ports: an address is the same client on each.
        self._guesses = Guesses(wrong_tokens_per_minute)
        self._log = log_line if log is None else log
        self._listeners: list[Listener] = []
        self._services: list[Service] = []
        self._own: list[Service] = []
        self._exchanges: set[Exchange] = set()
        self._count = 0
        self._exhausted_at: float | None = None
        self._stopped: Callable[[], None] | None = None
        shortest = answers.LINGER_SECONDS
        for seconds in (
            limits.head_timeout,
            limits.idle_timeout,
            limits.body_timeout,
            limits.send_timeout,
        ):
            if seconds is not None:
                shortest = min(shortest, seconds)
        loop.every(min(1.0, max(0.05, shortest / 4)), self._sweep)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._exchanges)

    @property
    def inflight(self) -> int:
        """How many requests are being worked on."""
        return sum(exchange.working for exchange in self._exchanges)

    @property
    def own_requests(self) -> int:
        """How many requests were answered but the gateway's."""
        return sum(service.requests for service in self._own)

    @property
    def own_bytes(self) -> int:
        """How many bytes moved, both ways, but the gateway's."""
        return sum(service.bytes for service in self._own)

    def serve(self, sock: socket.socket, keyring: Keyring, *, gateway: bool = False) -> None:
        """Accept on `sock`, which listens already.

        A Unix socket is the gateway's, as is one that is said to be: it takes the key alone,
        and the gateway keeps the times. Any other is the tenant's own port: it takes the
        tenant's tokens too.
        """
        unix = super(socket.socket, sock).family == _AF_UNIX  # past the enumeration
        behind = unix or gateway
        service = Service(
            self._loop,
            self._api,
            self._turns,
            self._commits,
            self._limits.behind_gateway() if behind else self._limits,
            lookup=keyring.lookup_key if behind else keyring.lookup,
            wall_clock=self._wall_clock,
            closed=self._closed,
            report=self._report,
            guesses=self._guesses,
        )
        self._services.append(service)
        if not behind:
            self._own.append(service)
        take = self._accepted_of_gateway if gateway else self._accepted_at_port
        accepted = partial(self._accepted if unix else take, service)
        self._listeners.append(Listener(self._loop, sock, accepted, self._exhausted))

    def adjust(
        self,
        limits: Limits,
        *,
        max_connections: int,
        max_connections_per_address: int | None,
        wrong_tokens_per_minute: int,
    ) -> None:
        """Go on with other limits, on open connections too."""
        self._limits = limits
        self._max_connections = max_connections
        self._max_per_address = max_connections_per_address
        self._guesses.allow(wrong_tokens_per_minute)
        for service in self._services:
            service.adjust(limits if service in self._own else limits.behind_gateway())
        for exchange in self._exchanges:
            exchange.relimit()

    def stop(self, stopped: Callable[[], None], grace: float) -> None:
        """Accept nothing more, let requests under way end, then call `stopped` once.

        What lasts longer than `grace` seconds is cut.
        """
        if self._stopped is not None:
            return
        self._stopped = stopped
        for listener in self._listeners:
            listener.close()
        for service in self._services:
            service.stopping = True
        # In the next turn: what the kernel holds already is no idle connection.
        self._loop.after(0.0, self._end_idle)
        self._loop.after(grace, self.close)

    def close(self) -> None:
        """End everything at once."""
        for listener in self._listeners:
            listener.close()
        for exchange in list(self._exchanges):
            exchange.abort()

    def _end_idle(self) -> None:
        for exchange in list(self._exchanges):
            exchange.stop()
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopped is not None and not self._exchanges:
            stopped = self._stopped
            self._stopped = _nothing
            stopped()

    def _accepted_of_gateway(self, service: Service, sock: socket.socket) -> None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted(service, sock)

    def _accepted_at_port(self, service: Service, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            address = str(sock.getpeername()[0])
        except OSError:
            sock.close()  # gone again
            return
        self._accepted(service, sock, address)

    def _accepted(self, service: Service, sock: socket.socket, address: str | None = None) -> None:
        of_address = 0 if address is None else self._addresses.get(address, 0)
        # The gateway counts its own: clients at the tenant's port must not lock it out.
        if address is not None and (
            self._clients >= self._max_connections
            or (self._max_per_address is not None and of_address >= self._max_per_address)
        ):
            self._turn_away(sock)
            return
        if address is not None:
            self._addresses[address] = of_address + 1
            self._clients += 1
        self._count += 1
        self._exchanges.add(Exchange(service, sock, self._count, address))

    def _turn_away(self, sock: socket.socket) -> None:
        answer = answers.error(
            503,
            "overloaded",
            "too many connections",
            connection=answers.CLOSE,
            fields=(b"Retry-After: 1\r\n",),
        )
        with sock:
            try:
                sock.send(answer)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def _closed(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)
        address = exchange.address
        if address is not None:
            self._clients -= 1
            left = self._addresses[address] - 1
            if left:
                self._addresses[address] = left
            else:
                del self._addresses[address]
        for listener in self._listeners:
            listener.room()
        self._check_stopped()

    def _sweep(self) -> None:
        now = self._loop.now
        for exchange in list(self._exchanges):
            exchange.sweep(now)

    def _report(self, error: BaseException) -> None:
        report(error, self._log)

    def _exhausted(self, error: OSError) -> None:
        if self._exhausted_at is None or self._loop.now - self._exhausted_at >= _EXHAUSTED_SECONDS:
            self._exhausted_at = self._loop.now
            self._log(f"accepting waits for free descriptors: {error.strerror}")


def _nothing() -> None:
    pass


def report(error: BaseException, log: Callable[[str], None] | None = None) -> None:
    """Log an exception that nobody expected, by default on standard error."""
    write = log_line if log is None else log
    write("Traceback (most recent call last):")
    # By hand: the module for it takes more memory than the whole of a small tenant.
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        write(f'  File "{code.co_filename}", line {step.tb_lineno}, in {code.co_name}')
        step = step.tb_next
    write(f"{type(error).__name__}: {error}")


def log_line(line: str) -> None:
    """Write a line to standard error. Where that cannot take it, it is lost, and nothing else."""
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
