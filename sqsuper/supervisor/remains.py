"""Ending what is left of instances whose leader has just been reaped."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sqsuper.supervisor import groups
from sqsuper.supervisor.groups import Group

LOOK_AGAIN = 0.02
PATIENCE = 5.0


class Remains:
    """Kills what outlived its leader; one look at the process table serves all that wait."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: dict[Group, tuple[float, Callable[[bool], None]]] = {}
        self._looking = False

    def end(self, group: Group, done: Callable[[bool], None], *, forks: bool) -> None:
        """End all of `group`, then call `done` (perhaps at once) with whether that worked.

        Call it in the turn in which the leader was reaped: until then its pid is not
        another's. `forks` says whether the program may have processes outside of the group.
        """
        if not groups.end_group(group.pid) and not forks:
            done(True)
            return
        # Until the last member is gone the pid cannot come again as a session's id.
        lasting = attrs.evolve(group, alive_at="~")
        self._waiting[lasting] = (self._reactor.seconds() + PATIENCE, done)
        if not self._looking:
            self._looking = True
            self._reactor.callLater(0, self._look)

    def _look(self) -> None:
        found = groups.members(self._waiting)
        now = self._reactor.seconds()
        finished = []
        for group, pids in found.items():
            deadline, done = self._waiting[group]
            if pids and now < deadline:
                for pid in pids:
                    groups.send(group, pid, groups.KILL)
                continue
            if pids:
                self._log.error(
                    "{tenant}: processes {pids} cannot be ended", tenant=group.tenant, pids=pids
                )
            del self._waiting[group]
            finished.append((done, not pids))
        self._looking = bool(self._waiting)
        if self._looking:
            self._reactor.callLater(LOOK_AGAIN, self._look)
        for done, ended in finished:
            done(ended)
