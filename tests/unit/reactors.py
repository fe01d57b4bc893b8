"""Reactors for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Immediate(Clock):
    """Time that stands still, and a pool that calls at once."""

    def getThreadPool(self) -> Immediate:
        return self

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], call: Callable[[], Any]
    ) -> None:
        try:
            result = call()
        except Exception:
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)
