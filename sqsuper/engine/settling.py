"""A data directory that no engine serves: its journal's writes put into the phext files."""

from __future__ import annotations

import time

from sqsuper.engine.server import report
from sqsuper.engine.storage import Storage
from sqsuper.sockets import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.directory import DataDirectory


def settle(directory: DataDirectory, log: Callable[[str], None]) -> bool:
    """Save all that is in the journal and remove it, as a clean stop does; return if all went well.

    `directory` is locked. Raises JournalError or OSError as `Storage`.
    """
    loop = Loop()
    try:
        storage = Storage(loop, directory, clock=time.monotonic, log=log, report=report)
        storage.stop(loop.stop)
        loop.run()
        return not storage.store.unsaved.places()
    finally:
        loop.close()
