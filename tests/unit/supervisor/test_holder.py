"""Who holds a port."""

from __future__ import annotations

import os
import socket

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
