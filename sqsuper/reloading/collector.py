"""Python's garbage collector, kept from looking at thousands of tenants while requests wait.

A full collection looks at every object there is: at 10,000 tenants it takes half a second. It
comes when many new objects have lasted for a while, which is what a reload makes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# So many tenants that changed are as many objects as a collection should not look at.
MANY = 1000


def begin_with_what_is_there() -> None:
    """Let no collection look at what was made until now: hardly any of it will be garbage.

    What of it is (tenants that are removed later) is freed as far as it is not in cycles.
    """
    gc.freeze()


@contextmanager
def without_collector() -> Iterator[Callable[[int], None]]:
    """Collect nothing meanwhile. To be told, at the end, how many tenants changed."""
    changed = 0

    def tell(count: int) -> None:
        nonlocal changed
        changed = count

    was = gc.isenabled()
    gc.disable()
    try:
        yield tell
    finally:
        if changed >= MANY:
            gc.freeze()
        if was:
            gc.enable()
