"""Going over to another configuration with real processes: who is stopped, held, told, and when."""

from __future__ import annotations

import hashlib
import json
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from sqsuper.config.diff import plan
from sqsuper.config.model import Config, Engine, Gateway, Launcher, Limits, Start, Tenant, Token
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.service import Supervisor
from tests.unit.supervisor.support import (
    ask,
    config,
    eventually,
    fake_engine,
    in_reactor,
    outcome_of,
    running,
    settings,
    tenant,
    upstream_of,
)


def go_over(supervisor: Supervisor, before: Config, after: Config) -> Config:
    """Have the supervisor go over to `after`, as a reload has; return it."""
    made = plan(before, after)
    for steps in (supervisor.admit(made), supervisor.settle(made)):
        for _ in steps:
            pass
    return after


def restarted(one: Tenant, word: str = "b") -> Tenant:
    """Return the tenant with what its process must be started anew for."""
    return attrs.evolve(one, settings=attrs.evolve(one.settings, environment=(("A", word),)))


class Quiet:
    """Requests under way, for `drain_by`: none, but for tenants that the test names."""

    def __init__(self, supervisor: Supervisor, *busy: str) -> None:
        self.busy = set(busy)
        self.waiting: list[Deferred[None]] = []
        supervisor.drain_by(self)

    def __call__(self, name: str) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if name in self.busy:
            self.waiting.append(done)
        else:
            done.callback(None)
        return done

    def release(self) -> None:
        self.busy.clear()
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done.callback(None)


@in_reactor
async def test_a_restarted_one_holds_requests_and_a_lazy_one_that_was_off_stays_so(
    short_dir: Path,
) -> None:
    alice, bob = tenant(short_dir), tenant(short_dir, "bob")
    before = config(short_dir, alice, bob)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        first = await upstream_of(supervisor)
        quiet = Quiet(supervisor, "alice")
        go_over(supervisor, before, config(short_dir, restarted(alice), restarted(bob)))
        assert supervisor.ready("alice") is None
        assert supervisor.moving == {"alice"}
        held = outcome_of(supervisor, "alice")
        assert not held.called
        assert supervisor.pid("alice") is not None
        quiet.release()
        second = await held
        assert isinstance(second, Upstream)
        assert second.epoch != first.epoch
        assert supervisor.moving == frozenset()
        assert supervisor.state("bob") is State.STOPPED


@in_reactor
async def test_one_that_ran_starts_again_by_itself(short_dir: Path) -> None:
    alice = tenant(short_dir)
    before = config(short_dir, alice)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        first = await upstream_of(supervisor)
        go_over(supervisor, before, config(short_dir, restarted(alice)))
        await eventually(lambda: supervisor.ready("alice") not in (None, first), "it is there")


@in_reactor
async def test_one_stopped_by_hand_stays_stopped(short_dir: Path) -> None:
    alice = tenant(short_dir, settings=settings(start=Start.EAGER))
    before = config(short_dir, alice)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        await upstream_of(supervisor)
        await supervisor.stop("alice", by_hand=True)
        after = go_over(supervisor, before, config(short_dir, restarted(alice)))
        assert supervisor.state("alice") is State.STOPPED
        assert isinstance(await outcome_of(supervisor, "alice"), Unavailable)
        supervisor.start("alice")
        await upstream_of(supervisor)
        assert after.tenants[0] is supervisor.lives["alice"].tenant


@in_reactor
async def test_ports_and_directories_go_from_one_to_another(
    short_dir: Path, free_ports: Callable[[int], list[int]]
) -> None:
    first, second = free_ports(2)
    eager = settings(start=Start.EAGER)
    alice = tenant(short_dir, port=first, settings=eager)
    bob = tenant(short_dir, "bob", port=second, settings=eager)
    before = config(short_dir, alice, bob)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        for name in ("alice", "bob"):
            await upstream_of(supervisor, name)
        old = {name: supervisor.pid(name) for name in ("alice", "bob")}
        quiet = Quiet(supervisor, "bob")
        after = go_over(
            supervisor,
            before,
            config(
                short_dir,
                attrs.evolve(alice, port=second, data_dir=bob.data_dir),
                attrs.evolve(bob, port=first, data_dir=alice.data_dir),
            ),
        )
        await eventually(lambda: supervisor.pid("alice") is None, "alice is stopped")
        # Bob still has what alice is to have.
        waiting = outcome_of(supervisor, "alice")
        assert supervisor.state("alice") is State.STOPPED
        quiet.release()
        assert isinstance(await waiting, Upstream)
        await upstream_of(supervisor, "bob")
        assert ask(second)["cwd"] == str(bob.data_dir)
        assert ask(first)["pid"] == supervisor.pid("bob") != old["bob"]
        # From one that is removed to one that is new, while the old one still drains.
        quiet.busy.add("alice")
        carol = tenant(short_dir, "carol", port=second, data_dir=bob.data_dir)
        go_over(supervisor, after, config(short_dir, after.tenants[1], carol))
        waiting = outcome_of(supervisor, "carol")
        assert supervisor.state("carol") is State.STOPPED
        quiet.release()
        assert isinstance(await waiting, Upstream)
        assert ask(second)["pid"] == supervisor.pid("carol")
        assert set(supervisor.lives) == {"bob", "carol"}


@in_reactor
async def test_a_port_that_somebody_else_has_fails_that_tenant_alone(short_dir: Path) -> None:
    alice, bob = tenant(short_dir), tenant(short_dir, "bob")
    before = config(short_dir, alice, bob)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            moved = attrs.evolve(alice, port=taken.getsockname()[1])
            go_over(supervisor, before, config(short_dir, moved, bob))
            assert supervisor.state("alice") is State.FAILED
        await upstream_of(supervisor, "bob")


@in_reactor
async def test_removed_and_added_again_while_it_drains(short_dir: Path) -> None:
    alice = tenant(short_dir)
    before = config(short_dir, alice)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        await upstream_of(supervisor)
        quiet = Quiet(supervisor, "alice")
        none = go_over(supervisor, before, config(short_dir))
        again = go_over(supervisor, none, before)
        held = outcome_of(supervisor, "alice")
        quiet.release()
        assert isinstance(await held, Upstream)
        # And the other way: the last word counts.
        quiet.busy.add("alice")
        changed = go_over(supervisor, again, config(short_dir, restarted(alice)))
        go_over(supervisor, changed, none)
        quiet.release()
        moved: Deferred[None] = supervisor.moved()
        await moved
        assert not supervisor.lives


@in_reactor
async def test_disabled_and_enabled(
    short_dir: Path, free_ports: Callable[[int], list[int]]
) -> None:
    (port,) = free_ports(1)
    alice = tenant(short_dir, port=port)
    off = attrs.evolve(alice, enabled=False)
    before = config(short_dir, alice)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        await upstream_of(supervisor)
        without = go_over(supervisor, before, config(short_dir, off))
        held = await outcome_of(supervisor, "alice")
        assert isinstance(held, Unavailable)
        assert held.code == "disabled"
        assert supervisor.state("alice") is State.DISABLED
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5).close()
        go_over(supervisor, without, before)
        assert ask_later(port)
        await upstream_of(supervisor)


def ask_later(port: int) -> bool:
    """Whether a connection at a tenant's own port is taken."""
    with socket.create_connection(("127.0.0.1", port), 5):
        return True


@in_reactor
async def test_another_engine_takes_another_kind_of_address(short_dir: Path) -> None:
    alice = tenant(short_dir)
    program = (
        "import http.server, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_OPTIONS(self):\n"
        "        self.send_response(204); self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
    (short_dir / "engine.py").write_text(program)
    command = ("python3", str(short_dir / "engine.py"), "{port}")
    other = attrs.evolve(
        alice, settings=attrs.evolve(alice.settings, engine=Engine.COMMAND, command=command)
    )
    before = config(short_dir, alice)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        assert (await upstream_of(supervisor)).path is not None
        after = go_over(supervisor, before, config(short_dir, other))
        there = await upstream_of(supervisor)
        assert there.path is None
        assert there.port
        go_over(supervisor, after, before)
        assert (await upstream_of(supervisor)).path is not None


class TestTold:
    @in_reactor
    async def test_what_an_engine_can_be_told_it_is_told_at_once(self, short_dir: Path) -> None:
        alice, bob = tenant(short_dir), tenant(short_dir, "bob")
        before = config(short_dir, alice, bob)
        async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
            for name in ("alice", "bob"):
                await upstream_of(supervisor, name)
            told = {name: told_by(supervisor, name) for name in ("alice", "bob")}
            pids = {name: supervisor.pid(name) for name in told}
            new = Token(hashlib.sha256(b"new").digest())
            less = attrs.evolve(
                alice, tokens=(new,), settings=attrs.evolve(alice.settings, quota_mb=3)
            )
            after = go_over(supervisor, before, config(short_dir, less, bob))
            (message,) = told["alice"]
            assert [one["sha256"] for one in message["tokens"]] == [new.sha256.hex()]
            words = message["options"]
            assert words[words.index("--quota-mb") + 1] == "3"
            assert told["bob"] == []
            # The gateway's limits are every engine's.
            wide = Gateway(max_body_bytes=5)
            last = go_over(supervisor, after, attrs.evolve(after, gateway=wide))
            for name in told:
                words = told[name][-1]["options"]
                assert words[words.index("--max-body-bytes") + 1] == "5"
            # Who goes lets nobody in any more, at the own port too.
            go_over(supervisor, last, attrs.evolve(last, tenants=(bob,)))
            assert told["alice"][-1] == {"tokens": []}
            assert supervisor.pid("bob") == pids["bob"]

    @in_reactor
    async def test_what_it_may_map_is_as_its_memory_limit_says(self, short_dir: Path) -> None:
        def mapped() -> tuple[int, int]:
            return resource.prlimit(supervisor.pid("alice") or 0, resource.RLIMIT_AS)

        alice = tenant(short_dir, settings=settings(limits=Limits(memory_hard=2 << 30)))
        less = attrs.evolve(alice, settings=settings(limits=Limits(memory_hard=1 << 30)))
        before = config(short_dir, alice)
        async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
            await upstream_of(supervisor)
            assert mapped()[0] == 2 * (2 << 30) + (512 << 20)
            go_over(supervisor, before, config(short_dir, less))
            assert mapped()[0] == 2 * (1 << 30) + (512 << 20)

    @pytest.mark.parametrize("launcher", [Launcher.AUTO, Launcher.SPAWN])
    @in_reactor
    async def test_one_that_is_being_started_is_told_too(
        self, short_dir: Path, launcher: Launcher
    ) -> None:
        alice = tenant(short_dir, settings=settings(launcher=launcher))
        before = config(short_dir, alice)
        async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
            outcome = outcome_of(supervisor, "alice")
            told = told_by(supervisor, "alice")
            go_over(supervisor, before, config(short_dir, attrs.evolve(alice, tokens=())))
            assert told == [{"tokens": []}]
            assert isinstance(await outcome, Upstream)


def told_by(supervisor: Supervisor, name: str) -> list[dict[str, list[Any]]]:
    """Return what the tenant's process is told from now on."""
    process = supervisor.lives[name].process
    assert process is not None
    found: list[dict[str, list[Any]]] = []
    passed_on = process.ask

    def ask(message: bytes) -> None:
        if b"ping" not in message:
            found.append(json.loads(message))
        passed_on(message)

    process.ask = ask  # type: ignore[method-assign]
    return found


@in_reactor
async def test_an_eager_one_that_is_added_starts(short_dir: Path) -> None:
    alice = tenant(short_dir, settings=settings(start=Start.EAGER))
    before = config(short_dir)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        after = go_over(supervisor, before, config(short_dir, alice))
        await eventually(lambda: supervisor.ready("alice"), "it is there")
        lazy = attrs.evolve(alice, settings=settings())
        again = go_over(supervisor, after, config(short_dir, lazy))
        await supervisor.stop("alice")
        assert supervisor.state("alice") is State.STOPPED
        go_over(supervisor, again, after)
        await eventually(lambda: supervisor.ready("alice"), "it is eager again")


@in_reactor
async def test_the_service_may_stop_while_tenants_move(short_dir: Path) -> None:
    alice, bob = tenant(short_dir), tenant(short_dir, "bob")
    before = config(short_dir, alice, bob)
    async with running(before, engine_paths=fake_engine(short_dir)) as supervisor:
        for name in ("alice", "bob"):
            await upstream_of(supervisor, name)
        go_over(supervisor, before, config(short_dir, restarted(alice)))
