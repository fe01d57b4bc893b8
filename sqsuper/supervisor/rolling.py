"""Restarts of many tenants, so few at a time that the service goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.internet.defer import Deferred

from sqsuper.supervisor.instance import RUNNING, State
from sqsuper.supervisor.lifecycle import Lifecycle


@attrs.frozen
class Rolled:
    """What became of a rolling restart: tenants by name.

    `skipped` did not run, or were stopped meanwhile; `failed` did not take requests
    again, or, of an engine that can be replaced while it runs, went on as before. After a
    failure no further restart begins: `left` are those that were not touched.
    """

    restarted: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[str, ...]
    left: tuple[str, ...]


class Rolling:
    """One rolling restart: `max_unavailable` tenants at a time, in the order given."""

    def __init__(
        self,
        tenants: Iterable[str],
        max_unavailable: int,
        *,
        state: Callable[[str], State | None],
        restart: Callable[[str], Deferred[bool]],
    ) -> None:
        """`state(tenant)`: None if it is no more; `restart(tenant)` fires with how that went."""
        self._waiting = deque(dict.fromkeys(tenants))
        self._most = max(1, max_unavailable)
        self._state = state
        self._restart = restart
        self._under_way = 0
        self._restarted: list[str] = []
        self._skipped: list[str] = []
        self._failed: list[str] = []
        self._done: Deferred[Rolled] = Deferred()
        self._going = False

    def run(self) -> Deferred[Rolled]:
        """Begin; fires when all that was begun is over. To be called once."""
        self._go_on()
        return self._done

    def _go_on(self) -> None:
        if self._going:
            return  # a restart that is over at once comes back here from inside
        self._going = True
        while self._waiting and not self._failed and self._under_way < self._most:
            tenant = self._waiting.popleft()
            if self._state(tenant) not in RUNNING:
                self._skipped.append(tenant)
                continue
            self._under_way += 1
            self._restart(tenant).addCallback(self._over, tenant)
        self._going = False
        if self._under_way == 0:
            self._done.callback(
                Rolled(
                    tuple(self._restarted),
                    tuple(self._skipped),
                    tuple(self._failed),
                    tuple(self._waiting),
                )
            )

    def _over(self, well: bool, tenant: str) -> None:
        self._under_way -= 1
        if well:
            self._restarted.append(tenant)
        elif self._state(tenant) in {State.STOPPED, State.DISABLED, None}:
            self._skipped.append(tenant)
        else:
            self._failed.append(tenant)
        self._go_on()


def roll(
    lives: Mapping[str, Lifecycle], present: Mapping[str, Lifecycle], most: int, reason: str
) -> Deferred[Rolled]:
    """Restart `lives`, as long as each is `present`; see `Rolling`."""

    def state(name: str) -> State | None:
        return lives[name].state if present.get(name) is lives[name] else None

    return Rolling(lives, most, state=state, restart=lambda name: lives[name].restart(reason)).run()
