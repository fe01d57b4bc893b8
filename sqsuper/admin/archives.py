"""Backups by the admin API and the page: as JSON, with errors as those two answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqsuper.admin.audit import Audit
from sqsuper.admin.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from sqsuper.admin.guard import Who
from sqsuper.backup.errors import (
    BackupError,
    EndedError,
    NoArchiveError,
    NotInBackupError,
    WrongNameError,
)
from sqsuper.backup.service import Backups, Standing, Work
from sqsuper.backup.targets import Wish
from sqsuper.config.model import Config


class Archives:
    """What `Control` does with backups. Every method raises AdminError."""

    def __init__(self, backups: Backups, audit: Audit, config: Callable[[], Config]) -> None:
        self._backups = backups
        self._audit = audit
        self._config = config

    async def listed(self) -> dict[str, Any]:
        """Return the archives there are, the newest first, and when the next is made."""
        backup = self._config().backup
        archives = await self._backups.archives()
        return {
            "dir": str(self._backups.directory),
            "at": backup.at,
            "keep": backup.keep,
            "next": self._backups.next_at(),
            "backups": [one.as_json(size) for one, size in archives],
        }

    def standing(self) -> Standing | None:
        """Return how it is with the daily ones; None without a schedule, or not known yet."""
        return self._backups.standing()

    async def make(self, tenants: Sequence[str] | None, who: Who, work: Work) -> dict[str, Any]:
        """Make an archive of these tenants, or of all; raises NotFoundError for an unknown one."""
        known = {tenant.name for tenant in self._config().tenants}
        for name in tenants or ():
            if name not in known:
                raise NotFoundError(f"there is no tenant {name}")
        with _told():
            made = await self._backups.backup(tenants, work)
        self._audit(who, "backup", None, made.file.name)
        return made.as_json()

    async def restore(
        self,
        file: str,
        who: Who,
        work: Work,
        *,
        tenant: str | None,
        rename: str | None,
        replace: bool,
    ) -> dict[str, Any]:
        """Put tenants of an archive back; see `Wish`."""
        with _told():
            done = await self._backups.restore(file, Wish(tenant, rename, replace), work)
        for one in done:
            aside = f", what was there is in {one.aside}" if one.aside else ""
            self._audit(who, "restore", one.tenant, f"{one.came_from} of {file}{aside}")
        known = {tenant.name for tenant in self._config().tenants}
        return {"restored": [one.as_json(known=one.tenant in known) for one in done]}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except WrongNameError as error:
        raise BadRequestError(str(error)) from error
    except (NoArchiveError, NotInBackupError) as error:
        raise NotFoundError(str(error)) from error
    except EndedError as error:
        raise UnavailableError(str(error)) from error
    except BackupError as error:
        raise ConflictError(str(error)) from error
