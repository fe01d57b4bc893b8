"""Random lives of a store on a disk that fails and forgets, against a model.

The model: what was acknowledged is there after any crash; of the one group that was on its way,
or failed and was not yet voided by a fresh journal, all or nothing; of later requests nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from random import Random

from sqsuper.engine import phext
from sqsuper.engine.journal.group import Group
from tests.crash.disk import DIRECTORY, SimulatedDisk, Site, Stopped
from tests.crash.store import Change, State, Store, read_file

PLACES = (b"a.phext", b"b.phext", b"sub-c.phext")
_ERRORS = (errno.EIO, errno.ENOSPC)
_WRITES = frozenset({"pwrite", "fdatasync"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_NAMES = frozenset({"create", "rename", "unlink"})
_ALL = _WRITES | _SYNCS | _NAMES | {"write", "open", "read", "scan"}


class Broken(AssertionError):  # noqa: N818
    """A promise was broken."""


def _applied(state: State, changes: list[Change]) -> State:
    result = {place: dict(document) for place, document in state.items()}
    for place, key, text in changes:
        if text:
            result[place][key] = text
        else:
            result[place].pop(key, None)
    return result


class Workload:
    """One seed's run. `run` raises Broken where a promise is."""

    def __init__(self, seed: int, skip: Site | None = None) -> None:
        self.random = Random(seed)
        self.sites: set[Site] = set()
        self.acknowledged: State = {place: {} for place in PLACES}
        # Of the group on its way, or failed; and of what is not sealed
        self.maybe: list[Change] = []
        self.pending: list[Change] = []
        self.counts: dict[str, int] = {}
        self._plans = ""
        self.replaced: set[bytes] = set()
        files = {}
        for place in PLACES[:2]:
            document = self.acknowledged[place]
            for _ in range(self.random.randint(0, 4)):
                document[phext.ORIGIN + self.random.randint(0, 5)] = self._text()
            files[place] = phext.implode(document)
        self.disk = SimulatedDisk(self.random, files)
        self.disk.skip = skip
        self.disk.sites = self.sites

    def run(self, lives: int = 4) -> None:
        """Live and crash."""
        for _ in range(lives):
            self._live()
            self._verify()

    def _text(self) -> bytes:
        size = self.random.choice((1, 10, 60, 400, 1500, 6000))
        return bytes([self.random.randint(97, 122)]) * self.random.randint(1, size)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _live(self) -> None:
        random = self.random
        disk = self.disk
        how = random.choice(("stop", "stop", "fail", "fail and stop", "kill", "clean"))
        self._count(how)
        self._plans = how
        if random.random() < 0.3:
            self._plan()
        try:
            self._work(how)
        except Stopped:
            self._count("stopped")
        except OSError:
            # The start failed: the process ended.
            self._count("start failed")
        if how == "kill" or (how == "fail" and random.random() < 0.3):
            disk.restart()
            if random.random() < 0.5:
                return  # and the next life begins on what the kernel holds
        self.disk = disk.lose_power()

    def _plan(self) -> None:
        """Decide when the world stops, and which calls fail."""
        random, how, disk = self.random, self._plans, self.disk
        self._plans = ""
        if "stop" in how:
            disk.stop = disk.calls + random.randint(1, random.choice((20, 100, 400)))
        if "fail" in how:
            number = random.choice(_ERRORS)
            kinds = random.choice((_WRITES, _WRITES, _SYNCS, _NAMES, _ALL))
            first = random.randint(1, random.choice((5, 20, 80)))
            last = first + random.choice((0, 0, 0, 1, 5))
            seen = 0

            def fail(kind: str, _count: int) -> int:
                nonlocal seen
                seen += kind in kinds
                return number if kind in kinds and first <= seen <= last else 0

            disk.fail = fail

    def _work(self, how: str) -> None:
        random = self.random
        store = self._store = Store(
            self.disk, DIRECTORY, segment_bytes=random.choice((1024, 4096, 16384))
        )
        self._starts(store)
        self._plan()
        checkpoints: list[Iterator[str]] = []
        job = None
        group: Group | None = None
        for _ in range(random.randint(5, 60)):
            step = random.random()
            if store.journal.poison is not None and group is None:
                if random.random() < 0.3:
                    self._renew(store)
                continue
            if step < 0.4:
                self._update(store)
            elif step < 0.6:
                if group is None:
                    group = self._seal(store)
                else:
                    self._write(store, group)
                    group = None
            elif step < 0.75:
                self._advance(store, checkpoints, group)
            elif step < 0.85:
                if job is None:
                    job = store.journal.preparation() or store.journal.removal()
                else:
                    store.job(job)
                    job = None
            elif step < 0.9:
                place = random.choice(PLACES)
                if self._is_idle(place) and store.drop(place):
                    self._count("dropped")
            elif step < 0.92 and group is None:
                # A fresh journal is right at any time: nothing pending may be promised.
                self._commit(store)
                self._renew(store)
            elif step < 0.94 and group is None and not checkpoints:
                self._commit(store)
                if store.journal.poison is None:
                    self._replace(store)
            elif group is None:
                self._commit(store)
        if how == "clean":
            if group is not None:
                self._write(store, group)
            if job is not None:
                store.job(job)
            for running in checkpoints:
                for stage in running:
                    if stage == "target":
                        self._commit(store)
            self._commit(store)
            self._stop(store)

    def _is_idle(self, place: bytes) -> bool:
        return all(change[0] != place for change in self.pending + self.maybe)

    def _starts(self, store: Store) -> None:
        """All promises hold for what this start finds."""
        recovered = store.recovered
        if recovered.damage or recovered.ignored:
            raise Broken([str(damage) for damage in recovered.damage], recovered.ignored)
        self.counts["torn"] = self.counts.get("torn", 0) + len(recovered.torn)
        found: State = {place: dict(store.open(place)) for place in PLACES}
        if store.conflicts and not all(
            any(name.startswith(b".%b.conflict-" % place[:-6]) for place in self.replaced)
            for name in store.conflicts
        ):
            raise Broken("conflict", store.conflicts)
        if found != self.acknowledged:
            if found != _applied(self.acknowledged, self.maybe):
                raise Broken("lost or torn", _difference(found, self.acknowledged))
            self._count("came through")
        # From now on it is the truth: everyone can read it.
        self.acknowledged = found
        if not store.conflicts:
            self.replaced = set()
        self.maybe = []
        self.pending = []
        # That the foreign file was taken over is said in the journal, or it would be again.
        self._commit(store)

    def _update(self, store: Store) -> None:
        random = self.random
        changes = [
            (
                random.choice(PLACES),
                phext.ORIGIN + random.randint(0, 5),
                self._text() if random.random() < 0.8 else b"",
            )
            for _ in range(random.choice((1, 1, 1, 2, 5)))
        ]
        store.update(changes)
        self.pending += changes
        self._count("updates")

    def _seal(self, store: Store) -> Group | None:
        group = store.seal()
        if group is not None:
            self.maybe, self.pending = self.pending, []
        return group

    def _write(self, store: Store, group: Group) -> None:
        if store.write(group):
            self.acknowledged = _applied(self.acknowledged, self.maybe)
            self.maybe = []
            self._count("groups")
        else:
            self.pending = []
            self._count("failures")

    def _commit(self, store: Store) -> None:
        group = self._seal(store)
        if group is not None:
            self._write(store, group)

    def _replace(self, store: Store) -> None:
        """Someone else writes a phext file, and `load` is asked for."""
        place = self.random.choice(PLACES)
        # Unlike any file of ours
        document = {phext.ORIGIN + 7: b"%d " % self.disk.calls + self._text()}
        self.disk.put(place, phext.implode(document))
        self.replaced.add(place)
        self.acknowledged[place] = document
        self._count("replaced")
        store.load(place)

    def _renew(self, store: Store) -> None:
        if store.renew():
            self.maybe = []
            self._count("renewals")
        self.pending = []

    def _advance(self, store: Store, checkpoints: list[Iterator[str]], group: Group | None) -> None:
        if not checkpoints:
            if self.random.random() < 0.3:
                self._hold(store, checkpoints)
            else:
                checkpoints.append(store.checkpoint(self.random.choice(PLACES)))
        for _ in range(self.random.randint(1, 8)):
            stage = next(checkpoints[0], None)
            if stage is None:
                del checkpoints[0]
                self._count("checkpoints")
                return
            if stage == "target" and (group is not None or self.random.random() < 0.3):
                return
            if stage == "target":
                self._commit(store)

    def _hold(self, store: Store, checkpoints: list[Iterator[str]]) -> None:
        """Begin a checkpoint of each phext; they are finished one after the other."""
        for place in PLACES:
            running = store.checkpoint(place)
            if next(running, None) is not None:
                checkpoints.append(running)
        self._count("holds")
        if not checkpoints:
            checkpoints.append(iter(()))

    def _stop(self, store: Store) -> None:
        if store.stop():
            self._count("clean stops")
            left = [name for name in self.disk.files() if name.startswith(b".journal")]
            if left or self.disk.open_files:
                raise Broken("left after a clean stop", left, self.disk.open_files)
            self._verify_files()

    def _verify_files(self) -> None:
        for place, document in self.acknowledged.items():
            data = read_file(self.disk, DIRECTORY, place)
            if (data or b"") != phext.implode(document):
                raise Broken("not in the file", place)

    def _verify(self) -> None:
        """Start once on what is there, without failures, and see."""
        self.disk.restart()
        store = Store(self.disk, DIRECTORY)
        self._starts(store)
        self.disk.restart()


def _difference(found: State, wanted: State) -> list[object]:
    return [
        (
            place,
            key - phext.ORIGIN,
            len(found[place].get(key, b"")),
            len(wanted[place].get(key, b"")),
        )
        for place in PLACES
        for key in sorted({*found[place], *wanted[place]})
        if found[place].get(key) != wanted[place].get(key)
    ]
