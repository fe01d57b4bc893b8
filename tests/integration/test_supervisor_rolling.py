"""Rolling restarts under steady load through the gateway: no request fails, nothing is lost."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import threads

from sqsuper.config.model import Config, Gateway, Launcher, Tenant, Token
from sqsuper.gateway.service import GatewayService
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.service import Supervisor
from tests.unit.supervisor.support import (
    command_tenant,
    config,
    eventually,
    in_reactor,
    running,
    settings,
    tenant,
)

SQ = ("sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}")


@attrs.define
class Client:
    """Writes and reads in turn over one connection, until told to stop; keeps what went wrong."""

    port: int
    name: str
    number: int
    wrong: list[str] = attrs.field(factory=list)
    written: int = 0
    stop: bool = False

    def run(self) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            while not self.stop:
                self._turn(connection)
            connection.close()
        except Exception as error:
            self.wrong.append(repr(error))

    def _turn(self, connection: http.client.HTTPConnection) -> None:
        coordinate = f"1.1.1/1.1.1/1.1.{self.number}"
        text = f"{self.written + 1}"
        answer = self._ask(connection, "POST", f"update?p=load&c={coordinate}", text.encode())
        if answer is not None:
            self.written += 1
        answer = self._ask(connection, "GET", f"select?p=load&c={coordinate}", None)
        if answer not in (None, text):
            self.wrong.append(f"read {answer!r} after {text!r} was written")

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, what: str, body: bytes | None
    ) -> str | None:
        headers = {"Authorization": f"Bearer {self.name}"}
        connection.request(method, f"/api/v2/{what}", body, headers)
        response = connection.getresponse()
        answer = response.read().decode()
        if response.status != 200:
            self.wrong.append(f"{method} {response.status} {answer}")
            return None
        return answer


@contextlib.asynccontextmanager
async def serving(wanted: Config) -> AsyncIterator[tuple[Supervisor, int]]:
    """Run supervisor and gateway; give the gateway's port."""
    from twisted.internet import reactor

    async with running(wanted) as supervisor:
        gateway = GatewayService(wanted, instances=supervisor, reactor=reactor)
        supervisor.drain_by(gateway.quiet)
        await gateway.startService()
        address: Any = gateway.addresses()[0]
        try:
            yield supervisor, address.port
        finally:
            await gateway.stopService()


@contextlib.asynccontextmanager
async def load(port: int, names: list[str], each: int = 2) -> AsyncIterator[list[Client]]:
    """Keep clients busy; at the end none may have seen anything wrong."""
    clients = [Client(port, name, n + 1) for name in names for n in range(each)]
    workers = [threads.deferToThread(client.run) for client in clients]
    try:
        await eventually(lambda: all(client.written > 5 for client in clients), "load")
        yield clients
        reached = [client.written for client in clients]
        await eventually(
            lambda: all(c.written > r for c, r in zip(clients, reached, strict=True)),
            "it goes on",
        )
    finally:
        for client in clients:
            client.stop = True
        for worker in workers:
            await worker
    assert [wrong for client in clients for wrong in client.wrong] == []


def made(directory: Path, *tenants: Tenant) -> Config:
    gateway = Gateway(listen=("tcp:0:interface=127.0.0.1",))
    known = [
        attrs.evolve(one, tokens=(Token(hashlib.sha256(one.name.encode()).digest()),))
        for one in tenants
    ]
    return config(directory, *known, gateway=gateway)


@pytest.mark.parametrize("launcher", [Launcher.AUTO, Launcher.SPAWN])
@in_reactor
async def test_of_all_embedded_engines(short_dir: Path, launcher: Launcher) -> None:
    names = ["alice", "bob", "carol"]
    tenants = [tenant(short_dir, name, settings=settings(launcher=launcher)) for name in names]
    async with serving(made(short_dir, *tenants)) as (supervisor, port):
        async with load(port, names) as clients:
            for _ in range(2):
                pids = {name: supervisor.pid(name) for name in names}
                rolled = await supervisor.rolling_restart()
                assert rolled.restarted == tuple(names)
                assert all(supervisor.pid(name) != pids[name] for name in names)
        for client in clients:
            fresh = Client(port, client.name, client.number)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            coordinate = f"1.1.1/1.1.1/1.1.{client.number}"
            kept = await threads.deferToThread(
                fresh._ask, connection, "GET", f"select?p=load&c={coordinate}", None
            )
            connection.close()
            assert kept == str(client.written)
        for name in names:
            changes = [change.after for change in supervisor.history(name)]
            assert State.UNHEALTHY not in changes
            assert State.BACKOFF not in changes


@pytest.mark.real_sq
@in_reactor
async def test_of_one_that_cannot_be_loaded_beside_itself(short_dir: Path) -> None:
    one = command_tenant(short_dir, *SQ)
    async with serving(made(short_dir, one)) as (supervisor, port), load(port, ["alice"]):
        before = supervisor.pid("alice")
        rolled = await supervisor.rolling_restart(["alice"])
        assert rolled.restarted == ("alice",)
        assert supervisor.pid("alice") != before
