"""Who holds a port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from sqsuper.supervisor import holder
from sqsuper.supervisor.holder import Holder


def test_a_listener_is_named_and_nobody_else() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert holder.of_port(port) is None, "bound is not listening"
        listening.listen()
        found = holder.of_port(port)
        assert found is not None
        assert found.pid == os.getpid()
        assert str(found) == f"pid {os.getpid()}, {found.name}"
    assert holder.of_port(port) is None


def test_one_without_a_name() -> None:
    assert str(Holder(7, "")) == "pid 7"


def test_one_on_another_address_is_found_too() -> None:
    with socket.socket(socket.AF_INET6) as listening:
        listening.bind(("::", 0))
        listening.listen()
        found = holder.of_port(listening.getsockname()[1])
        assert found is not None
        assert found.pid == os.getpid()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is no /proc")
def test_a_search_is_bounded_and_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    has = holder._Search._has

    def look(search: holder._Search, pid: int) -> bool:
        looked.append(pid)
        return has(search, pid)

    monkeypatch.setattr(holder._Search, "_has", look)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        found = None
        for _ in range(len(os.listdir("/proc"))):
            before = len(looked)
            found = holder.of_port(port, within=0.0)
            assert len(looked) == before + 1, "time is up after one"
            if found is not None:
                break
        assert found is not None
        assert found.pid == os.getpid()
        assert len(set(looked)) == len(looked), "none is looked at twice"
        looked.clear()
        assert holder.of_port(port) == found
        assert looked == [os.getpid()], "who was found once is found at once"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is no /proc")
def test_a_listener_that_was_handed_on_is_searched_for_again() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
        ) as child:
            first = holder.of_port(port)
            listening.close()
            second = holder.of_port(port)
            assert child.stdin is not None
            child.stdin.close()
    assert first is not None
    assert second is not None
    assert second.pid == child.pid
