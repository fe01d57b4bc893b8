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

from sqsuper.cli.formats.fields import Fields
from sqsuper.cli.formats.found import FormatError, Found, Listing

ROUTER = "a router configuration (JSON)"
TENANTS = "a tenants file (JSON)"
GATEWAY = "a gateway configuration (TOML)"
_UNUSED = ("admin_key", "max_tenants", "default_quota_mb", "reload_on_change")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a key that stands there twice is not lost."""


def read_json(text: str, file: str, base: Path) -> Listing:
    """Return the tenants of a JSON file of any of the three forms. Raises FormatError."""
    try:
        root = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise FormatError(file, error.lineno, f"is not JSON: {error.msg}") from None
    except RecursionError:
        raise FormatError(file, None, "is nested too deep") from None
    notes: tuple[str, ...] = ()
    if isinstance(root, _Pairs):
        top = _once(root, file, "the file")
        notes = tuple(f"{key} is not taken over" for key in _UNUSED if key in top)
        if "tenants" not in top:
            raise FormatError(file, None, "has no tenants")
        root = top["tenants"]
    if isinstance(root, _Pairs):
        return Listing(TENANTS, tuple(_by_token(root, file, base)), notes)
    if isinstance(root, list):
        return Listing(ROUTER, _listed(root, file, base), notes)
    raise FormatError(file, None, "tenants must be a list, or a mapping of tokens to tenants")


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
    gateway = root.get("gateway")
    if isinstance(gateway, dict):
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
        found.append(fields.found(told))
    return Listing(GATEWAY, tuple(found), tuple(notes))


def _by_token(pairs: _Pairs, file: str, base: Path) -> list[Found]:
    found = []
    for number, (token, entry) in enumerate(pairs):
        # The key is a token: an error names the entry by its number.
        label = f"tenants, entry {number + 1}"
        if not isinstance(entry, _Pairs):
            raise FormatError(file, None, f"{label} must be an object")
        fields = Fields(_once(entry, file, label), file, None, label, base)
        found.append(fields.found(token=token))
    return found


def _listed(entries: list[Any], file: str, base: Path) -> tuple[Found, ...]:
    found = []
    for number, entry in enumerate(entries):
        label = f"tenants[{number}]"
        if not isinstance(entry, _Pairs):
            raise FormatError(file, None, f"{label} must be an object")
        found.append(Fields(_once(entry, file, label), file, None, label, base).found())
    return tuple(found)


def _once(pairs: _Pairs, file: str, what: str) -> dict[str, Any]:
    """Return the pairs as a mapping. Raises FormatError for a key that is there twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(file, None, f"{what} has {key} twice")
        found[key] = value
    return found
