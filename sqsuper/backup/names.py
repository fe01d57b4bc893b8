"""Which names a backup takes in and gives back: those that a phext, or its directory, may have."""

from __future__ import annotations

from sqsuper.config.values import parse_tenant_name
from sqsuper.engine import names

# What the real sq keeps under the empty name; no other hidden file is a user's.
UNNAMED = ".phext"
_MAX_DEPTH = 16
_MAX_PATH_BYTES = 2048
_MAX_TENANT_BYTES = 64  # with the slash behind it


def fits(name: str) -> bool:
    """Whether a file or directory of this name may be in a backup."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    stem = name.removesuffix(names.SUFFIX)
    return name == UNNAMED or (names.is_allowed(stem) and names.is_allowed(stem or name))


def is_near(path: str) -> bool:
    """Whether a path below a tenant's directory is neither too deep nor too long for a backup."""
    size = len(path.encode("utf-8", "surrogateescape"))
    return path.count("/") < _MAX_DEPTH and size <= _MAX_PATH_BYTES - _MAX_TENANT_BYTES


def take_apart(path: str) -> tuple[str, tuple[str, ...]]:
    """Return a member's tenant, and the names that lead to its file (none: the tenant itself).

    Raises ValueError, which says what is wrong with it.
    """
    if len(path.encode("utf-8", "surrogateescape")) > _MAX_PATH_BYTES:
        raise ValueError("has too long a name")
    tenant, *parts = path.split("/")
    try:
        parse_tenant_name(tenant)
    except ValueError:
        raise ValueError("does not begin with a tenant's name") from None
    if len(parts) > _MAX_DEPTH:
        raise ValueError("lies too deep")
    if not all(map(fits, parts)) or UNNAMED in parts[:-1]:
        raise ValueError("has a name that no phext may have")
    return tenant, tuple(parts)
