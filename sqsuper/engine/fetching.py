"""A phext's file as it is read: whole, with what tells its contents apart."""

from __future__ import annotations

from sqsuper.engine.errors import NotUtf8FileError
from sqsuper.engine.journal.identity import identity_of
from sqsuper.engine.utf8 import utf8_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.files import File
    from sqsuper.engine.journal.identity import Identity

# Files up to this are read at once, by whoever asks; larger ones in a thread.
AT_ONCE_BYTES = 262_144


def fetch(directory: DataDirectory, name: str, place: bytes) -> tuple[File | None, Identity]:
    """Return phext `name`'s file at a place, and its identity; both None where there is none.

    Raises ForbiddenNameError, ReadError, NotUtf8FileError.
    """
    file = directory.read(name, place)
    if file is None:
        return None, None
    fault = utf8_fault(file.data)
    if fault is not None:
        raise NotUtf8FileError(name, fault)
    return file, identity_of([file.data])
