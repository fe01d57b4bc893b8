"""Which launcher a system has the means for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor.launchers import Launcher, SpawnLauncher, StandardLauncher
from sqsuper.supervisor.zygote_launcher import ZygoteLauncher


def best_launcher(
    reactor: Any, *, paths: tuple[str, ...], run_dir: Path, random: Callable[[], float]
) -> Launcher:
    """Return the quickest one that this system can do; it falls back by itself."""
    if not HERE.inheritance:
        return StandardLauncher(reactor)
    spawn = SpawnLauncher(reactor)
    if not HERE.zygote:
        return spawn
    return ZygoteLauncher(reactor, spawn, paths=paths, run_dir=run_dir, random=random)
