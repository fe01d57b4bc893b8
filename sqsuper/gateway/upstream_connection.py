"""A connection to an instance, and who uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from sqsuper.gateway.wire import Wire
from sqsuper.instances import Upstream

if TYPE_CHECKING:
    from sqsuper.gateway.upstream import Pool

log = Logger()


class UpstreamUser(Protocol):
    """An exchange that uses a connection."""

    def answer_received(self, data: bytes) -> None: ...
    def upstream_drained(self) -> None: ...
    def upstream_ended(self) -> None: ...
    def upstream_lost(self) -> None: ...
    def crashed(self) -> None:
        """End, releasing everything: one of the calls above raised."""


class UpstreamConnection:
    """One connection to an instance: used by one exchange at a time, or idle in its pool."""

    __slots__ = ("idle_since", "pool", "upstream", "user", "wire")

    wire: Wire

    def __init__(self, pool: Pool, upstream: Upstream) -> None:
        """`wire` must be set next."""
        self.pool = pool
        self.upstream = upstream
        self.user: UpstreamUser | None = None
        self.idle_since = 0.0

    def received(self, data: bytes) -> None:
        user = self.user
        if user is not None:
            try:
                user.answer_received(data)
            except Exception:
                self._crashed(user)
        else:
            # Nothing was asked: such bytes would be taken for the next request's answer.
            self.abort()

    def drained(self) -> None:
        user = self.user
        if user is not None:
            self._tell(user, user.upstream_drained)

    def ended(self) -> None:
        user = self.user
        if user is not None:
            self._tell(user, user.upstream_ended)
        else:
            self.abort()

    def lost(self) -> None:
        user, self.user = self.user, None
        if user is not None:
            self._tell(user, user.upstream_lost)
        else:
            self.pool.forget(self)

    def _tell(self, user: UpstreamUser, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self._crashed(user)

    def _crashed(self, user: UpstreamUser) -> None:
        # Raised further it would end this connection, and leave the client without a word.
        log.failure("tenant {tenant}: a request's exchange failed", tenant=self.pool.tenant)
        user.crashed()

    def abort(self) -> None:
        """Let go of the connection, whatever is under way on it."""
        self.user = None
        self.pool.forget(self)
        self.wire.abort()
