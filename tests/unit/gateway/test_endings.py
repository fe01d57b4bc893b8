"""When an instance with a thread a connection gets the next request."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqsuper.gateway.endings import AFTER_ANSWER, AFTERWARDS, MAX_UNREAD, WITHOUT_ANSWER
from sqsuper.instances import Upstream
from sqsuper.testing import FakeWire
from tests.unit.gateway.support import GET, UPSTREAM, Bench

# As the real sq's, which closes after it.
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path, max_inflight=1, queue=3)
    bench.instances.upstreams["alice"] = UPSTREAM
    return bench


def ask(bench: Bench) -> FakeWire:
    client = bench.client()
    client.receive(GET)
    return client


def connect(bench: Bench) -> FakeWire:
    (attempt,) = bench.connector.undecided()
    return attempt.succeed()


def test_nobody_waits_for_the_end_of_a_thread_that_nobody_waits_for(bench: Bench) -> None:
    client = ask(bench)
    up = connect(bench)
    up.receive(ANSWER)
    assert client.sent.endswith(b"ok")
    assert (bench.alice.inflight, up.state) == (0, "closed")


def test_who_waits_gets_the_slot_when_the_thread_is_over(bench: Bench) -> None:
    client, waiting = ask(bench), ask(bench)
    up = connect(bench)
    up.receive(ANSWER)
    assert client.sent.endswith(b"ok")
    assert bench.connector.undecided() == []
    up.end()
    up.settle()
    assert up.state == "closed"
    bench.clock.advance(AFTERWARDS / 32 * 0.9)
    assert bench.connector.undecided() == []
    bench.clock.advance(AFTERWARDS / 32 * 0.2)
    connect(bench).receive(ANSWER)
    assert waiting.sent.endswith(b"ok")
    # The client's next request is one like any other.
    client.receive(GET)
    assert bench.alice.inflight == 1


def test_of_more_slots_more_threads_end_at_a_time(bench: Bench) -> None:
    bench.alice.resize(2, 3)
    ask(bench), ask(bench), ask(bench)
    up, _ = (attempt.succeed() for attempt in bench.connector.undecided())
    up.receive(ANSWER)
    up.end()
    bench.clock.advance(AFTERWARDS / 32 * 1.9)
    assert bench.connector.undecided() == []
    bench.clock.advance(AFTERWARDS / 32 * 0.2)
    assert len(bench.connector.undecided()) == 1


def test_an_instance_that_does_not_close_is_not_waited_for_long(bench: Bench) -> None:
    ask(bench), ask(bench)
    up = connect(bench)
    up.receive(ANSWER)
    assert up.state == "finished", "it may have waited for this"
    bench.advance(AFTER_ANSWER)
    assert up.state == "aborted"
    bench.clock.advance(AFTERWARDS)
    assert len(bench.connector.undecided()) == 1


@pytest.mark.parametrize("waits", [False, True])
def test_the_slot_of_a_client_that_went_is_kept_while_its_request_runs(
    bench: Bench, waits: bool
) -> None:
    client = ask(bench)
    up = connect(bench)
    client.lose()
    assert bench.alice.inflight == 1
    if waits:
        ask(bench)
    quiet: list[bool] = []
    bench.alice.when_quiet(lambda: quiet.append(True))
    bench.advance(WITHOUT_ANSWER / 2)
    assert (bench.connector.undecided(), quiet) == ([], [])
    up.receive(ANSWER)
    up.end()
    bench.clock.advance(AFTERWARDS)
    assert len(bench.connector.undecided()) == waits
    assert quiet == [True] * (not waits)


def test_nor_is_that_waited_for_without_end(bench: Bench) -> None:
    client = ask(bench)
    up = connect(bench)
    client.lose()
    bench.advance(WITHOUT_ANSWER)
    bench.clock.advance(AFTERWARDS)
    assert (bench.alice.inflight, up.state) == (0, "aborted")


def test_an_answer_that_nobody_reads_is_cut(bench: Bench) -> None:
    client = ask(bench)
    up = connect(bench)
    client.lose()
    up.receive(b"x" * MAX_UNREAD)
    assert up.state == "finished"
    up.receive(b"x")
    assert up.state == "aborted"
    bench.clock.advance(AFTERWARDS)
    assert bench.alice.inflight == 0


def test_after_a_timeout_the_instance_is_at_work_still(bench: Bench) -> None:
    client = ask(bench)
    up = connect(bench)
    bench.advance(41.0)
    assert client.sent.startswith(b"HTTP/1.1 504 ")
    assert bench.alice.inflight == 1
    up.lose()
    bench.clock.advance(AFTERWARDS)
    assert bench.alice.inflight == 0


def test_a_cut_answer_gives_the_slot_on_a_moment_later(bench: Bench) -> None:
    client = ask(bench)
    ask(bench)
    up = connect(bench)
    up.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    client.lose()
    assert (up.state, bench.connector.undecided()) == ("aborted", [])
    bench.clock.advance(AFTERWARDS)
    assert len(bench.connector.undecided()) == 1


def test_an_instance_without_threads_is_not_waited_for(bench: Bench) -> None:
    bench.instances.upstreams["alice"] = Upstream("alice", 1, "KEY", path="/nowhere")
    client = ask(bench)
    ask(bench)
    up = connect(bench)
    client.lose()
    assert up.state == "aborted"
    assert len(bench.connector.undecided()) == 1


def test_closing_the_pool_waits_for_nothing(bench: Bench) -> None:
    client = ask(bench)
    up = connect(bench)
    client.lose()
    bench.alice.close()
    assert (bench.alice.inflight, up.state) == (0, "aborted")
    assert bench.clock.getDelayedCalls() == []
