"""What we write beside the users' files: who wrote a tenant's file, and the overlay.

The overlay says of tenants in a human's file what was changed by the admin API: that they are
stopped, disabled, or that some of their tokens are revoked. Everything else is said in files
alone, and those of `tenants.d` that begin with `MARK` are ours to write.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyMapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from sqsuper.config.located import Value
from sqsuper.config.model import Tenant
from sqsuper.config.readers import Place, Reader, boolean, listing, mapping, plain_text
from sqsuper.config.source import read_document
from sqsuper.config.values import parse_sha256

TENANTS_DIR = "tenants.d"
# Hidden: no pattern of `include` that ends in `*.yaml` finds it.
OVERLAY = ".overlay.yaml"
MARK = "# Written by sqsuper's admin API"
_HEADER = f"""\
{MARK}: what it changes of tenants in other files.
# Delete an entry to undo that; sqsuper reads this file again at the next reload.
"""


@attrs.frozen
class Patch:
    """What the overlay changes of one tenant; `revoked`: SHA-256 digests."""

    stopped: bool = False
    disabled: bool = False
    revoked: tuple[bytes, ...] = ()

    def apply(self, tenant: Tenant) -> Tenant:
        """Return the tenant as it is with this."""
        kept = tuple(token for token in tenant.tokens if token.sha256 not in self.revoked)
        overlay = tuple(
            name
            for name, changes in (
                ("stopped", self.stopped),
                ("disabled", self.disabled and tenant.enabled),
                ("revoked", bool(self.revoked)),
            )
            if changes
        )
        return attrs.evolve(
            tenant,
            enabled=tenant.enabled and not self.disabled,
            tokens=kept,
            origin=attrs.evolve(tenant.origin, overlay=overlay),
        )


Patches = ReadOnlyMapping[str, Patch]


def overlay_of(config_file: Path) -> Path:
    """Return where the overlay of a configuration is, if there is one."""
    return config_file.parent / TENANTS_DIR / OVERLAY


def read_overlay(file: Path, shown: str) -> dict[str, Patch]:
    """Return what stands in it, by tenant; nothing if there is no such file. Raises ConfigError."""
    if not file.exists():
        return {}
    root = read_document(file, shown).root
    at = Place(shown, "", file.parent, {})
    found: dict[str, Patch] = {}
    for key, line in root.lines.items():
        if key != "tenants":
            raise at.unknown(key, line, ("tenants",))
    if "tenants" not in root.entries:
        return found
    below = at.child("tenants", root.lines["tenants"])
    given = mapping(root.entries["tenants"], below)
    for name, item in given.entries.items():
        place = below.child(name, given.lines[name])
        keys = mapping(item, place)
        changes: dict[str, Any] = {}
        for key, value in keys.entries.items():
            if key not in _READERS:
                raise place.unknown(key, keys.lines[key], _READERS)
            changes[key] = _READERS[key](value, place.child(key, keys.lines[key]))
        found[name] = Patch(**changes)
    return found


_digests = listing(plain_text("a digest", secret=True), "a list of digests")


def _revoked(value: Value, at: Place) -> tuple[bytes, ...]:
    try:
        return tuple(parse_sha256(text) for text in _digests(value, at))
    except ValueError as error:
        raise at.wrong(value.line, f"must be {error}") from None


_READERS: dict[str, Reader[Any]] = {"stopped": boolean, "disabled": boolean, "revoked": _revoked}


def render_overlay(patches: Patches) -> str:
    """Return the text of an overlay that `read_overlay` reads as these patches."""
    tenants: dict[str, dict[str, object]] = {}
    for name, patch in sorted(patches.items()):
        entry: dict[str, object] = {}
        if patch.stopped:
            entry["stopped"] = True
        if patch.disabled:
            entry["disabled"] = True
        if patch.revoked:
            entry["revoked"] = [digest.hex() for digest in patch.revoked]
        if entry:
            tenants[name] = entry
    return _HEADER + str(yaml.safe_dump({"tenants": tenants}, default_flow_style=False))
