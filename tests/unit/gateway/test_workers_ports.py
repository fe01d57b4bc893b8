from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor

from sqsuper.gateway import shared_ports
from sqsuper.gateway.shared_ports import (
    InheritingReactor,
    Place,
    SharedPorts,
    UnsharableError,
    worker_endpoints,
)


@pytest.fixture
def reactor() -> Iterator[Any]:
    """A reactor that does not run: what is bound is bound at once."""
    one: Any = SelectReactor()
    yield one
    for reader in one.removeAll():
        reader.connectionLost(None) if hasattr(reader, "connectionLost") else None


def done(coroutine: Any) -> Any:
    """Run a coroutine that waits for nothing to its end."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@pytest.fixture
def bound(reactor: Any) -> Iterator[Any]:
    """`bound(*endpoints)`: bind them."""
    all_ports: list[SharedPorts] = []

    def bind(*endpoints: str) -> SharedPorts:
        ports = SharedPorts(reactor)
        all_ports.append(ports)
        done(ports.bind(endpoints))
        return ports

    yield bind
    for ports in all_ports:
        for shared in ports.ports:
            shared.port.socket.close()


def inherited(ports: SharedPorts) -> list[tuple[Place, int]]:
    return [(shared.place, os.dup(shared.fileno())) for shared in ports.ports]


def test_nothing_is_accepted_where_it_is_bound(reactor: Any, bound: Any) -> None:
    ports = bound("tcp:0:interface=127.0.0.1")
    assert [shared.port for shared in ports.ports if shared.port in reactor.getReaders()] == []
    assert ports.addresses()[0].port > 0


def test_a_worker_listens_by_the_same_string_at_the_same_socket(reactor: Any, bound: Any) -> None:
    endpoint = "tcp:0:interface=127.0.0.1"
    ports = bound(endpoint)
    worker = InheritingReactor(reactor, inherited(ports))
    listening: list[Any] = []
    serverFromString(worker, endpoint).listen(Factory()).addCallback(listening.append)
    [port] = listening
    assert port.getHost() == ports.addresses()[0]
    assert port in reactor.getReaders()
    with pytest.raises(KeyError):
        worker.listenTCP(0, Factory(), interface="127.0.0.1")
    port.socket.close()


def test_a_wrapped_endpoint_is_shared_too(reactor: Any, bound: Any) -> None:
    endpoint = "haproxy:tcp:0:interface=127.0.0.1"
    ports = bound(endpoint)
    worker = InheritingReactor(reactor, inherited(ports))
    listening: list[Any] = []
    serverFromString(worker, endpoint).listen(Factory()).addCallback(listening.append)
    assert listening[0].getHost() == ports.addresses()[0]
    listening[0].socket.close()


def test_strings_of_tls_on_one_port_are_one_socket(bound: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number = probe.getsockname()[1]
    strings = [
        f"ssl:{number}:privateKey=/k{name}:certKey=/c{name}:interface=127.0.0.1" for name in "ab"
    ]
    ports = bound(*strings)
    assert [shared.place for shared in ports.ports] == [Place(number, "127.0.0.1")]


def test_a_unix_sockets_file_is_the_first_process_own(
    reactor: Any, bound: Any, short_dir: Path
) -> None:
    path = short_dir / "s"
    endpoint = f"unix:{path}:mode=600"
    ports = bound(endpoint)
    worker = InheritingReactor(reactor, inherited(ports))
    listening: list[Any] = []
    serverFromString(worker, endpoint).listen(Factory()).addCallback(listening.append)
    [port] = listening
    assert path.stat().st_mode & 0o777 == 0o600
    assert port.getHost() == ports.addresses()[0]
    port.connectionLost(None)
    assert path.exists()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_that_was_handed_over_is_found_by_its_place(reactor: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        given = os.dup(server.fileno())
    [string] = worker_endpoints(["systemd:domain=INET:index=0"])
    place = Place(0, string.partition("interface=")[2])
    worker = InheritingReactor(reactor, [(place, given)])
    listening: list[Any] = []
    serverFromString(worker, string).listen(Factory()).addCallback(listening.append)
    assert (listening[0].getHost().host, listening[0].getHost().port) == address
    listening[0].socket.close()


def test_other_strings_stay_as_they_are() -> None:
    strings = ["tcp:1:interface=::1", "systemd:domain=INET:index=0", "unix:/x"]
    first, handed_over, last = worker_endpoints(strings)
    assert (first, last) == (strings[0], strings[2])
    assert handed_over.startswith("tcp:0:interface=inherited-")
    # By whatever else stands beside it.
    assert worker_endpoints(strings[1:2]) == [handed_over]


class Unrelated:
    """An endpoint that asks the reactor for nothing."""

    def __init__(self, fails: bool) -> None:
        self._fails = fails
        self.stopped = False

    def listen(self, factory: object) -> Any:
        return fail(ValueError("no")) if self._fails else succeed(self)

    def stopListening(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("fails", [False, True])
def test_what_binds_no_socket_is_refused(
    reactor: Any, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Unrelated(fails)
    monkeypatch.setattr(shared_ports, "server_endpoint", lambda *_: endpoint)
    with pytest.raises(UnsharableError, match="set workers to 1"):
        done(SharedPorts(reactor).bind(["onion:80"]))
    assert endpoint.stopped is not fails
