"""A running engine asked to save everything, and to leave its files as they are for a while."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from sqsuper.backup.errors import TenantError
from sqsuper.supervisor.process import InstanceProcess

# Seconds: a large phext may have to be written first, and others before it.
PATIENCE = 300.0
RELEASE_PATIENCE = 10.0
_LOOK = 0.5

_numbers = itertools.count(1)


class Hold:
    """One hold of one process. `begin`, then `end` in any case. `reactor` keeps time."""

    def __init__(self, tenant: str, process: InstanceProcess, reactor: Any) -> None:
        self._tenant = tenant
        self._process = process
        self._reactor = reactor
        self._number = next(_numbers)
        self._awaited: Deferred[Mapping[str, Any] | None] | None = None
        self._event = ""
        self._until = 0.0

    async def begin(self) -> bool:
        """Return once all is saved, as of one moment, and nothing will be replaced.

        False: the process ended, or does not answer. Raises TenantError if something cannot be
        saved.
        """
        told = await self._ask("hold", "held", PATIENCE)
        if told is None:
            return False
        lost = told.get("lost")
        if lost != 0:
            raise TenantError(
                self._tenant, f"{lost} of its phexts cannot be saved; its log says why"
            )
        return True

    async def end(self) -> bool:
        """Let it go on; return whether nothing was replaced until now."""
        told = await self._ask("release", "released", RELEASE_PATIENCE)
        if self._process.kept == self._heard:
            self._process.kept = None
        return told is not None and told.get("kept") is True

    async def _ask(self, word: str, event: str, patience: float) -> Mapping[str, Any] | None:
        if self._process.pid is None:
            return None
        answer: Deferred[Mapping[str, Any] | None] = Deferred()
        self._awaited, self._event = answer, event
        self._until = self._reactor.seconds() + patience
        self._process.kept = self._heard
        self._process.ask(json.dumps({word: self._number}).encode())
        looking: Any = LoopingCall(self._look)
        looking.clock = self._reactor
        looking.start(_LOOK, now=False)
        try:
            return await answer
        finally:
            looking.stop()

    def _look(self) -> None:
        if self._process.pid is None or self._reactor.seconds() >= self._until:
            self._answer(None)

    def _heard(self, message: Mapping[str, Any]) -> None:
        if message.get("hold") == self._number and message.get("event") == self._event:
            self._answer(message)

    def _answer(self, message: Mapping[str, Any] | None) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.callback(message)
