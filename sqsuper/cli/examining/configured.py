"""What a configuration asks of the machine: directories, disk, ports, programs, certificates."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqsuper.cli.examining.finding import Finding, bad, ok, warning
from sqsuper.cli.examining.validity import ends_of
from sqsuper.cli.finding import ADMIN_TOKEN_FILE
from sqsuper.config.certificates import CertificateError, CertificateFiles
from sqsuper.config.endpoints import Endpoint, take_apart
from sqsuper.config.model import Config, Engine
from sqsuper.config.warn import descriptor_limit

_MIN_FREE = 512 * 1024 * 1024
_MIN_SHARE = 0.05
_SOON = timedelta(days=21)
# Of the supervisor and each embedded instance.
_PER_TENANT = 8


def endpoints(config: Config) -> list[tuple[str, Endpoint]]:
    """Return the listeners with their keys."""
    base = config.file.parent
    return [
        (f"{section}.listen[{number}]", take_apart(text, base))
        for section, texts in (("gateway", config.gateway.listen), ("admin", config.admin.listen))
        for number, text in enumerate(texts)
    ]


def directories(config: Config) -> Iterator[Finding]:
    """Look whether what must be written can be; the check has looked at who else can."""
    wanted = {config.run_dir: "run_dir", config.data_root: "data_root"}
    wanted.update({tenant.data_dir: tenant.name for tenant in config.tenants})
    fine = 0
    for directory, owner in wanted.items():
        there = _nearest(directory)
        if not os.access(there, os.W_OK | os.X_OK):
            yield bad(
                "permissions",
                f"{directory} ({owner}) cannot be written: {there} is not this user's to write",
                f"run as its owner, or chown it to uid {os.geteuid()}",
            )
        elif not there.is_dir():
            yield bad("permissions", f"{there} is no directory", f"name another one for {owner}")
        else:
            fine += 1
    if fine:
        yield ok("permissions", f"{fine} directories can be written")
    token = config.run_dir / ADMIN_TOKEN_FILE
    try:
        mode = token.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield bad("permissions", f"{token} can be read by others", f"chmod 600 {token}")


def disk(
    config: Config, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
) -> Iterator[Finding]:
    """Look at the space that is left where data is written."""
    seen: set[int] = set()
    for directory in (config.data_root, *(t.data_dir for t in config.tenants), config.run_dir):
        there = _nearest(directory)
        try:
            device = there.stat().st_dev
            total, _used, free = usage(there)
            inodes = os.statvfs(there) if hasattr(os, "statvfs") else None
        except OSError as error:
            yield bad("disk", f"{there}: {error.strerror}", "make it readable for this user")
            continue
        if device in seen:
            continue
        seen.add(device)
        told = f"{free // (1024 * 1024)} MiB are free below {there}"
        if free < max(_MIN_FREE, total * _MIN_SHARE) and free < 10 * _MIN_FREE:
            yield warning("disk", told, "free some: a write that does not fit is refused (507)")
        elif inodes is not None and inodes.f_files and inodes.f_favail < 10_000:
            yield warning(
                "disk", f"only {inodes.f_favail} files can be made below {there}", "remove some"
            )
        else:
            yield ok("disk", told)


def ports(
    config: Config, running: bool, holder: Callable[[int], object | None]
) -> Iterator[Finding]:
    """Look whether every port can be bound; a service of ours that runs has them already."""
    wanted = [
        (key, endpoint.interface, endpoint.port)
        for key, endpoint in endpoints(config)
        if endpoint.port
    ]
    wanted += [(t.name, "127.0.0.1", t.port) for t in config.tenants if t.port and t.enabled]
    free = 0
    for key, interface, port in wanted:
        reason = "" if running else _unbindable(interface, port)
        if not reason:
            free += 1
            continue
        who = holder(port)
        yield bad(
            "ports",
            f"port {port} ({key}) cannot be bound: {reason}{f', held by {who}' if who else ''}",
            "end what holds it, or set another port" if who else _remedy(port),
        )
    if free:
        yield ok("ports", f"{free} ports are {'ours: the service runs' if running else 'free'}")


def _remedy(port: int) -> str:
    if port < 1024:
        return "a port below 1024 needs root, CAP_NET_BIND_SERVICE, or a socket unit of systemd"
    return "set another port or address"


def _unbindable(interface: str, port: int) -> str:
    """Return why a TCP port cannot be bound; empty when it can."""
    host = "127.0.0.1" if interface == "localhost" else interface
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def programs(config: Config) -> Iterator[Finding]:
    """Look whether command engines' programs are there."""
    missing: dict[str, list[str]] = {}
    found: set[str] = set()
    for tenant in config.tenants:
        settings = tenant.settings
        if settings.engine is not Engine.COMMAND or not settings.command:
            continue
        program = settings.command[0]
        if shutil.which(program) is None:
            missing.setdefault(program, []).append(tenant.name)
        else:
            found.add(program)
    for program, names in missing.items():
        yield bad(
            "programs",
            f"there is no program {program}, which {', '.join(names)} would run",
            "install it, give its whole path, or use engine: embedded",
        )
    if found:
        yield ok("programs", f"found {', '.join(sorted(found))}")


def descriptors(config: Config) -> Iterator[Finding]:
    """Look whether so many descriptors are allowed as connections and tenants may take."""
    limit = descriptor_limit()
    wanted = 2 * config.gateway.max_connections + _PER_TENANT * len(config.tenants)
    if limit is not None and wanted > limit:
        yield warning(
            "descriptors",
            f"up to {wanted} may be wanted, and {limit} are allowed",
            "raise ulimit -n (LimitNOFILE= in systemd), or lower gateway.max_connections",
        )
    else:
        told = "without limit" if limit is None else f"{limit} allowed"
        yield ok("descriptors", f"{told}, up to {wanted} wanted")


def certificates(config: Config, now: datetime) -> Iterator[Finding]:
    """Look at the certificates of `ssl:` listeners: are they there, and until when."""
    for key, endpoint in endpoints(config):
        if endpoint.kind != "ssl":
            continue
        files = CertificateFiles.of(endpoint)
        try:
            ends = ends_of(files.read().certificate)
        except (CertificateError, ValueError) as error:
            yield bad("certificates", f"{key}: {error}", "put a certificate and its key there")
            continue
        shown = f"{files.certificate} ends {ends:%Y-%m-%d}"
        if ends <= now:
            yield bad("certificates", f"{files.certificate} ended {ends:%Y-%m-%d}", "renew it")
        elif ends - now < _SOON:
            then = "it is read again by itself" if key.startswith("gateway") else "then restart"
            yield warning("certificates", shown, f"renew it; {then}")
        else:
            yield ok("certificates", shown)


def expiring(config: Config, now: datetime) -> Iterator[Finding]:
    """Look for tenants whose every token has ended."""
    for tenant in config.tenants:
        ends = [token.expires for token in tenant.tokens]
        if tenant.enabled and ends and all(end is not None and end <= now for end in ends):
            yield warning(
                "tokens",
                f"every token of {tenant.name} has ended",
                f"sqsuper token new {tenant.name}",
            )


def _nearest(directory: Path) -> Path:
    """Return a directory, or what of the way to it exists."""
    while not os.path.lexists(directory) and directory != directory.parent:
        directory = directory.parent
    return directory


def utc_now() -> datetime:
    return datetime.now(timezone.utc)
