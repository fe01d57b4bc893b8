"""The open-loop load: when requests are due, and what is counted."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.openloop import CONNECTIONS, Generator, Outcome, Schedule, merged, open_loop

counts = st.integers(0, 500)
rates = st.floats(0.5, 50_000)


@given(counts, rates, st.floats(-1, 100))
def test_what_is_due_by_now_was_due_before_and_the_next_is_not(
    count: int, rate: float, after: float
) -> None:
    schedule = Schedule(1000.0, rate, count)
    now = schedule.start + after
    until = schedule.until(now)
    assert 0 <= until <= count
    slack = 1e-6
    if until:
        assert schedule.due(until - 1) <= now + slack
    if until < count:
        assert schedule.due(until) > now - slack


@given(counts, rates, st.integers(1, 5))
def test_parts_make_the_whole(count: int, rate: float, parts: int) -> None:
    whole = Schedule(5.0, rate, count)
    pieces = [whole.part(index, parts) for index in range(parts)]
    due = sorted(piece.due(n) for piece in pieces for n in range(piece.count))
    assert due == pytest.approx([whole.due(n) for n in range(count)])


def test_processes_are_summed_by_tenant() -> None:
    def part(due: float, latency: float, late: float) -> dict[str, object]:
        tenant = {"answers": [[due, latency]], "failures": [[due + 1, "502"]]}
        return {"tenants": {"a": tenant}, "late": [late]}

    loaded = merged([part(1.0, 0.5, 0.001), part(2.0, 0.05, 0.002)])
    assert loaded.outcomes["a"] == Outcome(((1.0, 0.5), (2.0, 0.05)), ((2.0, "502"), (3.0, "502")))
    assert loaded.outcomes["a"].beyond(0.1) == [1.0]
    assert loaded.latest == 0.002


class Server:
    """Answers all requests but the third, at which it ends, and the fifth, which it turns away."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._count = 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                self._count += 1
                if self._count == 3:
                    return
                status = b"503 No" if self._count == 5 else b"200 OK"
                connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nok" % status)


def test_every_request_is_answered_or_counted_as_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=Server(listener).serve, daemon=True).start()
        generator = Generator(listener.getsockname()[1], {"a": "x", "b": "y"})
        generator.run(Schedule(time.monotonic(), 200.0, 20))
        listener.shutdown(socket.SHUT_RDWR)
    tenants = generator.tenants.values()
    failures = sorted(why for tenant in tenants for _, why in tenant.failures)
    assert sum(len(tenant.answers) for tenant in tenants) == 18
    assert [why[:15] for why in failures] == ["503", "ConnectionError"]


def test_a_request_that_waits_for_a_connection_is_timed_from_when_it_was_due() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=Server(listener).serve, daemon=True).start()
        generator = Generator(listener.getsockname()[1], {"a": "x"})
        # All were due a second ago, and there are more than connections.
        count = 3 * CONNECTIONS
        generator.run(Schedule(time.monotonic() - 1.0, 1e6, count))
        listener.shutdown(socket.SHUT_RDWR)
    answers = generator.tenants["a"].answers
    assert len(answers) == count - 2
    assert min(latency for _, latency in answers) >= 0.9


def test_a_load_ends_its_processes_with_the_block() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open_loop(listener.getsockname()[1], {"a": "x"}, rate=1, seconds=60) as load,
    ):
        processes = load.processes
        assert all(process.poll() is None for process in processes)
    assert all(process.returncode is not None for process in processes)
