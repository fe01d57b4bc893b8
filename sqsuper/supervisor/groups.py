"""Processes of a tenant beyond its leader: who belongs to an instance, and ending them all.

An instance is a session and process group led by the process that we spawned; a random
marker in its environment is inherited by what it forks, also by what left the group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import psutil

from sqsuper.sockets.capabilities import HERE

MARKER = "SQSUPER_INSTANCE"

# Windows has one way to end a process.
TERM = int(signal.SIGTERM)
KILL = int(getattr(signal, "SIGKILL", signal.SIGTERM))
_CONT = int(getattr(signal, "SIGCONT", 0))


@attrs.frozen
class Group:
    """One spawned process and what descends from it.

    `start` identifies the leader beside its pid (`start_time`), `boot` the system's boot;
    `alive_at` is a moment, in the clock of `start`, at which the leader was known to live.
    """

    tenant: str
    pid: int
    start: str
    boot: str
    alive_at: str
    marker: str = attrs.field(repr=False)


def boot_id() -> str:
    """Something that differs between boots of the system."""
    if HERE.proc:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            pass
    return f"{psutil.boot_time():.0f}"


def start_time(pid: int) -> str | None:
    """When the process `pid` began, as a sortable text; None when there is none (or a zombie)."""
    if HERE.proc:
        fields = _stat(pid)
        return None if fields is None or fields[0] in {b"Z", b"X"} else f"{int(fields[19]):020d}"
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():020.3f}"
    except psutil.Error:
        return None


def now() -> str:
    """Return the present moment in the clock of `start_time`."""
    if HERE.proc:
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        return f"{int(ticks):020d}"
    return f"{time.time():020.3f}"


def members(groups: Iterable[Group]) -> dict[Group, list[int]]:
    """Return the pids that belong to each of `groups` now, by one look at the process table.

    A process belongs to a group when it carries its marker, or is in its session or process
    group; then, as pids come again, the leader must be the one we started or, when it is
    gone, the process must have begun while it lived. Zombies do not count.
    """
    wanted = list(groups)
    by_marker = {group.marker.encode(): group for group in wanted}
    by_pid = {group.pid: group for group in wanted}
    found: dict[Group, list[int]] = {group: [] for group in wanted}
    ours = os.getpid()
    for pid in psutil.pids() if wanted else ():
        if pid in {ours, 1}:
            continue
        group = _group_of(pid, by_pid, by_marker)
        if group is not None:
            found[group].append(pid)
    return found


def send(group: Group, pid: int, signum: int) -> None:
    """Send a signal to a member of `group`, unless its pid meanwhile is another process's."""
    try:
        if not HERE.proc:
            if _belongs(group, pid):
                os.kill(pid, signum)
            return
        handle = os.pidfd_open(pid)
        try:
            if _belongs(group, pid):
                signal.pidfd_send_signal(handle, signum)
        finally:
            os.close(handle)
    except OSError:
        pass  # gone meanwhile, or not ours to signal: the next look at the table tells


def end_group(pid: int) -> bool:
    """Kill the process group of that number; return whether there was one to signal."""
    if HERE.groups:
        with contextlib.suppress(OSError):
            os.killpg(pid, KILL)
            return True
    return False


def end_descendants(pid: int) -> None:
    """Kill what a living process has started, where it leads no group that could be ended."""
    if not HERE.groups:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(pid).children(recursive=True):
                child.kill()


def end_now(groups: Iterable[Group], grace: float, patience: float) -> dict[Group, list[int]]:
    """End all members of `groups`, blocking: TERM, after `grace` seconds KILL.

    Returns what is still there `patience` seconds after that (nothing, as a rule).
    Only for the time before the service serves.
    """
    begun = time.monotonic()
    last = 0
    while True:
        left = {group: pids for group, pids in members(groups).items() if pids}
        waited = time.monotonic() - begun
        if not left or waited > grace + patience:
            return left
        signum = TERM if waited < grace else KILL
        for group, pids in left.items():
            for pid in pids:
                if signum == KILL:
                    send(group, pid, signum)
                elif signum != last:
                    send(group, pid, signum)
                    send(group, pid, _CONT)
        last = signum
        time.sleep(0.02)


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the third (the state) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()


def _marker_of(pid: int) -> bytes:
    name = b"\0" + MARKER.encode() + b"="
    try:
        if HERE.proc:
            variables = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
            return variables.partition(name)[2].partition(b"\0")[0]
        return psutil.Process(pid).environ().get(MARKER, "").encode()
    except (OSError, psutil.Error):
        return b""


def _group_of(pid: int, by_pid: dict[int, Group], by_marker: dict[bytes, Group]) -> Group | None:
    session = leader = 0
    if HERE.groups:
        with contextlib.suppress(OSError):
            session, leader = os.getsid(pid), os.getpgid(pid)
    for candidate in (session, leader):
        group = by_pid.get(candidate)
        if group is not None and _in_session(group, pid):
            return group
    group = by_pid.get(pid)
    if group is not None and start_time(pid) == group.start:
        return group
    group = by_marker.get(_marker_of(pid))
    return group if group is not None and start_time(pid) is not None else None


def _in_session(group: Group, pid: int) -> bool:
    began = start_time(pid)
    if began is None:
        return False
    if pid == group.pid:
        return began == group.start
    leader = start_time(group.pid)
    if leader is not None:
        return leader == group.start
    return group.start <= began <= group.alive_at


def _belongs(group: Group, pid: int) -> bool:
    return _group_of(pid, {group.pid: group}, {group.marker.encode(): group}) is not None
