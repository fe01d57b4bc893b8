"""What becomes of tenants that other files tell of: taken over, there already, or refused.

A plan only: what is on disk is looked at, nothing is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

import attrs

from sqsuper import tokens
from sqsuper.cli.entries import NewTenant
from sqsuper.cli.finding import service_account
from sqsuper.cli.formats.found import Found
from sqsuper.config.endpoints import take_apart
from sqsuper.config.errors import ConfigError
from sqsuper.config.model import Config, Origin, Tenant
from sqsuper.config.permissions import check_directories
from sqsuper.config.values import parse_tenant_name

LABEL = "imported, rotate me"
MAX_NAME = 63


class Verdict(Enum):
    TAKE = "imported"
    THERE = "unchanged"
    REFUSE = "refused"


@attrs.frozen
class Decision:
    """What becomes of one tenant. `reason`: why it is refused; `copy_from`: data to be copied."""

    found: Found
    name: str
    verdict: Verdict
    tenant: NewTenant | None = None
    data_dir: Path | None = None
    copy_from: Path | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


@attrs.frozen
class Wish:
    """How tenants are taken over: data copied below data_root or used where it is; their ports."""

    copy: bool = False
    ports: bool = True


@attrs.define
class _Owners:
    """Who has what: a name, a token's digest, a port, a directory (resolved)."""

    names: dict[str, str] = attrs.field(factory=dict)
    digests: dict[bytes, str] = attrs.field(factory=dict)
    ports: dict[int, str] = attrs.field(factory=dict)
    directories: dict[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, config: Config) -> _Owners:
        owners = cls()
        for tenant in config.tenants:
            owner = f"{tenant.name} ({tenant.origin.file.name})"
            owners.names[tenant.name] = owner
            owners.digests.update((token.sha256, owner) for token in tenant.tokens)
            if tenant.port is not None:
                owners.ports[tenant.port] = owner
            owners.directories[os.path.realpath(tenant.data_dir)] = owner
        if config.admin.token_sha256 is not None:
            owners.digests[config.admin.token_sha256] = "the admin API"
        for section, texts in (("gateway", config.gateway.listen), ("admin", config.admin.listen)):
            for text in texts:
                if port := take_apart(text, config.file.parent).port:
                    owners.ports[port] = f"{section}.listen"
        owners.directories[os.path.realpath(config.run_dir)] = "run_dir"
        return owners

    def clash(self, name: str, tenant: NewTenant, data_dir: Path, data_root: Path) -> str:
        """Return what a tenant wants that is somebody's already; empty for nothing."""
        clashes = []
        if name in self.names:
            clashes.append(f"the name {name} is already that of {self.names[name]}")
        if tenant.digest is not None and tenant.digest in self.digests:
            shown = tokens.label(tenant.digest)
            clashes.append(
                f"its token (sha256 {shown}...) is already that of {self.digests[tenant.digest]}"
            )
        if tenant.port is not None and tenant.port in self.ports:
            clashes.append(f"port {tenant.port} is already that of {self.ports[tenant.port]}")
        real = os.path.realpath(data_dir)
        if _holds(real, os.path.realpath(data_root)):
            clashes.append(f"{data_dir} holds data_root")
        for other, owner in self.directories.items():
            if _holds(real, other) or _holds(other, real):
                clashes.append(f"its data directory {data_dir} is already that of {owner}")
                break
        return "; ".join(clashes)

    def take(self, name: str, owner: str, tenant: NewTenant, data_dir: Path) -> None:
        self.names[name] = owner
        if tenant.digest is not None:
            self.digests[tenant.digest] = owner
        if tenant.port is not None:
            self.ports[tenant.port] = owner
        self.directories[os.path.realpath(data_dir)] = owner


def decide(
    found: Iterable[Found], config: Config, wish: Wish, holder: Callable[[int], str]
) -> list[Decision]:
    """Return what becomes of each tenant, in order: of two that clash, the first is taken.

    `holder` tells who listens on a loopback port; empty: nobody.
    """
    owners = _Owners.of(config)
    existing = {tenant.name: tenant for tenant in config.tenants}
    decisions = []
    for one in found:
        decision = _decide(one, config, wish, owners, existing)
        if decision.tenant is not None and decision.data_dir is not None:
            owner = f"{decision.name} ({one.where})"
            owners.take(decision.name, owner, decision.tenant, decision.data_dir)
            if one.port is not None and (who := holder(one.port)):
                served = f"port {one.port} is served by {who}: end that first, or both write there"
                decision = attrs.evolve(decision, notes=(*decision.notes, served))
        decisions.append(decision)
    return decisions


def _decide(
    found: Found, config: Config, wish: Wish, owners: _Owners, existing: Mapping[str, Tenant]
) -> Decision:
    name, notes = name_of(found)
    notes = [*found.notes, *notes]

    def refused(reason: str) -> Decision:
        return Decision(found, name, Verdict.REFUSE, reason=reason, notes=tuple(notes))

    if found.token is None:
        return refused("it has no token")
    if not tokens.is_token(found.token):
        return refused("its token is not one: 1 to 512 bytes of 0x21-0x7E")
    digest = tokens.digest(found.token)
    there = existing.get(name)
    if there is not None and any(token.sha256 == digest for token in there.tokens):
        return Decision(found, name, Verdict.THERE, notes=tuple(notes))
    copied = wish.copy and found.data_dir is not None
    own_place = None if copied else found.data_dir
    data_dir = own_place or config.data_root / name
    tenant = NewTenant(
        name,
        digest,
        label=LABEL,
        port=found.port if wish.ports else None,
        data_dir=own_place,
        enabled=found.enabled,
        quota_mb=found.quota_mb,
        admin_email=found.admin_email,
    )
    reason = owners.clash(name, tenant, data_dir, config.data_root)
    reason = reason or _unfit(found.data_dir, data_dir, config, name, copied)
    if reason:
        return refused(reason)
    if found.data_dir is None:
        notes.append("where its data is, is not said: it begins with what is in its directory")
    elif not found.data_dir.exists():
        notes.append(f"{found.data_dir} is not there yet: it begins empty")
    copy_from = found.data_dir if copied else None
    return Decision(found, name, Verdict.TAKE, tenant, data_dir, copy_from, notes=tuple(notes))


def _unfit(source: Path | None, data_dir: Path, config: Config, name: str, copied: bool) -> str:
    """Return why data cannot be used where it is, or not be copied there; empty if it can."""
    if copied:
        assert source is not None
        if not source.is_dir():
            return f"{source} is no directory, so there is nothing to copy"
        if os.path.lexists(data_dir):
            return f"{data_dir} is there already, so nothing is copied to it"
        return ""
    tenant = Tenant(name, (), data_dir, Origin(config.file, None))
    try:
        service = service_account(config.file)
        check_directories(attrs.evolve(config, tenants=(tenant,)), service=service)
    except ConfigError as error:
        return f"{error.problem}; {error.remedy}" if error.remedy else error.problem
    return ""


def name_of(found: Found) -> tuple[str, list[str]]:
    """Return a tenant's name here, and notes where it is another one than it had.

    Without a name: that of its data directory, or of its port.
    """
    had = found.name
    guesses = [had, found.data_dir.name if found.data_dir else None]
    guesses.append(f"port-{found.port}" if found.port else None)
    guesses.append(f"token-{tokens.label(_digest(found.token))}" if found.token else None)
    for guess in guesses:
        name = _fitting(guess or "")
        if name:
            break
    else:
        name = "unnamed"
    if had is None:
        return name, [f"it had no name, and is called {name}"]
    return name, [] if had == name else [f"its name was {had}"]


def _digest(token: str) -> bytes:
    return tokens.digest(token) if token.isascii() else b"\0" * 32


def _fitting(text: str) -> str:
    """Return the nearest text that can be a tenant's name; empty when there is none."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.strip().lower()).strip("-._")[:MAX_NAME]
    try:
        return parse_tenant_name(name)
    except ValueError:
        return ""


def _holds(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)
