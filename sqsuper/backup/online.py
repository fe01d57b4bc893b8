"""Tenants' files while the service runs: of running instances, of stopped ones, put back."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import TenantError
from sqsuper.backup.holding import Hold
from sqsuper.backup.live import Live
from sqsuper.backup.making import Staged
from sqsuper.backup.restoring import Restored, place
from sqsuper.backup.staging import NoData, Stage
from sqsuper.backup.stopped import stage_stopped, unused
from sqsuper.config.model import Tenant
from sqsuper.supervisor.errors import DirectoryLockedError
from sqsuper.supervisor.instance import SERVING
from sqsuper.supervisor.lifecycle import Lifecycle
from sqsuper.supervisor.service import Supervisor

T = TypeVar("T")

ATTEMPTS = 60
_PAUSE = 0.5


class Online:
    """To be called in the reactor's thread.

    `check()`, of any thread, raises to give up. `spool()`: where copies may be for a while.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        reactor: Any,
        *,
        check: Callable[[], None],
        spool: Callable[[], Path],
    ) -> None:
        self._supervisor = supervisor
        self._reactor = reactor
        self._check = check
        self._spool = spool

    def in_thread(self, call: Callable[[], T]) -> Deferred[T]:
        """Call what waits for the disk."""
        pool = self._reactor.getThreadPool()
        done: Deferred[T] = deferToThreadPool(self._reactor, pool, call)
        return done

    async def stage(self, name: str) -> Staged:
        """Keep a tenant's files as they are at one moment, or one by one (command engine).

        Raises TenantError.
        """
        for _ in range(ATTEMPTS):
            self._check()
            life = self._supervisor.lives.get(name)
            if life is None:
                raise TenantError(name, "it was removed")
            staged = await self._try(life)
            if staged is not None:
                return staged
            await deferLater(self._reactor, _PAUSE)
        raise TenantError(name, "its instance neither stayed up nor stopped for long enough")

    async def _try(self, life: Lifecycle) -> Staged | None:
        tenant, process = life.tenant, life.process
        if not life.is_embedded:
            return await self._live(tenant)
        if process is None and not life.processes:
            try:
                return await self.in_thread(partial(stage_stopped, tenant))
            except DirectoryLockedError:
                return None  # it has begun to start
        if process is None or life.state not in SERVING:
            return None
        hold = Hold(tenant.name, process, self._reactor)
        staged: Staged | None = None
        try:
            if await hold.begin():
                staged = await self.in_thread(partial(Stage, tenant.name, tenant.data_dir))
        finally:
            kept = await hold.end()
        if staged is not None and not kept:
            await self.in_thread(staged.remove)
            return None
        return staged

    async def _live(self, tenant: Tenant) -> Staged:
        if not tenant.data_dir.is_dir():
            return NoData()
        live = partial(Live, tenant.name, tenant.data_dir, self._spool(), sleep=self._sleep)
        return await self.in_thread(live)

    def _sleep(self, seconds: float) -> None:
        self._check()
        time.sleep(seconds)

    async def place(
        self, came_from: str, draft: Draft, put_aside: Callable[[Draft], Path | None] | None
    ) -> Restored:
        """Put a draft where it belongs; requests wait meanwhile. Raises BackupError."""
        life = self._supervisor.lives.get(draft.tenant)
        if life is None:
            return await self.in_thread(partial(_placed, came_from, draft, put_aside))
        life.suspend()
        try:
            await life.stop("its data is restored")
            return await self.in_thread(partial(_placed, came_from, draft, put_aside))
        finally:
            life.resume()


def _placed(
    came_from: str, draft: Draft, put_aside: Callable[[Draft], Path | None] | None
) -> Restored:
    try:
        with unused(draft.tenant, draft.target):
            return place([(came_from, draft)], put_aside)[0]
    except DirectoryLockedError as error:
        raise TenantError(draft.tenant, f"{error}; end it first") from None
