"""A journal on a simulated disk, to write and to read again."""

from __future__ import annotations

from random import Random

from sqsuper.engine.journal.group import Group
from sqsuper.engine.journal.identity import identity_of
from sqsuper.engine.journal.recovery import Recovered, recover
from sqsuper.engine.journal.writer import Journal
from sqsuper.engine.phext import ORIGIN
from tests.crash.disk import DIRECTORY, SimulatedDisk

A, B, C = b"a.phext", b"b.phext", b"sub/c.phext"
K1, K2, K3 = ORIGIN, ORIGIN + 1, ORIGIN + 2
OLD = identity_of([b"old"])
NEW = identity_of([b"new"])
OTHER = identity_of([b"other"])


def disk_with(files: dict[bytes, bytes] | None = None) -> SimulatedDisk:
    return SimulatedDisk(Random(1), files)


def opened(disk: SimulatedDisk, *places: bytes, segment_bytes: int = 1 << 16) -> Journal:
    """Start a journal on what is there and open phexts, all of the file `OLD`."""
    journal = Journal(
        disk,
        DIRECTORY,
        recover(disk, DIRECTORY),
        segment_bytes=segment_bytes,
        random=Random(2).randbytes,
    )
    journal.start()
    for place in places:
        journal.opened(place, OLD)
    return journal


def commit(journal: Journal) -> Group:
    group = journal.seal()
    assert group is not None
    journal.write(group)
    journal.done(group)
    return group


def put(journal: Journal, *changes: tuple[bytes, int, bytes]) -> Group:
    """Commit one request's changes as a group."""
    number = journal.append(changes)
    group = commit(journal)
    assert group.number == number
    return group


def checkpoint(
    journal: Journal, place: bytes, identity: tuple[int, bytes], *, recorded: bool = True
) -> int:
    """Record a checkpoint, as if its file were in place."""
    up_to = journal.begin_checkpoint(place)
    journal.target(place, up_to, identity)
    commit(journal)
    if recorded:
        journal.checkpointed(place, up_to, identity)
        commit(journal)
    return up_to


def fail(journal: Journal, disk: SimulatedDisk, kind: str = "fdatasync") -> Group:
    """Let the next group fail."""
    group = journal.seal()
    assert group is not None
    disk.fail = lambda called, count: 5 if called == kind else 0
    try:
        journal.write(group)
    except OSError as error:
        journal.failed(group, error)
    else:
        raise AssertionError
    finally:
        disk.fail = lambda called, count: 0
    return group


def reread(disk: SimulatedDisk, files: dict[bytes, bytes] | None = None) -> Recovered:
    """Recover from what the kernel holds, or from other files."""
    return recover(SimulatedDisk(Random(1), disk.files() if files is None else files), DIRECTORY)


def texts(recovered: Recovered) -> dict[bytes, dict[int, bytes]]:
    return {place: phext.texts for place, phext in recovered.unsaved().items()}


def segments(disk: SimulatedDisk) -> list[bytes]:
    return sorted(name for name in disk.files() if name.startswith(b".journal-"))
