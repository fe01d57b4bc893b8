"""Backups while the service runs: on request, one at a time, and each day."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from sqsuper.backup import schedule, shelf
from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import BackupError, EndedError, WrongNameError
from sqsuper.backup.making import Made, Progress, Staged, make, retain
from sqsuper.backup.online import Online
from sqsuper.backup.restoring import Restored, unpack
from sqsuper.backup.targets import Wish, directory_of, drafts_for
from sqsuper.backup.walking import size_of
from sqsuper.config.model import Config
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.process import cancelled
from sqsuper.supervisor.service import Supervisor

T = TypeVar("T")

# The wall's clock may be set: it is looked at so often, in seconds.
LOOK = 60.0
# Others begin sooner after a start.
FIRST_LOOK = 2.0

PutAside = Callable[[Path, Path, str], "Path | None"]
"""Moves a directory, below the data root, of a tenant's name; returns where to."""


@attrs.define(eq=False)
class Work:
    """How far something is: `done` of `total` bytes (None: not known yet)."""

    done: int = 0
    total: int | None = None


@attrs.frozen
class Standing:
    """How it is with the daily backups. Times are seconds since the epoch.

    `last`: when the newest was made in which no tenant is missing, None without one; `overdue`:
    one that was due is missed.
    """

    last: float | None
    overdue: bool


class Backups(Service):
    """Makes and restores archives in the directory of the configuration.

    One at a time; others wait. Every method is to be called in the reactor's thread and raises
    BackupError. `stopService` gives a Deferred that fires when nothing is under way any more.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        supervisor: Supervisor,
        *,
        reactor: Any,
        put_aside: PutAside,
        wall: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
    ) -> None:
        """`wall()`: seconds since the epoch; `zone`: of the schedule, None is the system's."""
        self._config = config
        self._supervisor = supervisor
        self._reactor = reactor
        self._put_aside = put_aside
        self._wall = wall
        self._zone = zone
        self._online = Online(
            supervisor, reactor, check=self._check_ending, spool=lambda: self.directory
        )
        self._lock = DeferredLock()
        self._call: IDelayedCall | None = None
        self._ending = False
        self._busy = False
        self._last: float | None = None
        self._failed: float | None = None
        self._whole: float | None = None
        self._since: float | None = None
        """Since when it is known which there are."""

    @property
    def directory(self) -> Path:
        """Where the archives are."""
        return directory_of(self._config)

    # Service

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._ending = False
        self._look_in(FIRST_LOOK)

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self._ending = True
        self._call = cancelled(self._call)
        return Deferred.fromCoroutine(self._idle())

    async def _idle(self) -> None:
        await self._lock.acquire()
        self._lock.release()

    def apply(self, config: Config) -> None:
        """Go on with another configuration."""
        if config.backup != self._config.backup:
            self._failed = self._since = None
        self._config = config
        if self.running:
            self._look_in(FIRST_LOOK)

    # On request

    async def backup(self, tenants: Sequence[str] | None, work: Work | None = None) -> Made:
        """Make an archive of these tenants, or of all."""
        alone = tenants[0] if tenants is not None and len(tenants) == 1 else None
        return await self._made("all" if alone is None else f"tenant-{alone}", tenants, work)

    async def restore(self, name: str, wish: Wish, work: Work | None = None) -> list[Restored]:
        """Put tenants of an archive back. All are verified before the first is put in place."""
        archive, work = self._file(name), work or Work()
        async with self._turn():
            config = self._config
            unpacked = await self._threaded(partial(self._unpacked, config, archive, wish, work))
            drafts = list(unpacked)
            put_aside = partial(self._aside, config) if wish.replace else None
            done: list[Restored] = []
            try:
                for came_from, draft in drafts:
                    done.append(await self._online.place(came_from, draft, put_aside))
                    self._log.info(
                        "{tenant}: restored as {came_from} was in {archive}; before: {aside}",
                        tenant=draft.tenant,
                        came_from=came_from,
                        archive=archive.name,
                        aside=str(done[-1].aside),
                    )
                return done
            finally:
                await self._threaded(partial(_discard, drafts))

    async def archives(self) -> list[tuple[shelf.Shelved, int]]:
        """Return the archives there are, the newest first, each with its bytes."""
        return await self._threaded(partial(_shelf, self.directory))

    def next_at(self) -> float | None:
        """Return when the next daily one is due, in seconds since the epoch; None: never."""
        at = self._config.backup.at
        if at is None:
            return None
        return schedule.next_run(
            at, self._wall(), last=self._last, failed=self._failed, zone=self._zone
        )

    def standing(self) -> Standing | None:
        """Return how it is with the daily ones; None without a schedule, or not known yet."""
        at, now = self._config.backup.at, self._wall()
        if at is None or self._since is None:
            return None
        if self._whole is None:
            overdue = now - self._since >= schedule.PATIENCE
        else:
            overdue = schedule.is_overdue(at, now, last=self._whole, zone=self._zone)
        return Standing(self._whole, overdue)

    # Each day

    def _look_in(self, seconds: float) -> None:
        self._call = cancelled(self._call)
        if self._config.backup.at is not None and not self._ending:
            self._call = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._call = None
        if not self._busy:
            self._busy = True
            looking = Deferred.fromCoroutine(self._daily())
            looking.addErrback(self._broken)
            looking.addCallback(self._looked)

    def _broken(self, failure: Failure) -> None:
        self._failed = self._wall()
        self._log.failure("the daily backup failed", failure)

    def _looked(self, _: object) -> None:
        self._busy = False
        due = self.next_at()
        if due is not None:
            self._look_in(min(LOOK, max(1.0, due - self._wall())))

    async def _daily(self) -> None:
        try:
            self._last, self._whole = await self._threaded(partial(_last_daily, self.directory))
            if self._since is None:
                self._since = self._wall()
            due = self.next_at()
            if due is not None and due <= self._wall():
                await self._make_daily()
        except EndedError:
            return
        except BackupError as error:
            self._failed = self._wall()
            self._complain("failed", f"the daily backup failed, and is tried again: {error}")

    async def _make_daily(self) -> None:
        made = await self._made(shelf.DAILY, None, None)
        self._last, self._failed = made.contents.made, None
        if made.contents.complete:
            self._whole = made.contents.made
            gone = await self._threaded(partial(retain, self.directory, self._config.backup.keep))
            self._log.info(
                "daily backup: {file}, {bytes} bytes; {gone} older ones went",
                file=str(made.file),
                bytes=made.bytes,
                gone=len(gone),
            )
            return
        why = "; ".join(f"{one.tenant}: {one.why}" for one in made.contents.missing[:5])
        count = len(made.contents.missing)
        self._complain("partial", f"the daily backup lacks {count} tenants ({why}): {made.file}")

    def _complain(self, cause: str, text: str) -> None:
        self._log.error("{text}", text=text)
        self._supervisor.events.tell(Kind.BACKUP, None, cause, text)

    # In a thread

    async def _made(self, kind: str, tenants: Sequence[str] | None, work: Work | None) -> Made:
        async with self._turn():
            names = tenants
            if names is None:
                names = [tenant.name for tenant in self._config.tenants]
            return await self._threaded(partial(self._make, kind, names, work or Work()))

    def _make(self, kind: str, names: Sequence[str], work: Work) -> Made:
        wanted = {tenant.name: tenant.data_dir for tenant in self._config.tenants}
        work.total = sum(size_of(wanted[name]) for name in names if name in wanted)
        return make(
            self.directory, kind, names, self._stage, made=self._wall(), told=self._told(work)
        )

    def _stage(self, name: str) -> Staged:
        self._check_ending()

        def stage() -> Any:
            return Deferred.fromCoroutine(self._online.stage(name))

        staged: Staged = blockingCallFromThread(self._reactor, stage)
        return staged

    def _unpacked(
        self, config: Config, archive: Path, wish: Wish, work: Work
    ) -> list[tuple[str, Draft]]:
        work.total = _size(archive)
        told = self._told(work)
        return list(unpack(archive, drafts_for(config, wish), wish.tenant, told)[1].items())

    def _aside(self, config: Config, draft: Draft) -> Path | None:
        return self._put_aside(draft.target, config.data_root, draft.tenant)

    def _told(self, work: Work) -> Progress:
        def told(step: int) -> None:
            work.done += step
            self._check_ending()

        return told

    def _check_ending(self) -> None:
        if self._ending:
            raise EndedError

    # Parts

    def _file(self, name: str) -> Path:
        if shelf.shelved(name) is None:
            raise WrongNameError(
                f"{name!r} is no name of a backup, such as all-20260102T030405Z.tar.gz"
            )
        return self.directory / name

    def _threaded(self, call: Callable[[], T]) -> Deferred[T]:
        return self._online.in_thread(call)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._lock.acquire()
        try:
            self._check_ending()
            yield
        finally:
            self._lock.release()


def _discard(drafts: Sequence[tuple[str, Draft]]) -> None:
    for _, draft in drafts:
        draft.discard()


def _shelf(directory: Path) -> list[tuple[shelf.Shelved, int]]:
    found = []
    for one in shelf.all_of(_names(directory)):
        size = _size(directory / one.name)
        if size is not None:
            found.append((one, size))
    return found


def _last_daily(directory: Path) -> tuple[float | None, float | None]:
    names = _names(directory)
    whole = shelf.last_whole(names)
    return shelf.last_daily(names), None if whole is None else whole.made


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
