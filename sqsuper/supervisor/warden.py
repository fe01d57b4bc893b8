"""A process that outlives the supervisor by a moment, to end what it could not end itself.

The kernel ends a command engine with its supervisor, but not what that engine has forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from sqsuper import interpreter
from sqsuper.sockets.capabilities import HERE, told_to_children
from sqsuper.supervisor.groups import Group
from sqsuper.supervisor.process import cancelled

PROGRAM = Path(__file__).with_name("warden_main.py")
START_AGAIN = 1.0
KILL_AFTER = 2.0


class Warden:
    """Tells a process of its own which groups there are; it kills those when we are gone.

    That process is started for the first group, replaced when it ends, and ended by `stop`.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._groups: dict[str, Group] = {}
        self._process: _Process | None = None
        self._again: IDelayedCall | None = None
        self._kill: IDelayedCall | None = None
        self._stops: list[Deferred[None]] = []

    @property
    def pid(self) -> int | None:
        """Pid of its process until it is reaped."""
        process = self._process
        return None if process is None or process.transport is None else process.transport.pid

    def watch(self, group: Group) -> None:
        """`group` is to end with us; also when more is known of one that is watched.

        Without process groups nothing is watched: the next start ends what was left.
        """
        if not HERE.groups:
            return
        self._groups[group.marker] = group
        if self._process is not None:
            self._process.say({"watch": attrs.asdict(group)})
        elif self._again is None and not self._stops:
            self._start()

    def forget(self, group: Group) -> None:
        """Nothing of `group` is left. Idempotent."""
        if self._groups.pop(group.marker, None) is not None and self._process is not None:
            self._process.say({"forget": group.marker})

    def stop(self) -> Deferred[None]:
        """Watch nothing any more; fires when its process is gone."""
        self._groups.clear()
        self._again = cancelled(self._again)
        if self._process is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stops.append(done)
        self._process.say({"end": True})
        if self._kill is None:
            self._kill = self._reactor.callLater(KILL_AFTER, self._process.kill)
        return done

    def _start(self) -> None:
        self._again = None
        process = _Process(self)
        argv = interpreter.with_file(PROGRAM)
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._reactor.spawnProcess(
                process,
                argv[0],
                args=argv,
                env=told_to_children(),
                childFDs={0: "w", 1: nothing, 2: nothing},
            )
        except OSError as error:
            self._log.error("no warden: {error}", error=error)
            self._again = self._reactor.callLater(START_AGAIN, self._start)
            return
        finally:
            os.close(nothing)
        self._process = process
        process.say({"paths": [path for path in sys.path if os.path.isabs(path)]})
        for group in self._groups.values():
            process.say({"watch": attrs.asdict(group)})

    def ended(self, process: _Process, how: str) -> None:
        """Its process is reaped."""
        self._process = None
        self._kill = cancelled(self._kill)
        stops, self._stops = self._stops, []
        if not stops:
            self._log.warn("the warden ended: {how}", how=how)
            self._again = self._reactor.callLater(START_AGAIN, self._start)
        for done in stops:
            done.callback(None)


class _Process(ProcessProtocol):
    def __init__(self, owner: Warden) -> None:
        self._owner = owner

    def say(self, message: dict[str, object]) -> None:
        with contextlib.suppress(KeyError):  # it has closed its end
            self.transport.writeToChild(0, json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]

    def kill(self) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        self._owner.ended(self, reason.getErrorMessage())
