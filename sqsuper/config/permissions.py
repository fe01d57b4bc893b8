"""Who else can read, write or own what must be ours alone (POSIX; elsewhere nothing is told)."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import attrs

from sqsuper.config.errors import ExposedError, WrongValueError
from sqsuper.config.located import format_key
from sqsuper.config.model import Config
from sqsuper.config.readers import Places

POSIX = sys.platform != "win32"


@attrs.frozen
class Account:
    """A user of this machine."""

    uid: int
    gid: int


@attrs.frozen
class Owners:
    """Whom a directory may belong to, and which groups may write in it."""

    users: frozenset[int]
    groups: frozenset[int]


def account(name: str) -> Account | None:
    """Return the user of that name, or None when there is none."""
    if sys.platform == "win32":
        return None
    import pwd  # noqa: PLC0415 - not on every platform

    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def is_root() -> bool:
    return POSIX and os.geteuid() == 0


def own_groups() -> frozenset[int]:
    """Return the group ids that are the service's own."""
    return frozenset({os.getgid(), os.getegid()}) if POSIX else frozenset()


def others_can(status: os.stat_result, group: int, everyone: int, ours: frozenset[int]) -> bool:
    """Whether everyone has `everyone`, or a group that is not in `ours` has `group`."""
    foreign = status.st_gid not in ours
    return bool(status.st_mode & everyone or (foreign and status.st_mode & group))


def can_be_read_by_others(file: str) -> bool:
    """Whether others can read a file, as far as can be seen."""
    if not POSIX:
        return False
    try:
        status = os.stat(file)
    except OSError:
        return False
    return others_can(status, stat.S_IRGRP, stat.S_IROTH, own_groups())


def check_secret_file(
    status: os.stat_result, file: str, what: str, where: tuple[str, int | None], key: str
) -> None:
    """Refuse a file of secrets that others can read.

    `file` is the file with the secret, `what` says what that is, `where` (file and line) and
    `key` are of the setting that names or holds it. Raises ExposedError.
    """
    if POSIX and others_can(status, stat.S_IRGRP, stat.S_IROTH, own_groups()):
        raise ExposedError(
            *where, key, f"{file} holds {what} and can be read by others", f"chmod 600 {file}"
        )


def place_of(places: Places, key: str, fallback: str) -> tuple[str, int | None]:
    """Return file and line of a key, or of what stands above it, or of the file as a whole."""
    while key:
        if key in places:
            return places[key]
        key = key.rpartition(".")[0]
    return places.get("", (fallback, None))


def check_directories(
    config: Config, places: Places | None = None, service: Account | None = None
) -> None:
    """Refuse a `run_dir`, `data_root` or `data_dir` that others can write or own.

    Only what exists is looked at, nothing is made. `places` tells where each key stands;
    without it errors name the configuration's own path. `service` is who runs the service where
    somebody else asks; None: who asks. Raises ExposedError (others) and WrongValueError (no
    directory).
    """
    if not POSIX:
        return
    known = {} if places is None else places
    if service is None:
        ours = Owners(frozenset({os.geteuid()}), own_groups())
    else:
        ours = Owners(frozenset({service.uid}), frozenset({service.gid}))
    [uid] = ours.users
    for key, directory in (("run_dir", config.run_dir), ("data_root", config.data_root)):
        _check(key, directory, ours, uid, place_of(known, key, str(config.file)))
    accounts: dict[str, Account | None] = {}
    for tenant in config.tenants:
        owners = ours
        user = tenant.settings.user
        if user is not None:
            if user not in accounts:
                accounts[user] = account(user)
            if (found := accounts[user]) is not None:
                owners = Owners(ours.users | {found.uid}, ours.groups | {found.gid})
        key = tenant_key(tenant.name, "data_dir")
        _check(key, tenant.data_dir, owners, uid, place_of(known, key, str(config.file)))


def tenant_key(name: str, key: str = "") -> str:
    """Return the key path of a tenant, or of one of its keys."""
    path = format_key("tenants", name)
    return f"{path}.{key}" if key else path


def _check(
    key: str, directory: Path, owners: Owners, uid: int, where: tuple[str, int | None]
) -> None:
    """Refuse a directory that is none of the owners'; `uid`: whose it had better be."""
    try:
        status = os.stat(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WrongValueError(
            *where, key, f"{directory} cannot be looked at: {error.strerror}"
        ) from None
    if not stat.S_ISDIR(status.st_mode):
        raise WrongValueError(*where, key, f"{directory} is no directory", "name another one")
    if status.st_uid not in owners.users:
        raise ExposedError(
            *where,
            key,
            f"{directory} belongs to another user (uid {status.st_uid})",
            f"chown {uid} {directory}",
        )
    if others_can(status, stat.S_IWGRP, stat.S_IWOTH, owners.groups):
        raise ExposedError(
            *where, key, f"{directory} can be written by others", f"chmod go-w {directory}"
        )
