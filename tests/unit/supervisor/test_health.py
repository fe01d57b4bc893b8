"""Probes of many instances, with a clock set by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.task import Clock

from sqsuper.config.model import Engine, Health, Tenant
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.health import HealthWatch, Pulse
from sqsuper.supervisor.instance import Change, Event, State
from sqsuper.supervisor.probe import Question
from sqsuper.supervisor.process import InstanceProcess
from sqsuper.supervisor.sweep import GRID, Sweep
from tests.unit.supervisor.support import logged, settings, tenant

HEALTH = Health(interval=4.0, timeout=2.0, unhealthy_after=3, healthy_after=1, busy_max=30.0)
BOUND = HEALTH.interval * HEALTH.unhealthy_after + HEALTH.timeout
# Looks come up to GRID late, and the clock moves in steps of this.
STEP = 0.1


class Process:
    """An instance's process that answers pings at once, or not."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard: Callable[[dict[str, Any]], None] | None = None
        self.asked: list[float] = []
        self.answers = True
        self.unanswered: list[bytes] = []
        self.inflight = 0
        self.cpu = 0.0

    def ask(self, message: bytes) -> None:
        self.asked.append(self.clock.seconds())
        self.unanswered.append(message)
        if self.answers:
            self.clock.callLater(0, self.answer)

    def answer(self) -> None:
        """Answer all that was asked."""
        unanswered, self.unanswered = self.unanswered, []
        for message in unanswered:
            number = int(message.decode().strip("}").split(":")[1])
            if self.heard is not None:
                self.heard(
                    {
                        "event": "pong",
                        "ping": number,
                        "lag": 0.25,
                        "requests": 3,
                        "bytes": 400,
                        "inflight": self.inflight,
                        "storage": None,
                    }
                )


class Asked:
    """A question to a command engine's port."""

    def __init__(self, told: Callable[[bool], None]) -> None:
        self.told = told
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@attrs.define(eq=False)
class Life:
    """A lifecycle that only notes what it is told."""

    tenant: Tenant
    clock: Clock
    health: HealthWatch
    process: Any
    state: State = State.STOPPED
    last_used: float = 0.0
    pid: int | None = 1
    port: int = 7001
    is_embedded: bool = True
    calls: list[tuple[float, str, str]] = attrs.field(factory=list)

    def become(self, after: State) -> None:
        change = Change(self.clock.seconds(), self.state, Event.READY, after, "")
        self.state = after
        self.health.became(self, change)

    def doubted(self, cause: Cause, reason: str) -> None:
        self.calls.append((self.clock.seconds(), "doubted", reason))
        if self.state is State.HEALTHY:
            self.become(State.UNHEALTHY)

    def recovered(self, reason: str) -> None:
        self.calls.append((self.clock.seconds(), "recovered", reason))
        self.become(State.HEALTHY)
        self.last_used = self.clock.seconds()

    def condemn(self, cause: Cause, reason: str, *, drain: bool) -> None:
        assert cause is Cause.PROBE
        assert not drain
        self.calls.append((self.clock.seconds(), "condemned", reason))
        self.become(State.STOPPING)

    def done(self) -> list[str]:
        return [what for _, what, _ in self.calls]


class Scene:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.sweep = Sweep(self.clock)
        self.questions: list[Asked] = []
        self.health = HealthWatch(
            self.clock,
            self.sweep,
            cpu=lambda process: cast("Any", process).cpu,
            ask=self.ask,
        )

    def ask(self, port: int, told: Callable[[bool], None]) -> Question:
        assert port == 7001
        self.questions.append(Asked(told))
        return cast("Question", self.questions[-1])

    def healthy(self, name: str = "alice", **changes: Any) -> Life:
        """A tenant that has just become healthy."""
        changed = settings(health=changes.pop("health", HEALTH), **changes)
        one = tenant(self.directory, name, settings=changed)
        life = Life(one, self.clock, self.health, Process(self.clock))
        life.is_embedded = one.settings.engine is Engine.EMBEDDED
        life.become(State.HEALTHY)
        life.last_used = self.clock.seconds()
        return life

    def command(self) -> Life:
        return self.healthy(engine=Engine.COMMAND, command=("sq",))

    def run(self, seconds: float) -> None:
        self.clock.pump([STEP] * round(seconds / STEP))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.health.stop()
    scene.sweep.stop()
    left = [call for call in scene.clock.getDelayedCalls() if "answer" not in repr(call)]
    assert left == []


def test_it_is_asked_each_interval_and_what_it_says_is_kept(scene: Scene) -> None:
    life = scene.healthy()
    assert scene.health.of("nobody") is None
    heard: list[Mapping[str, object]] = []
    scene.health.listeners.append(lambda _, message: heard.append(message))
    scene.run(41)
    asked = life.process.asked
    assert len(asked) in (10, 11)
    pauses = {round(late - early, 3) for early, late in itertools.pairwise(asked)}
    assert all(abs(pause - HEALTH.interval) <= STEP + GRID for pause in pauses)
    vitals = scene.health.of("alice")
    assert vitals is not None
    assert vitals.missed == 0
    assert not vitals.busy
    assert vitals.answered_at is not None
    assert vitals.took is not None
    assert vitals.took <= STEP
    assert vitals.pulse == Pulse(vitals.answered_at, 0.25, 3, 400, 0, None)
    assert len(heard) == len(asked)
    assert life.calls == []


def test_it_is_not_asked_while_it_answers_real_requests(scene: Scene) -> None:
    life = scene.healthy()
    scene.run(HEALTH.interval + 1)
    before = len(life.process.asked)
    assert before >= 1
    for _ in range(40):
        scene.run(1)
        life.last_used = scene.clock.seconds()
    assert len(life.process.asked) == before
    scene.run(HEALTH.interval + 1)
    assert len(life.process.asked) == before + 1


def test_what_only_it_knows_is_asked_for_now_and_then(scene: Scene) -> None:
    life = scene.healthy()
    for _ in range(400):
        scene.run(1)
        life.last_used = scene.clock.seconds()
    # The default of monitor.detail is a minute.
    assert 6 <= len(life.process.asked) <= 8
    other = scene.command()
    for _ in range(400):
        scene.run(1)
        other.last_used = scene.clock.seconds()
    assert len(scene.questions) == 1


def test_one_that_hangs_is_condemned_in_time_whenever_it_begins_to(scene: Scene) -> None:
    for number in range(25):
        life = scene.healthy(f"t{number}")
        if number % 2:
            scene.run(5.3)
            life.last_used = scene.clock.seconds()
        scene.run(number * 0.37)
        life.process.answers = False
        life.process.unanswered.clear()
        begun = scene.clock.seconds()
        scene.run(BOUND + 2 * STEP + GRID)
        assert life.done() == ["doubted", "condemned"], number
        assert life.calls[0][0] - begun <= BOUND + STEP + GRID
        assert "no answer to 3 probes in a row" in life.calls[0][2]
        assert scene.health.of(f"t{number}") is None


def test_a_long_timeout_does_not_put_it_off(scene: Scene) -> None:
    health = Health(interval=1.0, timeout=5.0, unhealthy_after=4)
    life = scene.healthy(health=health)
    life.process.answers = False
    scene.run(1.0 * 4 + 5.0 + STEP + GRID)
    assert life.done() == ["doubted", "condemned"]


def test_answers_in_between_are_a_new_beginning(scene: Scene) -> None:
    life = scene.healthy()
    for _ in range(6):
        life.process.answers = False
        scene.run(8)
        life.process.answers = True
        life.process.unanswered.clear()
        scene.run(5)
    assert life.calls == []


def test_a_late_answer_counts(scene: Scene) -> None:
    life = scene.healthy()
    life.process.answers = False
    for _ in range(8):
        scene.run(5)
        life.process.answer()
    assert life.calls == []


def test_a_real_answer_while_it_is_asked_counts(scene: Scene) -> None:
    life = scene.healthy()
    life.process.answers = False
    for _ in range(60):
        scene.run(1)
        life.last_used = scene.clock.seconds()
    assert life.calls == []
    vitals = scene.health.of("alice")
    assert vitals is not None
    assert vitals.missed == 0


@pytest.mark.parametrize("told_by", ["gateway", "pulse"])
def test_busy_is_not_dead_until_busy_max(scene: Scene, told_by: str) -> None:
    life = scene.healthy()
    if told_by == "gateway":
        scene.health.inflight = lambda name: int(name == "alice")
    else:
        life.process.inflight = 1
    scene.run(5)
    life.process.answers = False
    life.process.unanswered.clear()
    begun = scene.clock.seconds()
    with logged() as lines:
        for _ in range(250):
            life.process.cpu += 0.09
            scene.run(STEP)
    assert life.calls == []
    vitals = scene.health.of("alice")
    assert vitals is not None
    assert vitals.busy
    assert sum("too busy" in line for line in lines) == 1
    while not life.calls and scene.clock.seconds() < begun + 60:
        life.process.cpu += 0.09
        scene.run(STEP)
    assert life.done() == ["doubted", "condemned"]
    assert "busy for over 30 s" in life.calls[0][2]
    late = HEALTH.interval + HEALTH.interval + HEALTH.timeout
    assert HEALTH.busy_max <= scene.clock.seconds() - begun <= HEALTH.busy_max + late


def test_cpu_time_without_a_request_is_no_excuse(scene: Scene) -> None:
    life = scene.healthy()
    life.process.answers = False
    for _ in range(round((BOUND + 1) / STEP)):
        life.process.cpu += 0.09
        scene.run(STEP)
    assert life.done() == ["doubted", "condemned"]


def test_a_request_without_cpu_time_is_no_excuse(scene: Scene) -> None:
    scene.health.inflight = lambda _: 1
    life = scene.healthy()
    life.process.answers = False
    scene.run(BOUND + 1)
    assert life.done() == ["doubted", "condemned"]


def test_when_we_were_held_up_its_answer_is_read_first(scene: Scene) -> None:
    life = scene.healthy(health=attrs.evolve(HEALTH, unhealthy_after=1))
    life.process.answers = False
    while not life.process.asked:
        scene.run(STEP)
    scene.run(1.5)
    # We sleep; meanwhile it answers, which is read only after the timers.
    scene.clock.callLater(4.0 - 1e-6 + STEP, life.process.answer)
    scene.clock.advance(4.0)
    scene.run(1)
    assert life.calls == []
    scene.run(BOUND)
    assert life.done() == ["doubted", "condemned"]


def test_who_hangs_is_found_though_we_are_held_up_all_the_time(scene: Scene) -> None:
    life = scene.healthy()
    life.process.answers = False
    for _ in range(10):
        scene.clock.advance(2.5)
        if life.calls:
            break
    assert life.done() == ["doubted", "condemned"]


def test_five_hundred_are_not_asked_together(scene: Scene) -> None:
    lives = [scene.healthy(f"t{n}") for n in range(500)]
    scene.run(3 * HEALTH.interval)
    times = sorted(at for life in lives for at in life.process.asked)
    most = max(
        sum(1 for at in times if begin <= at < begin + 0.2)
        for begin in (1000 + n / 10 for n in range(100))
    )
    # Spread evenly, there are 25 in a fifth of a second.
    assert most <= 60


def test_a_command_engine_is_asked_at_its_port(scene: Scene) -> None:
    life = scene.command()
    scene.run(HEALTH.interval + STEP + GRID)
    (asked,) = scene.questions
    asked.told(True)
    assert scene.health.of("alice") is not None
    assert not scene.health.ask(life)
    scene.run(BOUND + HEALTH.interval)
    assert life.done() == ["doubted", "condemned"]
    assert all(asked.cancelled for asked in scene.questions[1:])


def test_one_in_doubt_is_asked_at_once_and_again(scene: Scene) -> None:
    life = scene.command()
    life.doubted(Cause.PROBE, "refused a connection")
    scene.run(STEP)
    for _ in range(5):
        scene.questions[-1].told(False)
        scene.run(2 * STEP + GRID)
    assert len(scene.questions) >= 5
    assert life.done() == ["doubted"]
    scene.questions[-1].told(True)
    assert life.done() == ["doubted", "recovered"]
    before = len(scene.questions)
    scene.run(HEALTH.interval / 2)
    assert len(scene.questions) == before


def test_one_in_doubt_that_stays_silent_is_condemned(scene: Scene) -> None:
    life = scene.command()
    life.doubted(Cause.PROBE, "refused a connection")
    for _ in range(round((BOUND + 1) / STEP)):
        scene.run(STEP)
        if scene.questions and life.state is State.UNHEALTHY:
            scene.questions[-1].told(False)
    assert life.done() == ["doubted", "doubted", "condemned"]
    assert HEALTH.interval * 3 <= life.calls[-1][0] - life.calls[0][0] <= BOUND


def test_asked_at_once_on_demand(scene: Scene) -> None:
    life = scene.healthy()
    heard: list[object] = []
    scene.health.listeners.append(lambda who, _: heard.append(who))
    assert scene.health.ask(life)
    scene.run(STEP)
    assert heard == [life]
    life.become(State.STOPPING)
    assert not scene.health.ask(life)
    assert life.process.heard is None


def test_malformed_pongs_are_no_answer(scene: Scene) -> None:
    life = scene.healthy()
    life.process.answers = False
    good = {"lag": 0.1, "requests": 1, "bytes": 1, "inflight": 0, "storage": 5}
    with logged() as lines:
        for wrong in ({"lag": "x"}, {"requests": None}, {"storage": "much"}, {"bytes": 1.5}):
            life.process.heard({"event": "pong", "ping": 1, **good, **wrong})
        life.process.heard({"event": "something else"})
    assert sum("malformed" in line for line in lines) == 4
    vitals = scene.health.of("alice")
    assert vitals is not None
    assert vitals.answered_at is None
    life.process.heard({"event": "pong", "ping": "?", **good})
    assert scene.health.of("alice") != vitals


def test_another_process_is_another_watch(scene: Scene) -> None:
    life = scene.healthy()
    first = life.process
    first.answers = False
    scene.run(9)
    life.become(State.STOPPING)
    life.process = Process(scene.clock)
    life.become(State.HEALTHY)
    vitals = scene.health.of("alice")
    assert vitals is not None
    assert vitals.missed == 0
    first.answer()
    scene.run(2 * BOUND)
    assert life.calls == []
    assert cast("InstanceProcess", first).heard is None
