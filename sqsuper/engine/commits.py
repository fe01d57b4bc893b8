"""Group commit: what the requests of one turn wrote becomes durable together, then is answered.

While syncs are fast they are made in the loop, at the end of the turn; while they are slow, by
a thread of their own, the next one when the last returns.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqsuper.engine.journal.group import Group
    from sqsuper.engine.journal.writer import Journal
    from sqsuper.engine.worker import Worker
    from sqsuper.sockets import Loop

    Outcome = Callable[[BaseException | None], None]

SLOW_SECONDS = 0.0005
# The median of so many syncs decides.
_RECENT = 15
_RENEWAL_SECONDS = 1.0
# More than this is never written by the loop.
_INLINE_BYTES = 1 << 20


class Commits:
    """All writes' way into the journal.

    `unsaved_texts`: gives what a fresh journal has to carry, by place and key. `worker`: the
    commit thread. `housekeeping`: called after each group that became durable. `log`: takes one
    line. `clock`: seconds, for measuring syncs.
    """

    def __init__(
        self,
        loop: Loop,
        journal: Journal,
        worker: Worker,
        *,
        unsaved_texts: Callable[[], Mapping[bytes, Mapping[int, bytes]]],
        housekeeping: Callable[[], None],
        log: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._worker = worker
        self._unsaved_texts = unsaved_texts
        self._housekeeping = housekeeping
        self._log = log
        self._clock = clock
        self._armed = False
        self._renewing = False
        self._flying: Group | None = None
        # Of the group being written, and of the one that gathers
        self._flying_undos: list[Callable[[], None]] = []
        self._flying_waits: list[Outcome] = []
        self._undos: list[Callable[[], None]] = []
        self._waits: list[Outcome] = []
        self._sealed: list[Callable[[], None]] = []
        self.newest = 0
        """The number of the last group that anybody may wait for."""
        self._recent: list[float] = []
        self._took = 0.0
        self.inline = True
        """Whether syncs are made in the loop."""

    @property
    def error(self) -> BaseException | None:
        """Why nothing can be written now, or None."""
        return self._journal.poison

    @property
    def idle(self) -> bool:
        """Whether everything is durable, or given up."""
        return self._flying is None and not self._journal.pending_bytes and not self._renewing

    def append(self, changes: Sequence[tuple[bytes, int, bytes]], undo: Callable[[], None]) -> int:
        """Add one request's changes and return the number to `wait` for.

        `undo` is called if they cannot be made durable, newest first. Raises PoisonedError.
        """
        self.newest = number = self._journal.append(changes)
        self._undos.append(undo)
        self._arm()
        return number

    def record(self, number: int | None = None) -> None:
        """Have what was added to the journal otherwise written too.

        `number`: its group's, where somebody will `wait` for it.
        """
        if number is not None:
            self.newest = number
        self._arm()

    def is_durable(self, number: int) -> bool:
        """Whether there is nothing to wait for."""
        flying = self._flying
        return not (
            (flying is not None and flying.number == number)
            or (number == self.newest and self._journal.pending_bytes)
        )

    def wait(self, number: int, call: Outcome) -> None:
        """Call `call` with None when a group is durable (at once if it is), or with why not."""
        if self._flying is not None and self._flying.number == number:
            self._flying_waits.append(call)
        elif number == self.newest and self._journal.pending_bytes:
            self._waits.append(call)
        else:
            call(None)

    def when_sealed(self, call: Callable[[], None]) -> None:
        """Call `call` at a moment when all writes so far are in a group, none is added yet."""
        if not self._journal.pending_bytes:
            call()
        else:
            self._sealed.append(call)

    def renew(self, error: BaseException) -> None:
        """Have a fresh journal written when it can be: `error` kept the first one from it."""
        self._log(f"the journal could not be written: {error}")
        self._renewing = True
        self._loop.after(_RENEWAL_SECONDS, self._renew)

    def flush(self) -> None:
        """Make all that is pending durable before returning, or fail it. Waits."""
        while not self._renewing and (self._flying is not None or self._journal.pending_bytes):
            if self._flying is not None:
                self._worker.close()
            else:
                self._inline_group()

    def _arm(self) -> None:
        if not self._armed and self._flying is None:
            self._armed = True
            self._loop.at_turn_end(self._turn_end)

    def _turn_end(self) -> None:
        self._armed = False
        if self._flying is not None:
            return
        if self.inline and self._journal.pending_bytes <= _INLINE_BYTES:
            self._inline_group()
            return
        group = self._seal()
        if group is not None:
            self._worker.submit(lambda: self._write(group), self._written)

    def _inline_group(self) -> None:
        group = self._seal()
        if group is not None:
            self._write_now(group)

    def _write_now(self, group: Group) -> None:
        error: BaseException | None = None
        try:
            self._write(group)
        except Exception as failure:
            error = failure
        self._written(error)

    def _seal(self) -> Group | None:
        group = self._journal.seal()
        if group is None:
            return None
        self._fly(group)
        calls, self._sealed = self._sealed, []
        for call in calls:
            call()
        return group

    def _fly(self, group: Group) -> None:
        self._flying = group
        self._flying_undos, self._undos = self._undos, []
        self._flying_waits, self._waits = self._waits, []

    def _write(self, group: Group) -> None:
        start = self._clock()
        self._journal.write(group)
        self._took = self._clock() - start

    def _written(self, error: BaseException | None) -> None:
        group = self._flying
        assert group is not None
        self._flying = None
        waits, self._flying_waits = self._flying_waits, []
        if error is not None:
            self._failed(group, error, waits)
            return
        self._journal.done(group)
        self._flying_undos = []
        self._renewing = False
        self._measure()
        for call in waits:
            call(None)
        if self._journal.pending_bytes:
            self._arm()
        self._housekeeping()

    def _failed(self, group: Group, error: BaseException, waits: list[Outcome]) -> None:
        self._log(f"the journal could not be written: {error}")
        self._journal.failed(group, error)
        for undo in reversed(self._undos):
            undo()
        for undo in reversed(self._flying_undos):
            undo()
        self._undos = []
        self._flying_undos = []
        waits += self._waits
        self._waits = []
        calls, self._sealed = self._sealed, []
        was_renewal, self._renewing = self._renewing, True
        for wait in waits:
            wait(error)
        for call in calls:
            call()
        self._loop.after(_RENEWAL_SECONDS if was_renewal else 0.0, self._renew)

    def _renew(self) -> None:
        # All that was acknowledged, in a journal that no failed write has touched.
        try:
            group = self._journal.fresh(self._unsaved_texts())
        except Exception:
            self._loop.after(_RENEWAL_SECONDS, self._renew)
            raise
        self._fly(group)
        if self.inline:
            self._write_now(group)
        else:
            self._worker.submit(lambda: self._write(group), self._written)

    def _measure(self) -> None:
        recent = self._recent
        recent.append(self._took)
        if len(recent) < _RECENT:
            return
        self.inline = sorted(recent)[_RECENT // 2] <= SLOW_SECONDS
        recent.clear()
