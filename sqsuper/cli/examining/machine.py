"""The machine: versions, the plugin, the clock, memory."""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from sqsuper.cli.examining.finding import Finding, bad, ok, warning

MIN_PYTHON = (3, 10)
# What packages say whose builders did not know their version, such as Debian's xxhash.
UNKNOWN = "0.0.0"
# In `adjtimex` (Linux): what it returns while the clock is not set by anything.
_TIME_ERROR = 5
_SECONDS_AHEAD = 300.0
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\(?\s*>=\s*([0-9.]+)\)?)?")
_LOW_MEMORY = 256 * 1024 * 1024


def versions(
    python: tuple[int, ...] = sys.version_info[:3],
    requires: Callable[[str], list[str] | None] = metadata.requires,
    version_of: Callable[[str], str] = metadata.version,
) -> Iterator[Finding]:
    """Look at Python and the libraries that sqsuper says it needs."""
    told = ".".join(map(str, python))
    if python < MIN_PYTHON:
        yield bad("python", f"Python {told} is too old", "use Python 3.10 or newer")
    else:
        yield ok("python", f"Python {told} on {platform.system()} {platform.release()}")
    try:
        wanted = requires("sqsuper") or []
    except metadata.PackageNotFoundError:
        yield warning("versions", "sqsuper is not installed, only found", "pip install it")
        return
    present = []
    for requirement in wanted:
        if ";" in requirement:
            continue
        found = _REQUIREMENT.match(requirement)
        if found is None:
            continue
        name, least = found[1], found[2]
        try:
            version = version_of(name)
        except metadata.PackageNotFoundError:
            yield bad("versions", f"{name} is missing", f"pip install '{requirement}'")
            continue
        if version == UNKNOWN:
            present.append(name)
            continue
        if least is not None and _numbers(version) < _numbers(least):
            yield bad(
                "versions",
                f"{name} {version} is older than {least}",
                f"pip install '{name}>={least}'",
            )
        else:
            present.append(f"{name} {version}")
    if present:
        yield ok("versions", ", ".join(present))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])


def plugin() -> Iterator[Finding]:
    """Look whether twistd finds its plugin."""
    from twisted.application.service import IServiceMaker  # noqa: PLC0415 - dear to import
    from twisted.plugin import getPlugins  # noqa: PLC0415

    if any(found.tapname == "sqsuper" for found in getPlugins(IServiceMaker)):
        yield ok("twistd", "twistd knows sqsuper")
    else:
        yield bad(
            "twistd",
            "twistd does not know sqsuper",
            "install sqsuper into the Python that runs twistd",
        )


def clock(
    now: datetime, newest_file: Path | None, synchronised: Callable[[], bool | None]
) -> Iterator[Finding]:
    """Look whether the clock can be right: tokens' validity and certificates depend on it."""
    shown = now.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    remedy = "set the clock, and have it kept right (systemd-timesyncd, chrony)"
    if newest_file is not None:
        try:
            ahead = newest_file.stat().st_mtime - now.timestamp()
        except OSError:
            ahead = 0.0
        if ahead > _SECONDS_AHEAD:
            yield bad("clock", f"it is {shown}, but {newest_file} was written later", remedy)
            return
    if synchronised() is False:
        yield warning("clock", f"it is {shown}, and nothing keeps the clock right", remedy)
    else:
        yield ok("clock", f"it is {shown}")


def is_synchronised() -> bool | None:
    """Return whether the system says that its clock is kept right; None: it does not say."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # A `struct timex` of all zeros asks, and changes nothing.
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def memory(available: int) -> Iterator[Finding]:
    """Look at the memory that is left, in bytes."""
    told = f"{available // (1024 * 1024)} MiB of memory are available"
    if available < _LOW_MEMORY:
        yield warning("memory", told, "an embedded instance takes 6 MB and its loaded data")
    else:
        yield ok("memory", told)
