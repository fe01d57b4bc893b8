"""The admin listener as a service: what it listens on, its token, and all that is served there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from sqsuper import tokens, whereabouts
from sqsuper.admin import files
from sqsuper.admin.api import Api
from sqsuper.admin.control import Control
from sqsuper.admin.guard import Guard
from sqsuper.admin.page.pages import Pages
from sqsuper.admin.routing import Route, Router
from sqsuper.admin.site import AdminSite
from sqsuper.config.diff import listeners
from sqsuper.config.model import Config, Tenant
from sqsuper.passed_sockets import server_endpoint
from sqsuper.slices import Slices

TOKEN_FILE = "admin.token"  # noqa: S105 - a file's name

log = Logger()


@attrs.define(eq=False)
class Listening:
    """One endpoint that is bound."""

    endpoint: str
    port: Any


@attrs.frozen(eq=False)
class Prepared:
    """What `AdminService.prepare` made: to be committed, or withdrawn."""

    config: Config
    new: Sequence[Listening]
    going: Sequence[Listening]


class AdminService(Service):
    """Serves the admin API, the status page and further `routes` on what `admin.listen` names.

    Without a token in the configuration a random one is in `<run_dir>/admin.token` while it
    runs; where it listens is in `<run_dir>/admin.json`. `startService` gives a Deferred that
    fires when every endpoint is bound, and fails with the reactor's own error; `stopService` one
    that fires when nothing is left.
    """

    def __init__(
        self,
        config: Config,
        control: Control,
        reactor: Any,
        *,
        routes: Sequence[Route] = (),
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        self.guard = Guard(reactor.seconds)
        self.api = Api(control, self.guard, healthy=self._is_up, metrics=metrics, clock=reactor)
        self._config = config
        self._reactor = reactor
        self._pages = Pages(control, self.guard, reactor)
        router = Router([*self.api.routes, *self._pages.routes, *routes])
        self._site = AdminSite(router, self.guard, reactor)
        self._listening: list[Listening] = []
        self._stopping = False
        self._generated: bytes | None = None

    def _is_up(self) -> bool:
        return bool(self.running) and not self._stopping

    # Service

    def startService(self) -> Deferred[None]:
        super().startService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._apply(self._config)
        self._pages.start()
        for endpoint in self._config.admin.listen:
            self._listening.append(await self._bind(endpoint))
        self._say_where()

    def about_to_stop(self) -> None:
        """From now on `/health` tells that the service stops."""
        self._stopping = True

    def stopService(self) -> Deferred[None]:
        self._stopping = True
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        listening, self._listening = self._listening, []
        for one in listening:
            await maybeDeferred(one.port.stopListening)
        self._pages.stop()
        self._site.close_all()
        with contextlib.suppress(OSError):
            os.unlink(self._config.run_dir / whereabouts.FILE)
        if self._generated is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._token_file(self._config))

    def addresses(self) -> list[Any]:
        """Return what it is bound to, in the order of binding."""
        return [one.port.getHost() for one in self._listening]

    # Another configuration

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> Prepared:
        """Bind what is new; raises what the reactor does, and all is as it was then."""
        bind, close = listeners(self._config.admin.listen, config.admin.listen)
        new: list[Listening] = []
        try:
            for endpoint in bind:
                new.append(await self._bind(endpoint))
        except BaseException:
            await _close(new)
            raise
        left = list(close)
        going = []
        for one in self._listening:
            if one.endpoint in left:
                left.remove(one.endpoint)
                going.append(one)
        return Prepared(config, new, going)

    async def commit(self, prepared: Prepared) -> None:
        """Go over to what was prepared; another token ends all sessions."""
        self._apply(prepared.config)
        kept = [one for one in self._listening if one not in prepared.going]
        self._listening = [*kept, *prepared.new]
        self._say_where()
        await _close(prepared.going)

    async def withdraw(self, prepared: Prepared) -> None:
        """Undo what was prepared."""
        await _close(prepared.new)

    # Parts

    async def _bind(self, endpoint: str) -> Listening:
        port = await server_endpoint(self._reactor, endpoint).listen(self._site)
        return Listening(endpoint, port)

    def _apply(self, config: Config) -> None:
        self._config = config
        admin = config.admin
        digest = admin.token_sha256
        if digest is None:
            if self._generated is None:
                self._generated = self._generate(config)
            digest = self._generated
        self.guard.apply(digest, admin.hosts, config.gateway.wrong_tokens_per_minute)

    def _generate(self, config: Config) -> bytes:
        token = tokens.make()
        file = self._token_file(config)
        files.replace(file, token + "\n")
        log.info("the admin token is in {file}", file=str(file))
        return tokens.digest(token)

    def _say_where(self) -> None:
        reached = [whereabouts.bound(one.endpoint, one.port.getHost()) for one in self._listening]
        text = whereabouts.text_of(address for address in reached if address is not None)
        file = self._config.run_dir / whereabouts.FILE
        try:
            files.replace(file, text)
        except OSError as error:  # a full disk must not undo a reload
            log.warn("{file} was not written: {error}", file=str(file), error=error.strerror)

    @staticmethod
    def _token_file(config: Config) -> Path:
        return config.run_dir / TOKEN_FILE


async def _close(listening: Sequence[Listening]) -> None:
    for one in listening:
        try:
            await maybeDeferred(one.port.stopListening)
        except Exception:
            log.failure("an admin listener was not closed cleanly")
