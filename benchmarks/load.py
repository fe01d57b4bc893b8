"""wrk, and what one run of it measured."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable

import attrs

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s|m)")
_BAD = re.compile(r"Non-2xx or 3xx responses: \d+|timeout [1-9]\d*|connect [1-9]\d*")


@attrs.frozen
class Result:
    """`rate` in requests a second, `p99` in milliseconds, `bad`: what went wrong, if anything."""

    rate: float
    p99: float
    bad: str = ""


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run(
    url: str, *, seconds: int, connections: int = 16, fields: Iterable[str] = (), script: str = ""
) -> Result:
    """Load `url` for so long from one thread. Raises RuntimeError when wrk fails."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for field in fields:
        command += ["-H", field]
    if script:
        command += ["-s", script]
    done = subprocess.run(
        [*command, url], capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    rate, p99 = _RATE.search(done.stdout), _P99.search(done.stdout)
    if rate is None or p99 is None:
        raise RuntimeError(f"wrk on {url}: {done.stdout}{done.stderr}")
    bad = _BAD.search(done.stdout)
    return Result(
        float(rate[1]), float(p99[1]) * _UNITS[p99[2]], bad[0].strip() if bad is not None else ""
    )


def median(results: list[Result]) -> Result:
    """Return the medians; `bad` of the first run that had something."""
    return Result(
        statistics.median(result.rate for result in results),
        statistics.median(result.p99 for result in results),
        next((result.bad for result in results if result.bad), ""),
    )
