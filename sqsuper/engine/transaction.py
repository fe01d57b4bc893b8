"""Changes of one request, over any number of scrolls and phexts: all of them or none."""

from __future__ import annotations

from sqsuper.engine.errors import write_error
from sqsuper.engine.journal.errors import PoisonedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqsuper.engine.loaded import Phext
    from sqsuper.engine.store import Store


class Transaction:
    """Changes of one request, in memory at once, made durable together or undone together."""

    __slots__ = ("_before", "_store", "_texts")

    def __init__(self, store: Store) -> None:
        self._store = store
        # By place: phext, what undoes its document's changes, and its `own`, `created` and size
        # before. However often a scroll changes, its first text and its last one are kept.
        self._before: dict[bytes, tuple[Phext, dict[int, bytes], bool, bool, int]] = {}
        self._texts: dict[tuple[bytes, int], bytes] = {}

    def change(self, phext: Phext, changes: Mapping[int, bytes]) -> None:
        """Set scrolls' resulting texts (empty: removed)."""
        size = phext.size
        undo = phext.document.apply(changes)
        own = phext.own
        if (
            not own
            and (phext.exists or not phext.document.count)
            and all(undo[key] == text for key, text in changes.items())
        ):
            # As it was; an absent phext stays absent while it is empty.
            return
        place = phext.place
        before = self._before.get(place)
        if before is None:
            self._before[place] = (phext, undo, own, phext.created, size)
        else:
            first = before[1]
            for key, text in undo.items():
                first.setdefault(key, text)
        phext.own = False
        phext.created = True
        for key, text in changes.items():
            self._texts[place, key] = text

    def commit(self) -> int:
        """Return the journal's group to wait for, 0 if nothing changed.

        On any error memory is as before. Raises WriteError, NoSpaceError, OverQuotaError,
        PhextTooLargeError.
        """
        if not self._before:
            return 0
        phexts = [phext for phext, *_ in self._before.values()]
        changes = [(place, key, text) for (place, key), text in self._texts.items()]
        self._texts.clear()
        store = self._store
        try:
            growth = self._check()
            for phext in phexts:
                store.announce(phext)
            number = store.commits.append(changes, self._undo_durably(growth))
        except PoisonedError as error:
            self.undo()
            raise write_error(phexts[0].name, error.error) from None
        except BaseException:
            self.undo()
            raise
        store.quota.counted(growth)
        now = store.now
        for phext in phexts:
            phext.group = number
            first = phext.since is None
            phext.changed(now)
            store.keep(phext)
            if first:
                store.changed()
        return number

    def undo(self) -> None:
        """Take all changes back in memory."""
        for phext, undo, own, created, _size in self._before.values():
            phext.document.apply(undo)
            phext.own = own
            phext.created = created

    def _undo_durably(self, growth: int) -> Callable[[], None]:
        def undo() -> None:
            self.undo()
            self._store.quota.counted(-growth)

        return undo

    def _check(self) -> int:
        growth = measured = 0
        for phext, _undo, _own, _created, size in self._before.values():
            after = phext.document.length
            self._store.check_size(phext.name, size, after)
            growth += after - size
            if self._store.phext_at(phext.place) is phext:
                measured += after - size
        name = next(iter(self._before.values()))[0].name
        self._store.quota.check(name, growth, measured)
        return growth
