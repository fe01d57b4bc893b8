"""Whatever happens in whatever order: nothing leaks, and nothing is sent twice."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sqsuper.gateway.exchange_states import State
from sqsuper.instances import Unavailable, Upstream
from sqsuper.testing import FakeWire
from tests.unit.gateway.support import ANSWER, Bench

CLOSING = ANSWER.replace(b"Connection: keep-alive\r\n", b"")
ANSWERS = [
    ANSWER,
    CLOSING,
    ANSWER[:20],
    ANSWER[20:],
    ANSWER[:-1],
    ANSWER + b"x",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 401 No\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"zz",
    b"HTTP/1.1 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 150_000,
    b"x" * 150_000,
]
BODIES = [
    (b"", b""),
    (b"Content-Length: 5\r\n", b"hello"),
    (b"Content-Length: 5\r\n", b"he"),
    (b"Content-Length: 200000\r\n", b"x" * 100_000),
    (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b""),
    (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"5\r\nhel"),
    (b"Transfer-Encoding: chunked\r\n", b"zz"),
]
MORE = [b"hello", b"llo", b"lo\r\n0\r\n\r\n", b"x" * 100_000, b"\r\n", b"GET / HT", b"\n"]
index = st.integers(0, 99)


class Gateway(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="sqs-"))
        self.wires: list[FakeWire] = []
        self.ups: list[FakeWire] = []
        self.number = 0
        self.epoch = 1

    @initialize(inflight=st.integers(1, 3), queue=st.integers(0, 3), ready=st.booleans())
    def begin(self, inflight: int, queue: int, ready: bool) -> None:
        self.bench = Bench(self.directory, max_inflight=inflight, queue=queue)
        if ready:
            self.bench.instances.upstreams["alice"] = self.upstream()

    def upstream(self) -> Upstream:
        return Upstream("alice", self.epoch, "KEY", port=1)

    def alive(self) -> list[FakeWire]:
        return [w for w in self.wires if w.user is not None and w.state in ("open", "finished")]

    def linked(self) -> list[FakeWire]:
        return [w for w in self.ups if w.user is not None and w.state == "open"]

    # Clients

    @precondition(lambda self: len(self.alive()) < 6)
    @rule()
    def connect(self) -> None:
        self.wires.append(self.bench.client())

    @precondition(lambda self: self.alive())
    @rule(which=index, body=st.sampled_from(BODIES), method=st.sampled_from([b"GET", b"POST"]))
    def ask(self, which: int, body: tuple[bytes, bytes], method: bytes) -> None:
        fields, content = body
        self.number += 1
        head = b"%b /%d. HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n" % (method, self.number)
        self.give(which, head + fields + b"\r\n" + content)

    @precondition(lambda self: self.alive())
    @rule(which=index, data=st.sampled_from(MORE))
    def send_more(self, which: int, data: bytes) -> None:
        self.give(which, data)

    @precondition(lambda self: len(self.alive()) < 6)
    @rule(body=st.sampled_from(BODIES), connections=st.integers(1, 2))
    def ask_and_have_it_sent(self, body: tuple[bytes, bytes], connections: int) -> None:
        """The usual beginning, which chance alone seldom comes by."""
        if self.bench.instances.ready("alice") is None:
            self.bench.instances.settle("alice", self.upstream())
        for _ in range(connections):
            wire = self.bench.client()
            self.wires.append(wire)
            self.ask(self.alive().index(wire), body, b"POST")
        for attempt in self.bench.connector.undecided():
            self.ups.append(attempt.succeed())

    def give(self, which: int, data: bytes) -> None:
        wire = self.alive()[which % len(self.alive())]
        if not wire.paused:
            wire.receive(data)

    @precondition(lambda self: self.alive())
    @rule(which=index, how=st.sampled_from(["end", "lose", "stick", "unstick"]))
    def client_does(self, which: int, how: str) -> None:
        wire = self.alive()[which % len(self.alive())]
        if how == "end" and not wire.paused:
            wire.end()
        elif how == "lose":
            wire.lose()
        elif how in ("stick", "unstick"):
            wire.stuck = how == "stick"

    # The instance

    @precondition(lambda self: self.bench.connector.undecided())
    @rule(which=index, how=st.sampled_from(["succeed", "succeed", "refuse", "busy"]))
    def connecting(self, which: int, how: str) -> None:
        undecided = self.bench.connector.undecided()
        attempt = undecided[which % len(undecided)]
        if how == "succeed":
            self.ups.append(attempt.succeed())
        else:
            attempt.fail(busy=how == "busy")

    @precondition(lambda self: self.linked())
    @rule(which=index, data=st.sampled_from(ANSWERS))
    def answer(self, which: int, data: bytes) -> None:
        wire = self.linked()[which % len(self.linked())]
        if not wire.paused:
            wire.receive(data)

    @precondition(lambda self: self.linked())
    @rule(which=index, how=st.sampled_from(["end", "lose", "stick", "unstick", "gone"]))
    def instance_does(self, which: int, how: str) -> None:
        wire = self.linked()[which % len(self.linked())]
        if how == "end" and not wire.paused:
            wire.end()
        elif how == "lose":
            wire.lose()
        elif how == "gone":
            wire.peer_gone = True
        elif how in ("stick", "unstick"):
            wire.stuck = how == "stick"

    @rule(how=st.sampled_from(["start", "stop", "fail"]))
    def supervise(self, how: str) -> None:
        instances = self.bench.instances
        if how == "stop":
            instances.upstreams.pop("alice", None)
            self.epoch += 1
        elif how == "start":
            instances.settle("alice", self.upstream())
        else:
            instances.settle("alice", Unavailable("failed", "it failed", 1))

    # Time, the kernel

    @rule(seconds=st.sampled_from([0.03, 0.2, 1.5, 6.0, 15.0, 45.0, 80.0]))
    def wait(self, seconds: float) -> None:
        self.bench.advance(seconds)

    @rule(again=st.booleans())
    def settle(self, again: bool) -> None:
        if again:
            self.bench.advance(0.1)
            for attempt in self.bench.connector.undecided():
                self.ups.append(attempt.succeed())
        for wire in (*self.wires, *self.ups):
            wire.settle()

    @rule(stopping=st.booleans())
    def stop(self, stopping: bool) -> None:
        self.bench.stopping = stopping

    # What always holds

    @invariant()
    def slots_are_those_of_living_exchanges(self) -> None:
        if not hasattr(self, "bench"):
            return
        pool = self.bench.alice
        exchanges = [c._exchange for c in self.bench.clients if c._exchange is not None]
        assert pool.inflight <= pool._max_inflight
        endings = [*pool._endings._under_way, *(ending for _, ending in pool._endings._due)]
        assert all(any(h is e for e in [*exchanges, *endings]) for h in pool._holding)
        assert all(ending in pool._holding for ending in endings)
        waiting = [*pool._waiting, *pool._starting]
        assert all(any(asker is e for e in exchanges) for asker in waiting)
        assert all(e.state is State.QUEUED for e in exchanges if e in waiting)
        assert not (pool._waiting and pool.inflight < pool._max_inflight)
        connections = [e._connection for e in exchanges if e._connection is not None]
        assert len(set(map(id, connections))) == len(connections)
        assert all(connection.user is not None for connection in connections)
        assert all(connection.user is None for connection in pool._idle)

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        sent = b"".join(bytes(w.sent + w._waiting) for w in self.ups)
        numbers = re.findall(rb"(?:GET|POST) /(\d+)\. HTTP", sent)
        assert len(set(numbers)) == len(numbers)

    @invariant()
    def what_waits_for_a_client_is_little(self) -> None:
        assert all(wire.pending <= 256 * 1024 + 65_536 for wire in self.wires)

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            for wire in self.wires:
                wire.lose()
            pool = self.bench.alice
            pool.close()
            for wire in self.ups:
                wire.stuck = False
                wire.settle()
            assert (pool.inflight, len(pool._waiting), len(pool._starting)) == (0, 0, 0)
            assert self.bench.clients == []
            assert self.bench.room.used == 0
            assert self.bench.instances.waiting("alice") == 0
            assert self.bench.connector.undecided() == []
            assert self.bench.clock.getDelayedCalls() == []
            assert all(wire.state in ("closed", "aborted") for wire in self.ups)
        shutil.rmtree(self.directory)


Gateway.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestGateway = Gateway.TestCase
