"""The one facade over supervisor, gateway, reload and files that the admin API and page use.

Every method is to be called in the reactor's thread. A change is written first, and answered
once gateway and supervisor have gone over to it; where they refuse, what was written is put
back. What is done to the configuration is done one after another, what is done to an instance
is not: no tenant waits for another's stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

from sqsuper.admin import entries, files, views
from sqsuper.admin.archives import Archives
from sqsuper.admin.audit import Audit
from sqsuper.admin.changing import Changing, marked
from sqsuper.admin.credentials import TOKEN_KEYS, Credentials, new_token
from sqsuper.admin.errors import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnavailableError,
)
from sqsuper.admin.guard import Who
from sqsuper.admin.ports import check_port, next_port
from sqsuper.admin.review import Review
from sqsuper.admin.snapshot import snapshot_of
from sqsuper.admin.tally import Tally
from sqsuper.backup.service import Backups
from sqsuper.config.model import Config, Tenant
from sqsuper.config.values import parse_tenant_name
from sqsuper.gateway.statistics import Statistics, Totals
from sqsuper.reloading.service import Reload
from sqsuper.supervisor.service import Supervisor
from sqsuper.supervisor.tenant_logs import Line


class Gateway(Protocol):
    """What is asked of the gateway, however many processes it is."""

    @property
    def wrong_tokens(self) -> int:
        """How many requests came with an unknown token."""

    def statistics(self, tenant: str) -> Statistics:
        """Return what was counted of a tenant since the start."""

    def totals(self) -> Totals:
        """Return what was counted in all since the start."""


class Control:
    """See the module's text. `wall()`: seconds since the epoch.

    `used(digest)`: when a token was last admitted, in those seconds; None: not known to be.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        gateway: Gateway,
        reload: Reload,
        backups: Backups,
        audit: Audit,
        used: Callable[[bytes], float | None],
        reactor: Any,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.supervisor = supervisor
        self.gateway = gateway
        self.wall = wall
        self._reload = reload
        self._audit = audit
        self._reactor = reactor
        self._changing = Changing(reload, reactor)
        self.credentials = Credentials(
            self._changing, audit, entry=self.entry, used=used, wall=wall
        )
        """The tenants' tokens."""
        self.review = Review(reload, self._changing, audit)
        """The configuration as a whole."""
        self.archives = Archives(backups, audit, lambda: reload.config)
        """The tenants' backups."""
        self.tally = Tally()
        self._storage: dict[str, int] = {}
        self._leaving: set[str] = set()
        """Removed, with data that is not put aside yet."""
        supervisor.events.watch(self.tally.take)
        supervisor.fleet.observers.append(self.tally)
        supervisor.health.listeners.append(self._take_pulse)
        supervisor.storage.listeners.append(self._take_storage)

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._reload.config

    # What is

    def tenants(self, after: str = "") -> Iterator[dict[str, Any]]:
        """Give the tenants whose names come after `after`, as `T` of the OpenAPI file, by name.

        Other things may happen between one and the next; what was removed meanwhile is not given.
        """
        lives = self.supervisor.lives
        for tenant in self.config.tenants:
            if tenant.name > after and tenant.name in lives:
                yield views.tenant_of(self._known(tenant))

    def tenant(self, name: str) -> dict[str, Any]:
        """Return one tenant as `T`. Raises NotFoundError."""
        return views.tenant_of(self._known(self.entry(name)))

    def stats(self, name: str) -> dict[str, Any]:
        """Return one tenant's `T` with all figures. Raises NotFoundError."""
        told = self.gateway.statistics(name).as_json()
        samples = self.supervisor.monitor.samples(name)
        return views.stats_of(self._known(self.entry(name)), samples, told)

    def entry(self, name: str) -> Tenant:
        """Return a tenant of the configuration in force. Raises NotFoundError."""
        for tenant in self.config.tenants:
            if tenant.name == name and name in self.supervisor.lives:
                return tenant
        raise NotFoundError("there is no such tenant")

    def why(self, name: str) -> dict[str, Any]:
        """Explain a tenant's state (see `supervisor.why`). Raises NotFoundError."""
        self.entry(name)
        return self.supervisor.why(name).as_json()

    def events(self, name: str | None = None, last: int = 1000) -> list[dict[str, Any]]:
        """Return the last events, of one tenant or all, oldest first. Raises NotFoundError."""
        if name is not None:
            self.entry(name)
        found = [
            event for event in self.supervisor.events.recent if name is None or event.tenant == name
        ]
        return [views.event_of(event) for event in found[max(0, len(found) - last) :]]

    def lines(self, name: str, last: int) -> list[Line]:
        """Return the last lines that a tenant's instance printed. Raises NotFoundError."""
        self.entry(name)
        found = self.supervisor.logs.recent(name)
        return found[max(0, len(found) - last) :]

    def follow(self, name: str, told: Callable[[Sequence[Line]], None]) -> Callable[[], None]:
        """Call `told` with a tenant's further lines; return what ends that."""
        self.entry(name)

        def take(tenant: str, lines: Sequence[Line]) -> None:
            if tenant == name:
                told(lines)

        return self.supervisor.logs.follow(take)

    def storage(self, name: str) -> int | None:
        """Return the bytes that a tenant stores, as its embedded engine said or as was measured.

        None: nothing is known yet.
        """
        return self._storage.get(name)

    def restarts(self, name: str) -> int:
        """Return how often a tenant was restarted after a failure."""
        return self.tally.restarts[name]

    # What runs

    async def start(self, name: str, who: Who) -> dict[str, Any]:
        """Start a tenant's instance, whoever stopped it. Raises NotFoundError, ConflictError."""
        self._check_enabled(name)
        async with self._changing as changing:
            await changing.note(name, lambda patch: attrs.evolve(patch, stopped=False))
        self.entry(name)
        self.supervisor.start(name)
        return self._done(name, who, "start")

    async def stop(self, name: str, who: Who) -> dict[str, Any]:
        """Stop a tenant's instance; it stays so, also over a restart of sqsuper, until `start`.

        Answers when the process is gone. Raises NotFoundError.
        """
        if self.entry(name).enabled:
            async with self._changing as changing:
                await changing.note(name, lambda patch: attrs.evolve(patch, stopped=True))
            self.entry(name)
            await self.supervisor.stop(name, by_hand=True)
        return self._done(name, who, "stop")

    async def restart(self, name: str, who: Who) -> dict[str, Any]:
        """Restart it as planned; requests are held. Answers when the next one takes requests.

        Raises NotFoundError, ConflictError, UnavailableError if it did not come to that.
        """
        self._check_enabled(name)
        async with self._changing as changing:
            await changing.note(name, lambda patch: attrs.evolve(patch, stopped=False))
        self.entry(name)
        well = await self.supervisor.restart(name)
        done = self._done(name, who, "restart")
        if not well:
            raise UnavailableError(f"{name} did not come up again at once: ask why", **done)
        return done

    async def restart_all(self, max_unavailable: int, who: Who) -> dict[str, Any]:
        """Restart all that run, so many at a time; requests are held. Answers when it is over.

        After a failure no further restart begins: `left` are those that were not touched.
        """
        rolled = await self.supervisor.rolling_restart(max_unavailable=max_unavailable)
        done = {name: list(names) for name, names in attrs.asdict(rolled).items()}
        self._audit(who, "restart", None, f"{len(done['restarted'])} tenants")
        return done

    async def reset(self, name: str, who: Who) -> dict[str, Any]:
        """Forget a tenant's failures, and try it at once if it waits. Raises NotFoundError."""
        self.entry(name)
        self.supervisor.reset(name)
        return self._done(name, who, "reset")

    def _check_enabled(self, name: str) -> None:
        if not self.entry(name).enabled:
            raise ConflictError(f"{name} is disabled: enable it first")

    def _done(self, name: str, who: Who, action: str) -> dict[str, Any]:
        self._audit(who, f"tenant.{action}", name)
        life = self.supervisor.lives.get(name)
        return {"tenant_id": name, "state": "removed" if life is None else life.state.value}

    # What is configured

    async def add(self, name: str, given: Mapping[str, Any], who: Who) -> dict[str, Any]:
        """Add a tenant with one new token, which only this answer shows.

        `given`: keys of a tenant (`quota_mb`, `admin_email`, `port`: a number, or `none`; ...),
        and of the token (`credentials.TOKEN_KEYS`). Without `port` the next free one of
        `port_range` is taken. Raises BadRequestError, ConflictError; nothing is changed then.
        """
        try:
            parse_tenant_name(name)
        except ValueError as error:
            raise BadRequestError(f"tenant_id must be {error}") from None
        keys = entries.without_files_alone(given)
        of_token = {key: keys.pop(key) for key in TOKEN_KEYS if key in keys}
        token, told = new_token(of_token, self.wall())
        async with self._changing as changing:
            config = self.config
            if any(tenant.name == name for tenant in config.tenants):
                raise ConflictError(f"there is a tenant {name} already: choose another name")
            if name in self._leaving:
                raise ConflictError(f"{name} is still being removed: try again in a moment")
            entries.check_place(config, name)
            if "port" not in keys:
                keys["port"] = await changing.in_thread(lambda: next_port(config))
            elif keys["port"] in (None, "none"):
                del keys["port"]
            entry = {**keys, "token_sha256": [told]}
            tenant = entries.checked(config, name, entry)
            check_port(config, tenant)
            await changing.put(name, entry)
        self._audit(who, "tenant.add", name)
        return {
            "tenant_id": name,
            "api_key": token,
            "data_dir": str(tenant.data_dir),
            "status": self.tenant(name)["state"],
            "port": tenant.port,
        }

    async def change(self, name: str, given: Mapping[str, Any], who: Who) -> dict[str, Any]:
        """Change keys of a tenant in a file of ours; null takes a key out of it.

        Raises NotFoundError, BadRequestError, ConflictError; nothing is changed then.
        """
        keys = entries.without_files_alone(given)
        if not keys:
            raise BadRequestError('give the keys to change, such as {"quota_mb": 2000}')
        async with self._changing as changing:
            config, tenant = self.config, self.entry(name)
            entry = await changing.read(tenant)
            for key, value in keys.items():
                if value is None or (key == "port" and value == "none"):
                    entry.pop(key, None)
                else:
                    entry[key] = value
            check_port(config, entries.checked(config, name, entry))
            await changing.put(name, entry)
        self._audit(who, "tenant.change", name, ", ".join(sorted(keys)))
        return self.tenant(name)

    async def remove(self, name: str, who: Who) -> dict[str, Any]:
        """Remove a tenant of ours; its data is put aside, never deleted.

        Answers when its process is gone. Raises NotFoundError, ConflictError.
        """
        async with self._changing as changing:
            tenant = self.entry(name)
            entries.check_managed(tenant)
            await changing.drop(name)
            self._leaving.add(name)
        try:
            while name in self.supervisor.moving:
                await self.supervisor.moved()
            archive = await self._put_aside(tenant)
        finally:
            self._leaving.discard(name)
        self._storage.pop(name, None)
        self.tally.forget(name)
        self._audit(who, "tenant.remove", name, f"data in {archive}" if archive else "")
        return {"tenant_id": name, "status": "removed", "archive": archive}

    async def _put_aside(self, tenant: Tenant) -> str | None:
        """Return where the data of a tenant that is gone is now; None: it had none."""
        directory, root = tenant.data_dir, self.config.data_root
        if any(other.data_dir == directory for other in self.config.tenants):
            return str(directory)
        try:
            aside = await self._changing.in_thread(
                lambda: files.archive(directory, root, tenant.name, self.wall)
            )
        except ConflictError as error:
            self._log.error(
                "{tenant}: its data stays in {directory}: {why}",
                tenant=tenant.name,
                directory=str(directory),
                why=error.message,
            )
            return str(directory)
        return None if aside is None else str(aside)

    async def enable(self, name: str, who: Who) -> dict[str, Any]:
        """Let a tenant be served again. Raises NotFoundError, ConflictError."""
        async with self._changing as changing:
            tenant = self.entry(name)
            if not tenant.enabled and "disabled" in tenant.origin.overlay:
                await changing.overlay(
                    name,
                    lambda patch: attrs.evolve(patch, disabled=False),
                    lambda one: attrs.evolve(marked(one, "disabled", False), enabled=True),
                )
            elif not tenant.enabled:
                entry = await changing.read(tenant)
                entry.pop("enabled", None)
                await changing.amend(name, entry, lambda one: attrs.evolve(one, enabled=True))
        return self._done(name, who, "enable")

    async def disable(self, name: str, who: Who) -> dict[str, Any]:
        """Serve a tenant no more: requests get 403, its instance is stopped.

        Raises NotFoundError, ConflictError.
        """
        async with self._changing as changing:
            tenant = self.entry(name)
            if tenant.enabled and tenant.origin.managed:
                entry = {**await changing.read(tenant), "enabled": False}
                await changing.amend(name, entry, lambda one: attrs.evolve(one, enabled=False))
            elif tenant.enabled:
                await changing.overlay(
                    name,
                    lambda patch: attrs.evolve(patch, disabled=True),
                    lambda one: attrs.evolve(marked(one, "disabled"), enabled=False),
                )
        return self._done(name, who, "disable")

    # Parts

    def _known(self, tenant: Tenant) -> views.Known:
        return views.Known(
            tenant=tenant,
            life=self.supervisor.lives[tenant.name],
            snapshot=snapshot_of(self, tenant.name),
            now=self._reactor.seconds(),
            wall=self.wall(),
        )

    def _take_pulse(self, life: Any, message: Mapping[str, object]) -> None:
        storage = message.get("storage")
        if isinstance(storage, int):
            self._take_storage(life, storage)

    def _take_storage(self, life: Any, storage: int) -> None:
        self._storage[life.tenant.name] = storage
