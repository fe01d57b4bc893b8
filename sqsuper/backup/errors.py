"""What can go wrong with a backup or a restore, each cause with its facts."""

from __future__ import annotations

from pathlib import Path


class BackupError(Exception):
    """Base of all; its text is one line for the operator."""


class UnsupportedError(BackupError):
    """This system cannot open directories, by which data is read and put in place."""

    def __init__(self) -> None:
        super().__init__(
            "this system cannot make or restore backups; stop the tenant and copy its directory"
        )


class ArchiveError(BackupError):
    """A file that is no whole backup. `why` is for people."""

    def __init__(self, archive: Path, why: str) -> None:
        self.archive = archive
        self.why = why
        super().__init__(f"{archive}: {why}")


class NoArchiveError(ArchiveError):
    """There is no such file."""

    def __init__(self, archive: Path) -> None:
        super().__init__(archive, "there is no such backup")


class ForbiddenMemberError(ArchiveError):
    """An archive with a member that no backup has: a link, a device, a name that leads away."""

    def __init__(self, archive: Path, member: str, why: str) -> None:
        self.member = member
        super().__init__(archive, f"refused: {member!r} {why}")


class OverQuotaError(BackupError):
    """More data than the tenant may have (bytes)."""

    def __init__(self, tenant: str, quota: int) -> None:
        self.tenant = tenant
        self.quota = quota
        super().__init__(f"{tenant}: the backup holds more than its quota of {quota} bytes")


class NotInBackupError(BackupError):
    """The backup holds no such tenant; `there` are those it holds."""

    def __init__(self, archive: Path, tenant: str, there: tuple[str, ...]) -> None:
        self.archive = archive
        self.tenant = tenant
        self.there = there
        super().__init__(f"{archive}: no {tenant} in it, but {', '.join(there) or 'nobody'}")


class TenantError(BackupError):
    """One tenant's data cannot be copied, or not be put in place now. `why` is for people."""

    def __init__(self, tenant: str, why: str) -> None:
        self.tenant = tenant
        self.why = why
        super().__init__(f"{tenant}: {why}")

    @classmethod
    def of(cls, tenant: str, error: OSError, path: str = "") -> TenantError:
        """Return the one that an OSError means, about a file or the tenant's directory."""
        what = path or error.filename or "its data"
        return cls(tenant, f"{what}: {error.strerror or error}")


class HasDataError(TenantError):
    """Data is there that a restore would replace, which was not asked for."""

    def __init__(self, tenant: str, directory: Path) -> None:
        self.directory = directory
        super().__init__(
            tenant, f"{directory} holds data; ask for it to be replaced, and it is put aside"
        )


class MountPointError(TenantError):
    """A data directory that is a mount point: nothing can be put in its place by renaming."""

    def __init__(self, tenant: str, directory: Path) -> None:
        self.directory = directory
        super().__init__(
            tenant,
            f"{directory} is a mount point, and cannot be replaced as a whole;"
            " have data_dir name a directory below it",
        )


class NotWrittenError(BackupError):
    """A file or directory that could not be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        self.error = error
        super().__init__(f"{error.filename or path}: {error.strerror or error}")


class WrongNameError(BackupError):
    """A name, of a tenant or an archive, that cannot be one; the text says what could."""


class RunningError(BackupError):
    """The service runs on these files: it is to be asked instead."""


class EndedError(BackupError):
    """The service stops: what was under way was given up."""

    def __init__(self) -> None:
        super().__init__("given up, as the service stops")
