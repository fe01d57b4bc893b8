"""Instances driven without processes: a launcher of ours, a clock set by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from sqsuper.config.model import Config, Settings, Tenant
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.launchers import LaunchProtocol
from sqsuper.supervisor.plan import Plan
from sqsuper.supervisor.service import Supervisor
from tests.unit.supervisor.support import config, settings, tenant

NO_PID = 2**22 + 1


class Reactor(MemoryReactorClock):
    """One without threads: what would be done in a thread is never done."""

    def getThreadPool(self) -> Reactor:
        return self

    def callInThreadWithCallback(self, *_: object) -> None:
        pass


class Child:
    """A process that is none: records what it gets and ends on word."""

    def __init__(self, protocol: ProcessProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        self.plan = plan
        self.pid: int | None = NO_PID
        self.told = b""
        self.signals: list[int] = []
        self.descriptors = set(inherited)
        self._protocol: Any = protocol
        protocol.makeConnection(self)

    def writeToChild(self, childFD: int, data: bytes) -> None:
        assert childFD == 3
        self.told += data

    def signalProcess(self, signum: int) -> None:
        assert self.pid is not None, "a signal to one that was reaped"
        self.signals.append(signum)

    def loseConnection(self) -> None:
        raise AssertionError("nothing holds a pipe here")

    def ready(self) -> None:
        """The engine is ready, or the probe of a command's program has an answer."""
        if self.plan.forks:
            self._protocol._owner._ready()
        else:
            self.report({"event": "ready"})

    def stands_by(self) -> None:
        self.report({"event": "standby"})

    def report(self, message: dict[str, object]) -> None:
        self._protocol.childDataReceived(4, json.dumps(message).encode() + b"\n")

    def says(self, errors: bytes) -> None:
        self._protocol.childDataReceived(2, errors)

    def exit(self, code: int | None = 0, signum: int | None = None) -> None:
        self.ended(self.reaped(code, signum))

    def ended(self, reason: Failure) -> None:
        """The last of its output was read."""
        self._protocol.processEnded(reason)

    def reaped(self, code: int | None = 0, signum: int | None = None) -> Failure:
        reason = ProcessTerminated(code, signum, 0) if code or signum else ProcessDone(0)
        self.pid = None
        self._protocol.processExited(Failure(reason))
        return Failure(reason)


class Children:
    """A launcher; `failing` makes it refuse, `late` connect only on word."""

    def __init__(self) -> None:
        self.all: list[Child] = []
        self.failing = False
        self.late = False
        self.asked: list[tuple[LaunchProtocol, Plan, dict[int, int]]] = []

    def start(self, *, preload: bool) -> None:
        """Nothing to prepare."""

    def launch(self, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        if self.failing:
            raise OSError(11, "Resource temporarily unavailable")
        self.asked.append((protocol, plan, inherited))
        if not self.late:
            self.connect()

    def connect(self) -> None:
        """There is a process for the oldest launch that has none."""
        self.all.append(Child(*self.asked.pop(0)))

    def fail(self) -> None:
        """There is none for it, and will not be."""
        self.asked.pop(0)[0].launch_failed(OSError(24, "Too many open files"))

    def stop(self) -> Deferred[None]:
        return succeed(None)

    @property
    def last(self) -> Child:
        return self.all[-1]


@attrs.define
class Scene:
    reactor: Any
    children: Children
    supervisor: Supervisor
    run_dir: Path

    def wait(self, name: str = "alice") -> list[Upstream | Unavailable]:
        got: list[Upstream | Unavailable] = []
        self.supervisor.wait(name, got.append)
        return got

    def sockets(self) -> list[str]:
        return sorted(p.name for p in self.run_dir.iterdir() if p.suffix == ".sock")

    def states(self, name: str = "alice") -> list[str]:
        return [change.after.value for change in self.supervisor.history(name)]


class Stage:
    """Makes scenes and takes them down."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scenes: list[Scene] = []

    def __call__(self, *tenants: Tenant, **changes: Any) -> Scene:
        wanted: Config = config(self.directory, *(tenants or (tenant(self.directory),)), **changes)
        reactor, children = Reactor(), Children()  # type: ignore[no-untyped-call]
        supervisor = Supervisor(
            wanted, reactor=reactor, random=lambda: 0.0, launcher=children, engine_paths=()
        )
        scene = Scene(reactor, children, supervisor, wanted.run_dir)
        self.scenes.append(scene)
        supervisor.privilegedStartService()
        supervisor.startService()
        return scene

    def tenant(self, name: str = "alice", **changes: Any) -> Tenant:
        fields = {f.name for f in attrs.fields(Settings)}
        mine = {k: changes.pop(k) for k in list(changes) if k in fields}
        return tenant(self.directory, name, settings=settings(**mine), **changes)


@contextmanager
def staged(directory: Path, kind: type[Stage] = Stage) -> Iterator[Any]:
    """Give a stage; at the end nothing may be left of its scenes."""
    before = os.umask(0o022)
    stage = kind(directory)
    yield stage
    for scene in stage.scenes:
        done = scene.supervisor.stopService()
        for child in scene.children.all:
            if child.pid is not None:
                child.exit()
        assert done.called
        assert scene.sockets() == []
        assert scene.reactor.getDelayedCalls() == []
        assert scene.reactor.getReaders() == []
    os.umask(before)


def upstream(outcomes: list[Upstream | Unavailable]) -> Upstream:
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Upstream), outcomes
    return outcomes[0]


def unavailable(outcomes: list[Upstream | Unavailable]) -> Unavailable:
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Unavailable), outcomes
    assert outcomes[0].retry_after >= 1
    assert "\n" not in outcomes[0].reason
    return outcomes[0]
