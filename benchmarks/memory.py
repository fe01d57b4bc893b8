"""What processes hold, from /proc (Linux). All figures are bytes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def unique(pid: int) -> int:
    """Return what only this process holds (USS)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return _field(text, "Private_Clean:") + _field(text, "Private_Dirty:")


def proportional(pid: int) -> int:
    """Return a process' share (PSS): what others hold too is divided among them."""
    return _field(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss:")


def resident(pid: int) -> int:
    """Return the resident size."""
    return _field(Path(f"/proc/{pid}/status").read_text(), "VmRSS:")


def threads(pid: int) -> int:
    """Return how many threads a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Threads:"):
            return int(line.split()[1])
    raise KeyError("Threads")


def forget_peak(pid: int) -> None:
    """Let the kernel's record of the peak begin anew: nothing falls between two samples."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """Return the greatest resident size since `forget_peak`."""
    return _field(Path(f"/proc/{pid}/status").read_text(), "VmHWM:")


@attrs.define
class Sampler:
    """Calls `sample` every few milliseconds in a thread; `peak` is the greatest value so far."""

    sample: Callable[[], int]
    interval: float = 0.003
    peak: int = 0
    samples: int = 0
    _done: threading.Event = attrs.field(factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[Sampler]:
        """Sample while the block runs. A process that ends meanwhile ends the sampling."""
        self._done.clear()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join(10)

    def _run(self) -> None:
        with contextlib.suppress(OSError, KeyError):
            while not self._done.wait(self.interval):
                self.peak = max(self.peak, self.sample())
                self.samples += 1
