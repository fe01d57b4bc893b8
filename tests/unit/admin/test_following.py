"""A tenant's lines to whoever follows them: as they come, and no longer than allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sqsuper.admin.api import Api
from sqsuper.admin.guard import Asked, Guard, Who
from sqsuper.admin.routing import Call
from sqsuper.admin.site import LOOK_AGAIN
from sqsuper.supervisor.tenant_logs import Line


async def nothing() -> bytes:
    return b""


class Lines:
    """Of a `Control` what concerns lines; one tenant."""

    def __init__(self) -> None:
        self.followers: list[Callable[[Sequence[Line]], None]] = []

    def lines(self, name: str, last: int) -> list[Line]:
        return [Line(1.0, "stdout", f"of {name}, of the last {last}")]

    def follow(self, name: str, told: Callable[[Sequence[Line]], None]) -> Callable[[], None]:
        self.followers.append(told)
        return lambda: self.followers.remove(told)


class Reader:
    """Reads an answer's pieces."""

    def __init__(self, method: str = "GET") -> None:
        self.clock = Clock()
        self.control = Lines()
        self.guard = Guard(self.clock.seconds)
        control: Any = self.control
        api = Api(control, self.guard, healthy=lambda: True, metrics=nothing, clock=self.clock)
        asked = Asked(method, {}, "", None)
        query = {"follow": ["1"], "lines": ["7"]}
        call = Call(asked, {"tenant": "a"}, query, b"", Who("token", ""))
        self.read: list[str] = []
        self.ended = False
        got: list[Any] = []
        Deferred.fromCoroutine(api.logs(call)).addCallback(got.append)
        self.answer = got[0]

    async def _read(self) -> None:
        async for piece in self.answer.stream:
            self.read += [json.loads(line)["text"] for line in cast("bytes", piece).splitlines()]
        self.ended = True

    def start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._read())


def test_they_come() -> None:
    reader = Reader()
    assert not reader.control.followers
    reader.start()
    reader.control.followers[0]([Line(2.0, "stderr", "a\x1b"), Line(2.0, "stdout", "b")])
    assert reader.read == ["of a, of the last 7", "a\x1b", "b"]
    reader.clock.pump([LOOK_AGAIN] * 3)
    assert not reader.ended


def test_another_admin_token_ends_it() -> None:
    reader = Reader()
    reader.start()
    reader.guard.apply(b"another", [], 3)
    reader.clock.advance(LOOK_AGAIN)
    assert reader.ended
    assert not reader.control.followers
    assert not reader.clock.getDelayedCalls()


def test_so_does_a_client_that_is_gone() -> None:
    reader = Reader()
    reading = reader.start()
    reading.addErrback(lambda _: None)
    reading.cancel()
    closing = Deferred.fromCoroutine(reader.answer.stream.aclose())
    assert closing.called
    assert not reader.control.followers
    assert not reader.clock.getDelayedCalls()


def test_one_that_was_gone_before_and_one_that_asks_for_the_head_leave_nothing() -> None:
    reader = Reader()
    Deferred.fromCoroutine(reader.answer.stream.aclose())
    assert not reader.control.followers
    assert Reader("HEAD").answer.stream is None
