"""`make bench-supervisor`: what a tenant's process costs, forked from the zygote and spawned.

Everything runs on loopback and in a temporary directory; times are milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.running import ROOT, Running, eventually, free_port, start

LAUNCHERS = ("zygote", "spawn")
SINGLE, BURST = 20, 100
QUESTION = b"GET /api/v2/version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"


def token(name: str) -> str:
    """Return the token of a tenant of this run."""
    return f"pmb-v1-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def pss(pid: int) -> float:
    """Return a process' proportional share of memory, in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


# Start to first answer, without a gateway: a supervisor in a process of its own


def starts(launcher: str, directory: Path) -> dict[str, list[float]]:
    """Start `SINGLE` tenants one after another, in this process; return times and shares."""
    from twisted.internet import reactor, task  # noqa: PLC0415 - it belongs to this process alone
    from twisted.internet.defer import ensureDeferred  # noqa: PLC0415

    from sqsuper.config.load import load  # noqa: PLC0415
    from sqsuper.instances import Unavailable, Upstream  # noqa: PLC0415
    from sqsuper.supervisor.service import Supervisor  # noqa: PLC0415

    names = [f"t{n}" for n in range(SINGLE)]
    file = configure(directory, names, launcher, free_port())
    supervisor = Supervisor(load(file), reactor=reactor)
    times: list[float] = []
    shares: list[float] = []

    async def measure() -> None:
        supervisor.privilegedStartService()
        supervisor.startService()
        await task.deferLater(reactor, 1.0, lambda: None)
        for name in names:
            begun = time.perf_counter()

            got: list[Upstream | Unavailable] = []
            supervisor.wait(name, got.append)
            while not got:
                await task.deferLater(reactor, 0.0005, lambda: None)
            there = got[0]
            if isinstance(there, Unavailable):
                raise RuntimeError(there.reason)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(there.path or "")
                connection.sendall(QUESTION % there.key.encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            times.append((time.perf_counter() - begun) * 1e3)
        await task.deferLater(reactor, 1.0, lambda: None)
        shares.extend(pss(supervisor.pid(name) or 0) for name in names)
        await supervisor.stopService()

    def finished(_: object) -> None:
        reactor.stop()

    def begin() -> None:
        ensureDeferred(measure()).addErrback(lambda f: f.printTraceback()).addBoth(finished)

    reactor.callWhenRunning(begin)
    reactor.run()
    return {"times": times, "shares": shares}


def configure(directory: Path, names: list[str], launcher: str, port: int, **more: Any) -> Path:
    """Write a configuration for such tenants and return its file."""
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    digests = {name: hashlib.sha256(token(name).encode()).hexdigest() for name in names}
    file.write_text(
        yaml.safe_dump(
            {
                "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
                "admin": {"listen": ["tcp:0:interface=127.0.0.1"]},
                "defaults": {"launcher": launcher, **more},
                "tenants": {name: {"token_sha256": [digests[name]]} for name in names},
            }
        )
    )
    return file


# Through the gateway


@contextlib.contextmanager
def sqsuper(directory: Path, names: list[str], launcher: str, **more: Any) -> Iterator[Running]:
    """Run a sqsuper with such tenants, ready to serve and warm."""
    directory.mkdir(mode=0o700)
    port = free_port()
    running = start(directory, configure(directory, names, launcher, port, **more), port)
    try:
        eventually(running.healthy, "sqsuper answers", 20)
        yield running
    finally:
        running.close()


def ask_all(port: int, names: list[str]) -> float:
    """Ask for all of `names` at once, each on its own connection; return ms until all answered."""
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        chooser = stack.enter_context(selectors.DefaultSelector())
        for name in names:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(QUESTION % token(name).encode())
            chooser.register(connection, selectors.EVENT_READ)
        while chooser.get_map():
            for key, _ in chooser.select(30):
                assert isinstance(key.fileobj, socket.socket)
                answer = key.fileobj.recv(4096)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"not served: {answer[:200]!r}")
                chooser.unregister(key.fileobj)
    return (time.perf_counter() - begun) * 1e3


def engines(running: Running) -> list[psutil.Process]:
    """Return the tenants' processes."""
    return [child for child in running.children() if "data" in Path(child.cwd()).parts]


def through_gateway(launcher: str, directory: Path) -> dict[str, str]:
    """Measure cold requests, a burst of them, and the replacement of a killed process."""
    names = [f"t{n}" for n in range(SINGLE + BURST)]
    with sqsuper(directory, names, launcher, restart={"backoff": "10ms", "jitter": 0}) as running:
        time.sleep(1.0)
        cold = [ask_all(running.port, [name]) for name in names[:SINGLE]]
        burst = ask_all(running.port, names[SINGLE:])
        killed = []
        for name in names[:SINGLE]:
            victim = next(p for p in engines(running) if Path(p.cwd()).name == name)
            begun = time.perf_counter()
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait(5)
            ask_all(running.port, [name])
            killed.append((time.perf_counter() - begun) * 1e3)
    return {
        "cold request through the gateway, median": f"{statistics.median(cold):.1f}",
        f"… worst of {SINGLE}": f"{max(cold):.1f}",
        f"{BURST} cold at once, until all have answered": f"{burst:.0f}",
        "killed, until it answers again (backoff 10)": f"{statistics.median(killed):.1f}",
    }


def alone(launcher: str, directory: Path) -> dict[str, str]:
    """Measure starts without a gateway, in a process that has nothing else to do."""
    directory.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.supervisor", "--starts", launcher, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "start to first answer, median": f"{statistics.median(found['times']):.1f}",
        "PSS idle, MB, mean": f"{statistics.mean(found['shares']):.2f}",
    }


def fleet(launcher: str, directory: Path, count: int) -> dict[str, str]:
    """Measure `count` eager tenants from the program's start, and their memory."""
    directory.mkdir(mode=0o700)
    port = free_port()
    names = [f"t{n}" for n in range(count)]
    begun = time.perf_counter()
    file = configure(directory, names, launcher, port, start="eager")
    running = start(directory, file, port)
    ready: Callable[[], bool] = lambda: running.output.count("-> healthy") >= count  # noqa: E731
    try:
        eventually(ready, "all are healthy", 120)
        took = time.perf_counter() - begun
        everything = [psutil.Process(running.pid), *psutil.Process(running.pid).children()]
        memory = sum(pss(process.pid) for process in everything)
    finally:
        running.close()
    return {
        f"{count} eager tenants, from twistd to all healthy, s": f"{took:.1f}",
        f"{count} running, PSS of the whole service, MB": f"{memory:.0f}",
    }


def main() -> int:
    """Run the comparison; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-supervisor", description=__doc__)
    parser.add_argument("--fleet", type=int, default=500, help="eager tenants; 0: leave out (500)")
    parser.add_argument("--starts", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.starts:
        launcher, directory = options.starts
        print(json.dumps(starts(launcher, Path(directory))))  # noqa: T201
        return 0
    columns: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="sqb-") as place:
        for number, launcher in enumerate(LAUNCHERS):
            top = Path(place).resolve()
            found = alone(launcher, top / f"{number}a")
            found |= through_gateway(launcher, top / f"{number}g")
            if options.fleet:
                found |= fleet(launcher, top / f"{number}f", options.fleet)
            columns.append(found)
    width = max(len(row) for row in columns[0])
    print(" " * width + "".join(f"{launcher:>10}" for launcher in LAUNCHERS))  # noqa: T201
    for row in columns[0]:
        print(f"{row:{width}}" + "".join(f"{column[row]:>10}" for column in columns))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
