"""The status page of 500 tenants that are asked every second: its cost, and what users wait."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import fleets, reload
from benchmarks.bench import Bench
from benchmarks.figures import under
from benchmarks.report import Row, judged
from tests.integration.admin_support import Admin
from tests.integration.page_support import Seat, chromium, holds, seat, service
from tests.running import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Page

COUNT = 500
MANY = 10_000
# An event to so large a share of the rows is one to all of them.
MOST = 0.9
ROWS = "performance.getEntriesByName('event').map((e) => [e.duration, e.detail])"
PAINT = "performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)"


def open_page(bench: Bench) -> list[Row]:
    """First paint, the script's time for an event to all rows, the service's share of a core."""
    count = 100 if bench.quick else COUNT
    tenants = fleets.names(count)
    entries = {name: {"token_sha256": [fleets.digest(name)]} for name in tenants}
    config = {"defaults": {"start": "eager"}, "tenants": entries}
    with service(bench.place(), config) as admin, chromium() as browser:
        eventually(lambda: admin.running.output.count("-> healthy") >= count, "all healthy", 120)
        with seat(browser, admin) as here, asked(admin.running.port, tenants):
            page = here.sign_in()
            return [
                _paint(here, page, bench, count),
                *_events(here, page, bench, count),
                _cost(here, page, bench, count),
            ]


def _paint(here: Seat, page: Page, bench: Bench, count: int) -> Row:
    times = []
    for _ in range(2 * bench.repeats):
        page.goto("about:blank")
        page.goto(here.url)
        holds(page, f"{PAINT}.length")
        times += page.evaluate(PAINT)
    return judged(
        f"page of {count} tenants, first paint",
        under(500, unit=" ms"),
        statistics.median(times),
        note=f"{min(times):.0f} to {max(times):.0f} ms",
        times=times,
    )


def _events(here: Seat, page: Page, bench: Bench, count: int) -> list[Row]:
    page.goto(here.url)

    def to_all() -> list[Any]:
        found = page.evaluate(ROWS)
        return [time for time, rows in found if rows >= MOST * count]

    # The first one is all there is; the others are what changed of all.
    wanted = 2 + 2 * bench.repeats
    eventually(lambda: len(to_all()) >= wanted, "events", 60)
    times = to_all()
    goal = under(50, unit=" ms")
    return [
        judged(f"all {count} rows as the page opens, script", goal, times[0]),
        judged(
            f"an event to all {count} rows, script",
            goal,
            statistics.median(times[1:]),
            note=f"at most {max(times[1:]):.1f} ms",
            times=times,
        ),
    ]


def _cost(here: Seat, page: Page, bench: Bench, count: int) -> Row:
    """The service's CPU time with the page open and closed in turn."""
    top = psutil.Process(here.admin.running.pid)
    seconds = 5.0 * bench.seconds
    more, without = [], []
    for _ in range(bench.repeats):
        page.goto("about:blank")
        time.sleep(2)
        closed = fleets.core_share(top, seconds)
        page.goto(here.url)
        time.sleep(2)
        more.append(fleets.core_share(top, seconds) - closed)
        without.append(closed)
    return judged(
        f"service's CPU for one open page of {count}",
        under(2, unit=" % of a core"),
        statistics.median(more),
        note=f"without it {statistics.median(without):.1f} %, as {count} requests/s are served",
        more=more,
    )


@contextlib.contextmanager
def asked(port: int, tenants: Sequence[str]) -> Iterator[None]:
    """Ask every tenant once a second meanwhile, so that every row changes."""
    done = threading.Event()

    def ask() -> None:
        questions = [fleets.QUESTION % fleets.token(name).encode() for name in tenants]
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            while not done.is_set():
                due = time.monotonic() + 1
                for question in questions:
                    connection.sendall(question)
                    if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                        raise RuntimeError("a request was not served")
                done.wait(max(0.0, due - time.monotonic()))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()


def lists(bench: Bench) -> list[Row]:
    """What a request waits at worst while the list of 10,000 tenants is made."""
    count = 1000 if bench.quick else MANY
    tenants = fleets.names(count)
    entries = {name: {"token_sha256": [fleets.digest(name)]} for name in tenants}
    with service(bench.place(), {"tenants": entries}) as admin:
        rows = []
        for path in ("/api/v2/admin/tenants", "/"):
            with reload.asking(admin.running.port, fleets.token(tenants[0])) as times:
                eventually(lambda: len(times) > 100, "its instance answers", 60)
                times.clear()
                time.sleep(2)
                before = max(times)
                times.clear()
                for _ in range(bench.repeats):
                    # Read by a process of its own: this one's threads would wait for each other.
                    read(admin, path)
                worst = max(times)
            work = f"longest wait of a request while {path} of {count} is made"
            note = f"{before:.1f} ms without"
            rows.append(judged(work, under(50, unit=" ms"), worst, note=note))
    return rows


def read(admin: Admin, path: str) -> None:
    """Read a path of the admin listener to its end."""
    reading = multiprocessing.get_context("spawn").Process(
        target=_read, args=(admin.running.admin_port, admin.token, path)
    )
    reading.start()
    reading.join()
    if reading.exitcode:
        raise RuntimeError(f"{path} was not read")


def _read(port: int, token: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    raise SystemExit(answer.status != 200)
