"""The log's lines on requests that an instance failed."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from sqsuper.gateway.failure import Failure
from sqsuper.gateway.limits import LineBudget

log = Logger()


class FailureLog:
    """A line each, of which only so many are logged in a second, and the rest counted."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._budget = LineBudget()

    def failed(self, tenant: str, request_id: bytes, failure: Failure) -> None:
        """Log one."""
        dropped = self._budget.spend(self._seconds())
        if dropped is None:
            return
        if dropped:
            log.warn("{dropped} lines on failed requests were dropped", dropped=dropped)
        log.warn(
            "tenant {tenant}: request {request_id} answered {status} {code}: {reason}",
            tenant=tenant,
            request_id=request_id.decode("ascii"),
            status=failure.status,
            code=failure.code,
            reason=failure.reason,
        )
