"""The files of a tenant that no instance runs on, and what keeps it so meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sqsuper.backup.errors import TenantError
from sqsuper.backup.making import Staged
from sqsuper.backup.settling import settle
from sqsuper.backup.staging import NoData, Stage
from sqsuper.backup.walking import has_journal
from sqsuper.config.model import Tenant
from sqsuper.supervisor.directory_lock import DirectoryLock
from sqsuper.supervisor.errors import DirectoryLockedError, SupervisorError


def stage_stopped(tenant: Tenant, settled: Callable[[Tenant], None] = settle) -> Staged:
    """Keep a tenant's files as they are, with what is in a journal put into them before.

    Blocks. Raises TenantError, and DirectoryLockedError when an instance runs there.
    """
    directory = tenant.data_dir
    if not directory.is_dir():
        return NoData()
    if has_journal(directory):
        with unused(tenant.name, directory):
            pass  # said at once, where the engine would wait
        settled(tenant)
    with unused(tenant.name, directory):
        return Stage(tenant.name, directory)


@contextlib.contextmanager
def unused(tenant: str, directory: Path) -> Iterator[None]:
    """Let no instance run on a directory, if it is there. Raises as `stage_stopped`."""
    if not directory.is_dir():
        yield
        return
    try:
        lock = DirectoryLock(directory)
    except DirectoryLockedError:
        raise
    except SupervisorError as error:
        raise TenantError(tenant, str(error)) from error
    try:
        yield
    finally:
        lock.release()
