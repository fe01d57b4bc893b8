"""The directories of a service: taken at its start, with what a crash left in them."""

from __future__ import annotations

from twisted.logger import Logger

from sqsuper.config.model import Config, Tenant
from sqsuper.supervisor import groups, listeners, rundir
from sqsuper.supervisor.errors import LaunchError, SupervisorError
from sqsuper.supervisor.records import Records

LEFTOVER_GRACE = 1.0
LEFTOVER_PATIENCE = 5.0


class Premises:
    """The run directory and the data root, locked while the service has them."""

    _log = Logger()

    def __init__(self, records: Records) -> None:
        self._records = records
        self._locks: list[rundir.Lock] = []

    @property
    def taken(self) -> bool:
        return bool(self._locks)

    def take(self, config: Config) -> None:
        """Make, check and lock them, and end what an earlier run left; blocks for that.

        Raises `SupervisorError`; then nothing is taken.
        """
        try:
            listeners.check_length(config.run_dir)
            rundir.ensure(config.run_dir, 0o700)
            self.ensure_data_root(config)
            self._locks.append(rundir.Lock(config.run_dir, rundir.RUN_LOCK))
            self._locks.append(rundir.Lock(config.data_root, rundir.DATA_LOCK))
            for tenant in config.tenants:
                if tenant.enabled:
                    _check_data_dir(tenant)
            self._end_leftovers()
        except SupervisorError:
            self.release()
            raise

    def ensure_data_root(self, config: Config) -> None:
        """Make the data root, or check it; raises `SupervisorError`."""
        others = any(tenant.settings.user is not None for tenant in config.tenants)
        rundir.ensure(config.data_root, 0o711 if others else 0o700)

    def release(self) -> None:
        """Unlock them. Idempotent."""
        for lock in self._locks:
            lock.release()
        self._locks.clear()

    def _end_leftovers(self) -> None:
        records = self._records.read()
        left = groups.end_now(records, LEFTOVER_GRACE, LEFTOVER_PATIENCE)
        for group in records:
            if group in left:
                self._log.error(
                    "{tenant}: processes {pids} of an earlier run cannot be ended",
                    tenant=group.tenant,
                    pids=left[group],
                )
            else:
                self._records.remove(group)
        sockets = self._records.remove_sockets()
        if records or sockets:
            self._log.warn(
                "an earlier run was not stopped: {groups} process groups and {sockets} sockets"
                " of it were looked after",
                groups=len(records),
                sockets=sockets,
            )


def _check_data_dir(tenant: Tenant) -> None:
    try:
        owner = rundir.owner_of(tenant)
    except LaunchError:
        return  # said when it is to be started
    rundir.check(tenant.data_dir, owner)
