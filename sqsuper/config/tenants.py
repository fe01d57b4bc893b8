"""The `tenants` of one file into `model.Tenant`, each with the credentials that stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from sqsuper.config.credentials import Credential, read_credentials
from sqsuper.config.errors import ClashError
from sqsuper.config.located import Kind, Mapping, Scalar, Value
from sqsuper.config.model import Engine, Origin, Settings, Tenant
from sqsuper.config.readers import Place, mapping
from sqsuper.config.schema import COMMAND_FORM, TENANT_KEYS, TENANT_SETTINGS, TENANT_TOKENS
from sqsuper.config.values import parse_tenant_name


@attrs.frozen
class Entry:
    """A tenant as it stands in a file: `file` as shown, `credentials` in the file's order."""

    tenant: Tenant
    file: str
    credentials: tuple[Credential, ...]


@attrs.frozen
class Ground:
    """What all tenants of a configuration start from."""

    defaults: Settings
    data_root: Path


def read_tenants(
    value: Value, at: Place, file: Path, ground: Ground, known: dict[str, Entry]
) -> list[Entry]:
    """Add the tenants of one file (absolute path `file`) to `known`; return them in its order.

    Raises ConfigError, also for a name that is in `known` already.
    """
    if isinstance(value, Scalar) and value.kind is Kind.NULL:
        return []
    given = mapping(value, at, "a mapping of names to tenants")
    for name, item in given.entries.items():
        line = given.lines[name]
        before = known.get(name)
        below = at.child(name, line)
        try:
            parse_tenant_name(name)
        except ValueError as error:
            raise below.wrong(line, f"a tenant's name is {error}") from None
        if before is not None:
            raise ClashError(
                at.file,
                line,
                below.path,
                f"the tenant is already defined in {_where(before)}",
                "keep one of them",
                owner=name,
            )
        known[name] = _read_tenant(name, item, below, Origin(file, line), ground)
    return [known[name] for name in given.entries]


def _where(entry: Entry) -> str:
    line = entry.tenant.origin.line
    return entry.file if line is None else f"{entry.file}:{line}"


def _read_tenant(name: str, value: Value, at: Place, origin: Origin, ground: Ground) -> Entry:
    given = mapping(value, at, "a mapping of the tenant's keys")
    settings = TENANT_SETTINGS.merge(given, at, ground.defaults)
    own: dict[str, Any] = {}
    for key, reader in TENANT_KEYS.items():
        if key in given.entries:
            own[key] = reader(given.entries[key], at.child(key, given.lines[key]))
    if own.get("data_dir") is None:
        own["data_dir"] = ground.data_root / name
    credentials = _credentials(given, at)
    if settings.engine is Engine.COMMAND and settings.command is None:
        line = given.lines.get("engine", origin.line)
        raise at.child("command", line).wrong(
            line, "is missing, and engine: command needs it", f"give {COMMAND_FORM}"
        )
    tokens = tuple(credential.token for credential in credentials)
    tenant = Tenant(name=name, tokens=tokens, origin=origin, settings=settings, **own)
    return Entry(tenant, at.file, credentials)


def _credentials(given: Mapping, at: Place) -> tuple[Credential, ...]:
    found: tuple[Credential, ...] = ()
    for key in TENANT_TOKENS:
        if key in given.entries:
            below = at.child(key, given.lines[key])
            found += read_credentials(given.entries[key], below, plain=key == "tokens")
    return found
