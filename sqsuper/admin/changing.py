"""How a change of the configuration is made: written, gone over to, or put back.

One after another for the whole configuration, since each is written against what is in force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool

from sqsuper.admin import entries
from sqsuper.admin.errors import BadRequestError, ConflictError
from sqsuper.config.model import Config, Tenant
from sqsuper.config.overlay import Patch
from sqsuper.reloading.outcome import Outcome, Result
from sqsuper.reloading.service import API, Reload

T = TypeVar("T")
Change = Callable[[Tenant], Tenant]


class Changing:
    """Use it as `async with`: only so is what is in force what will be changed."""

    def __init__(self, reload: Reload, reactor: Any) -> None:
        self._reload = reload
        self._reactor = reactor
        self._lock = DeferredLock()

    async def __aenter__(self) -> Changing:
        await self._lock.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._reload.config

    def in_thread(self, call: Callable[[], T]) -> Deferred[T]:
        """Call what waits for the disk. An OSError becomes a ConflictError that tells it."""
        done: Deferred[T] = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), lambda: _told(call)
        )
        return done

    # In a file of ours

    async def read(self, tenant: Tenant) -> dict[str, Any]:
        """Return a tenant's entry as it stands. Raises ConflictError."""
        return await self.in_thread(lambda: entries.read(tenant))

    async def put(self, name: str, entry: dict[str, Any]) -> None:
        """Write an entry that is checked by itself; go over to it once all is read and checked.

        Raises BadRequestError where it is at fault for a refusal, else ConflictError.
        """
        config = self.config
        undo = await self.in_thread(lambda: entries.write(config, name, entry))
        outcome = await self._reload.reload(API)
        if outcome.result is Result.REFUSED:
            await self.in_thread(undo)
            own = str(entries.file_of(config, name))
            ours = own in outcome.text or f"already {name}'s" in outcome.text
            kind = BadRequestError if ours else ConflictError
            raise kind(f"the configuration is refused: {outcome.text}")

    async def amend(self, name: str, entry: dict[str, Any], change: Change) -> None:
        """Write an entry, and go over to what `change` makes of the tenant, which is the same.

        For what cannot clash with anything: nothing is read. Raises ConflictError.
        """
        config = self.config
        undo = await self.in_thread(lambda: entries.write(config, name, entry))
        await self._go_over(name, change, undo)

    async def drop(self, name: str) -> None:
        """Remove a tenant's file, and the tenant with it. Raises ConflictError."""
        config = self.config
        undo = await self.in_thread(lambda: entries.remove(config, name))
        await self._go_over(name, None, undo)
        await self.note(name, lambda _: Patch())

    # In the overlay

    async def note(self, name: str, patch: Callable[[Patch], Patch]) -> None:
        """Change what the overlay says, of which nothing need be gone over to."""
        config = self.config
        await self.in_thread(lambda: entries.patch(config, name, patch))

    async def overlay(self, name: str, patch: Callable[[Patch], Patch], change: Change) -> None:
        """As `amend`, with the overlay instead of the tenant's own file. `change` marks it."""
        config = self.config
        undo = await self.in_thread(lambda: entries.patch(config, name, patch))
        await self._go_over(name, change, undo)

    async def _go_over(self, name: str, change: Change | None, undo: entries.Undo) -> None:
        def amended(config: Config) -> Config:
            found = []
            for one in config.tenants:
                if one.name != name:
                    found.append(one)
                elif change is not None:
                    found.append(change(one))
            return attrs.evolve(config, tenants=tuple(found))

        outcome: Outcome = await self._reload.amend(amended, API)
        if outcome.result is Result.REFUSED:
            await self.in_thread(undo)
            raise ConflictError(f"it is refused: {outcome.text}")


def _told(call: Callable[[], T]) -> T:
    try:
        return call()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ConflictError(f"nothing could be written: {where}{error.strerror}") from error


def marked(tenant: Tenant, name: str, is_so: bool = True) -> Tenant:
    """Return it marked as, or no more as, changed by the overlay in what `name` says."""
    others = tuple(one for one in tenant.origin.overlay if one != name)
    overlay = (*others, name) if is_so else others
    return attrs.evolve(tenant, origin=attrs.evolve(tenant.origin, overlay=overlay))
