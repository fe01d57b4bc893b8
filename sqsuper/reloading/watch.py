"""Notices that the files of a configuration have changed, and that they have come to rest."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeAlias

from sqsuper.config.overlay import overlay_of

# How long nothing must change before it is read, in seconds.
REST = 0.3
# Files that one poll looks at: so many in so many polls, and more when one may be another.
LOOKS = 100
ROUND = 40
LOOKS_IN_HASTE = 500

# What tells one content from another; None: there is no such file.
Look: TypeAlias = "tuple[int, int, int, int] | None"


def look(path: str) -> Look:
    """Return what a file looks like now."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


class Watch:
    """Looks at a configuration file and at what it includes, without reading any of it.

    `poll` is to be called every quarter of a second or so: a replaced file is noticed at the
    next one, and so is one that comes or goes; of very many included files some that are
    rewritten in place only after several.
    """

    def __init__(self, file: Path, include: Sequence[str]) -> None:
        self._file = str(file)
        self._base = str(file.parent)
        self._overlay = str(overlay_of(file))
        self._patterns = tuple(include)
        self._looks: dict[str, Look] = {}
        self._directories: dict[str, Look] = {}
        self._queue: deque[str] = deque()
        self._hasty = 0
        self._restless: set[str] = set()
        self._changed_at: float | None = None
        for _ in self.catch_up():
            pass

    def follow(self, include: Sequence[str]) -> None:
        """Watch what these patterns include from now on."""
        if self._patterns != tuple(include):
            self._patterns = tuple(include)
            self._list()

    def catch_up(self) -> Generator[None, None, None]:
        """Take everything as it is now for known: it is about to be read.

        A pause is offered after each file.
        """
        self._list()
        self._looks[self._file] = look(self._file)
        yield
        for name in tuple(self._queue):
            self._looks[name] = look(name)
            yield
        self._changed_at = None
        self._hasty = 0
        self._restless.clear()

    @property
    def restless(self) -> bool:
        """Whether something has changed and `poll` has not said so yet: poll more often."""
        return self._changed_at is not None

    def poll(self, now: float) -> bool:
        """Look around at `now` (seconds); True, once, when what changed is at rest."""
        changed = self._look_again(self._file)
        for name in list(self._restless):
            changed = self._look_again(name) or changed
        if any(look(path) != known for path, known in self._directories.items()):
            changed = self._list() or changed
        for _ in range(self._due()):
            name = self._queue.popleft()
            self._queue.append(name)
            changed = self._look_again(name) or changed
        if changed:
            self._changed_at = now
        elif self._changed_at is not None and now - self._changed_at >= REST:
            self._changed_at = None
            self._restless.clear()
            return True
        return False

    def _look_again(self, name: str) -> bool:
        seen = look(name)
        if seen == self._looks.get(name):
            return False
        self._looks[name] = seen
        self._restless.add(name)
        return True

    def _due(self) -> int:
        """Return how many of the queue to look at now."""
        count = len(self._queue)
        if self._hasty:
            hasty = min(self._hasty, LOOKS_IN_HASTE)
            self._hasty -= hasty
            return hasty
        return min(count, max(LOOKS, count // ROUND))

    def _list(self) -> bool:
        """List what is included; return whether files have come or gone."""
        self._directories = {path: look(path) for path in self._listed()}
        names = {
            os.path.join(self._base, name)
            for pattern in self._patterns
            for name in glob.iglob(pattern, root_dir=self._base)
        }
        names.add(self._overlay)
        before = set(self._queue)
        for name in before - names:
            self._looks.pop(name, None)
        self._queue = deque(names)
        # A file that is put in another's place changes its directory: look at all of them.
        self._hasty = len(names)
        return before != names

    def _listed(self) -> set[str]:
        """Return the directories where a file may come or go."""
        found: set[str] = set()
        for pattern in self._patterns:
            directory = os.path.dirname(pattern)
            if glob.has_magic(directory):
                found.update(glob.iglob(directory, root_dir=self._base))
                while glob.has_magic(directory):
                    directory = os.path.dirname(directory)
            found.add(directory)
            # It may be made later.
            found.add(os.path.dirname(directory))
        return {os.path.join(self._base, path) for path in found}
