from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.exchange import Exchange
from sqsuper.testing import FakeWire
from tests.unit.gateway.support import ANSWER, GET, LIMITS, UPSTREAM, Bench

POST = b"POST /p HTTP/1.1\r\nHost: h\r\nAuthorization: tok\r\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.instances.upstreams["alice"] = UPSTREAM
    return bench


def connect(bench: Bench) -> FakeWire:
    (attempt,) = bench.connector.undecided()
    return attempt.succeed()


def test_a_client_that_takes_no_answer_stops_the_instance(bench: Bench) -> None:
    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    up.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    client.stuck = True
    up.receive(b"x" * 65_000)
    assert not up.paused
    up.receive(b"x" * 10_000)
    assert up.paused
    client.stuck = False
    client.settle()
    assert not up.paused
    up.receive(b"x" * 125_000)
    assert client.sent.endswith(b"\r\n\r\n" + b"x" * 200_000)
    assert bench.alice.inflight == 0


def test_an_instance_that_takes_no_body_stops_the_client(bench: Bench) -> None:
    client = bench.client()
    client.receive(POST + b"Content-Length: 300000\r\n\r\n")
    up = connect(bench)
    up.stuck = True
    client.receive(b"x" * 70_000)
    assert client.paused
    # Neither the body's pace nor the time for the answer runs meanwhile, but that for sending.
    bench.advance(LIMITS.upstream_timeout - 1)
    assert bench.failures == []
    up.stuck = False
    up.settle()
    assert not client.paused
    client.receive(b"x" * 230_000)
    up.receive(ANSWER)
    assert client.sent.endswith(b"ok")
    up.stuck = True
    client.receive(POST + b"Content-Length: 300000\r\n\r\n" + b"x" * 100_000)
    bench.advance(LIMITS.upstream_timeout + 1)
    assert [failure.status for failure in bench.failures] == [504]


@pytest.mark.parametrize("stuck", [False, True])
def test_the_limit_of_sending_is_about_progress(bench: Bench, stuck: bool) -> None:
    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    client.stuck = True
    up.receive(ANSWER)  # few bytes: no back-pressure
    assert client.pending
    for _ in range(10):
        bench.advance(LIMITS.send_timeout / 4)
        if not stuck and client.pending:
            del client._waiting[:1]
    assert client.state == ("aborted" if stuck else "open")


def test_bytes_that_wait_for_ever_also_end_a_connection_that_is_closing(bench: Bench) -> None:
    client = bench.client()
    client.stuck = True
    client.receive(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
    client.end()
    assert client.state == "closed"
    bench.advance(LIMITS.send_timeout + 1)
    assert client.state == "aborted"


def test_a_refused_client_has_its_time_once_the_answer_has_left(bench: Bench) -> None:
    client = bench.client()
    client.stuck = True
    client.receive(b"\n")
    assert client.state == "finished"
    bench.advance(5.0)
    assert client.state == "finished"
    client.stuck = False
    client.settle()
    bench.advance(1.9)
    assert client.state == "finished"
    bench.advance(0.2)
    assert client.state == "closed"


def test_the_next_request_waits_while_the_answer_does(bench: Bench) -> None:
    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    client.stuck = True
    up.receive(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 70000\r\n\r\n")
    up.receive(b"x" * 70_000)
    assert bench.alice.inflight == 0
    client.receive(GET)
    assert bench.alice.inflight == 0
    client.stuck = False
    client.settle()
    assert bench.alice.inflight == 1
    assert up.sent.count(b"GET /a ") == 2


def test_an_error_in_an_exchange_frees_its_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    monkeypatch.setattr(Exchange, "_pass_on", fail)
    up.receive(ANSWER)
    assert (client.state, up.state) == ("aborted", "aborted")
    assert bench.alice.inflight == 0
    client.settle()
    assert bench.clients == []


def test_an_error_behind_an_answer_ends_the_client(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    monkeypatch.setattr(ClientConnection, "finished", fail)
    up.receive(ANSWER)
    assert client.state == "aborted"
    assert bench.alice.inflight == 0


def test_an_error_on_connecting_frees_the_slot_and_the_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    client = bench.client()
    client.receive(GET)
    monkeypatch.setattr(Exchange, "_go_on_sending", fail)
    up = connect(bench)
    assert (client.state, up.state) == ("aborted", "aborted")
    assert bench.alice.inflight == 0
    client.settle()
    assert bench.clients == []


def test_an_error_in_a_later_attempt_ends_the_client(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    client = bench.client()
    client.receive(GET)
    monkeypatch.setattr(Exchange, "_to", fail)
    bench.connector.undecided()[0].fail()
    bench.advance(0.03)
    assert client.state == "aborted"
    monkeypatch.undo()
    client.settle()
    assert bench.alice.inflight == 0


def test_a_slow_body_is_told_from_a_stopped_one(tmp_path: Path) -> None:
    timing = attrs.evolve(LIMITS, body_timeout=5.0, head_timeout=10.0, body_rate=100)
    bench = Bench(tmp_path, timing=timing)
    bench.instances.upstreams["alice"] = UPSTREAM
    client = bench.client()
    client.receive(POST + b"Content-Length: 100000\r\n\r\n")
    connect(bench)
    for _ in range(30):  # 200 bytes a second
        bench.advance(4.0)
        client.receive(b"x" * 800)
    assert client.state == "open"
    for _ in range(60):  # less, and the average sinks
        bench.advance(4.0)
        client.receive(b"x" * 100)
    assert client.sent.startswith(b"HTTP/1.1 408 ")
    assert bench.alice.inflight == 0


def test_stopping_between_requests(bench: Bench) -> None:
    idle, served, reading = bench.client(), bench.client(), bench.client()
    served.receive(GET)
    up = connect(bench)
    reading.receive(b"GET /hea")
    bench.stopping = True
    for client in list(bench.clients):
        client.close_if_idle()
    assert [w.state for w in (idle, served, reading)] == ["closed", "open", "open"]
    up.receive(ANSWER)
    assert served.state == "finished"
    assert b"\r\nConnection: close\r\n" in served.sent


def test_stopping_with_a_last_call(bench: Bench) -> None:
    old, used = bench.client(), bench.client()
    bench.advance(5.0)
    used.receive(GET)
    up = connect(bench)
    up.receive(ANSWER)
    new = bench.client()
    bench.advance(0.5)
    bench.stopping = True
    for client in list(bench.clients):
        client.close_if_idle(bench.seconds() - 1.0)
    assert [w.state for w in (old, used, new)] == ["closed", "open", "open"]
    new.receive(GET)
    up.receive(ANSWER)
    assert b"\r\nConnection: close\r\n" in new.sent
    bench.advance(0.6)
    for client in list(bench.clients):
        client.close_if_idle(bench.seconds() - 1.0)
    assert used.state == "closed"


def test_a_stop_during_an_answer_closes_behind_it(bench: Bench) -> None:
    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    up.receive(ANSWER[:-1])
    bench.stopping = True
    up.receive(b"k")
    assert client.sent.endswith(b"ok")
    assert client.state == "finished"


def test_idle_begins_when_the_answer_was_taken(bench: Bench) -> None:
    client = bench.client()
    client.receive(GET)
    up = connect(bench)
    client.stuck = True
    up.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000)
    for _ in range(10):
        bench.advance(LIMITS.send_timeout / 2)
        del client._waiting[:1]
    client.stuck = False
    client.settle()
    bench.advance(1.0)
    assert client.state == "open"
    bench.advance(LIMITS.idle_timeout)
    assert client.state == "closed"


def test_little_is_read_of_what_stands_behind_a_held_request(bench: Bench) -> None:
    del bench.instances.upstreams["alice"]
    client = bench.client()
    client.receive(GET)
    assert not client.paused
    client.receive(GET)
    assert client.paused
    bench.instances.settle("alice", UPSTREAM)
    up = connect(bench)
    assert not client.paused
    up.receive(ANSWER)
    up.receive(ANSWER)
    assert client.sent.count(b"HTTP/1.1 200 ") == 2


def test_a_token_is_no_request_id(bench: Bench) -> None:
    for given, used in ((b"tok", b"id"), (b"mine", b"mine")):
        client = bench.client()
        client.receive(GET[:-2] + b"X-Request-ID: %b\r\n\r\n" % given)
        for attempt in bench.connector.undecided():
            attempt.fail()
        bench.advance(0.03)
        for attempt in bench.connector.undecided():
            attempt.succeed().lose()
        assert client.sent.startswith(b"HTTP/1.1 502 ")
        assert b"\r\nX-Request-ID: %b\r\n" % used in client.sent
        assert b'"request_id": "%b"' % used in client.sent
