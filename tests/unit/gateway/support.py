"""Heads and limits for the gateway's tests without sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.task import Clock

from sqsuper.gateway.accesslog import AccessLog
from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.failure import Failure
from sqsuper.gateway.limits import Limits
from sqsuper.gateway.memo import KnownRequests
from sqsuper.gateway.rate import Bucket
from sqsuper.gateway.spool import Spool, SpoolRoom
from sqsuper.gateway.statistics import Counts
from sqsuper.gateway.upstream import Pool
from sqsuper.http1.credentials import Grant, digest
from sqsuper.http1.head import RequestHead, parse_request_head
from sqsuper.instances import Full, Upstream
from sqsuper.testing import FakeConnector, FakeWire, FixedInstances

LIMITS = Limits(
    max_head_bytes=65_536,
    max_body_bytes=1 << 20,
    head_timeout=10.0,
    idle_timeout=75.0,
    body_timeout=20.0,
    body_rate=512,
    send_timeout=30.0,
    upstream_timeout=40.0,
)
UPSTREAM = Upstream("alice", 1, "KEY", port=1)
ANSWER = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n\r\n"


def head_of(raw: bytes) -> RequestHead:
    """Return the facts of a head that is written with LF ends."""
    return parse_request_head(
        raw.strip().replace(b"\n", b"\r\n") + b"\r\n", max_body_bytes=LIMITS.max_body_bytes
    )


@attrs.define
class Bench:
    """A gateway of plain objects: a `client.Front` with one tenant, alice, token `tok`."""

    directory: Path
    max_inflight: int = 2
    queue: int = 3
    queue_timeout: float = 5.0
    timing: Limits = LIMITS
    clock: Any = attrs.field(factory=Clock)
    instances: FixedInstances = attrs.field(factory=FixedInstances)
    connector: FakeConnector = attrs.field(factory=FakeConnector)
    clients: list[ClientConnection] = attrs.field(factory=list)
    failures: list[Failure] = attrs.field(factory=list)
    stopping: bool = False
    access: AccessLog | None = None
    counts: Counts = attrs.field(factory=Counts)
    rates: dict[str, Bucket] = attrs.field(factory=dict)
    full: dict[str, Full] = attrs.field(factory=dict)
    known_requests: KnownRequests = attrs.field(factory=KnownRequests)
    alice: Pool = attrs.field(init=False)
    room: SpoolRoom = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.room = SpoolRoom(self.directory)
        self.alice = Pool(
            "alice",
            max_inflight=self.max_inflight,
            queue=self.queue,
            queue_timeout=self.queue_timeout,
            instances=self.instances,
            connector=self.connector,
            seconds=self.seconds,
            later=self.later,
            counts=self.counts.of("alice"),
        )

    def client(self) -> FakeWire:
        """Let a client connect; return its wire."""
        wire = FakeWire()
        client = ClientConnection(self, wire, "192.0.2.1")
        wire.user = client
        self.clients.append(client)
        return wire

    def advance(self, seconds: float) -> None:
        """Let time pass, and look at the deadlines as the service does."""
        self.clock.advance(seconds)
        for client in list(self.clients):
            client.sweep(self.seconds())
        self.alice.sweep(self.seconds())

    # Front

    def seconds(self) -> float:
        return float(self.clock.seconds())

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]:
        pending = self.clock.callLater(delay, call)
        return lambda: pending.cancel() if pending.active() else None

    def lookup(self, sha256: bytes) -> Grant | None:
        return Grant("alice") if sha256 == digest(b"tok") else None

    def now(self) -> float:
        return 0.0

    def wrong_token(self, peer: str, head: RequestHead) -> int | None:
        return None

    def health(self) -> tuple[int, bytes]:
        return 200, b"{}\n"

    def pool(self, tenant: str) -> Pool:
        assert tenant == "alice"
        return self.alice

    def new_spool(self) -> Spool:
        return Spool(self.room)

    def new_request_id(self) -> bytes:
        return b"id"

    def closing(self) -> bool:
        return self.stopping

    def gone(self, client: ClientConnection) -> None:
        self.clients.remove(client)

    def failed(self, tenant: str, request_id: bytes, failure: Failure) -> None:
        self.failures.append(failure)
