"""A plan for people, line by line, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqsuper.config.diff import KeyChange, Plan, TenantChange, Verdict

_WORDS = {
    Verdict.ADD: "added",
    Verdict.REMOVE: "removed: drained and stopped; its data stays in {data_dir}",
    Verdict.ENABLE: "enabled",
    Verdict.DISABLE: "disabled: drained and stopped",
    Verdict.RESTART: "restarted, if it runs; requests are held meanwhile",
    Verdict.ADJUST: "adjusted; nothing is stopped",
}


def lines_of(plan: Plan) -> Iterator[str]:
    """Give one line for each tenant and key that changes."""
    for section, keys in (
        ("gateway.", plan.gateway),
        ("admin.", plan.admin),
        ("", plan.service),
    ):
        for key in keys:
            yield f"{section}{_key(key)}"
    for key in plan.pending:
        yield f"{_key(key)}; kept as it is until then"
    for change in plan.tenants:
        yield f"{change.name}: {_what(change)}"
        for key in change.keys:
            yield f"{change.name}: {_key(key)}"


def summary_of(plan: Plan) -> str:
    """Return one line: how many tenants are what."""
    counts = [
        f"{count} {_WORDS[verdict].partition(':')[0].partition(',')[0].partition(';')[0]}"
        for verdict in Verdict
        if (count := sum(change.verdict is verdict for change in plan.tenants))
    ]
    keys = len(plan.gateway) + len(plan.admin) + len(plan.service)
    if keys:
        counts.append(f"{keys} keys of the service changed")
    told = f"tenants: {', '.join([*counts, f'{plan.unchanged} unchanged'])}"
    if plan.pending:
        names = ", ".join(key.key for key in plan.pending)
        told += f"; waiting for a restart of sqsuper: {names}"
    return told


def facts_of(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON takes it."""
    return {
        "tenants": [
            {
                "tenant": change.name,
                "action": change.verdict.value,
                "keys": _facts(change.keys),
                "data_stays_in": _left(change),
            }
            for change in plan.tenants
        ],
        "unchanged": plan.unchanged,
        "gateway": _facts(plan.gateway),
        "admin": _facts(plan.admin),
        "service": _facts(plan.service),
        "needs_restart": _facts(plan.pending),
        "listeners": {"bind": list(plan.bind), "close": list(plan.close)},
    }


def _what(change: TenantChange) -> str:
    told = _WORDS[change.verdict].format(data_dir=_left(change))
    if change.moved_from is not None:
        told += f"; nothing is copied, its data stays in {change.moved_from}"
    return told


def _left(change: TenantChange) -> str | None:
    if change.verdict is Verdict.REMOVE and change.before is not None:
        return str(change.before.data_dir)
    return change.moved_from


def _key(key: KeyChange) -> str:
    return f"{key.key}: {key.before} -> {key.after} ({key.effect.value})"


def _facts(keys: Iterable[KeyChange]) -> list[dict[str, str]]:
    return [
        {"key": key.key, "before": key.before, "after": key.after, "effect": key.effect.value}
        for key in keys
    ]
