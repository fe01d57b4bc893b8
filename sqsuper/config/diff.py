"""What it means to go from one configuration to another: a plan, made without touching anything."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from enum import Enum
from typing import Any

import attrs

from sqsuper.config.effects import (
    ADMIN,
    ADMIN_GETTERS,
    GATEWAY,
    GATEWAY_GETTERS,
    SERVICE_GETTERS,
    SERVICES,
    SETTINGS_GETTERS,
    TENANT,
    TENANT_GETTERS,
    Effect,
    Getter,
    setting_effect,
)
from sqsuper.config.model import Config, Engine, Settings, Tenant
from sqsuper.config.shown import shown, shown_tokens


class Verdict(Enum):
    """What becomes of a tenant."""

    ADD = "add"
    REMOVE = "remove"
    ENABLE = "enable"
    DISABLE = "disable"
    RESTART = "restart"
    """Its process, if one runs, is stopped as planned and started anew; requests are held."""
    ADJUST = "adjust"
    """Nothing of it is stopped."""


@attrs.frozen
class KeyChange:
    """One key: `before` and `after` as people read them, never a secret."""

    key: str
    before: str
    after: str
    effect: Effect


@attrs.frozen
class TenantChange:
    """One tenant whose entry says something else; `before` None: added, `after` None: removed."""

    name: str
    verdict: Verdict
    before: Tenant | None = attrs.field(repr=False)
    after: Tenant | None = attrs.field(repr=False)
    keys: tuple[KeyChange, ...] = ()

    @property
    def moved_from(self) -> str | None:
        """The data directory that is left as it is, where another one is pointed at."""
        if self.before is None or self.after is None:
            return None
        left = self.before.data_dir
        return None if left == self.after.data_dir else str(left)


@attrs.frozen
class Plan:
    """From `running` to `wanted`. Tenants that stay as they are, are counted only.

    `wanted` is the new configuration with what needs a restart of the service (`pending`) as
    it was. `bind` and `close` are the gateway's endpoint strings that are new or go.
    """

    running: Config = attrs.field(repr=False)
    wanted: Config = attrs.field(repr=False)
    tenants: tuple[TenantChange, ...] = ()
    unchanged: int = 0
    gateway: tuple[KeyChange, ...] = ()
    admin: tuple[KeyChange, ...] = ()
    service: tuple[KeyChange, ...] = ()
    pending: tuple[KeyChange, ...] = ()
    bind: tuple[str, ...] = ()
    close: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing that runs would go on otherwise."""
        return not (self.tenants or self.gateway or self.admin or self.service)


class UndecidableError(Exception):
    """The new configuration holds only after a restart of the service; the text says why."""


def plan(running: Config, new: Config) -> Plan:
    """Return what a reload from `running` to `new` does. Raises UndecidableError."""
    steps = plan_in_steps(running, new)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: Plan = done.value
            return made


def plan_in_steps(running: Config, new: Config) -> Generator[None, None, Plan]:
    """As `plan`, with a pause offered after each tenant."""
    pending, wanted = yield from _kept(running, new)
    changes: list[TenantChange] = []
    before = {tenant.name: tenant for tenant in running.tenants}
    unchanged = 0
    for tenant in wanted.tenants:
        change = change_of(before.pop(tenant.name, None), tenant)
        if change is None:
            unchanged += 1
        else:
            changes.append(change)
        yield
    changes += [TenantChange(name, Verdict.REMOVE, gone, None) for name, gone in before.items()]
    bind, close = listeners(running.gateway.listen, wanted.gateway.listen)
    return Plan(
        running,
        wanted,
        tuple(sorted(changes, key=lambda change: change.name)),
        unchanged,
        gateway=_keys(GATEWAY_GETTERS, GATEWAY, running.gateway, wanted.gateway),
        admin=_keys(ADMIN_GETTERS, ADMIN, running.admin, wanted.admin),
        service=_keys(SERVICE_GETTERS, SERVICES, running, wanted),
        pending=pending,
        bind=bind,
        close=close,
    )


def change_of(before: Tenant | None, after: Tenant) -> TenantChange | None:
    """Return what becomes of one tenant, None for nothing; where its entry stands is no change."""
    if before is None:
        return TenantChange(after.name, Verdict.ADD, None, after)
    if before.settings is not after.settings and before.settings != after.settings:
        settings = _settings(before.settings, after.settings)
    else:
        settings = ()
    keys = _tenant_keys(before, after) + settings
    if not keys:
        return None
    return TenantChange(after.name, _verdict(before, after, keys), before, after, keys)


def same_if_equal(before: Tenant | None, after: Tenant) -> Tenant:
    """Return `after`, but with what of it is as `before` from there, or all of that if it is so.

    So thousands of tenants of which one changes are hardly one object more.
    """
    if before is None:
        return after
    if before.settings == after.settings:
        after = attrs.evolve(after, settings=before.settings)
    if change_of(before, after) is not None:
        return after
    return before if before.origin == after.origin else attrs.evolve(before, origin=after.origin)


def _verdict(before: Tenant, after: Tenant, keys: Sequence[KeyChange]) -> Verdict:
    if before.enabled != after.enabled:
        return Verdict.ENABLE if after.enabled else Verdict.DISABLE
    if after.enabled and any(key.effect is Effect.RESTART for key in keys):
        return Verdict.RESTART
    return Verdict.ADJUST


def _tenant_keys(before: Tenant, after: Tenant) -> tuple[KeyChange, ...]:
    found: list[KeyChange] = []
    for key, get in TENANT_GETTERS:
        old, new = get(before), get(after)
        if old == new:
            continue
        if key == "tokens":
            # Their order has no meaning.
            gone, come = shown_tokens(old, new), shown_tokens(new, old)
            if gone or come:
                found.append(KeyChange(key, gone or "-", come or "-", TENANT[key]))
        else:
            found.append(KeyChange(key, shown(key, old), shown(key, new), TENANT[key]))
    return tuple(found)


def _settings(before: Settings, after: Settings) -> tuple[KeyChange, ...]:
    engine: Engine = after.engine
    return tuple(
        KeyChange(key, shown(key, old), shown(key, new), setting_effect(key, engine))
        for key, get in SETTINGS_GETTERS
        if (old := get(before)) != (new := get(after))
    )


def _keys(
    getters: Iterable[tuple[str, Getter]], effects: Any, before: Any, after: Any
) -> tuple[KeyChange, ...]:
    return tuple(
        KeyChange(key, shown(key, old), shown(key, new), effects[key])
        for key, get in getters
        if (old := get(before)) != (new := get(after))
    )


def listeners(
    before: Sequence[str], after: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which endpoint strings are new and which go; one given twice counts twice."""
    close, bind = list(before), []
    for endpoint in after:
        if endpoint in close:
            close.remove(endpoint)
        else:
            bind.append(endpoint)
    return tuple(bind), tuple(close)


def _kept(
    running: Config, new: Config
) -> Generator[None, None, tuple[tuple[KeyChange, ...], Config]]:
    """Return the keys that wait for a restart of the service, and `new` with them as they were."""
    pending = _waiting(_keys(SERVICE_GETTERS, SERVICES, running, new))
    pending += _waiting(_keys(GATEWAY_GETTERS, GATEWAY, running.gateway, new.gateway), "gateway.")
    if not pending:
        return (), new
    tenants = new.tenants
    if running.data_root != new.data_root:
        tenants = yield from _in_old_root(running, new)
    kept = attrs.evolve(
        new,
        run_dir=running.run_dir,
        data_root=running.data_root,
        gateway=attrs.evolve(new.gateway, workers=running.gateway.workers),
        tenants=tenants,
    )
    return pending, kept


def _waiting(keys: Iterable[KeyChange], section: str = "") -> tuple[KeyChange, ...]:
    return tuple(
        attrs.evolve(key, key=section + key.key) for key in keys if key.effect is Effect.SERVICE
    )


def _in_old_root(running: Config, new: Config) -> Generator[None, None, tuple[Tenant, ...]]:
    """Return the tenants with their data in the old data_root, where it is there by default."""
    found: list[Tenant] = []
    owners: dict[Any, str] = {}
    for tenant in new.tenants:
        kept = tenant
        if tenant.data_dir == new.data_root / tenant.name:
            kept = attrs.evolve(tenant, data_dir=running.data_root / tenant.name)
        if kept.data_dir in owners:
            raise UndecidableError(
                f"data_root changes, which needs a restart of sqsuper; until then {tenant.name} and"
                f" {owners[kept.data_dir]} would have one data directory, {kept.data_dir}"
            )
        owners[kept.data_dir] = tenant.name
        found.append(kept)
        yield
    return tuple(found)
