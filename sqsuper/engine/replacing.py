"""One phext's file written again from a snapshot, in the steps that `checkpoints` lists."""

from __future__ import annotations

from sqsuper.engine.journal.errors import PoisonedError
from sqsuper.engine.saving import Handed, Look, gathered
from sqsuper.engine.turns import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.commits import Commits
    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.document import Snapshot
    from sqsuper.engine.journal.identity import Identity
    from sqsuper.engine.journal.writer import Journal
    from sqsuper.engine.loaded import Phext
    from sqsuper.engine.store import Store
    from sqsuper.engine.turns import Job
    from sqsuper.engine.worker import Worker


class Begun:
    """A checkpoint of `phext` that has begun, and what it saves.

    `up_to`: the last group of the journal that it holds. `created`: as the phext's.
    """

    __slots__ = ("created", "phext", "snapshot", "up_to")

    def __init__(self, phext: Phext, up_to: int, snapshot: Snapshot) -> None:
        self.phext = phext
        self.up_to = up_to
        self.snapshot = snapshot
        self.created = phext.created


class Replacing:
    """Begins and finishes checkpoints; of several phexts at a time, of each one."""

    def __init__(
        self,
        *,
        directory: DataDirectory,
        journal: Journal,
        commits: Commits,
        store: Store,
        worker: Worker,
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._commits = commits
        self._store = store
        self._worker = worker

    def begin(self, phext: Phext) -> Begun:
        """Begin one, of the phext as it is now; best when nothing is pending."""
        up_to = self._journal.begin_checkpoint(phext.place)
        phext.since = None
        return Begun(phext, up_to, phext.document.snapshot())

    def finish(self, begun: Begun) -> Job[None]:
        """Put its file in place. Raises PoisonedError, OSError, EngineError."""
        phext = begun.phext
        try:
            yield from self._replace(phext, begun.up_to, begun.snapshot)
        except BaseException:
            self._journal.abandon_checkpoint(phext.place)
            raise
        phext.created = begun.created and phext.signature is None

    def record_absent(self, phext: Phext) -> None:
        """Save a phext that does not exist."""
        # All writes that would have made it failed: there is nothing, and that is saved.
        up_to = self._journal.begin_checkpoint(phext.place)
        phext.since = None
        self._journal.checkpointed(phext.place, up_to, None)
        self._commits.record()

    def _replace(self, phext: Phext, up_to: int, snapshot: Snapshot) -> Job[None]:
        journal, place = self._journal, phext.place
        handed = Handed()
        file = self._directory.replacement(place, handed)
        try:
            for piece in gathered(snapshot.pieces()):
                handed.piece = piece
                yield from self._worker.run(handed.giving(file.step))
            yield from self._worker.run(file.step)
            look = Look(self._directory, phext, file)
            yield from self._worker.run(look.run)
            if look.is_changed and not journal.is_ours(place, look.identity):
                self._lose(phext, look.identity)
                return
            try:
                number = journal.target(place, up_to, file.identity)
            except ValueError:
                # The journal was renewed meanwhile: the snapshot may hold what was undone.
                raise PoisonedError(RuntimeError("the journal was renewed")) from None
            self._commits.record(number)
            yield from self._durable(number)
            yield from self._worker.run(look.place)
        finally:
            file.close()
        phext.signature = look.placed
        phext.identity = file.identity
        journal.checkpointed(place, up_to, file.identity)
        self._commits.record()

    def _lose(self, phext: Phext, identity: Identity) -> None:
        self._store.keep_conflict(phext)
        self._store.replaced(phext, identity)

    def _durable(self, number: int) -> Job[None]:
        gate = Gate()
        outcome: list[BaseException | None] = []

        def told(error: BaseException | None) -> None:
            outcome.append(error)
            gate.open()

        self._commits.wait(number, told)
        while not outcome:
            yield gate
        if outcome[0] is not None:
            raise PoisonedError(outcome[0])
