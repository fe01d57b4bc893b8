"""What a service manager is told, over real sockets, with time set by hand."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from sqsuper.notify import WINDOW, Announcement, Heartbeat, Lag, Manager, ManagerSocket
from tests.unit.supervisor.support import logged


class Receiver:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def messages(self) -> list[list[str]]:
        """Return all that came since the last call, each as its lines."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(
    params=[
        "path",
        pytest.param(
            "abstract",
            marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only"),
        ),
    ]
)
def receiver(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Receiver]:
    path = f"{short_dir}/notify"
    one = Receiver(path if request.param == "path" else f"@{path}")
    yield one
    one.close()


def manager(receiver: Receiver, watchdog: float | None = None) -> Manager:
    return Manager(ManagerSocket(receiver.address), watchdog)


# The environment


def test_nothing_without_a_socket() -> None:
    for address in ("", "relative", "@", "/", "vsock:2:1234"):
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
        assert Manager.of(environ, 1) == Manager()
        assert environ == {}
    assert Manager.of({}, 1) == Manager()


def test_nothing_is_left_for_children_to_inherit() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "A": "b"}
    found = Manager.of(environ, 7)
    assert environ == {"A": "b"}
    assert found.socket is not None
    assert found.watchdog == 30.0


@pytest.mark.parametrize(
    ("period", "whose", "watchdog"),
    [
        ("2000000", "", 2.0),
        ("2000000", "1", 2.0),
        ("2000000", "2", None),
        ("0", "", None),
        ("-1", "", None),
        ("x", "", None),
        ("", "1", None),
    ],
)
def test_the_watchdog_is_ours_or_not(period: str, whose: str, watchdog: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": period, "WATCHDOG_PID": whose}
    assert Manager.of(environ, 1).watchdog == watchdog


# What is said


def test_one_life(receiver: Receiver) -> None:
    status = "3 tenants"
    told = Announcement(manager(receiver), [lambda: status, str], monotonic=lambda: 1.25)
    told.reloading()
    told.beat()
    assert receiver.messages() == []
    told.startService()
    assert receiver.messages() == [["READY=1", f"MAINPID={os.getpid()}", "STATUS=3 tenants"]]
    told.beat()
    status = "2 tenants,\nof two lines"
    told.beat()
    told.beat()
    assert receiver.messages() == [["STATUS=2 tenants, of two lines"]]
    told.reloading()
    status = "a broken file"
    told.reloaded()
    told.beat()
    assert receiver.messages() == [
        ["RELOADING=1", "MONOTONIC_USEC=1250000"],
        ["READY=1", "STATUS=a broken file"],
    ]
    told.stopService()
    told.beat()
    told.reloaded()
    assert receiver.messages() == [["STOPPING=1", "STATUS=stopping"]]


def test_nobody_is_told_when_there_is_nobody() -> None:
    told = Announcement(Manager(), [lambda: pytest.fail("it need not be made")])
    told.startService()
    told.beat()
    told.reloading()
    told.reloaded()
    told.stopService()


def test_a_manager_that_is_gone_is_said_once(short_dir: Path) -> None:
    told = Announcement(Manager(ManagerSocket(f"{short_dir}/none")), [])
    with logged() as lines:
        told.startService()
        told.stopService()
    assert len(lines) == 1
    assert "the service manager cannot be told" in lines[0]


def test_one_that_reads_nothing_holds_nobody_up(receiver: Receiver) -> None:
    to = ManagerSocket(receiver.address)
    with logged() as lines:
        for _ in range(2000):
            to.send("WATCHDOG=1")
    assert len(lines) == 1


# The heart


def test_the_watchdog_is_fed_twice_in_its_time(receiver: Receiver) -> None:
    clock = Clock()
    heart = Heartbeat(manager(receiver, 20.0), reactor=clock)
    heart.startService()
    times = []
    for _ in range(1000):
        clock.advance(0.1)
        times += [clock.seconds() for _ in receiver.messages()]
    heart.stopService()
    assert len(times) >= 9
    assert all(later - sooner <= 10.0 for sooner, later in zip(times, times[1:]))  # noqa: B905, RUF007
    assert len(times) <= 12
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("watchdog", [0.2, 1.0, 3.0])
def test_a_short_watchdog(receiver: Receiver, watchdog: float) -> None:
    clock = Clock()
    heart = Heartbeat(manager(receiver, watchdog), reactor=clock)
    heart.startService()
    count = 0
    for _ in range(200):
        clock.advance(watchdog / 20)
        count += len(receiver.messages())
    assert 19 <= count <= 42
    heart.stopService()


def test_a_reactor_that_hangs_feeds_nobody(receiver: Receiver) -> None:
    clock = Clock()
    heart = Heartbeat(manager(receiver, 4.0), reactor=clock)
    heart.startService()
    clock.pump([0.5] * 8)
    receiver.messages()
    clock.rightNow += 30.0  # nothing is called meanwhile
    assert receiver.messages() == []
    clock.advance(0)
    assert receiver.messages() == [["WATCHDOG=1"]]
    assert 28 < heart.lag.worst <= 30
    heart.stopService()


def test_without_a_watchdog_the_lag_is_measured_all_the_same() -> None:
    clock = Clock()
    heart = Heartbeat(Manager(), reactor=clock)
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    heart.beats.append(beat)
    heart.startService()
    clock.advance(1)
    assert (heart.lag.worst, beats) == (0.0, 1)
    clock.advance(1.25)
    assert (heart.lag.worst, beats) == (0.25, 2)
    heart.stopService()
    heart.stopService()
    assert clock.getDelayedCalls() == []


def test_the_worst_lag_is_forgotten_after_a_while() -> None:
    lag = Lag()
    lag.was(0.5, 0.0)
    for second in range(1, int(WINDOW) + 1):
        lag.was(0.1, float(second))
        assert lag.worst == 0.5
    for second in range(int(WINDOW) + 1, int(2 * WINDOW) + 1):
        lag.was(0.1, float(second))
    assert lag.worst == 0.1
