"""The JSON and TOML files: SQ's router, its tenants file, the gateway's, the one wished for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import attrs

from sqsuper.cli.formats.fields import MAX_QUOTA_MB, Fields, not_taken
from sqsuper.cli.formats.found import FormatError, Found, Listing

ROUTER = "a router configuration (JSON)"
TENANTS = "a tenants file (JSON)"
GATEWAY = "a gateway configuration (TOML)"
_QUOTA = "default_quota_mb"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a key that stands there twice is not lost."""


def read_json(text: str, file: str, base: Path) -> Listing:
    """Return the tenants of a JSON file of any of the three forms. Raises FormatError.

    Its `default_quota_mb` becomes the quota of each tenant that names none.
    """
    try:
        root = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise FormatError(file, error.lineno, f"is not JSON: {error.msg}") from None
    except RecursionError:
        raise FormatError(file, None, "is nested too deep") from None
    left: list[str] = []
    notes: list[str] = []
    quota: int | None = None
    if isinstance(root, _Pairs):
        top = _once(root, file, "the file")
        if "tenants" not in top:
            raise FormatError(file, None, "has no tenants")
        root = top.pop("tenants")
        quota = Fields(top, file, None, "the file", base).number(1, MAX_QUOTA_MB, _QUOTA)
        top.pop(_QUOTA, None)
        left += top
    if quota is not None:
        notes.append(
            f"{_QUOTA}: {quota} MiB become the quota of its tenants that name none; for those"
            " to come set defaults.quota_mb"
        )
    if isinstance(root, _Pairs):
        kind, tenants = TENANTS, _by_token(root, file, base, left)
    elif isinstance(root, list):
        kind, tenants = ROUTER, _listed(root, file, base, left)
    else:
        raise FormatError(file, None, "tenants must be a list, or a mapping of tokens to tenants")
    found = (one if one.quota_mb else attrs.evolve(one, quota_mb=quota) for one in tenants)
    return Listing(kind, tuple(found), (*not_taken(left), *notes))


def read_gateway(text: str, file: str, base: Path) -> Listing:
    """Return the tenants of the gateway's TOML file. Raises FormatError."""
    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(file, None, f"is not TOML: {error}") from None
    given = root.get("tenants", [])
    if not isinstance(given, list):
        raise FormatError(file, None, "tenants must be a list: [[tenants]]")
    notes = []
    left = [key for key in root if key not in {"gateway", "tenants"}]
    gateway = root.get("gateway")
    if isinstance(gateway, dict):
        left += [f"gateway.{key}" for key in gateway if key not in {"listen_port", "admin_key"}]
        if "listen_port" in gateway:
            notes.append(f"listen_port {gateway['listen_port']}: gateway.listen says it here")
        if "admin_key" in gateway:
            notes.append("admin_key is not taken over: the admin API has a token of its own")
    found = []
    for number, entry in enumerate(given):
        if not isinstance(entry, dict):
            raise FormatError(file, None, f"tenants[{number}] must be a table")
        fields = Fields(entry, file, None, f"tenants[{number}]", base)
        phext = fields.text("phext")
        told = [] if phext is None else [f"its phext is {phext}; where its file is, is not said"]
        left += fields.others("phext")
        found.append(fields.found(told))
    return Listing(GATEWAY, tuple(found), (*notes, *not_taken(left)))


def _by_token(pairs: _Pairs, file: str, base: Path, left: list[str]) -> list[Found]:
    """Return the tenants; add to `left` the names of fields that are not taken over."""
    found = []
    for number, (token, entry) in enumerate(pairs):
        # The key is a token: an error names the entry by its number.
        label = f"tenants, entry {number + 1}"
        if not isinstance(entry, _Pairs):
            raise FormatError(file, None, f"{label} must be an object")
        fields = Fields(_once(entry, file, label), file, None, label, base)
        left += fields.others()
        found.append(fields.found(token=token))
    return found


def _listed(entries: list[Any], file: str, base: Path, left: list[str]) -> list[Found]:
    """See `_by_token`."""
    found = []
    for number, entry in enumerate(entries):
        label = f"tenants[{number}]"
        if not isinstance(entry, _Pairs):
            raise FormatError(file, None, f"{label} must be an object")
        fields = Fields(_once(entry, file, label), file, None, label, base)
        left += fields.others()
        found.append(fields.found())
    return found


def _once(pairs: _Pairs, file: str, what: str) -> dict[str, Any]:
    """Return the pairs as a mapping. Raises FormatError for a key that is there twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(file, None, f"{what} has {key} twice")
        found[key] = value
    return found
