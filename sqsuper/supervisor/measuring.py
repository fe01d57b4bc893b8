"""The costly figures of several instances at once: what is done in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from sqsuper.supervisor.figures import Detail, Sampler
from sqsuper.supervisor.groups import Group


@attrs.frozen
class Job:
    """One instance to measure.

    `pids`: its known processes; with a `group` all that belong to that are looked for instead,
    also what left its session.
    """

    pids: Sequence[int]
    group: Group | None


@attrs.frozen
class Measured:
    """What was found: the sum over all of its processes, None when it has ended.

    `threads`: of all of a group. `seconds`: what the look took.
    """

    detail: Detail | None
    threads: int
    seconds: float


class Measuring:
    """Measures in whichever thread it is called in, and keeps nothing."""

    def __init__(
        self,
        sampler: Sampler,
        members: Callable[[Iterable[Group]], dict[Group, list[int]]],
        clock: Callable[[], float],
    ) -> None:
        """`members`: finds who belongs to groups. `clock`: seconds."""
        self._sampler = sampler
        self._members = members
        self._clock = clock

    def measure(self, jobs: Sequence[Job]) -> list[Measured]:
        """Return what is found, in the order of `jobs`; one process table does for all groups."""
        groups = [job.group for job in jobs if job.group is not None]
        members = self._members(groups) if groups else {}
        return [
            self._one(job.pids if job.group is None else members[job.group], job.group is not None)
            for job in jobs
        ]

    def _one(self, pids: Sequence[int], count_threads: bool) -> Measured:
        begun = self._clock()
        total: Detail | None = None
        threads = 0
        for pid in pids:
            detail = self._sampler.detail(pid)
            if detail is not None:
                total = detail if total is None else total.plus(detail)
            figures = self._sampler.figures(pid) if count_threads else None
            threads += 0 if figures is None else figures.threads
        return Measured(total, threads, self._clock() - begun)
