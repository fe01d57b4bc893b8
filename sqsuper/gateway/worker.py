"""One worker: a gateway in a process of its own, on sockets it inherits, told what to do.

    python -I -c BOOT PATHS PARENT NUMBER WORKERS

Descriptors: 3 the control channel, 4 the board, from 5 on the listening sockets. Everything
else comes over the channel: first `begin`, `tenants` (in pages) and `ready`, then `serve`. The
worker answers `serving`, or `failed` with a line; it ends when it was told to `stop` and has
drained, or at once when the other end of the channel is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import (
    ILogObserver,
    Logger,
    LogLevel,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from sqsuper.config.model import Tenant
from sqsuper.gateway.board import Board
from sqsuper.gateway.channel import Channel, ChannelFactory
from sqsuper.gateway.commons import Shared
from sqsuper.gateway.messages import decode_config, decode_gateway, decode_tenant
from sqsuper.gateway.remote import RemoteInstances
from sqsuper.gateway.service import GatewayService
from sqsuper.gateway.shared_ports import InheritingReactor, Place
from sqsuper.instances import Full
from sqsuper.interpreter import FIND_OURS
from sqsuper.slices import Slices

CONTROL_FD = 3
BOARD_FD = 4
FIRST_PORT_FD = 5
# So many tenants are changed in one turn.
FEW = 50
# Tenants' counts in one message.
COUNTS_PAGE = 200

# What a new interpreter does first.
BOOT = FIND_OURS + (
    "from sqsuper.gateway.confinement import confine;"
    "confine(int(sys.argv.pop(1)));"
    "from sqsuper.gateway.worker import main;"
    "main(sys.argv[1:])"
)

log = Logger()


@attrs.frozen
class _Change:
    """What a worker goes over to; `sockets` are new ones, by their places."""

    tenants: list[Tenant]
    gone: list[str]
    gateway: dict[str, Any] | None
    sockets: list[tuple[Place, int]]


class Worker:
    """What a worker does with what it is told."""

    def __init__(self, reactor: Any, number: int, workers: int, board: Board) -> None:
        self._reactor = reactor
        self._channel = Channel(
            {
                "begin": self._begin,
                "tenants": self._take_tenants,
                "ready": self._take_ready,
                "full": self._take_full,
                "serve": self._serve,
                "settled": self._settled,
                "order": self._ordered,
                "wrong": self._wrong_elsewhere,
                "changing": self._take_changing,
                "change": self._change,
                "quiet": self._tell_when_quiet,
                "reopen": self.reopen,
                "ping": self._pinged,
                "stop": self.stop,
            },
            self._lost,
        )
        say, later = self._channel.say, reactor.callLater
        self._say = say
        self._instances = RemoteInstances(say, later, reactor.seconds)
        self._shared = Shared(board, number, say, reactor.seconds, later)
        self._begun: tuple[dict[str, Any], str, Sequence[Any], bool | None] | None = None
        self._tenants: list[list[Any]] = []
        self._full: dict[str, Full] = {}
        self._service: GatewayService | None = None
        self._stopping = False
        self._slices = Slices(reactor)
        self._inheriting: InheritingReactor | None = None
        self._changing: list[Tenant] = []
        self._changes: deque[_Change] = deque()
        self._asked: list[tuple[int, str]] = []
        self._going_over = False
        self._version = 0
        self._counting = False
        self._told_at = 0.0
        """Up to when it was told which tokens were used."""

    def start(self) -> None:
        """Listen to the channel and log to it."""
        sock = socket.socket(fileno=CONTROL_FD)
        sock.setblocking(False)
        self._reactor.adoptStreamConnection(
            sock.fileno(), socket.AF_UNIX, ChannelFactory(self._channel)
        )
        sock.close()
        globalLogBeginner.beginLoggingTo([_Told(self._channel)], redirectStandardIO=False)

    def stop(self) -> None:
        """Serve what is under way, then end. Idempotent."""
        if not self._stopping:
            self._stopping = True
            Deferred.fromCoroutine(self._stop()).addErrback(self._not_stopped)

    async def _stop(self) -> None:
        if self._service is not None:
            await self._service.stop_listening()
            self._say("deaf")
            await self._service.stopService()
            self._tell_tokens(self._service)
            for _ in self._tell_counts(self._service):
                pass
        self._channel.end()

    def _not_stopped(self, failure: Any) -> None:
        log.failure("the worker did not stop in order", failure)
        self._channel.end()

    def reopen(self) -> None:
        """Open the access log anew."""
        reopen = getattr(self._service, "reopen_logs", None)
        if reopen is not None:
            reopen()

    # What it is told

    def _begin(
        self, gateway: dict[str, Any], run_dir: str, places: list[Any], nested: bool | None
    ) -> None:
        with contextlib.suppress(OSError):
            os.chdir(run_dir)
        self._begun = (gateway, run_dir, places, nested)

    def _take_tenants(self, page: list[Any]) -> None:
        self._tenants += page

    def _take_ready(self, tenant: str, upstream: list[Any] | None) -> None:
        self._instances.changed(tenant, upstream)

    def _take_full(self, tenant: str, value: list[Any] | None) -> None:
        full = None if value is None else Full(*value)
        if self._service is not None:
            self._service.filled(tenant, full)
        elif full is not None:
            self._full[tenant] = full
        else:
            self._full.pop(tenant, None)

    def _serve(self, version: int, rates: dict[str, int]) -> None:
        assert self._begun is not None
        gateway, run_dir, places, nested = self._begun
        config = decode_config(gateway, run_dir, self._tenants)
        self._tenants = []
        self._version = version
        self._shared.rates.update(rates)
        inherited = [(Place(*place), FIRST_PORT_FD + at) for at, place in enumerate(places)]
        self._inheriting = InheritingReactor(self._reactor, inherited)
        self._service = GatewayService(
            config,
            self._instances,
            self._inheriting,
            nested=nested,
            commons=self._shared,
        )
        self._service.full.update(self._full)
        started = self._service.startService()
        started.addCallbacks(lambda _: self._say("serving"), self._failed)

    def _failed(self, failure: Any) -> None:
        error = failure.value
        line = str(error) or repr(error)
        log.failure("the worker cannot serve", failure)
        self._say("failed", " ".join(line.split()))

    def _settled(self, number: int, outcome: list[Any]) -> None:
        self._instances.settled(number, outcome)

    def _ordered(self, *order: Any) -> None:
        self._shared.ordered(*order)

    def _wrong_elsewhere(self, addresses: list[str]) -> None:
        if self._service is not None:
            for address in addresses:
                self._service.tokens.wrong_elsewhere(address)

    def _take_changing(self, page: list[Any]) -> None:
        self._changing += [decode_tenant(tenant) for tenant in page]

    def _change(
        self,
        version: int,
        gone: list[str],
        rates: dict[str, int],
        gateway: dict[str, Any] | None,
        places: list[Any],
    ) -> None:
        sockets = [(Place(*place), self._channel.handed()) for place in places]
        if self._service is None or version != self._version + 1:
            # Never on a channel in order; a new worker begins with what is right.
            log.error("a change of routes was missed; the worker begins anew")
            self.stop()
            return
        self._version = version
        self._shared.rates.update(rates)
        changed, self._changing = self._changing, []
        self._changes.append(_Change(changed, gone, gateway, sockets))
        if not self._going_over:
            self._going_over = True
            Deferred.fromCoroutine(self._go_over(self._service)).addErrback(self._not_changed)

    async def _go_over(self, service: GatewayService) -> None:
        """Go over to all changes, one after another."""
        while self._changes:
            change = self._changes.popleft()
            for place, fd in change.sockets:
                assert self._inheriting is not None, "it serves"
                self._inheriting.inherit(place, fd)
            config = service.config
            if change.gateway is not None:
                config = attrs.evolve(config, gateway=decode_gateway(change.gateway))
            if change.gateway is None and len(change.tenants) <= FEW:
                service.change(change.tenants, change.gone)
                continue
            prepared = await service.prepare(config, change.tenants, change.gone, self._slices)
            await service.commit(prepared)
        self._going_over = False
        asked, self._asked = self._asked, []
        for number, tenant in asked:
            self._tell_when_quiet(number, tenant)

    def _not_changed(self, failure: Any) -> None:
        log.failure("the worker cannot go over to another configuration; it begins anew", failure)
        self.stop()

    def _pinged(self) -> None:
        if self._service is not None:
            self._tell_tokens(self._service)
            if not self._counting:
                self._counting = True
                telling = Deferred.fromCoroutine(self._slices.run(self._tell_counts(self._service)))
                telling.addBoth(self._told_counts)
        self._say("pong", {} if self._service is None else self._service.all_inflight())

    def _tell_tokens(self, service: GatewayService) -> None:
        """Tell which tokens were used since it was told last."""
        now = self._reactor.seconds()
        self._say("tokens", service.tokens.since(self._told_at), service.tokens.wrong)
        self._told_at = now

    def _tell_counts(self, service: GatewayService) -> Generator[None, None, None]:
        """Tell what was counted since it was told last, in pages."""
        page: list[Any] = []
        for counted in service.take_counts():
            page.append(counted)
            if len(page) == COUNTS_PAGE:
                self._say("counts", page)
                page = []
            yield
        self._say("counts", page)
        rejected, accepted = service.counts.take_gateway()
        self._say("gateway", rejected, accepted, service.connections, service.lag.worst)

    def _told_counts(self, result: Any) -> None:
        self._counting = False
        if isinstance(result, Failure):
            log.failure("what was counted could not be told", result)

    def _tell_when_quiet(self, number: int, tenant: str) -> None:
        if self._going_over:
            # Only then nobody is let in to it any more.
            self._asked.append((number, tenant))
            return
        if self._service is None:
            self._say("is_quiet", number)
        else:
            self._service.quiet(tenant).addCallback(lambda _: self._say("is_quiet", number))

    def _lost(self) -> None:
        if self._reactor.running:
            self._reactor.stop()


@implementer(ILogObserver)
class _Told:
    """Logs by telling the supervisor's process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __call__(self, event: Any) -> None:
        level = event.get("log_level", LogLevel.info)
        # Such as each factory that starts, by Twisted's old and new way to log.
        namespace = event.get("log_namespace", "")
        if namespace.startswith(("twisted.", "log_legacy")) and level < LogLevel.warn:
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text += "\n" + failure.getTraceback()
        if self._channel.is_open:
            self._channel.say("log", level.name, text)
        else:
            print(text, file=sys.stderr)  # noqa: T201


def main(argv: Sequence[str]) -> None:
    """Be a worker until told to stop."""
    number, workers = (int(word) for word in argv)
    for fd in range(CONTROL_FD, FIRST_PORT_FD):
        os.set_inheritable(fd, False)
    from twisted.internet import reactor as running  # noqa: PLC0415 - importing it installs it

    reactor: Any = running
    worker = Worker(reactor, number, workers, Board(BOARD_FD, workers))
    # All of these may come to every process of a service; some end a process by default.
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(worker.stop))
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(worker.reopen))
    worker.start()
    reactor.run(installSignalHandlers=False)
