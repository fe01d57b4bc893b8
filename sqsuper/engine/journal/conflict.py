"""Keeping unsaved texts whose phext file was changed by someone else."""

from __future__ import annotations

import time

from sqsuper.engine import phext
from sqsuper.engine.journal.checkpoint import Replacement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqsuper.engine.disk import Disk

_SUFFIX = b".phext"
_MAX_NAME_BYTES = 255


def save(
    disk: Disk,
    directory: int,
    filename: bytes,
    temporary: bytes,
    texts: Mapping[int, bytes],
    *,
    now: float,
) -> bytes | None:
    """Write texts (by key; empty ones are removals) beside a file, and return when durable.

    Returns the new file's name, `.NAME.conflict-TIME.phext` in the file's directory, or None if
    there is no text to keep. `now`: seconds since the epoch; TIME is UTC. Raises OSError.
    """
    if not any(texts.values()):
        return None
    name = _free_name(disk, directory, filename, now)
    pieces = phext.implode_pieces(sorted(texts), texts)
    replacement = Replacement(disk, directory, name, temporary, pieces)
    try:
        while replacement.step():
            pass
        replacement.place()
    except BaseException:
        replacement.abandon()
        raise
    return name


def _free_name(disk: Disk, directory: int, filename: bytes, now: float) -> bytes:
    stem = filename[: -len(_SUFFIX)] if filename.endswith(_SUFFIX) else filename
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)).encode("ascii")
    count = 1
    while True:
        more = b"" if count == 1 else b"-%d" % count
        tail = b".conflict-%b%b%b" % (moment, more, _SUFFIX)
        name = b".%b%b" % (stem[: _MAX_NAME_BYTES - len(tail) - 1], tail)
        try:
            disk.lstat(name, directory)
        except FileNotFoundError:
            return name
        count += 1
