"""Tenants' entries on disk, as the admin API writes them: blocking, one change at a time.

A tenant of ours has the file `tenants.d/NAME.yaml` for itself. A file that somebody else wrote
is never written: what may be changed of its tenants goes into the overlay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import yaml

from sqsuper.admin import files
from sqsuper.admin.errors import BadRequestError, ConflictError
from sqsuper.config.errors import ConfigError
from sqsuper.config.located import Source
from sqsuper.config.model import Config, Tenant
from sqsuper.config.overlay import (
    MARK,
    TENANTS_DIR,
    Patch,
    overlay_of,
    read_overlay,
    render_overlay,
)
from sqsuper.config.readers import Place
from sqsuper.config.source_json import read_json
from sqsuper.config.tenants import Ground, read_tenants

Undo = Callable[[], None]

# What decides which program runs as whom, and where it may look, is for the files alone.
IN_FILES_ALONE = ("command", "user", "environment", "data_dir", "tokens", "token_sha256")

_HEADER = f"""\
{MARK}; it writes the whole file anew.
# To keep it by hand delete the first line: it is then never written again.
"""


def file_of(config: Config, name: str) -> Path:
    """Return where the entry of a tenant of ours is."""
    return config.file.parent / TENANTS_DIR / f"{name}.yaml"


def is_included(config: Config, name: str) -> bool:
    """Whether the configuration reads that file."""
    wanted = (TENANTS_DIR, f"{name}.yaml")
    for pattern in config.include:
        parts = os.path.normpath(pattern).split("/")
        if len(parts) == len(wanted) and all(map(fnmatchcase, wanted, parts)):
            return True
    return False


def check_place(config: Config, name: str) -> None:
    """Raise ConflictError where a new tenant cannot have a file of ours."""
    if not is_included(config, name):
        raise ConflictError("the configuration includes no tenants.d/*.yaml: add that to include")
    file = file_of(config, name)
    if file.exists() or file.is_symlink():
        raise ConflictError(f"there is a file {file} already, which sqsuper did not write")


def read(tenant: Tenant) -> dict[str, Any]:
    """Return the entry of a tenant of ours as it stands in its file. Raises ConflictError."""
    check_managed(tenant)
    try:
        text = tenant.origin.file.read_text("utf-8")
        entry = yaml.safe_load(text)["tenants"][tenant.name]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        raise ConflictError(f"{_where(tenant)} cannot be read; reload to see why") from None
    if not text.startswith(MARK):
        raise ConflictError(f"{_where(tenant)} is kept by hand now: change it there, then reload")
    return as_json(entry or {})


def check_managed(tenant: Tenant) -> None:
    """Raise ConflictError, with file and line, for a tenant in a file that is not ours."""
    if not tenant.origin.managed:
        raise ConflictError(
            f"{tenant.name} stands in {_where(tenant)}, which is kept by hand:"
            " change it there, then reload",
            file=str(tenant.origin.file),
            line=tenant.origin.line,
        )


def _where(tenant: Tenant) -> str:
    origin = tenant.origin
    return str(origin.file) if origin.line is None else f"{origin.file}:{origin.line}"


def checked(config: Config, name: str, entry: Mapping[str, Any]) -> Tenant:
    """Return the tenant that an entry (as JSON has it) makes. Raises BadRequestError."""
    file = file_of(config, name)
    try:
        root = read_json(Source("request", file, json.dumps({name: entry})))
        assert root is not None
        at = Place("request", "tenants", config.file.parent, {})
        found = read_tenants(root, at, file, Ground(config.defaults, config.data_root), {})
    except ConfigError as error:
        raise BadRequestError(told(error, name)) from None
    tenant = found[0].tenant
    return attrs.evolve(tenant, origin=attrs.evolve(tenant.origin, managed=True))


def without_files_alone(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given`; raises BadRequestError for a key that is for the files alone."""
    for key in given:
        if key in IN_FILES_ALONE or (key, given[key]) == ("engine", "command"):
            raise BadRequestError(
                f"{key} decides what runs on this machine: it is set in a configuration file alone"
            )
    return dict(given)


def as_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as it was read, with YAML's own times as texts."""
    made: dict[str, Any] = json.loads(json.dumps(entry, default=_moment))
    return made


def _moment(value: object) -> str:
    if not isinstance(value, datetime):
        raise ConflictError("the entry holds what no configuration has")
    aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return aware.isoformat()


def told(error: ConfigError, name: str) -> str:
    """Return an error of an entry as whoever gave it by the API reads it."""
    line = str(attrs.evolve(error, file="", line=None)).removeprefix(": ")
    for prefix in (f"tenants.{name}.", f'tenants."{name}".', "tenants."):
        line = line.removeprefix(prefix)
    return line


def write(config: Config, name: str, entry: Mapping[str, Any]) -> Undo:
    """Write a tenant's entry; return what puts back what was there. Raises OSError."""
    text = yaml.safe_dump({"tenants": {name: dict(entry)}}, sort_keys=False)
    return _written(file_of(config, name), _HEADER + text)


def remove(config: Config, name: str) -> Undo:
    """Remove a tenant's file; return what puts it back. Raises OSError."""
    return _written(file_of(config, name), None)


def patch(config: Config, name: str, change: Callable[[Patch], Patch]) -> Undo:
    """Change what the overlay says of a tenant; return what undoes that.

    Raises OSError, ConflictError for an overlay that cannot be read.
    """
    file = overlay_of(config.file)
    try:
        patches = read_overlay(file, str(file))
    except ConfigError as error:
        raise ConflictError(str(error)) from None
    before = patches.get(name, Patch())
    after = change(before)
    if after == before:
        return _nothing
    patches[name] = after
    if not any(one != Patch() for one in patches.values()):
        return _written(file, None)
    return _written(file, render_overlay(patches))


def _nothing() -> None:
    """Undo nothing."""


def _written(file: Path, text: str | None) -> Undo:
    try:
        before: str | None = file.read_text("utf-8")
    except FileNotFoundError:
        before = None
    _put(file, text)
    return lambda: _put(file, before)


def _put(file: Path, text: str | None) -> None:
    if text is None:
        files.remove(file)
    else:
        files.replace(file, text)
