"""What workers ask the tenants' instances, and tell them, through the supervisor's process."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from sqsuper.gateway.messages import encode_outcome
from sqsuper.gateway.tallies import Tallies
from sqsuper.instances import Unavailable, Upstream, Wait, WatchedInstances


class Errands:
    """`remote.RemoteInstances` of all workers, at this end. `tenants` changes.

    `say(worker, kind, *facts)` tells a worker.
    """

    def __init__(
        self,
        instances: WatchedInstances,
        tenants: Container[str],
        tallies: Tallies,
        say: Callable[..., None],
    ) -> None:
        self._instances = instances
        self._tenants = tenants
        self._tallies = tallies
        self._say = say
        self._waits: dict[tuple[int, int], Wait] = {}

    def wait(self, worker: int, number: int, tenant: str) -> None:
        """Tell the worker, once, who takes requests for `tenant`, or why nobody does."""
        over = False

        def outcome(result: Upstream | Unavailable) -> None:
            nonlocal over
            over = True
            self._waits.pop((worker, number), None)
            if isinstance(result, Upstream):
                self._tallies.waited(tenant, result.epoch)
            self._say(worker, "settled", number, encode_outcome(result))

        if tenant not in self._tenants:
            outcome(Unavailable("disabled", "the tenant is gone", 60))
            return
        wait = self._instances.wait(tenant, outcome)
        if not over:
            self._waits[worker, number] = wait

    def unwait(self, worker: int, number: int) -> None:
        """Forget a wait. Harmless when it is over."""
        wait = self._waits.pop((worker, number), None)
        if wait is not None:
            wait.cancel()

    def refused(self, tenant: str, epoch: int) -> None:
        """See `Instances.refused`."""
        self._tell(self._instances.refused, tenant, epoch)

    def used(self, tenant: str, epoch: int, ago: float) -> None:
        """See `Instances.used`."""
        if tenant in self._tenants:
            self._tallies.used(tenant, epoch)
        self._tell(lambda upstream: self._instances.used(upstream, ago), tenant, epoch)

    def gone(self, worker: int) -> None:
        """Forget all waits of a worker that has ended."""
        for key in [key for key in self._waits if key[0] == worker]:
            self._waits.pop(key).cancel()

    def _tell(self, call: Callable[[Upstream], Any], tenant: str, epoch: int) -> None:
        if tenant in self._tenants:
            call(Upstream(tenant, epoch, ""))
