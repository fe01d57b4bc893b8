"""The table as it comes without a script: searched, filtered, sorted and cut into pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from sqsuper.admin.page.rows import Row

PER_PAGE = 500

GROUPS: Mapping[str, tuple[str, ...]] = {
    "trouble": ("failed", "unhealthy", "backoff"),
    "running": ("healthy",),
    "moving": ("starting", "draining", "stopping"),
    "idle": ("stopped",),
    "disabled": ("disabled",),
}
"""The states by what an operator makes of them."""

GROUP_OF = {state: group for group, states in GROUPS.items() for state in states}

_RANK = {state: at for at, state in enumerate(GROUP_OF)}

SORTS: Mapping[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "state": lambda row: _RANK[row.state],
    "port": lambda row: row.port or 0,
    "memory": lambda row: -(row.memory or 0),
    "threads": lambda row: -(row.threads or 0),
    "rate": lambda row: (-row.rate, -row.requests),
    "latency": lambda row: -(row.p99 or 0),
    "errors": lambda row: -row.errors,
    "storage": lambda row: -(row.storage or 0),
    "restarts": lambda row: -row.restarts,
    "active": lambda row: -(row.active or 0),
}
"""What rows are sorted by, what matters most first."""


@attrs.frozen
class Selection:
    """What is looked for: a part of the name or of the reason, a group, and the order."""

    text: str = ""
    group: str = ""
    sort: str = "name"
    page: int = 1


@attrs.frozen
class Selected:
    """The rows of one page of the `found`."""

    rows: Sequence[Row]
    found: int
    pages: int


def select(rows: Iterable[Row], wanted: Selection) -> Selected:
    """Return what `wanted` finds among `rows`, which are in name order."""
    text = wanted.text.lower()
    found = [
        row
        for row in rows
        if (
            not text
            or text in row.name
            or text in row.reason.lower()
            or text in row.mark
            or text == str(row.port)
        )
        and (not wanted.group or GROUP_OF[row.state] == wanted.group)
    ]
    if wanted.sort != "name":
        found.sort(key=SORTS[wanted.sort])
    pages = max(1, -(-len(found) // PER_PAGE))
    start = (min(wanted.page, pages) - 1) * PER_PAGE
    return Selected(found[start : start + PER_PAGE], len(found), pages)
