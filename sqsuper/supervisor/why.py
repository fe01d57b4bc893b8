"""Why a tenant's instance is as it is: the explanation, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.lifecycle import Lifecycle
from sqsuper.supervisor.run import Ending

LAST = 10


@attrs.frozen
class Transition:
    """One change of state; `at` in seconds since the epoch, `cause` a `Cause`'s value."""

    at: float
    before: str
    after: str
    reason: str
    cause: str | None


@attrs.frozen
class LastEnding:
    """How the last run ended that was not ended as planned.

    `at`: seconds since the epoch; `exit_code` or `signal` (its number), both None if there
    never was a process; `memory`: bytes, as last measured; `in_flight`: requests of the
    gateway under way when it was condemned or found dead; both None if not known.
    """

    at: float
    cause: str
    reason: str
    exit_code: int | None
    signal: int | None
    memory: int | None
    in_flight: int | None


@attrs.frozen
class Why:
    """What explains one tenant's state; JSON can hold it (`as_json`).

    `state` since `since`; `held`: stopped by hand; `on_trial`: it was given up and is not
    mended yet. `memory`, `in_flight`: as now, in bytes and requests. `next_try`: when it is
    started again by itself, None if it is not. `braked`: restarts of the whole fleet are
    spaced. `errors`: its last lines of standard error, oldest first; `transitions` likewise.
    Times are seconds since the epoch.
    """

    tenant: str
    state: str
    since: float | None
    held: bool
    on_trial: bool
    pid: int | None
    memory: int | None
    in_flight: int | None
    next_try: float | None
    braked: bool
    ending: LastEnding | None
    errors: tuple[str, ...]
    transitions: tuple[Transition, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes."""
        return attrs.asdict(self)


def explain(
    life: Lifecycle, *, now: float, wall: float, braked: bool, errors: Sequence[str]
) -> Why:
    """Explain the state of `life` at `now` (the reactor's seconds), which is `wall`."""

    def since_the_epoch(at: float) -> float:
        return wall - (now - at)

    changes = list(life.instance.history)[-LAST:]
    runs = life.pid is not None
    around = life.circumstances() if runs else None
    waits = life.due_at is not None and life.state in {State.BACKOFF, State.FAILED}
    return Why(
        tenant=life.tenant.name,
        state=life.state.value,
        since=since_the_epoch(changes[-1].at) if changes else None,
        held=life.held,
        on_trial=life.policy.on_trial,
        pid=life.pid,
        memory=None if around is None else around.memory,
        in_flight=None if around is None else around.in_flight,
        next_try=since_the_epoch(life.due_at) if waits and life.due_at is not None else None,
        braked=braked,
        ending=None if life.ending is None else _ending(life.ending, since_the_epoch),
        errors=tuple(errors),
        transitions=tuple(_transition(change, since_the_epoch) for change in changes),
    )


def _transition(change: Change, since_the_epoch: Callable[[float], float]) -> Transition:
    return Transition(
        since_the_epoch(change.at),
        change.before.value,
        change.after.value,
        change.reason,
        None if change.cause is None else change.cause.value,
    )


def _ending(ending: Ending, since_the_epoch: Callable[[float], float]) -> LastEnding:
    exit_, around = ending.exit, ending.circumstances
    return LastEnding(
        since_the_epoch(ending.at),
        ending.cause.value,
        ending.reason,
        None if exit_ is None else exit_.code,
        None if exit_ is None else exit_.signal,
        None if around is None else around.memory,
        None if around is None else around.in_flight,
    )
