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
_COUNT = re.compile(r"(\d+) requests in")
_SOCKETS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_BAD = re.compile(r"Non-2xx or 3xx responses: \d+|timeout [1-9]\d*|connect [1-9]\d*")


@attrs.frozen
class Result:
    """`rate` in requests a second, `p99` in milliseconds, `bad`: what went wrong, if anything.

    `errors` counts other statuses than 2xx and 3xx, connects refused and timeouts; `cut` the
    connections that ended, which is no error of one who closes after each answer.
    """

    rate: float
    p99: float
    bad: str = ""
    requests: int = 0
    errors: int = 0
    cut: int = 0


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run(
    url: str,
    *,
    seconds: int,
    connections: int = 16,
    fields: Iterable[str] = (),
    script: str = "",
    timeout: int = 2,
) -> Result:
    """Load `url` for so long from one thread. Raises RuntimeError when wrk fails.

    `timeout`: seconds after which an answer counts as a timeout.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={timeout}s"]
    command.append("--latency")
    for field in fields:
        command += ["-H", field]
    if script:
        command += ["-s", script]
    done = subprocess.run(
        [*command, url], capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    return parse(done.stdout, f"wrk on {url}: {done.stdout}{done.stderr}")


def parse(output: str, failure: str = "not the output of wrk") -> Result:
    """Return what wrk printed; RuntimeError with the text `failure` when it printed no rates."""
    rate, p99 = _RATE.search(output), _P99.search(output)
    if rate is None or p99 is None:
        raise RuntimeError(failure)
    bad, count = _BAD.search(output), _COUNT.search(output)
    sockets, status = _SOCKETS.search(output), _STATUS.search(output)
    connect, read, write, late = map(int, sockets.groups()) if sockets else (0, 0, 0, 0)
    return Result(
        float(rate[1]),
        float(p99[1]) * _UNITS[p99[2]],
        bad[0].strip() if bad is not None else "",
        requests=int(count[1]) if count is not None else 0,
        errors=connect + late + (int(status[1]) if status is not None else 0),
        cut=read + write,
    )


def median(results: list[Result]) -> Result:
    """Return the medians; `bad` of the first run that had something; counts in sum."""
    return Result(
        statistics.median(result.rate for result in results),
        statistics.median(result.p99 for result in results),
        next((result.bad for result in results if result.bad), ""),
        sum(result.requests for result in results),
        sum(result.errors for result in results),
        sum(result.cut for result in results),
    )
