"""What the connections of one listening socket share."""

from __future__ import annotations

from sqsuper.engine.guesses import Guesses
from sqsuper.engine.known import KnownHeads
from sqsuper.engine.repeats import Repeats
from sqsuper.http1.progress import MAX_FIELD_LINES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.api import Api
    from sqsuper.engine.commits import Commits
    from sqsuper.engine.exchange import Exchange
    from sqsuper.engine.turns import Turns
    from sqsuper.http1.credentials import Grant
    from sqsuper.sockets import Loop

# Room for what the gateway adds to a head: Host, Content-Length, X-Request-ID, Authorization.
GATEWAY_HEAD_BYTES = 1024
GATEWAY_FIELD_LINES = 4


class Limits:
    """What one connection may take. Times in seconds; None: without limit."""

    __slots__ = (
        "body_rate",
        "body_timeout",
        "head_timeout",
        "idle_timeout",
        "max_body_bytes",
        "max_field_lines",
        "max_head_bytes",
        "send_timeout",
    )

    def __init__(
        self,
        *,
        max_head_bytes: int = 65_536,
        max_body_bytes: int = 67_108_864,
        head_timeout: float | None = 10.0,
        idle_timeout: float | None = 75.0,
        body_timeout: float | None = None,
        body_rate: int = 512,
        send_timeout: float | None = None,
        max_field_lines: int = MAX_FIELD_LINES,
    ) -> None:
        """Where `body_timeout` and `send_timeout` are None they are as `idle_timeout`."""
        self.max_head_bytes = max_head_bytes
        self.max_field_lines = max_field_lines
        self.max_body_bytes = max_body_bytes
        self.head_timeout = head_timeout
        self.idle_timeout = idle_timeout
        self.body_timeout = idle_timeout if body_timeout is None else body_timeout
        self.body_rate = body_rate
        self.send_timeout = idle_timeout if send_timeout is None else send_timeout

    def behind_gateway(self) -> Limits:
        """Return the limits for the gateway, which keeps times and sizes itself.

        It adds lines of its own to a head that may be as large as allowed.
        """
        return Limits(
            max_head_bytes=self.max_head_bytes + GATEWAY_HEAD_BYTES,
            max_field_lines=self.max_field_lines + GATEWAY_FIELD_LINES,
            max_body_bytes=self.max_body_bytes,
            head_timeout=None,
            idle_timeout=None,
        )


class Service:
    """What all connections of one listening socket share.

    `turns`: does long work. `commits`: tells what is durable. `lookup`: finds a grant by a
    token's digest. `wall_clock`: Unix seconds, for tokens' validity. `closed(exchange)`: called
    when a connection is gone. `report(error)`: called with an exception that nobody expected.
    `guesses`: counts unknown tokens. `known`, `repeats`: heads that were admitted. `stopping`:
    answers announce the end. `requests` answered and `bytes` moved, both ways, are counted from
    the start.
    """

    __slots__ = (
        "api",
        "bytes",
        "closed",
        "commits",
        "guesses",
        "known",
        "limits",
        "lookup",
        "loop",
        "repeats",
        "report",
        "requests",
        "stopping",
        "turns",
        "wall_clock",
    )

    def __init__(
        self,
        loop: Loop,
        api: Api,
        turns: Turns,
        commits: Commits,
        limits: Limits,
        *,
        lookup: Callable[[bytes], Grant | None],
        wall_clock: Callable[[], float],
        closed: Callable[[Exchange], None],
        report: Callable[[BaseException], None],
        guesses: Guesses | None = None,
    ) -> None:
        self.loop = loop
        self.api = api
        self.turns = turns
        self.commits = commits
        self.limits = limits
        self.lookup = lookup
        self.wall_clock = wall_clock
        self.closed = closed
        self.report = report
        self.guesses = Guesses() if guesses is None else guesses
        self.known = KnownHeads()
        self.repeats = Repeats(
            api.store, commits, limits.max_head_bytes, lookup=lookup, wall_clock=wall_clock
        )
        self.stopping = False
        self.requests = 0
        self.bytes = 0

    def adjust(self, limits: Limits) -> None:
        """Go on with other limits, and find out anew what the heads of requests mean."""
        self.limits = limits
        self.known.forget()
        self.repeats.forget(limits.max_head_bytes)
