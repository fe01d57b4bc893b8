"""The machine and the programs of a run, in words."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import psutil

COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "sq": ["sq", "version"],
    "wrk": ["wrk", "-v"],
}


class OthersLoad:
    """How much of the machine everybody else used since this was made."""

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.monotonic(), _busy(), _own()

    def cores(self) -> float:
        """Return it in cores; programs of this run count once they have ended."""
        spent = _busy() - self._busy - (_own() - self._own)
        return max(0.0, spent / (time.monotonic() - self._begun))


def _busy() -> float:
    times = psutil.cpu_times()
    # `user` and `nice` hold what guests used; an idle disk is no use of a core.
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own() -> float:
    return sum(os.times()[:4])


def described() -> dict[str, str]:
    """Return what a reader of figures must know, in the order of printing."""
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 2**30
    found = {
        "machine": f"{_processor()}, {cores} cores, {memory:.0f} GiB, {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "twisted": version("twisted"),
    }
    for name, command in COMMANDS.items():
        found[name] = _first_line(command) if shutil.which(name) else "NOT INSTALLED"
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: list[str]) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=10,
        check=False,
    )
    return (done.stdout.splitlines() or ["?"])[0]
