"""The seam between gateway and supervisor.

The gateway asks for a ready address of a tenant's instance and tells how it went; it never
touches a process. The supervisor gives addresses and never sees a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs


@attrs.frozen
class Upstream:
    """A ready address of one epoch (one spawn) of a tenant's instance.

    Either `path` (a Unix socket) or `host` and `port` is set. Connections to one epoch are
    never used for another: compare `epoch`, which never repeats within a supervisor's life.
    """

    tenant: str
    epoch: int
    key: str = attrs.field(repr=False)
    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 0


@attrs.frozen
class Unavailable:
    """Why a tenant has no instance that takes requests.

    `code`: machine code of the 503 answer: `starting`, `draining` (the instance or the service
    is being stopped), `stopped` (by hand), `failed`, `disabled`, `timeout` (it does not answer),
    `overloaded`; `reason`: one line for people; `retry_after`: whole seconds; `cause`: the class
    of a failure, with `failed`.
    """

    code: str
    reason: str
    retry_after: int
    cause: str | None = None


@attrs.frozen
class Full:
    """Why a tenant's data must not grow.

    `code`: machine code of the 507 answer, `quota` or `phext_too_large`; `reason`: one line for
    people.
    """

    code: str
    reason: str


class Wait(Protocol):
    """A waiting request, as `Instances.wait` gives it."""

    def cancel(self) -> None:
        """Wait no longer: the outcome is not delivered. Idempotent; harmless after delivery."""


class Instances(Protocol):
    """What the gateway may ask and tell. Called in the reactor's thread only."""

    def ready(self, tenant: str) -> Upstream | None:
        """Return the upstream that takes requests now, or None (then use `wait`)."""

    def wait(self, tenant: str, outcome: Callable[[Upstream | Unavailable], None]) -> Wait:
        """Start the tenant's instance if it is not running, and call `outcome` once.

        With the upstream as soon as it takes requests, or with the reason when that is
        certain not to happen soon (disabled, failed), or the wait is over: `health.start_timeout`
        while the instance is starting, `queue_timeout` while it is not. May call `outcome`
        before it returns.
        """

    def refused(self, upstream: Upstream) -> None:
        """Tell that connecting to this upstream was refused."""

    def used(self, upstream: Upstream, ago: float = 0.0) -> None:
        """Tell that a request to this upstream ended well (activity, liveness), `ago` seconds."""


class WatchedInstances(Instances, Protocol):
    """`Instances` that tell when what `ready` gives has changed."""

    def watch(self, changed: Callable[[str, Upstream | None], None]) -> None:
        """Call `changed(tenant, upstream)` from now on whenever `ready` gives another answer.

        Before anybody who waits for the tenant is told.
        """
