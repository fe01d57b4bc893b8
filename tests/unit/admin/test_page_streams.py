"""Streams of events: renewed, bounded, ended; on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from sqsuper.admin.guard import Asked, Guard, Who
from sqsuper.admin.page.board import Board
from sqsuper.admin.page.live import Live
from sqsuper.admin.page.streams import (
    BEAT,
    HEARTBEAT,
    MAX_BEHIND,
    MAX_STREAMS,
    MAX_STUCK,
    Streams,
    TooManyStreamsError,
)
from sqsuper.admin.routing import Answer, Call
from sqsuper.supervisor.instance import State
from tests.unit.admin.page_support import Fake


class World:
    """Streams over a fake control, and a session that may have them."""

    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.readings: list[Deferred[None]] = []
        self.fake = Fake(*names)
        self.fake.clock = self.clock
        self.guard = Guard(self.clock.seconds)
        self.guard.apply(b"x" * 32, (), 20)
        self.streams = Streams(self.guard, self.clock)
        self.board = Board(self.fake.control, self.clock, lambda: 0)
        self.live = Live(
            self.board,
            self.clock,
            watched=lambda: len(self.streams) > 0,
            ended=lambda: self.streams.count_behind(self.board),
        )
        self.live.start()
        self.who = Who("session", "", self.guard.sessions.begin(""), 1)

    def answer(self, method: str = "GET", who: Who | None = None) -> Answer:
        call = Call(Asked(method, {}, "", None), {}, {}, b"", who or self.who)
        return self.streams.answer(call, lambda reader: self.streams.of_all(self.live, reader))

    def read(self, answer: Answer) -> list[bytes]:
        """Take all that there is; `ended` stands last when it is over."""
        taken: list[bytes] = []

        async def take() -> None:
            assert answer.stream is not None
            async for piece in answer.stream:
                taken.append(piece)
            taken.append(b"ended")

        self.begin(take())
        return taken

    def begin(self, reading: Coroutine[Any, Any, None]) -> None:
        """Let this go on until it ends, or the test does."""
        self.readings.append(Deferred.fromCoroutine(reading))

    def close(self) -> None:
        for reading in self.readings:
            reading.addErrback(lambda failure: failure.trap(CancelledError))
            reading.cancel()
        self.live.stop()

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds * 4):
            self.clock.advance(0.25)


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    made: list[World] = []

    def make(*names: str) -> World:
        made.append(World(*names))
        return made[-1]

    yield make
    for world in made:
        world.close()


def events(taken: list[bytes]) -> list[bytes]:
    return [event for event in b"".join(taken).split(b"\n\n") if event.startswith(b"event")]


def test_all_at_first_and_then_what_changes_within_a_second(make_world: MakeWorld) -> None:
    world = make_world("alice", "bob")
    taken = world.read(world.answer())
    world.pass_time(3)
    assert len(events(taken)) == 1
    assert b'"all": true' in events(taken)[0]
    world.fake.lives["bob"].become(State.HEALTHY, "takes requests")
    world.pass_time(2)
    told = events(taken)[1:]
    assert len(told) == 1
    assert b'"bob"' in told[0]
    assert b'"alice"' not in told[0]
    assert all(event.count(b"\n") == 1 for event in events(taken))


def test_silence_is_broken_now_and_then(make_world: MakeWorld) -> None:
    world = make_world("alice")
    taken = world.read(world.answer())
    world.pass_time(int(2 * HEARTBEAT) + 3)
    assert taken.count(BEAT) == 2


def test_it_ends_with_the_session_within_a_second(make_world: MakeWorld) -> None:
    world = make_world("alice")
    taken = world.read(world.answer())
    world.pass_time(2)
    assert world.who.session is not None
    world.guard.sessions.end(world.who.session)
    world.pass_time(2)
    assert taken[-1] == b"ended"
    assert len(world.streams) == 0


def test_it_ends_when_the_admin_token_changes(make_world: MakeWorld) -> None:
    world = make_world("alice")
    taken = world.read(world.answer(who=Who("token", "", None, 1)))
    world.pass_time(1)
    world.guard.apply(b"y" * 32, (), 20)
    world.pass_time(2)
    assert taken[-1] == b"ended"


def test_a_session_has_so_many_and_no_more(make_world: MakeWorld) -> None:
    world = make_world("alice")
    for _ in range(MAX_STREAMS):
        world.read(world.answer())
    with pytest.raises(TooManyStreamsError):
        world.answer()
    world.read(world.answer(who=Who("session", "", world.guard.sessions.begin(""), 1)))
    assert len(world.streams) == MAX_STREAMS + 1


def test_who_is_asked_for_the_head_alone_gets_no_stream(make_world: MakeWorld) -> None:
    world = make_world("alice")
    assert world.answer("HEAD").stream is None
    assert len(world.streams) == 0


async def _first(stream: Any, pieces: int) -> None:
    for _ in range(pieces):
        await stream.__anext__()


def stuck(world: World) -> Answer:
    """A stream that took the first event and nothing since."""
    answer = world.answer()
    world.begin(_first(answer.stream, 4))
    world.pass_time(2)
    return answer


def test_who_takes_nothing_is_told_the_newest_state_and_costs_nothing_meanwhile(
    make_world: MakeWorld,
) -> None:
    world = make_world("alice")
    answer = stuck(world)
    for state in (State.HEALTHY, State.UNHEALTHY, State.FAILED):
        world.fake.lives["alice"].become(state, state.value)
        world.pass_time(2)
    taken = world.read(answer)
    world.pass_time(1)
    [event] = events(taken)
    assert b'"failed"' in event
    assert b'"unhealthy"' not in event.replace(b'"unhealthy": ', b"")


def test_who_is_too_far_behind_is_cut(make_world: MakeWorld) -> None:
    world = make_world("alice")
    answer = stuck(world)
    assert answer.lasts is not None
    assert answer.lasts()
    world.fake.lives["alice"].become(State.HEALTHY, "x" * 200)
    for second in range(MAX_BEHIND // 200):
        world.fake.lives["alice"].last_used = second
        world.fake.lives["alice"].become(State.HEALTHY, "x" * 300)
        for _ in world.board.renew():
            pass
        world.streams.count_behind(world.board)
    assert not answer.lasts()


def test_who_takes_nothing_for_long_is_cut(make_world: MakeWorld) -> None:
    world = make_world("alice")
    answer = stuck(world)
    assert answer.lasts is not None
    for _ in range(MAX_STUCK):
        assert answer.lasts()
    assert not answer.lasts()


def test_rounds_are_rare_while_nobody_looks(make_world: MakeWorld) -> None:
    world = make_world("alice")
    world.pass_time(60)
    assert 5 <= world.board.round <= 8
    world.read(world.answer())
    before = world.board.round
    world.pass_time(10)
    assert world.board.round >= before + 9


def test_costly_rounds_come_less_often(make_world: MakeWorld) -> None:
    world = make_world("alice")
    world.live._cost = 1.0
    world.read(world.answer())
    before = world.board.round
    world.pass_time(45)
    assert world.board.round == before


def test_a_fresh_board_is_not_made_again_for_each_who_asks(make_world: MakeWorld) -> None:
    world = make_world("alice")
    world.pass_time(5)
    done: list[int] = []
    for _ in range(3):
        asked = Deferred.fromCoroutine(world.live.fresh())
        asked.addCallback(lambda _: done.append(world.board.round))
    world.pass_time(1)
    assert len(done) == 3
    assert len(set(done)) == 1


def test_who_asks_sees_a_tenant_that_was_just_added(make_world: MakeWorld) -> None:
    world = make_world("alice")
    world.pass_time(5)
    world.begin(world.live.fresh())
    world.fake.have("alice", "bob")
    world.begin(world.live.fresh())
    assert world.board.row("bob") is not None
