"""`python -m benchmarks.alone LAUNCHER DIRECTORY COUNT`: starts without a gateway, as JSON.

A process of its own, so that the reactor and the supervisor have nothing else to do.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

from twisted.internet import reactor as _reactor
from twisted.internet import task
from twisted.internet.defer import Deferred

from benchmarks import fleets, memory
from sqsuper.config.load import load
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.service import Supervisor
from tests.running import free_port

WARM_SECONDS = 1.5


async def measure(launcher: str, directory: Path, count: int) -> dict[str, list[float]]:
    """Start tenants one after another; return times (ms) and shares of memory (bytes)."""
    names = fleets.names(count)
    file = fleets.configure(directory, names, free_port(), {"launcher": launcher})
    supervisor = Supervisor(load(file), reactor=_reactor)
    supervisor.privilegedStartService()
    supervisor.startService()
    await task.deferLater(_reactor, WARM_SECONDS, lambda: None)
    times = [await _start(supervisor, name) for name in names]
    await task.deferLater(_reactor, 1.0, lambda: None)
    pids = [supervisor.pid(name) for name in names]
    shares = [float(memory.proportional(pid)) for pid in pids if pid is not None]
    await supervisor.stopService()
    return {"times": times, "shares": shares}


async def _start(supervisor: Supervisor, name: str) -> float:
    begun = time.perf_counter()
    got: Deferred[Upstream | Unavailable] = Deferred()
    supervisor.wait(name, got.callback)
    there = await got
    if isinstance(there, Unavailable):
        raise RuntimeError(there.reason)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(there.path or "")
        connection.sendall(fleets.QUESTION % there.key.encode())
        if not connection.recv(1000).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("not served")
    return (time.perf_counter() - begun) * 1e3


def main() -> int:
    """Print the figures; the exit status is 1 without them."""
    launcher, directory, count = sys.argv[1:]
    found: list[dict[str, list[float]]] = []

    def begin() -> None:
        done = Deferred.fromCoroutine(measure(launcher, Path(directory), int(count)))
        done.addCallbacks(found.append, lambda failure: failure.printTraceback())
        done.addBoth(lambda _: _reactor.stop())

    _reactor.callWhenRunning(begin)
    _reactor.run()
    for each in found:
        print(json.dumps(each))  # noqa: T201
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
