"""What a client's connection needs of the gateway: `service` is it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sqsuper.gateway.accesslog import AccessLog
from sqsuper.gateway.admission import Gate
from sqsuper.gateway.failure import Failure
from sqsuper.gateway.limits import Limits
from sqsuper.gateway.spool import Spool
from sqsuper.gateway.statistics import Counts
from sqsuper.gateway.upstream import Pool

if TYPE_CHECKING:
    from sqsuper.gateway.client import ClientConnection


class Front(Gate, Protocol):
    """See the module's text."""

    timing: Limits
    access: AccessLog | None
    counts: Counts

    def seconds(self) -> float: ...
    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]: ...
    def pool(self, tenant: str) -> Pool: ...
    def new_spool(self) -> Spool: ...
    def new_request_id(self) -> bytes: ...
    def closing(self) -> bool: ...
    def gone(self, client: ClientConnection) -> None: ...
    def failed(self, tenant: str, request_id: bytes, failure: Failure) -> None:
        """Learn that a request was answered with 502, 503 or 504."""
