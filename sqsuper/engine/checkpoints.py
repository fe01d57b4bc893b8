"""Phext files written again from memory: when, and in which steps.

A checkpoint of a phext, step by step, with the loop (L) free between them and the long ones in
a thread (T):

begin     L  a snapshot, and which groups of the journal it holds
make      L  a piece of the text: in the thread it would hold the interpreter while the loop waits
write     T  that piece to the temporary file; from the last one on make again; then the sync
look      T  whether the file in place is still the one that we know
target    L  recorded; the group with it, and so every write in the snapshot, is made durable
place     T  rename, sync of the directory
end       L  recorded; old segments may go

A hold saves everything as of one moment, and then replaces no file until it is released: whoever
copies the files meanwhile has all phexts as they were at that moment, batches whole.
"""

from __future__ import annotations

from sqsuper.engine.errors import EngineError, write_error
from sqsuper.engine.journal.errors import PoisonedError
from sqsuper.engine.loaded import Unloaded
from sqsuper.engine.replacing import Replacing
from sqsuper.engine.store import MAX_VERSIONS
from sqsuper.engine.turns import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.commits import Commits
    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.holding import Hold
    from sqsuper.engine.journal.jobs import Preparation, Removal
    from sqsuper.engine.journal.writer import Journal
    from sqsuper.engine.loaded import Phext
    from sqsuper.engine.replacing import Begun
    from sqsuper.engine.store import Store
    from sqsuper.engine.turns import Job, Turns
    from sqsuper.engine.worker import Worker
    from sqsuper.sockets import Loop

# How soon what failed is tried again.
RETRY_SECONDS = 1.0
_COMPLAINT_SECONDS = 60.0
# How long a clean stop waits for a journal that fails.
_GIVE_UP_SECONDS = 2.0
# How long files are held at most: whoever copies them may be gone.
HOLD_SECONDS = 30.0


class Policy:
    """When a phext is saved: `idle` seconds after its last change, `age` seconds after its first
    unsaved one, or when there is more than `journal` bytes of journal.
    """

    __slots__ = ("age", "idle", "journal")

    def __init__(self, idle: float = 2.0, age: float = 30.0, journal: int = 4 << 20) -> None:
        self.idle = idle
        self.age = age
        self.journal = journal

    def due(self, since: float, last: float) -> float:
        """Return when a phext is to be saved, for the times of its first and last change."""
        return min(last + self.idle, since + self.age)


class Checkpoints:
    """Saves phexts, one at a time, and keeps the journal's files in order.

    `worker`: the checkpoint thread. `log`: takes one line.
    """

    def __init__(
        self,
        loop: Loop,
        turns: Turns,
        *,
        directory: DataDirectory,
        journal: Journal,
        commits: Commits,
        store: Store,
        worker: Worker,
        policy: Policy,
        clock: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._turns = turns
        self._journal = journal
        self._commits = commits
        self._store = store
        self._worker = worker
        self._replacing = Replacing(
            directory=directory, journal=journal, commits=commits, store=store, worker=worker
        )
        self._policy = policy
        self._clock = clock
        self._log = log
        self._complained: float | None = None
        self._running = False
        self._wake: float | None = None
        self._retry: dict[bytes, float] = {}
        # To be saved at once, in this order
        self._wanted: dict[bytes, None] = {}
        self._ended = Gate()
        self._hold: Hold | None = None
        store.save = self.save
        store.changed = self.changed

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._running

    def changed(self) -> None:
        """Learn that a phext has something unsaved."""
        self._schedule()

    def save(self, phext: Phext) -> None:
        """Save a phext as soon as may be."""
        self._wanted[phext.place] = None
        self._schedule(now=True)

    def save_all(self) -> Job[bool]:
        """Save everything, and return whether that went well. For a clean stop."""
        failed: set[bytes] = set()
        while self._running:
            if self._hold is not None:
                self._hold.release()
            yield self._ended
        self._running = True  # and no other from now on
        while True:
            # What cannot be written stays in the journal, for the next start.
            end = self._clock() + _GIVE_UP_SECONDS
            while not self._commits.idle and self._clock() < end:
                yield from self._pause()
            places = [place for place in self._store.unsaved.places() if place not in failed]
            if not places:
                break
            if not (yield from self._checkpoint(places[0])):
                failed.add(places[0])
        return not failed

    def hold(self, hold: Hold) -> None:
        """Save everything as of one moment, tell `hold`, and replace no file until its end.

        Another hold that is under way ends.
        """
        self._turns.run(self._held(hold))

    def _held(self, hold: Hold) -> Job[None]:
        while self._running:
            if self._hold is not None:
                self._hold.release()
            yield self._ended
        self._running = True
        self._hold = hold
        try:
            # First what can be saved one by one, so that the moment has little left to write.
            for place in self._store.unsaved.places():
                if place in self._store.unsaved.places():
                    yield from self._checkpoint(place)
            if not hold.over:
                lost = yield from self._save_together()
                self._loop.after(HOLD_SECONDS, hold.release)
                hold.begun(lost)
            while not hold.over:
                yield hold.gate
        finally:
            self._hold = None
            self._running = False
            self._ended.open()
        self._schedule()

    def _save_together(self) -> Job[int]:
        """Save what is unsaved at one moment; return how many phexts that went wrong for."""
        begun: list[Begun] = []
        gate = Gate()
        lost = -1

        def begin() -> None:
            nonlocal lost
            lost = 0
            for place in self._store.unsaved.places():
                phext = self._store.phext_at(place)
                if phext is None:
                    lost += 1  # of before, and could not be opened
                elif phext.exists:
                    phext.saving = True
                    begun.append(self._replacing.begin(phext))
            gate.open()

        self._commits.when_sealed(begin)
        while lost < 0:
            yield gate
        for one in begun:
            if not (yield from self._saved(one.phext, self._replacing.finish(one))):
                lost += 1
        return lost

    def housekeeping(self) -> None:
        """Prepare and remove segments; to be called after each commit."""
        journal = self._journal
        job = journal.preparation() or journal.removal()
        if job is not None:
            self._tidy(job)
        if self._over():
            self._schedule(now=True)

    def _tidy(self, job: Preparation | Removal) -> None:
        def done(error: BaseException | None) -> None:
            self._journal.finish(job)
            if error is not None:
                self._complain(f"a segment of the journal: {error}")
                return
            again = self._journal.removal()
            if again is not None:
                self._tidy(again)

        self._worker.submit(job.run, done)

    def _over(self) -> bool:
        limit = self._policy.journal
        unsaved, size = self._journal.unsaved_bytes, self._journal.size
        if unsaved <= limit and size <= 3 * limit:
            return False
        # A large phext is not written again and again for a small part of it.
        limit = max(limit, min(self._store.unsaved.size() // 2, 4 * limit))
        return unsaved > limit or size > 3 * limit

    def _schedule(self, *, now: bool = False) -> None:
        if self._running:
            return
        when = self._clock() if now else self._next()
        if when is None or (self._wake is not None and self._wake <= when):
            return
        self._wake = when
        self._loop.after(max(0.0, when - self._clock()), lambda: self._woken(when))

    def _woken(self, when: float) -> None:
        if self._wake != when:
            return
        self._wake = None
        if self._running:
            return
        place = self._choose()
        if place is None:
            self._schedule()
            return
        self._running = True
        self._turns.run(self._one(place))

    def _one(self, place: bytes) -> Job[None]:
        try:
            if not (yield from self._checkpoint(place)):
                self._retry[place] = self._clock() + RETRY_SECONDS
        finally:
            self._running = False
            self._ended.open()
        self._schedule()

    def _times(self) -> list[tuple[float, bytes]]:
        times = []
        for place in self._store.unsaved.places():
            phext = self._store.phext_at(place)
            if place in self._wanted or phext is None:
                due = 0.0
            elif phext.since is None:
                continue
            else:
                due = self._policy.due(phext.since, phext.last)
                if phext.document.versions >= MAX_VERSIONS and not phext.document.current:
                    # One more version only when it cannot wait.
                    due = max(due, phext.since + self._policy.age, self._clock() + 0.1)
            times.append((max(due, self._retry.get(place, 0.0)), place))
        return times

    def _next(self) -> float | None:
        times = self._times()
        return min(times)[0] if times else None

    def _choose(self) -> bytes | None:
        now = self._clock()
        times = self._times()
        if self._over():
            # Those that hold the oldest segment first, else the one with most to save.
            ready = {place for due, place in times if self._retry.get(place, 0.0) <= now}
            for place in self._journal.oldest():
                if place in ready:
                    return place
            if ready:
                return max(ready, key=lambda place: len(self._journal.unsaved(place)))
        due = [entry for entry in times if entry[0] <= now]
        return min(due)[1] if due else None

    def _checkpoint(self, place: bytes) -> Job[bool]:
        """Save one phext; return whether that went well."""
        self._wanted.pop(place, None)
        self._retry.pop(place, None)
        try:
            phext = yield from self._open(place)
        except PoisonedError:
            self._store.stuck = True
            return False
        except (OSError, EngineError) as error:
            return self._failed(place, error)
        phext.saving = True
        return (yield from self._saved(phext, self._save(phext)))

    def _saved(self, phext: Phext, saving: Job[None]) -> Job[bool]:
        """Do what saves a phext; return whether that went well."""
        try:
            try:
                yield from saving
            finally:
                phext.saving = False
                loaded = self._store.phext_at(phext.place) is phext
                if loaded and phext.since is None and self._journal.unsaved(phext.place):
                    phext.changed(self._clock())
                self._store.saved()
        except PoisonedError:
            self._store.stuck = True
            return False
        except (OSError, EngineError) as error:
            return self._failed(phext.place, error)
        self._store.stuck = False
        return True

    def _failed(self, place: bytes, error: OSError | EngineError) -> bool:
        if isinstance(error, OSError):
            error = write_error(_shown(place), error)
        self._complain(str(error))
        self._store.stuck = True
        return False

    def _open(self, place: bytes) -> Job[Phext]:
        while True:
            try:
                return self._store.open_place(place)
            except Unloaded as missing:
                yield from self._store.loading(missing)

    def _save(self, phext: Phext) -> Job[None]:
        if not phext.exists:
            self._replacing.record_absent(phext)
            return
        begun: list[Begun] = []
        gate = Gate()

        def begin() -> None:
            begun.append(self._replacing.begin(phext))
            gate.open()

        self._commits.when_sealed(begin)
        while not begun:
            yield gate
        yield from self._replacing.finish(begun[0])

    def _pause(self) -> Job[None]:
        gate = Gate()
        self._loop.after(0.005, gate.open)
        yield gate

    def _complain(self, line: str) -> None:
        now = self._clock()
        if self._complained is None or now - self._complained >= _COMPLAINT_SECONDS:
            self._complained = now
            self._log(line)


def _shown(place: bytes) -> str:
    return place.decode("utf-8", "replace").removesuffix(".phext")
