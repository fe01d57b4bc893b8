"""Going over to another configuration: each tenant's instance for itself, in a safe order.

What a process is started with changes only while there is none. So a tenant is *moved*: its
instance is stopped as planned and its port given back; then, once no other tenant that moves
still has the port or the directory that it is to have, it begins anew. Two tenants may so swap
what they have. Requests are held meanwhile. All others are told what is new, and go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, MutableMapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sqsuper.config.diff import Plan, TenantChange, Verdict
from sqsuper.config.model import Gateway, Start, Tenant
from sqsuper.supervisor.epoch import told_tokens
from sqsuper.supervisor.fleet import Fleet
from sqsuper.supervisor.lifecycle import Lifecycle
from sqsuper.supervisor.plan import address_space, engine_options
from sqsuper.supervisor.process import InstanceProcess

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_REASONS = {
    Verdict.ADD: "added to the configuration",
    Verdict.REMOVE: "removed from the configuration",
    Verdict.ENABLE: "enabled in the configuration",
    Verdict.DISABLE: "disabled in the configuration",
}

log = Logger()


@attrs.define(eq=False)
class Move:
    """One tenant on its way to `wanted`, None: out of the configuration.

    `reason` is of the newest change. `port` and `directory` are what it has as long as it may
    have a process; who waits for them is in `waiting`.
    """

    life: Lifecycle
    wanted: Tenant | None
    reason: str
    port: int | None = None
    directory: str | None = None
    waiting: list[Deferred[None]] = attrs.field(factory=list)


class Changes:
    """Changes `lives` and `fleet` as plans say. `new_life` makes one for a tenant that is new.

    Of each plan first `admit` is run to its end, then the gateway goes over to the new routes,
    then `settle` is run. The next plan may come while tenants still move.
    """

    def __init__(
        self,
        fleet: Fleet,
        lives: MutableMapping[str, Lifecycle],
        new_life: Callable[[Tenant], Lifecycle],
    ) -> None:
        self._fleet = fleet
        self._lives = lives
        self._new_life = new_life
        self._moves: dict[str, Move] = {}
        self._ports: dict[int, Move] = {}
        self._directories: dict[str, Move] = {}
        self._all_moved: list[Deferred[None]] = []

    @property
    def moving(self) -> frozenset[str]:
        """The tenants that are stopped, or wait, to begin anew or to go."""
        return frozenset(self._moves)

    def moved(self) -> Deferred[None]:
        """Return what fires when no tenant moves any more."""
        done: Deferred[None] = Deferred()
        self._all_moved.append(done)
        self._check_all_moved()
        return done

    # Before the gateway goes over

    def admit(self, plan: Plan) -> Generator[None, None, None]:
        """Make what is new known, and tell what runs of it; a pause is offered at each tenant.

        From here on a tenant that is new can be asked for, and a token that is gone admits to
        nothing at a tenant's own port. Nothing is stopped.
        """
        fleet = self._fleet
        fleet.config = plan.wanted
        before, after = plan.running.gateway, plan.wanted.gateway
        changed = {change.name: change for change in plan.tenants}
        for change in plan.tenants:
            self._admit(change, before, after)
            yield
        yield from self._reserve(plan)
        for tenant in plan.wanted.tenants:
            if tenant.name not in changed:
                self._read_again(tenant)
                if before != after:
                    self._tell(self._lives[tenant.name], before, after, tenant, tenant)
            yield

    def _admit(self, change: TenantChange, before: Gateway, after: Gateway) -> None:
        tenant = change.after
        if tenant is None or not tenant.enabled:
            self._admit_nobody(change.name)
        if tenant is None:
            return
        move = self._moves.get(change.name)
        life = self._lives.get(change.name)
        if life is None:
            life = self._lives[change.name] = self._new_life(tenant)
            life.suspend()
            return
        if change.before is not None and tenant.enabled:
            self._tell(life, before, after, change.before, tenant)
        if move is None and change.verdict is Verdict.ADJUST:
            life.configure(tenant)

    def _admit_nobody(self, name: str) -> None:
        """Let no token admit at the tenant's own port any more."""
        life = self._lives.get(name)
        if life is not None and life.is_embedded:
            for process in life.processes:
                process.ask(b'{"tokens": []}')

    def _read_again(self, tenant: Tenant) -> None:
        """Take an entry that says the same, perhaps elsewhere in the file."""
        move = self._moves.get(tenant.name)
        if move is None:
            self._lives[tenant.name].tenant = tenant
        else:
            move.wanted = tenant

    def _reserve(self, plan: Plan) -> Generator[None, None, None]:
        """Note where the tenants' data is, and which ports are theirs."""
        fleet = self._fleet
        gone, come = set(), set()
        for change in plan.tenants:
            before, after = change.before, change.after
            if before is not None and before.port is not None:
                fleet.ports.discard(before.port)
            if before is None or after is None or before.data_dir != after.data_dir:
                if before is not None:
                    gone.add(os.path.realpath(before.data_dir))
                if after is not None:
                    come.add(os.path.realpath(after.data_dir))
            yield
        fleet.data_dirs = (fleet.data_dirs - gone) | come
        fleet.ports.update(
            change.after.port for change in plan.tenants if change.after and change.after.port
        )

    def _tell(
        self, life: Lifecycle, before: Gateway, after: Gateway, old: Tenant, new: Tenant
    ) -> None:
        """Tell an embedded engine that runs, or is being started, what it can be told."""
        processes = life.processes
        if not processes or not life.is_embedded:
            return
        message: dict[str, Any] = {}
        if old.tokens != new.tokens:
            message["tokens"] = told_tokens(new.tokens)
        options = engine_options(after, new)
        if options != engine_options(before, old):
            message["options"] = options
        for process in processes if message else ():
            process.ask(json.dumps(message).encode())
        if old.settings.limits.memory_hard != new.settings.limits.memory_hard:
            for process in processes:
                self._relimit(process, new)

    def _relimit(self, process: InstanceProcess, tenant: Tenant) -> None:
        """Let a process map more or less, which the system may not let us do."""
        hard, pid = tenant.settings.limits.memory_hard, process.pid
        if pid is None or resource is None or not hasattr(resource, "prlimit"):
            return
        most = resource.RLIM_INFINITY if hard is None else address_space(hard)
        try:
            resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        except (OSError, ValueError) as error:
            log.warn(
                "{tenant}: what its process may map stays as it was until it is restarted: {error}",
                tenant=tenant.name,
                error=error,
            )

    # Once the gateway has gone over

    def settle(self, plan: Plan) -> Generator[None, None, None]:
        """Begin to stop and start what that is needed for; a pause is offered at each tenant."""
        # All of them first, so that none starts with what another one still has.
        moves = []
        for change in plan.tenants:
            move = self._moving(change)
            if move is not None:
                moves.append(move)
            yield
        for move in moves:
            Deferred.fromCoroutine(self._move(move)).addErrback(self._not_moved, move)
            yield
        for change in plan.tenants:
            if change.verdict is Verdict.ADJUST and change.name not in self._moves:
                self._attend(change)
            yield

    def _moving(self, change: TenantChange) -> Move | None:
        """Return the move that a change begins; one under way takes another turn instead."""
        reason = _REASONS.get(change.verdict) or _why(change)
        move = self._moves.get(change.name)
        if move is not None:
            move.wanted, move.reason = change.after, reason
            return None
        if change.verdict is Verdict.ADJUST:
            return None
        life = self._lives[change.name]
        move = self._moves[change.name] = Move(life, change.after, reason)
        life.suspend()
        if change.before is not None:
            self._hold(move, change.before)
        return move

    def _attend(self, change: TenantChange) -> None:
        tenant = change.after
        starts = any(key.key == "start" for key in change.keys)
        if starts and tenant is not None and tenant.settings.start is Start.EAGER:
            self._lives[change.name].attend()

    async def _move(self, move: Move) -> None:
        life = move.life
        await life.stop(move.reason)
        life.close()
        self._release(move)
        while (holder := self._holder(move)) is not None:
            free: Deferred[None] = Deferred()
            holder.waiting.append(free)
            await free
        self._moves.pop(life.tenant.name, None)
        if self._fleet.serving:
            self._arrive(move)
        self._check_all_moved()

    def _hold(self, move: Move, tenant: Tenant) -> None:
        """Note what a tenant has until its process is gone."""
        if not tenant.enabled:
            return
        move.port, move.directory = tenant.port, os.path.realpath(tenant.data_dir)
        self._directories[move.directory] = move
        if move.port is not None:
            self._ports[move.port] = move

    def _release(self, move: Move) -> None:
        if move.directory is not None:
            del self._directories[move.directory]
        if move.port is not None:
            del self._ports[move.port]
        move.port = move.directory = None
        waiting, move.waiting = move.waiting, []
        for free in waiting:
            free.callback(None)

    def _holder(self, move: Move) -> Move | None:
        """Return who still has what a move needs."""
        wanted = move.wanted
        if wanted is None or not wanted.enabled:
            return None
        found = None if wanted.port is None else self._ports.get(wanted.port)
        return found or self._directories.get(os.path.realpath(wanted.data_dir))

    def _arrive(self, move: Move) -> None:
        life, wanted = move.life, move.wanted
        if wanted is None:
            del self._lives[life.tenant.name]
            life.disable(move.reason)
            return
        life.configure(wanted)
        if wanted.enabled:
            life.enable(move.reason)
            life.open()
        else:
            life.disable(move.reason)
        life.resume()

    def _not_moved(self, failure: Any, move: Move) -> None:
        log.failure("{tenant} was not changed", failure, tenant=move.life.tenant.name)
        self._moves.pop(move.life.tenant.name, None)
        self._release(move)
        self._check_all_moved()

    def _check_all_moved(self) -> None:
        if not self._moves:
            done, self._all_moved = self._all_moved, []
            for each in done:
                each.callback(None)


def _why(change: TenantChange) -> str:
    keys = ", ".join(key.key for key in change.keys)
    return f"the configuration has another {keys}"
