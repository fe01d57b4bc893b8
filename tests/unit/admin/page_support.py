"""A control facade as far as the page needs it, whose tenants are what a test says."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
from twisted.internet.task import Clock

from sqsuper.admin.control import Control
from sqsuper.admin.credentials import Credentials
from sqsuper.admin.errors import NotFoundError
from sqsuper.backup.service import Standing
from sqsuper.config.model import Config, Origin, Tenant, Token
from sqsuper.gateway.statistics import BOUNDS, Statistics
from sqsuper.supervisor.events import Events
from sqsuper.supervisor.instance import Change, Event, State
from sqsuper.supervisor.samples import History, Series
from sqsuper.supervisor.tenant_logs import Line

HERE = Path("/nowhere")


def tenant(name: str) -> Tenant:
    return Tenant(name, (), HERE / name, Origin(HERE / "tenants.yaml", 3))


def counted(requests: int, errors: int = 0, within: int = 3) -> Statistics:
    """Statistics of so many requests, all answered within one bucket."""
    latency = [0] * (len(BOUNDS) + 1)
    latency[within] = requests
    return Statistics(
        requests_by_class=(0, requests - errors, 0, 0, errors), latency=tuple(latency)
    )


@attrs.define
class Life:
    tenant: Tenant
    state: State = State.STOPPED
    pid: int | None = None
    held: bool = False
    last_used: float = 0.0
    history: deque[Change] = attrs.field(factory=deque)

    @property
    def instance(self) -> Any:
        return self

    def become(self, state: State, reason: str, at: float = 0.0) -> None:
        self.history.append(Change(at, self.state, Event.START, state, reason))
        self.state = state
        self.pid = 77 if state is State.HEALTHY else None


class Fake:
    """`control` is to be given to what is tested."""

    def __init__(self, *names: str) -> None:
        self._wall = 1_000_000.0
        self.clock: Clock | None = None
        self.lives: dict[str, Life] = {}
        self.counts: dict[str, Statistics] = {}
        self.all = Statistics()
        self.used: dict[bytes, float] = {}
        self.stored: dict[str, int] = {}
        self.resident: int | None = 5 * 1024 * 1024
        self.histories: dict[str, History] = {}
        self.printed: list[Line] = []
        self.backups: Standing | None = None
        self.followers: list[Any] = []
        self.told = Events(self.wall)
        self.config = Config(HERE / "tenants.yaml", HERE, HERE)
        self.have(*names)

    def have(self, *names: str) -> None:
        """Have these tenants, and no others."""
        self.lives = {name: self.lives.get(name) or Life(tenant(name)) for name in names}
        self.config = attrs.evolve(self.config, tenants=tuple(tenant(name) for name in names))

    def give(self, name: str, *tokens: Token) -> None:
        """Let a tenant have these tokens."""
        tenants = tuple(
            attrs.evolve(one, tokens=tokens) if one.name == name else one
            for one in self.config.tenants
        )
        self.config = attrs.evolve(self.config, tenants=tenants)

    def wall(self) -> float:
        return self._wall + (self.clock.seconds() if self.clock else 0.0)

    @property
    def control(self) -> Control:
        return cast("Control", self)

    @property
    def supervisor(self) -> Any:
        return SimpleNamespace(
            lives=self.lives, monitor=self, events=self.told, why=lambda name: self
        )

    @property
    def archives(self) -> Any:
        return SimpleNamespace(standing=lambda: self.backups)

    @property
    def gateway(self) -> Any:
        return SimpleNamespace(
            statistics=lambda name: self.counts.get(name, Statistics()),
            totals=lambda: SimpleNamespace(all=self.all),
            wrong_tokens=3,
        )

    @property
    def credentials(self) -> Any:
        return Credentials(
            cast("Any", SimpleNamespace(config=self.config)),
            cast("Any", None),
            entry=lambda name: next(one for one in self.config.tenants if one.name == name),
            used=self.used.get,
            wall=self.wall,
        )

    def as_json(self) -> dict[str, Any]:
        return {"next_try": None, "on_trial": False, "braked": False, "ending": None}

    def memory(self, name: str) -> int | None:
        return self.resident

    def newest(self, name: str) -> tuple[int, float] | None:
        return 4, 0.5

    def recent(self, name: str, since: float = float("-inf")) -> Series | None:
        history = self.histories.get(name)
        return None if history is None else history.recent.series(since)

    def storage(self, name: str) -> int | None:
        return self.stored.get(name)

    def restarts(self, name: str) -> int:
        return 0

    def entry(self, name: str) -> Tenant:
        if name not in self.lives:
            raise NotFoundError("there is no such tenant")
        return self.lives[name].tenant

    def events(self, name: str, last: int) -> list[dict[str, Any]]:
        return []

    def lines(self, name: str, last: int) -> list[Line]:
        return self.printed

    def follow(self, name: str, told: Any) -> Any:
        self.followers.append(told)
        return lambda: self.followers.remove(told)
