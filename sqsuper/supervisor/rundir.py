"""The run directory and the data directories: made, checked, locked."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from sqsuper.config.model import Tenant
from sqsuper.sockets import locking
from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor.errors import (
    DirectoryError,
    LaunchError,
    RunDirInUseError,
    UnsafeDirectoryError,
)

RUN_LOCK = "supervisor.lock"
DATA_LOCK = ".sqsuper.lock"
MAX_LINKS = 40  # as Linux

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class Lock:
    """An exclusive lock on a directory for as long as the process lives or until `release`."""

    def __init__(self, directory: Path, name: str) -> None:
        """Take it; raises `RunDirInUseError` when another holds it."""
        path = directory / name
        try:
            self._fd = os.open(path, _LOCK_FLAGS, 0o600)
        except OSError as error:
            raise DirectoryError(path, error) from error
        try:
            locking.lock(self._fd)
        except OSError as error:
            text = os.read(self._fd, 20).strip()
            os.close(self._fd)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise DirectoryError(path, error) from error
            raise RunDirInUseError(directory, int(text) if text.isdigit() else 0) from error
        os.ftruncate(self._fd, 0)
        os.write(self._fd, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Give it up; the empty file stays, as removing it would race with the next holder."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def ensure(directory: Path, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Make `directory` (and what is missing above it), or check that it is safe; set `mode`.

    `owner` is the (uid, gid) it shall belong to, by default our own. Raises
    `UnsafeDirectoryError` when others own it or can write to it. Where others can change the
    way to it, as in a user's home, nothing is made or given away: a link there could have us
    give away any directory. It must be there then, and be the owner's. Where modes say nothing
    it is only made: who may do what there is inherited from what it lies in.
    """
    if not HERE.owners:
        _make_simply(directory)
        return
    uid, gid = owner or (os.geteuid(), os.getegid())
    giving = uid == os.geteuid() or _is_way_ours(directory)
    # What leads there is the operator's; the last step must be a directory, not a link
    # that somebody swapped in after the path was resolved.
    path = Path(os.path.realpath(directory))
    try:
        made = giving and _make(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if not giving:
            raise UnsafeDirectoryError(directory, _not_given(uid)) from error
        raise DirectoryError(directory, error) from error
    try:
        found = os.fstat(fd)
        if not giving and found.st_uid != uid:
            raise UnsafeDirectoryError(directory, _not_given(uid))
        if not made:
            _check(directory, found, uid)
        if (found.st_uid, found.st_gid) != (uid, gid) and os.geteuid() == 0 and owner:
            os.fchown(fd, uid, gid)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(fd, mode)
    except OSError as error:
        raise DirectoryError(directory, error) from error
    finally:
        os.close(fd)


def check(directory: Path, owner: tuple[int, int] | None = None) -> None:
    """Raise `UnsafeDirectoryError` if `directory` exists and others own it or can write to it."""
    if not HERE.owners:
        return
    try:
        found = os.stat(directory)
    except OSError:
        return
    _check(directory, found, (owner or (os.geteuid(), 0))[0])


def owner_of(tenant: Tenant) -> tuple[int, int] | None:
    """Return (uid, gid) of the tenant's `user`, None without one; raises `LaunchError`."""
    user = tenant.settings.user
    if user is None:
        return None
    if not HERE.owners:
        raise LaunchError(tenant.name, "processes cannot run as another user on this system")
    import pwd  # noqa: PLC0415 - not everywhere

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise LaunchError(tenant.name, f"there is no user {user!r}") from None
    return entry.pw_uid, entry.pw_gid


def _not_given(uid: int) -> str:
    return f"others can change what leads there; make it yourself, mode 0700, owned by uid {uid}"


def _is_way_ours(directory: Path) -> bool:
    """Whether nobody but us and root can change what `directory` names, link by link."""
    ours = {0, os.geteuid()}
    at = "/"
    names = [*reversed(os.path.join(os.getcwd(), directory).split("/"))]
    links = 0
    while names:
        name = names.pop()
        if name in {"", "."}:
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        entry = os.path.join(at, name)
        try:
            parent, found = os.lstat(at), os.lstat(entry)
        except FileNotFoundError:
            return _is_ours_alone(os.stat(at), ours)  # all that follows we make ourselves
        sticky = parent.st_mode & stat.S_ISVTX and found.st_uid in ours
        if not (_is_ours_alone(parent, ours) or (sticky and parent.st_uid in ours)):
            return False
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MAX_LINKS:
                return False
            target = os.readlink(entry)
            at = "/" if target.startswith("/") else at
            names += reversed(target.split("/"))
        else:
            at = entry
    return True


def _is_ours_alone(found: os.stat_result, ours: set[int]) -> bool:
    foreign_group = found.st_mode & stat.S_IWGRP and found.st_gid not in {0, os.getegid()}
    return found.st_uid in ours and not found.st_mode & stat.S_IWOTH and not foreign_group


def _make_simply(directory: Path) -> None:
    try:
        made = _make(Path(os.path.realpath(directory)))
    except OSError as error:
        raise DirectoryError(directory, error) from error
    if not made and not directory.is_dir():
        raise UnsafeDirectoryError(directory, "is not a directory")


def _make(path: Path) -> bool:
    try:
        os.makedirs(path.parent, 0o700, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    return True


def _check(directory: Path, found: os.stat_result, uid: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeDirectoryError(directory, "is not a directory")
    if found.st_uid not in {uid, os.geteuid()}:
        raise UnsafeDirectoryError(directory, f"belongs to another user (uid {found.st_uid})")
    if found.st_mode & stat.S_IWOTH:
        raise UnsafeDirectoryError(directory, "can be written to by everyone; chmod go-w it")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in {os.getegid()}:
        raise UnsafeDirectoryError(
            directory, f"can be written to by group {found.st_gid}; chmod go-w it"
        )
