"""A tenant's data: store, journal, commits and checkpoints, wired together around one loop."""

from __future__ import annotations

from sqsuper.engine.checkpoints import Checkpoints, Policy
from sqsuper.engine.commits import Commits
from sqsuper.engine.journal.recovery import recover
from sqsuper.engine.journal.writer import Journal
from sqsuper.engine.store import DEFAULT_MAX_LOADED, Store
from sqsuper.engine.turns import Turns
from sqsuper.engine.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.turns import Job
    from sqsuper.sockets import Loop

_LEAST_SEGMENT = 256 << 10
_LARGEST_SEGMENT = 4 << 20


class Storage:
    """Opens a data directory's journal, recovers what is in it, and keeps it from then on.

    `directory` is locked. `clock`: monotonic seconds. `log`: takes one line. `report`: called
    with an exception that nobody expected. Raises JournalError or OSError if the journal that
    is there cannot be gone on from; nothing was changed then. Where it can be read but
    no new one be written (as on a full disk), texts are read, and writes refused until one is.
    """

    def __init__(
        self,
        loop: Loop,
        directory: DataDirectory,
        *,
        clock: Callable[[], float],
        log: Callable[[str], None],
        report: Callable[[BaseException], None],
        policy: Policy | None = None,
        max_loaded: int = DEFAULT_MAX_LOADED,
        max_phext: int | None = None,
        quota: int | None = None,
    ) -> None:
        policy = Policy() if policy is None else policy
        recovered = recover(directory.disk, directory.fd)
        for finding in (*recovered.torn, *recovered.damage):
            log(str(finding))
        self._journal = Journal(
            directory.disk,
            directory.fd,
            recovered,
            segment_bytes=min(max(policy.journal // 2, _LEAST_SEGMENT), _LARGEST_SEGMENT),
        )
        # Only now: where the journal cannot be gone on from nothing is touched.
        directory.sweep()
        refused: OSError | None = None
        try:
            self._journal.start()
        except OSError as error:
            # As when it cannot be written later on: what was recovered can still be read.
            if self._journal.poison is None:
                raise
            refused = error
        self._log = log
        self._commit_worker = Worker(loop)
        self._worker = Worker(loop)
        self.turns = Turns(loop, report)
        self.store = Store(
            directory,
            self._journal,
            recovered,
            self._worker,
            clock=clock,
            log=log,
            max_loaded=max_loaded,
            max_phext=max_phext,
            quota=quota,
        )
        self.commits = Commits(
            loop,
            self._journal,
            self._commit_worker,
            unsaved_texts=self.store.unsaved.texts,
            housekeeping=self._housekeeping,
            log=log,
        )
        self.store.commits = self.commits
        if refused is not None:
            self.commits.renew(refused)
        self.checkpoints = Checkpoints(
            loop,
            self.turns,
            directory=directory,
            journal=self._journal,
            commits=self.commits,
            store=self.store,
            worker=self._worker,
            policy=policy,
            clock=clock,
            log=log,
        )
        self._closing = False
        self.checkpoints.changed()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Save everything, remove the journal, then call `stopped`. No requests meanwhile."""

        def job() -> Job[None]:
            try:
                yield from self.checkpoints.save_all()
            finally:
                self._close(remove=True)
                stopped()

        self.turns.run(job())

    def close(self) -> None:
        """End now: what is under way is made durable in the journal; nothing is saved. Waits."""
        self._close(remove=False)

    def _close(self, *, remove: bool) -> None:
        self._closing = True
        self.commits.flush()
        self._worker.close()
        self.commits.flush()
        self._commit_worker.close()
        try:
            self._journal.close(remove=remove)
        except OSError as error:
            self._log(f"the journal could not be removed: {error.strerror}")

    def _housekeeping(self) -> None:
        if not self._closing:
            self.checkpoints.housekeeping()
