"""Services of many small tenants, ours and supervisord, for benchmarks of the supervisor."""

from __future__ import annotations

import contextlib
import hashlib
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks import memory
from benchmarks.peers import KEY, MissingError, process, program
from tests.running import Running, eventually, free_port, start

QUESTION = b"GET /api/v2/version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"
PATIENCE = 120.0


def names(count: int) -> list[str]:
    """Return the names of so many tenants."""
    return [f"t{number}" for number in range(count)]


def token(name: str) -> str:
    """Return the token of a tenant."""
    return f"pmb-v1-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def digest(name: str) -> str:
    """Return the digest of a tenant's token, as the configuration has it."""
    return hashlib.sha256(token(name).encode()).hexdigest()


def configure(
    directory: Path,
    tenants: Sequence[str],
    port: int,
    defaults: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a configuration of such tenants, some with keys of their `own`; return its file."""
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    entries = {
        name: {
            "token_sha256": [digest(name)],
            **(own or {}).get(name, {}),
        }
        for name in tenants
    }
    whole = {
        "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
        "admin": {"listen": ["tcp:0:interface=127.0.0.1"]},
        "defaults": dict(defaults),
        "tenants": entries,
    }
    file.write_text(yaml.safe_dump(whole))
    return file


@contextlib.contextmanager
def sqsuper(directory: Path, tenants: Sequence[str], **defaults: Any) -> Iterator[Running]:
    """Run our service with such tenants; all that are eager are healthy when it is given."""
    port = free_port()
    running = start(directory, configure(directory, tenants, port, defaults), port)
    eager = len(tenants) if defaults.get("start") == "eager" else 0
    try:
        eventually(running.healthy, "sqsuper answers", PATIENCE)
        eventually(lambda: running.output.count("-> healthy") >= eager, "all healthy", PATIENCE)
        yield running
    finally:
        running.close()


@contextlib.contextmanager
def supervisord(directory: Path, ports: Sequence[int], engine: str) -> Iterator[psutil.Process]:
    """Run supervisord with a program a port: the real sq, or (`ours`) our engine.

    Raises MissingError. All answer when it is given.
    """
    daemon = program("supervisord")
    path = directory / "supervisord.conf"
    socket_path = directory / "s"
    lines = [
        "[supervisord]",
        "nodaemon=true",
        f"logfile={directory / 'log'}",
        f"pidfile={directory / 'pid'}",
        f"childlogdir={directory}",
        "minfds=8192",
        "[unix_http_server]",
        f"file={socket_path}",
    ]
    for port in ports:
        data = directory / f"data-{port}"
        data.mkdir(mode=0o700)
        command = f"{sys.executable} -m sqsuper.engine" if engine == "ours" else program("sq")
        lines += [
            f"[program:t{port}]",
            f"command={command} host {port} --key {KEY} --data-dir {data}",
            f"directory={data}",
            "startsecs=0",
            "autorestart=true",
            "stdout_logfile=NONE",
            "stderr_logfile=NONE",
        ]
    path.write_text("\n".join(lines) + "\n")
    if not ports:
        raise MissingError("a port")
    with process([daemon, "-c", str(path)], directory, ports[-1]) as running:
        try:
            eventually(lambda: all(map(_answers, ports)), "all answer", PATIENCE)
            yield running
        finally:
            # Each has a group of its own, and would outlive a supervisord that takes too long.
            children = running.children(recursive=True)
            running.kill()
            for child in children:
                child.kill()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask_all(port: int, tenants: Sequence[str]) -> float:
    """Ask for all at once, each on its own connection; return seconds until all have answered.

    Raises RuntimeError for an answer that is none.
    """
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        chooser = stack.enter_context(selectors.DefaultSelector())
        for name in tenants:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(QUESTION % token(name).encode())
            chooser.register(connection, selectors.EVENT_READ)
        while chooser.get_map():
            ready = chooser.select(30)
            if not ready:
                raise RuntimeError("no answer within 30 s")
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                answer = key.fileobj.recv(4096)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"not served: {answer[:200]!r}")
                chooser.unregister(key.fileobj)
    return time.perf_counter() - begun


def instance(running: Running, name: str) -> psutil.Process:
    """Return a tenant's process. Raises LookupError without one."""
    for child in psutil.Process(running.pid).children():
        with contextlib.suppress(psutil.Error):
            if Path(child.cwd()).name == name and "data" in Path(child.cwd()).parts:
                return child
    raise LookupError(name)


def proportional(top: psutil.Process) -> int:
    """Return the memory of a process and all of its descendants, in bytes (sum of PSS)."""
    total = 0
    for one in (top, *top.children(recursive=True)):
        with contextlib.suppress(psutil.Error, OSError):
            total += memory.proportional(one.pid)
    return total


def core_share(top: psutil.Process, seconds: float, *, whole: bool = False) -> float:
    """Return the CPU time used meanwhile, in percent of a core; `whole`: by descendants too."""

    def used() -> float:
        found = 0.0
        for one in (top, *(top.children(recursive=True) if whole else ())):
            with contextlib.suppress(psutil.Error):
                found += sum(one.cpu_times()[:2])
        return found

    before, begun = used(), time.perf_counter()
    time.sleep(seconds)
    return 100 * (used() - before) / (time.perf_counter() - begun)
