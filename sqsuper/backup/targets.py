"""Where a restore goes: which tenants of an archive, to which directories, within which quotas."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from sqsuper.backup import files
from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import HasDataError, MountPointError, TenantError, WrongNameError
from sqsuper.backup.walking import holds_data
from sqsuper.config.model import Config, Tenant
from sqsuper.config.values import parse_tenant_name
from sqsuper.supervisor import rundir
from sqsuper.supervisor.errors import LaunchError


@attrs.frozen
class Wish:
    """What is to be restored: all of an archive, or `tenant` alone, as `rename` or as it was.

    `replace`: put aside what is there now. Raises WrongNameError for a name that cannot be.
    """

    tenant: str | None = None
    rename: str | None = None
    replace: bool = False

    def __attrs_post_init__(self) -> None:
        for name in (self.tenant, self.rename):
            if name is not None:
                try:
                    parse_tenant_name(name)
                except ValueError as error:
                    raise WrongNameError(f"a tenant's name must be {error}, not {name!r}") from None
        if self.rename is not None and self.tenant is None:
            raise WrongNameError("say which tenant of the backup is to have the other name")


def directory_of(config: Config) -> Path:
    """Return where archives are kept: `backup.dir`, or `backups` beside `data_root`."""
    return config.backup.dir or config.data_root.parent / "backups"


def drafts_for(config: Config, wish: Wish) -> Callable[[str], Draft | None]:
    """Return what makes the draft of a tenant of the archive, None for one that is not wished for.

    It goes to that tenant's directory, or for one that there is not (yet), to `data_root`; what
    is another tenant's there raises TenantError.
    """
    by_name = {tenant.name: tenant for tenant in config.tenants}
    owners = _Owners(config.tenants)

    def new(name: str) -> Draft | None:
        if wish.tenant is not None and name != wish.tenant:
            return None
        target = wish.rename or name
        tenant = by_name.get(target)
        settings = config.defaults if tenant is None else tenant.settings
        directory = config.data_root / target if tenant is None else tenant.data_dir
        if tenant is None and (other := owners.of(directory)):
            raise TenantError(target, f"{directory} is where the data of {other} is")
        if not wish.replace and holds_data(directory):
            raise HasDataError(target, directory)
        if os.path.ismount(os.path.realpath(directory)):
            raise MountPointError(target, directory)
        return Draft(target, directory, settings.quota_bytes, _owner(config, tenant, target))

    return new


class _Owners:
    """Whose a directory is."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._has: dict[Path, str] = {}
        self._is_in: dict[Path, str] = {}
        for tenant in tenants:
            directory = Path(os.path.realpath(tenant.data_dir))
            self._has[directory] = tenant.name
            self._is_in.update(dict.fromkeys(directory.parents, tenant.name))

    def of(self, directory: Path) -> str | None:
        """Return a tenant whose directory this is, or is in, or holds; None: nobody's."""
        real = Path(os.path.realpath(directory))
        around = (self._has.get(one) for one in (real, *real.parents))
        return next(filter(None, around), self._is_in.get(real))


def _owner(config: Config, tenant: Tenant | None, name: str) -> tuple[int, int] | None:
    if tenant is not None and tenant.settings.user is not None:
        try:
            return rundir.owner_of(tenant)
        except LaunchError as error:
            raise TenantError(name, error.why) from error
    # As whoever runs the service, who may be another one than who restores.
    return _owner_above(config.data_root)


def _owner_above(directory: Path) -> tuple[int, int]:
    while not directory.exists():
        directory = directory.parent
    return files.owner_of(directory)
