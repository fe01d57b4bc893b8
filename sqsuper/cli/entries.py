"""A tenant's entry as a file of its own, `tenants.d/NAME.yaml`, as people would write it."""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from sqsuper.config.overlay import MARK


@attrs.frozen
class NewTenant:
    """What a new tenant's file says. `digest`: SHA-256 of its token; None: it has none yet."""

    name: str
    digest: bytes | None = attrs.field(default=None, repr=lambda d: d.hex()[:8] if d else "None")
    label: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    enabled: bool = True
    quota_mb: int | None = None
    admin_email: str | None = None


def render(tenant: NewTenant, maker: str) -> str:
    """Return the YAML text of an included file; `maker` says in a comment who wrote it.

    The admin API takes the file for one of its own, and may write it anew.
    """
    lines = [f"{MARK}, or by {maker}.", "tenants:", f"  {_quoted(tenant.name)}:"]
    if tenant.digest is None:
        lines.append("    token_sha256: []")
    elif tenant.label is None:
        lines.append(f"    token_sha256: [{_quoted(tenant.digest.hex())}]")
    else:
        lines += [
            "    token_sha256:",
            f"      - sha256: {_quoted(tenant.digest.hex())}",
            f"        label: {_quoted(tenant.label)}",
        ]
    if tenant.port is not None:
        lines.append(f"    port: {tenant.port}")
    if tenant.data_dir is not None:
        lines.append(f"    data_dir: {_quoted(str(tenant.data_dir))}")
    if tenant.quota_mb is not None:
        lines.append(f"    quota_mb: {tenant.quota_mb}")
    if tenant.admin_email is not None:
        lines.append(f"    admin_email: {_quoted(tenant.admin_email)}")
    if not tenant.enabled:
        lines.append("    enabled: false")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # What JSON writes between quotes, YAML reads alike.
    return json.dumps(text, ensure_ascii=False)
