"""Backup and restore on files alone, while no service runs on them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sqsuper.backup import files
from sqsuper.backup.errors import RunningError, TenantError
from sqsuper.backup.making import Made, Progress, Staged, make
from sqsuper.backup.restoring import Restored, place, unpack
from sqsuper.backup.stopped import stage_stopped, unused
from sqsuper.backup.targets import Wish, directory_of, drafts_for
from sqsuper.config.model import Config, Tenant
from sqsuper.supervisor import rundir
from sqsuper.supervisor.errors import DirectoryLockedError, RunDirInUseError, SupervisorError

PutAside = Callable[[Path, Path, str], "Path | None"]
"""Moves a directory, the data root, a tenant's name; returns where to."""


def backup(
    config: Config,
    tenants: Sequence[Tenant],
    *,
    kind: str,
    directory: Path | None = None,
    told: Progress = lambda _: None,
    wall: Callable[[], float] = time.time,
) -> Made:
    """Make an archive of stopped tenants; see `making.make`.

    `directory`: where, instead of the configuration's. Raises BackupError, RunningError where a
    service runs.
    """
    by_name = {tenant.name: tenant for tenant in tenants}

    def stage(name: str) -> Staged:
        with _as_ours():
            return stage_stopped(by_name[name])

    with _alone(config):
        return make(directory or directory_of(config), kind, by_name, stage, made=wall(), told=told)


def restore(
    config: Config,
    archive: Path,
    wish: Wish,
    *,
    put_aside: PutAside,
    told: Progress = lambda _: None,
) -> list[Restored]:
    """Put tenants of an archive back; see `restoring.unpack` and `place`.

    Raises BackupError, RunningError where a service runs.
    """
    with _alone(config):
        _contents, drafts = unpack(archive, drafts_for(config, wish), wish.tenant, told)
        try:
            with _as_ours(), contextlib.ExitStack() as stack:
                for draft in drafts.values():
                    stack.enter_context(unused(draft.tenant, draft.target))
                return place(
                    list(drafts.items()),
                    (lambda one: put_aside(one.target, config.data_root, one.tenant))
                    if wish.replace
                    else None,
                )
        finally:
            for draft in drafts.values():
                draft.discard()


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except DirectoryLockedError as error:
        raise TenantError(error.directory.name, f"{error}; end it first") from None


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Keep every service away from these files; those that are not there yet need no lock."""
    places = ((config.run_dir, rundir.RUN_LOCK), (config.data_root, rundir.DATA_LOCK))
    with contextlib.ExitStack() as stack:
        for directory, name in places:
            if not directory.is_dir():
                continue
            try:
                lock = rundir.Lock(directory, name)
            except RunDirInUseError as error:
                raise RunningError(str(error)) from error
            except SupervisorError as error:
                raise TenantError("the service's lock", str(error)) from error
            stack.callback(lock.release)
            # Made by root, it must not shut out the service that runs as another user.
            with contextlib.suppress(OSError), files.opened(directory / name, files.READ) as fd:
                files.give(fd, files.owner_of(directory))
        yield
