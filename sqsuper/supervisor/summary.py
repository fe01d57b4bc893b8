"""How the tenants do, in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqsuper.supervisor.instance import State

# In the order in which an operator asks; the rest is at rest.
TOLD = (State.HEALTHY, State.FAILED, State.UNHEALTHY, State.BACKOFF, State.STARTING)


def summary(states: Iterable[State]) -> str:
    """Return such as `12 tenants: 3 healthy, 1 failed`; healthy and failed are always told."""
    counts = Counter(states)
    total = sum(counts.values())
    told = [
        f"{counts[state]} {state.value}"
        for state in TOLD
        if counts[state] or state in (State.HEALTHY, State.FAILED)
    ]
    return f"{total} {'tenant' if total == 1 else 'tenants'}: {', '.join(told)}"
