"""What looks at running instances again and again: health and monitoring, on one timer."""

from __future__ import annotations

import time
from typing import Any

from sqsuper.supervisor import groups
from sqsuper.supervisor.events import Events
from sqsuper.supervisor.health import HealthWatch
from sqsuper.supervisor.measuring import Measuring
from sqsuper.supervisor.monitor import Monitor
from sqsuper.supervisor.sampling import Sessions, sampler
from sqsuper.supervisor.sweep import Sweep


class Watching:
    """`health` and `monitor` of one service, wired together; both are observers of its fleet."""

    def __init__(self, reactor: Any, events: Events) -> None:
        cheapest = sampler()
        self._sweep = Sweep(reactor)
        self.monitor = Monitor(
            reactor,
            self._sweep,
            events,
            sampler=cheapest,
            sessions=Sessions(reactor.seconds),
            measuring=Measuring(cheapest, groups.members, time.perf_counter),
        )
        self.health = HealthWatch(reactor, self._sweep, cpu=self.monitor.cpu)
        self.health.listeners.append(self.monitor.pulse)

    def stop(self) -> None:
        """Look at nothing more, until something becomes healthy again."""
        self.health.stop()
        self.monitor.stop()
        self._sweep.stop()
