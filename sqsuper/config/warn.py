"""Warnings: what works, but works against something else in the configuration or is unwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from sqsuper.config.check import Whole
from sqsuper.config.credentials import SHORT
from sqsuper.config.errors import hide_tokens, one_line
from sqsuper.config.located import format_key
from sqsuper.config.model import MIB, Engine, Settings
from sqsuper.config.permissions import can_be_read_by_others, tenant_key

# A scroll of 200 bytes takes twice its size in memory (392 bytes), its text included.
_LOADED = 2
_REAL_SQ_PHEXT_MB = 480


def warnings_of(whole: Whole) -> tuple[str, ...]:
    """Return one line for each, `FILE:LINE: KEY.PATH: text`, in the order of the keys' owners.

    What many tenants have from `defaults` is told once, where it stands.
    """
    found: dict[str, None] = {}
    for key, text in _all(whole):
        file, line = whole.where(key)
        where = file if line is None else f"{file}:{line}"
        shown = f"{key}: {text}" if key else text
        found[f"{one_line(where)}: {one_line(hide_tokens(shown))}"] = None
    return tuple(found)


def _all(whole: Whole) -> Iterator[tuple[str, str]]:
    yield from _listeners(whole)
    yield from _descriptors(whole)
    yield from _admin(whole)
    if not whole.entries:
        yield (
            "",
            "no tenants yet; add one under tenants:, or as a file tenants.d/NAME.yaml",
        )
    plain: dict[str, list[str]] = {}
    for entry in whole.entries:
        tenant = entry.tenant
        if not entry.credentials:
            yield (
                tenant_key(tenant.name),
                "the tenant has no token, so nobody can reach it; add one to token_sha256",
            )
        for credential in entry.credentials:
            if credential.plain is None:
                continue
            plain.setdefault(entry.file, []).append(credential.key)
            if credential.plain < SHORT:
                yield (
                    credential.key,
                    f"the token is short ({credential.plain} bytes); make a new one",
                )
        for key, text in _settings(tenant.settings):
            yield _stands(whole, tenant_key(tenant.name), key), text
    for keys in plain.values():
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        yield keys[0], f"a plain token stands in the file{more}; token_sha256 keeps only its digest"


def _stands(whole: Whole, tenant: str, key: str) -> str:
    """Return the path where a tenant's setting is given: its own, the defaults', or the tenant."""
    for path in (f"{tenant}.{key}", f"defaults.{key}"):
        if path in whole.places:
            return path
    return tenant


def _listeners(whole: Whole) -> Iterator[tuple[str, str]]:
    for key, endpoint in whole.listeners():
        if endpoint.kind in {"tcp", "tcp6"} and not endpoint.loopback_only:
            shown = endpoint.interface or "all addresses"
            yield key, f"plain HTTP on {shown}: tokens cross the network readable; use TLS in front"
        if endpoint.kind == "ssl":
            key_file = endpoint.arguments["privateKey"]
            if can_be_read_by_others(key_file):
                yield key, f"the private key {key_file} can be read by others; chmod 600 {key_file}"


def _descriptors(whole: Whole) -> Iterator[tuple[str, str]]:
    hard = descriptor_limit()
    wanted = 2 * whole.config.gateway.max_connections
    if hard is not None and wanted > hard:
        yield (
            "gateway.max_connections",
            f"needs up to {wanted} descriptors, and this system allows {hard}; raise ulimit -n",
        )


def descriptor_limit() -> int | None:
    """Return how many descriptors a process of ours can be given; None: no limit is known."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not on every platform

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _admin(whole: Whole) -> Iterator[tuple[str, str]]:
    if whole.admin is not None and whole.admin.plain is not None:
        yield "admin.token", "a plain token stands in the file; token_sha256 keeps only its digest"
        if whole.admin.plain < SHORT:
            yield "admin.token", f"the token is short ({whole.admin.plain} bytes); make a new one"


def _settings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give (key below the tenant, text) for settings that work against each other."""
    limits, restart = settings.limits, settings.restart
    if limits.memory_hard is not None:
        if settings.quota_mb is None:
            yield "quota_mb", "there is no quota, but limits.memory_hard ends what grows past it"
        elif settings.quota_mb * MIB * _LOADED > limits.memory_hard:
            yield (
                "quota_mb",
                f"{settings.quota_mb} MiB of data cannot be held loaded within "
                f"limits.memory_hard ({limits.memory_hard // MIB} MiB)",
            )
        if limits.memory_soft is not None and limits.memory_soft > limits.memory_hard:
            yield format_key("limits", "memory_soft"), "is above limits.memory_hard"
    if limits.threads is not None and settings.max_inflight >= limits.threads:
        yield (
            "max_inflight",
            f"{settings.max_inflight} is not below limits.threads ({limits.threads})",
        )
    if restart.backoff > restart.backoff_max:
        yield format_key("restart", "backoff"), "is above restart.backoff_max"
    if settings.engine is Engine.COMMAND:
        yield (
            "engine",
            "a command engine may listen on all addresses, and its key is in its arguments, "
            "where every local user reads it; close its port by a firewall",
        )
        if settings.max_phext_mb > _REAL_SQ_PHEXT_MB:
            yield (
                "max_phext_mb",
                "a real sq truncates files over 512 MiB when it loads them; "
                f"keep it at {_REAL_SQ_PHEXT_MB}",
            )
