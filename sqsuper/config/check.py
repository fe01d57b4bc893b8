"""What only shows when the whole configuration is known: clashes between its parts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import attrs

from sqsuper.config.credentials import Credential
from sqsuper.config.endpoints import MAX_SOCKET_PATH, Endpoint, take_apart
from sqsuper.config.errors import ClashError, WrongValueError
from sqsuper.config.model import Config, Launcher
from sqsuper.config.permissions import place_of, tenant_key
from sqsuper.config.readers import Places
from sqsuper.config.tenants import Entry
from sqsuper.sockets.capabilities import HERE
from sqsuper.tokens import label

# Twenty-four bytes and a slash stand behind run_dir; a socket's path has room for 107.
SOCKET_NAME = 24


@attrs.frozen
class Whole:
    """A configuration with what is known of its text; `entries` in reading order."""

    config: Config
    shown: str
    places: Places
    entries: tuple[Entry, ...]
    admin: Credential | None

    def where(self, key: str) -> tuple[str, int | None]:
        return place_of(self.places, key, self.shown)

    def clash(self, key: str, problem: str, owner: str, remedy: str = "") -> ClashError:
        file, line = self.where(key)
        return ClashError(file, line, key, problem, remedy, owner=owner)

    def listeners(self) -> Iterator[tuple[str, Endpoint]]:
        """Give each listening endpoint with its key path."""
        base = self.config.file.parent
        for section, texts in (
            ("gateway", self.config.gateway.listen),
            ("admin", self.config.admin.listen),
        ):
            for number, text in enumerate(texts):
                yield f"{section}.listen[{number}]", take_apart(text, base)


def check_whole(whole: Whole) -> None:
    """Raise ConfigError for the first thing that two parts of the configuration both claim."""
    _check_run_dir(whole)
    _check_ports(whole)
    _check_tokens(whole)
    _check_data_dirs(whole)
    _check_launchers(whole)


def _check_launchers(whole: Whole) -> None:
    if HERE.zygote and sys.platform.startswith("linux"):
        return
    for tenant in whole.config.tenants:
        if tenant.settings.launcher is Launcher.ZYGOTE:
            key = tenant_key(tenant.name, "launcher")
            file, line = whole.where(key)
            raise WrongValueError(file, line, key, "a zygote needs Linux", "write auto or spawn")


def _check_run_dir(whole: Whole) -> None:
    run_dir = whole.config.run_dir
    if not HERE.inheritance:
        return
    spare = MAX_SOCKET_PATH - SOCKET_NAME - 1 - len(os.fsencode(run_dir))
    if spare < 0:
        file, line = whole.where("run_dir")
        raise WrongValueError(
            file,
            line,
            "run_dir",
            f"{run_dir} is {-spare} bytes too long for the sockets in it",
            f"name a directory of at most {MAX_SOCKET_PATH - SOCKET_NAME - 1} bytes",
        )


def _check_ports(whole: Whole) -> None:
    gateway = {f"gateway.listen[{n}]" for n in range(len(whole.config.gateway.listen))}
    seen: list[tuple[str, Endpoint]] = []
    owners: dict[int, str] = {}
    for key, endpoint in whole.listeners():
        for other, earlier in seen:
            # The admin listener has one certificate a port.
            joined = not {key, other} - gateway and endpoint.joins(earlier)
            if endpoint.shares_port(earlier) and not joined:
                raise whole.clash(key, f"{endpoint.port} is already {other}'s", other)
        seen.append((key, endpoint))
        if endpoint.port:
            owners.setdefault(endpoint.port, key)
    for entry in whole.entries:
        port, name = entry.tenant.port, entry.tenant.name
        if port is None:
            continue
        if port in owners:
            key = tenant_key(name, "port")
            raise whole.clash(key, f"{port} is already {owners[port]}'s", owners[port])
        owners[port] = name


def _check_tokens(whole: Whole) -> None:
    owners: dict[bytes, str] = {}
    if whole.admin is not None:
        owners[whole.admin.token.sha256] = "admin"
    for entry in whole.entries:
        name = entry.tenant.name
        for credential in entry.credentials:
            digest = credential.token.sha256
            if digest in owners:
                raise ClashError(
                    entry.file,
                    credential.line,
                    credential.key,
                    f"the token (sha256 {label(digest)}...) is already {owners[digest]}'s",
                    owner=owners[digest],
                )
            owners[digest] = name


def _check_data_dirs(whole: Whole) -> None:
    config = whole.config
    root, run = os.path.realpath(config.data_root), os.path.realpath(config.run_dir)
    owners: dict[str, str] = {}
    resolved: list[str] = []
    for entry in whole.entries:
        tenant = entry.tenant
        key = tenant_key(tenant.name, "data_dir")
        real = os.path.realpath(tenant.data_dir)
        if real in owners:
            raise whole.clash(key, f"{tenant.data_dir} is already {owners[real]}'s", owners[real])
        owners[real] = tenant.name
        resolved.append(real)
        if _holds(real, root):
            raise whole.clash(
                key,
                f"{tenant.data_dir} holds data_root, where other tenants' data goes",
                "data_root",
                "name a directory of its own",
            )
        if _holds(real, run) or _holds(run, real):
            raise whole.clash(
                key,
                f"{tenant.data_dir} and run_dir hold one another",
                "run_dir",
                "name a directory of its own",
            )
    for entry, real in zip(whole.entries, resolved, strict=True):
        for above in _parents(real):
            if above in owners:
                raise whole.clash(
                    tenant_key(entry.tenant.name, "data_dir"),
                    f"{entry.tenant.data_dir} is inside {owners[above]}'s {above}",
                    owners[above],
                    "name a directory of its own",
                )


def _parents(path: str) -> Iterator[str]:
    """Give the directories above an absolute path, the nearest first."""
    while (above := os.path.dirname(path)) != path:
        path = above
        yield path


def _holds(outer: str, inner: str) -> bool:
    """Whether `inner` is `outer` or stands below it (both resolved)."""
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)
