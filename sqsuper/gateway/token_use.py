"""When tokens were used, and how often unknown ones were tried."""

from __future__ import annotations

from collections.abc import Callable

from sqsuper.gateway.limits import WrongTokens
from sqsuper.gateway.routes import Routes


class TokenUse:
    """Of one gateway. `seconds` is what grants are stamped with, `now` gives Unix seconds.

    `tell(address)`: learns of an unknown token that was counted here.
    """

    def __init__(
        self,
        routes: Routes,
        per_minute: int,
        tell: Callable[[str], None],
        *,
        seconds: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.wrong = 0
        """How many requests came with an unknown token, since the start."""
        self._routes = routes
        self._by_address = WrongTokens(per_minute)
        self._tell = tell
        self._seconds = seconds
        self._now = now

    def resize(self, per_minute: int) -> None:
        """See `WrongTokens.resize`."""
        self._by_address.resize(per_minute)

    def count_wrong(self, address: str) -> int | None:
        """Count an unknown token; see `WrongTokens.count`."""
        self.wrong += 1
        wait = self._by_address.count(address, self._seconds())
        if wait is None:
            self._tell(address)
        return wait

    def wrong_elsewhere(self, address: str) -> None:
        """Count an unknown token that another gateway had from `address`."""
        self._by_address.count(address, self._seconds())

    def last(self, digest: bytes) -> float | None:
        """Return when a token was last admitted, in Unix seconds; None: not since the start."""
        grant = self._routes.lookup(digest)
        if grant is None or grant.used is None:
            return None
        return self._now() - (self._seconds() - grant.used)

    def since(self, since: float) -> dict[str, float]:
        """Return, by digest in hex, when those tokens were admitted that were since `since`.

        `since` is in seconds of the grants' stamps, the times in the result are Unix seconds.
        """
        ahead = self._now() - self._seconds()
        return {
            digest.hex(): grant.used + ahead
            for digest, grant in self._routes.grants()
            if grant.used is not None and grant.used >= since
        }
