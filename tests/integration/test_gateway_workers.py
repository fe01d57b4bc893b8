"""A gateway of several processes: what they share, and what becomes of each."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import StartSqsuper
from tests.integration.test_main_job import ALICE, BOB, FIRST, digest, tenants
from tests.running import (
    ROOT,
    Running,
    environment,
    eventually,
    free_port,
    listens,
    processes_in,
    sockets_in,
    twistd,
)

# An SQ-compatible program that counts the requests that it has at a time. With `need=N` in the
# query it keeps a request until it has N at once, or for 5 s, and answers with the most it had.
COUNTING = """
    import http.server, sys, threading, time, urllib.parse

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        changed = threading.Condition()
        here = most = ever = 0

        def do_OPTIONS(self):
            self.answer(b"")

        def do_GET(self):
            query = urllib.parse.parse_qs(self.path.partition("?")[2])
            need = int(query.get("need", ["0"])[0])
            cls = Handler
            with cls.changed:
                cls.here += 1
                cls.ever = max(cls.ever, cls.here)
                cls.most = max(cls.most, cls.here)
                cls.changed.notify_all()
                if need:
                    cls.changed.wait_for(lambda: cls.most >= need, 5)
            time.sleep(float(query.get("pause", ["0"])[0]))
            with cls.changed:
                most, ever = cls.most, cls.ever
                cls.here -= 1
                if not cls.here:
                    cls.most = 0
            self.answer(b"%d %d" % (most, ever))

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "keep-alive")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(params=["nested", "transports"])
def wires(request: pytest.FixtureRequest) -> str:
    """Each kind of wires."""
    return str(request.param)


# For what does not depend on them.
one_kind_of_wires = pytest.mark.parametrize("wires", ["nested"])


@pytest.fixture
def workers(wires: str, short_dir: Path) -> Iterator[StartSqsuper]:
    """Start a supervisor with two workers: `workers(config)`."""
    started: list[Running] = []

    def start(config: dict[str, Any], ping_interval: float = 2.0) -> Running:
        gateway = {"workers": 2, **config.get("gateway", {})}
        port = gateway.pop("port", None) or free_port()
        gateway.setdefault("listen", [f"tcp:{port}:interface=127.0.0.1"])
        write(short_dir, {**config, "gateway": gateway})
        with open(short_dir / "output", "wb") as output:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.integration.workers_program",
                    str(short_dir / "tenants.yaml"),
                    wires,
                    str(ping_interval),
                ],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running = Running(process, short_dir, port)
        started.append(running)
        eventually(running.healthy, "GET /health answers 200", 20)
        eventually(lambda: running.output.count("serves (pid") == 2, "both serve", 20)
        return running

    yield start
    for running in started:
        running.close()


def write(directory: Path, config: dict[str, Any]) -> None:
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump({"admin": {"listen": ["tcp:0:interface=127.0.0.1"]}, **config}))


@pytest.fixture
def counting(tmp_path: Path) -> list[str]:
    """The command of the counting program."""
    program = tmp_path / "counting.py"
    program.write_text(textwrap.dedent(COUNTING))
    return [sys.executable, str(program), "{port}"]


def worker_pids(running: Running) -> list[int]:
    found = []
    for child in running.children():
        try:
            if any("sqsuper.gateway.worker" in word for word in child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return sorted(found)


class Client:
    """A kept-alive connection, and which worker it is at."""

    def __init__(self, running: Running, token: str = ALICE) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        self._connection.connect()
        self._token = token
        assert self._connection.sock is not None
        self.port = self._connection.sock.getsockname()[1]

    def get(self, target: str = "/api/v2/version") -> tuple[int, bytes]:
        fields = {"Authorization": f"Bearer {self._token}"}
        self._connection.request("GET", target, headers=fields)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


def clients_of_each_worker(running: Running, count: int) -> list[list[Client]]:
    """Return `count` clients of each worker."""
    found: dict[int, list[Client]] = {pid: [] for pid in worker_pids(running)}
    deadline = time.monotonic() + 20
    while min(len(clients) for clients in found.values()) < count:
        assert time.monotonic() < deadline, "one worker takes no connections"
        client = Client(running)
        assert client.get("/health")[0] == 200
        for pid, clients in found.items():
            process = psutil.Process(pid)
            # Its name before psutil 6.
            connections = getattr(process, "net_connections", None) or process.connections
            if any(c.raddr and c.raddr.port == client.port for c in connections("tcp")):
                clients.append(client)
    for clients in found.values():
        for client in clients[count:]:
            client.close()
    return [clients[:count] for clients in found.values()]


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own; return what they return."""
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


class TestSlots:
    def test_the_sum_over_workers_is_never_over(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(
            tenants("own", engine="command", command=counting, max_inflight=3, queue=500)
        )

        def ask() -> list[tuple[int, bytes]]:
            client = Client(running)
            try:
                return [client.get("/api/v2/version?pause=0.01") for _ in range(12)]
            finally:
                client.close()

        answers = list(itertools.chain(*at_once([ask] * 16)))
        assert {status for status, _ in answers} == {200}
        assert max(int(body.split()[1]) for _, body in answers) == 3

    def test_unused_slots_move_to_where_they_are_needed(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(
            tenants("own", engine="command", command=counting, max_inflight=4, queue=500)
        )
        sides = clients_of_each_worker(running, 4)
        for _ in range(3):
            for side in sides:
                # All four slots must come to this worker, or the answers come without four.
                answers = at_once([partial(c.get, "/api/v2/x?need=4") for c in side])
                assert [status for status, _ in answers] == [200] * 4
                assert {body for _, body in answers} == {b"4 4"}
        for client in itertools.chain(*sides):
            client.close()

    @one_kind_of_wires
    def test_one_slot_serves_all_workers(self, workers: StartSqsuper, counting: list[str]) -> None:
        running = workers(tenants("own", engine="command", command=counting, max_inflight=1))
        sides = clients_of_each_worker(running, 2)

        def ask(client: Client) -> list[tuple[int, bytes]]:
            return [client.get("/api/v2/x?pause=0.01") for _ in range(20)]

        calls = [partial(ask, client) for client in itertools.chain(*sides)]
        answers = list(itertools.chain(*at_once(calls)))
        assert {status for status, _ in answers} == {200}
        assert max(int(body.split()[1]) for _, body in answers) == 1
        for client in itertools.chain(*sides):
            client.close()

    @one_kind_of_wires
    def test_the_slots_of_a_killed_worker_are_the_others(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(tenants("own", engine="command", command=counting, max_inflight=2))
        first, second = clients_of_each_worker(running, 2)
        held = threading.Thread(target=_try, args=(first[0], "/api/v2/x?need=9"))
        held.start()
        eventually(lambda: _at_once_there(running) >= 1, "it is under way")
        [victim] = [
            pid for pid in worker_pids(running) if pid != _worker_of(running, second[0].port)
        ]
        os.kill(victim, signal.SIGKILL)
        held.join(20)
        answers = at_once([partial(c.get, "/api/v2/x?need=2") for c in second])
        assert [status for status, _ in answers] == [200, 200]
        for client in (*first, *second):
            client.close()

    @one_kind_of_wires
    def test_what_is_still_at_work_for_a_killed_worker_keeps_its_slots(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(tenants("own", engine="command", command=counting, max_inflight=3))
        first, second = clients_of_each_worker(running, 3)
        victim = _worker_of(running, first[0].port)
        holding = [threading.Thread(target=_try, args=(c, "/x?pause=1.5")) for c in first[:2]]
        for thread in holding:
            thread.start()
        eventually(lambda: _at_once_there(running) >= 2, "both are under way")
        os.kill(victim, signal.SIGKILL)
        # The third slot serves meanwhile, and in the end all three do.
        answers = at_once([partial(c.get, "/x?pause=0.1") for c in second])
        assert [status for status, _ in answers] == [200] * 3
        assert max(int(body.split()[1]) for _, body in answers) == 3
        eventually(lambda: _at_once_there(running) == 0, "the program is done")
        answers = at_once([partial(c.get, "/x?need=3") for c in second])
        assert {body for _, body in answers} == {b"3 3"}
        for thread in holding:
            thread.join(20)
        for client in (*first, *second):
            client.close()

    @one_kind_of_wires
    @pytest.mark.real_sq
    def test_sq_has_no_thread_too_many_when_workers_are_killed(
        self, workers: StartSqsuper, short_dir: Path
    ) -> None:
        # Each request takes sq a tenth of a second or more, one after another.
        directory = short_dir / "data" / "alice"
        directory.mkdir(parents=True, mode=0o700)
        (directory / "big.phext").write_bytes(b"x" * 60_000_000)
        running = workers(tenants("sq", max_inflight=6, queue=100, queue_timeout="60s"))
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                client = Client(running)
                _try(client, f"/api/v2/insert?p=big&c={FIRST}&s=x")
                client.close()

        loading = [threading.Thread(target=load) for _ in range(16)]
        for thread in loading:
            thread.start()
        try:
            sq = eventually(lambda: _sq(running), "sq is there")
            assert sq is not None
            most = 0
            for _ in range(2):
                eventually(lambda: sq.num_threads() >= 6, "it is busy", 30)
                os.kill(worker_pids(running)[0], signal.SIGKILL)
                until = time.monotonic() + 0.7
                while time.monotonic() < until:
                    most = max(most, sq.num_threads())
                eventually(lambda: len(worker_pids(running)) == 2, "it is replaced")
            assert 6 <= most <= 6 + 2
        finally:
            stop.set()
            for thread in loading:
                thread.join(60)


def _sq(running: Running) -> psutil.Process | None:
    return next((child for child in running.children() if child.name() == "sq"), None)


def _try(client: Client, target: str) -> None:
    try:
        client.get(target)
    except (OSError, http.client.HTTPException):
        client.close()


def _worker_of(running: Running, port: int) -> int:
    for pid in worker_pids(running):
        process = psutil.Process(pid)
        connections = getattr(process, "net_connections", None) or process.connections
        if any(c.raddr and c.raddr.port == port for c in connections("tcp")):
            return pid
    raise AssertionError("no worker has this connection")


@one_kind_of_wires
class TestLimits:
    def test_a_rate_holds_in_sum(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded", rate={"per_second": 40, "burst": 20}))
        sides = clients_of_each_worker(running, 2)
        begun = time.monotonic()
        answered: list[float] = []

        def ask(client: Client) -> int:
            served = 0
            while (now := time.monotonic()) < begun + 2.0:
                status, _ = client.get()
                assert status in (200, 429)
                served += status == 200
                answered.append(now)
            return served

        served = sum(at_once([partial(ask, client) for client in itertools.chain(*sides)]))
        took = time.monotonic() - begun
        assert served <= 1.1 * (20 + 40 * took)
        # A full bucket takes no more: what came to it while nobody asked (the clients did not
        # run) is nobody's.
        answered.sort()
        gaps = [late - early for early, late in itertools.pairwise(answered)]
        unused = sum(max(0.0, gap - 0.25) for gap in gaps)
        assert served >= 0.9 * (20 + 40 * (answered[-1] - answered[0] - unused))
        for client in itertools.chain(*sides):
            client.close()

    def test_connections_are_counted_together(self, workers: StartSqsuper) -> None:
        running = workers({"gateway": {"max_connections": 5, "max_connections_per_address": 4}})
        eventually(lambda: running.request("GET", "/health").status == 200, "none is left")
        clients: list[Client] = []
        for _ in range(4):
            # The one before it may not be counted off yet.
            client = eventually(lambda: _healthy(running), "a place")
            assert client is not None
            clients.append(client)
        for _ in range(4):
            assert running.request("GET", "/health").status == 503
        for client in clients:
            client.close()
        eventually(lambda: running.request("GET", "/health").status == 200, "places are free")

    def test_wrong_tokens_are_counted_together(self, workers: StartSqsuper) -> None:
        running = workers({**tenants("embedded"), "gateway": {"wrong_tokens_per_minute": 4}})
        first, second = clients_of_each_worker(running, 1)
        for client in (*first, *second):
            client._token = "wrong"
        assert [first[0].get()[0] for _ in range(5)] == [401] * 4 + [429]
        eventually(lambda: second[0].get()[0] == 429, "the other worker knows")
        for client in (*first, *second):
            client._token = ALICE
            assert client.get()[0] == 200
            client.close()


def _healthy(running: Running) -> Client | None:
    """Return a client that is served, or None."""
    client = Client(running)
    try:
        if client.get("/health")[0] == 200:
            return client
    except (OSError, http.client.HTTPException):
        pass
    client.close()
    return None


class TestRoutes:
    @one_kind_of_wires
    def test_tokens_stay_apart_at_every_worker(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"))
        for name, token in (("alice", ALICE), ("bob", BOB)):
            target = f"/api/v2/update?p=x&c={FIRST}"
            answer = running.request("POST", target, token=token, body=name.encode())
            assert answer.status == 200
        for client in itertools.chain(*clients_of_each_worker(running, 1)):
            for name, token in (("alice", ALICE), ("bob", BOB)):
                client._token = token
                assert client.get(f"/api/v2/select?p=x&c={FIRST}") == (200, name.encode())
            client._token = ALICE + "x"
            assert client.get(f"/api/v2/select?p=x&c={FIRST}")[0] == 401
            client.close()

    def test_a_revoked_token_ends_at_every_worker(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        config = tenants("own", engine="command", command=counting)
        running = workers(config)
        sides = clients_of_each_worker(running, 2)
        for client in itertools.chain(*sides):
            assert client.get()[0] == 200
        ended: list[float] = []

        def hold(client: Client) -> None:
            try:
                client.get("/api/v2/x?need=99")
            except (OSError, http.client.HTTPException):
                ended.append(time.monotonic())

        threads = [threading.Thread(target=hold, args=(side[0],)) for side in sides]
        for thread in threads:
            thread.start()
        probe = Client(running, BOB)
        eventually(lambda: _at_once_there(running) >= 2, "both are under way")
        file = yaml.safe_load((running.directory / "tenants.yaml").read_text())
        file["tenants"]["alice"]["token_sha256"] = [digest("another-token-0123456789")]
        write(running.directory, file)
        revoked = time.monotonic()
        running.process.send_signal(signal.SIGUSR2)
        for thread in threads:
            thread.join(10)
        assert len(ended) == 2
        assert max(ended) - revoked < 2.0
        for side in sides:
            assert side[1].get()[0] == 401
            side[1]._token = "another-token-0123456789"
            # An answer that refused a request leaves the connection open: it had no body.
            assert side[1].get()[0] == 200
        assert probe.get()[0] == 200
        for client in (*itertools.chain(*sides), probe):
            client.close()


def _at_once_there(running: Running) -> int:
    """How many requests alice's instance has, besides this one."""
    client = Client(running)
    try:
        return int(client.get("/api/v2/x")[1].split()[0]) - 1
    finally:
        client.close()


class TestDrain:
    def test_a_planned_stop_waits_for_requests_and_holds_new_ones(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(tenants("own", engine="command", command=counting, max_inflight=3))
        sides = clients_of_each_worker(running, 2)
        assert sides[0][0].get()[0] == 200
        before = {child.pid for child in running.children()}
        results: list[tuple[int, bytes]] = []

        def ask(client: Client, target: str) -> threading.Thread:
            thread = threading.Thread(target=lambda: results.append(client.get(target)))
            thread.start()
            return thread

        threads = [ask(side[0], "/api/v2/x?pause=1.0") for side in sides]
        eventually(lambda: _at_once_there(running) >= 2, "both are under way")
        running.process.send_signal(signal.SIGUSR1)
        eventually(lambda: "healthy -> draining" in running.output, "the stop has begun")
        assert results == []
        threads += [ask(side[1], "/api/v2/x") for side in sides]
        for thread in threads:
            thread.join(20)
        assert [status for status, _ in results] == [200] * 4
        # The last two were answered by another process.
        assert {child.pid for child in running.children()} - before
        for client in itertools.chain(*sides):
            client.close()

    @one_kind_of_wires
    def test_a_planned_stop_waits_for_what_a_killed_worker_had_asked(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(tenants("own", engine="command", command=counting, max_inflight=3))
        first, second = clients_of_each_worker(running, 1)
        victim = _worker_of(running, first[0].port)
        begun = time.monotonic()
        holding = threading.Thread(target=_try, args=(first[0], "/x?pause=1.5"))
        holding.start()
        eventually(lambda: _at_once_there(running) >= 1, "it is under way")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: "has ended (killed" in running.output, "it is gone")
        running.process.send_signal(signal.SIGUSR1)
        eventually(lambda: "draining -> stopping" in running.output, "it is quiet")
        assert time.monotonic() >= begun + 1.5
        holding.join(20)
        for client in (*first, *second):
            client.close()


@one_kind_of_wires
class TestHold:
    """Requests are held for `start_timeout` while it is starting, else for `queue_timeout`."""

    def test_of_a_start_longer_than_of_a_drain(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        late = "import runpy, sys, time; time.sleep(1); sys.argv[:] = sys.argv[1:]; "
        late += "runpy.run_path(sys.argv[0], run_name='__main__')"
        running = workers(
            tenants(
                "own",
                engine="command",
                command=[sys.executable, "-c", late, *counting[1:]],
                queue_timeout="300ms",
                health={"start_timeout": "20s"},
                drain="20s",
            )
        )
        sides = clients_of_each_worker(running, 2)
        waiting = [side[0] for side in sides]
        answers = at_once([partial(client.get, "/api/v2/x") for client in waiting])
        assert [status for status, _ in answers] == [200, 200]
        held: list[tuple[int, bytes]] = []
        under_way = threading.Thread(
            target=lambda: held.append(sides[0][1].get("/api/v2/x?pause=3"))
        )
        under_way.start()
        eventually(lambda: _at_once_there(running) >= 1, "it is under way")
        running.process.send_signal(signal.SIGUSR1)
        eventually(lambda: "healthy -> draining" in running.output, "the stop has begun")

        def refused(client: Client) -> bool:
            status, body = client.get("/api/v2/x")
            return status == 503 and json.loads(body)["code"] == "draining"

        # A worker hears of that a moment later.
        for client in waiting:
            eventually(partial(refused, client), "it is held, and told why")
        under_way.join(20)
        assert [status for status, _ in held] == [200]
        assert waiting[0].get("/api/v2/x")[0] == 200
        for client in itertools.chain(*sides):
            client.close()

    def test_in_a_backoff_it_is_told_when_to_come_again(self, workers: StartSqsuper) -> None:
        running = workers(
            tenants(
                "own",
                engine="command",
                command=[sys.executable, "-c", "raise SystemExit(1)", "{port}"],
                queue_timeout="300ms",
                health={"start_timeout": "20s"},
                restart={"backoff": "20s", "backoff_max": "30s"},
            )
        )
        answer = running.request("GET", "/api/v2/x", token=ALICE)
        assert answer.status == 503
        assert json.loads(answer.body)["code"] == "starting"
        assert 10 <= int(answer.header("Retry-After") or "") <= 30


class TestLives:
    def test_a_killed_worker_is_replaced_and_the_others_serve(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"))
        first, second = clients_of_each_worker(running, 2)
        victim = _worker_of(running, first[0].port)
        stop = threading.Event()
        failures: list[object] = []

        def load(client: Client) -> None:
            count = 0
            while not stop.is_set():
                try:
                    status, _ = client.get()
                except (OSError, http.client.HTTPException) as error:
                    failures.append(error)
                    break
                if status != 200:
                    failures.append(status)
                count += 1
            counts.append(count)

        counts: list[int] = []
        threads = [threading.Thread(target=load, args=(client,)) for client in second]
        for thread in threads:
            thread.start()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: running.output.count("serves (pid") == 3, "it is replaced", 20)
        assert running.request("GET", "/api/v2/version", token=ALICE).status == 200
        stop.set()
        for thread in threads:
            thread.join(20)
        assert failures == []
        assert min(counts) > 0
        pids = worker_pids(running)
        assert len(pids) == 2
        assert victim not in pids
        for client in (*first, *second):
            client.close()

    @one_kind_of_wires
    def test_a_worker_that_gets_a_signal_to_end_is_replaced(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"))
        before = worker_pids(running)
        os.kill(before[0], signal.SIGTERM)
        eventually(lambda: running.output.count("serves (pid") == 3, "it is replaced")
        assert before[1] in worker_pids(running)

    @one_kind_of_wires
    def test_a_worker_that_hangs_is_replaced(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"), ping_interval=0.3)
        hanging = worker_pids(running)[0]
        os.kill(hanging, signal.SIGSTOP)
        eventually(lambda: hanging not in worker_pids(running), "it is killed", 15)
        eventually(lambda: len(worker_pids(running)) == 2, "it is replaced", 15)
        assert running.request("GET", "/api/v2/version", token=ALICE).status == 200

    def test_no_worker_outlives_a_killed_supervisor(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"))
        assert running.request("GET", "/api/v2/version", token=ALICE).status == 200
        children = running.children()
        assert len(children) >= 3
        # One that is stopped cannot see its channel close.
        os.kill(worker_pids(running)[0], signal.SIGSTOP)
        running.process.kill()
        running.process.wait(10)
        eventually(lambda: processes_in(running.directory) == [], "all are gone", 2)
        eventually(lambda: not listens(running.port), "the port is free", 2)

    def test_a_stop_waits_for_what_is_under_way_and_leaves_nothing(
        self, workers: StartSqsuper, counting: list[str]
    ) -> None:
        running = workers(tenants("own", engine="command", command=counting))
        sides = clients_of_each_worker(running, 1)
        results: list[tuple[int, bytes]] = []

        def ask(client: Client) -> None:
            results.append(client.get("/api/v2/x?pause=1.5"))

        threads = [
            threading.Thread(target=ask, args=(client,)) for client in itertools.chain(*sides)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: _at_once_there(running) >= 2, "both are under way")
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listens(running.port), "no new connection is taken")
        for thread in threads:
            thread.join(20)
        assert [status for status, _ in results] == [200, 200]
        assert running.process.wait(20) in (0, -signal.SIGTERM)
        assert processes_in(running.directory) == []
        assert sockets_in(running.directory) == []

    @one_kind_of_wires
    def test_workers_are_confined(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"))
        for pid in worker_pids(running):
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert "Max core file size        0                    0" in limits
            status = Path(f"/proc/{pid}/status").read_text()
            assert "Umask:\t0077" in status
            assert "NoNewPrivs:\t1" in status
            assert os.getsid(pid) == pid
            assert set(psutil.Process(pid).environ()) <= {"PATH", "LANG", "TZ", "LC_CTYPE"}


class TestListening:
    def test_a_unix_socket_is_shared_and_goes_at_the_stop(
        self, workers: StartSqsuper, short_dir: Path
    ) -> None:
        path = short_dir / "g.sock"
        listen = [f"unix:{path}:mode=600", "tcp:0:interface=127.0.0.1"]
        # The fixture looks for the gateway at a port that it chose.
        port = free_port()
        listen.append(f"tcp:{port}:interface=127.0.0.1")
        running = workers({"gateway": {"listen": listen, "port": port}, **tenants("embedded")})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(str(path))
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := sock.recv(4096):
                    answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
        os.kill(worker_pids(running)[0], signal.SIGKILL)
        eventually(lambda: running.output.count("serves (pid") == 3, "it is replaced")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        running.stop()
        assert not path.exists()

    def test_a_taken_port_ends_the_start_with_one_line(self, short_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            listen = [f"tcp:{port}:interface=127.0.0.1"]
            write(short_dir, {"gateway": {"listen": listen, "workers": 2}})
            done = twistd("-n", "sqsuper", "-c", "tenants.yaml", cwd=short_dir)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith(f"sqsuper: cannot listen on 127.0.0.1:{port}: ")
        assert "Traceback" not in done.stdout
        assert processes_in(short_dir) == []

    @one_kind_of_wires
    def test_health_is_answered_by_every_worker(self, workers: StartSqsuper) -> None:
        running = workers(tenants("embedded"))
        for client in itertools.chain(*clients_of_each_worker(running, 1)):
            status, body = client.get("/health")
            assert (status, json.loads(body)) == (200, {"status": "ok", "tenants": 2})
            client.close()
