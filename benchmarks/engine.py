"""`make bench-engine`: the embedded engine and the real sq, in one run on one machine.

Rates of one machine move: each figure of ours and its peer's are taken one right after the
other, `ROUNDS` times in turn, and what counts are the medians of their ratios. What a request
costs in CPU moves less. `sq` does not sync; our updates are durable before they are answered.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import psutil

from benchmarks import load
from tests.unit.engine.servers import KEY, Client, Running, running_engine, running_sq

ODYSSEY = Path(__file__).parents[1] / "conf" / "demo" / "the-odyssey.phext"
BEARER = f"Authorization: Bearer {KEY}"
SECTION = 500
ROUNDS = 3

# 200 bytes to one of `count` coordinates; the name is in the query
UPDATES = """
local body = string.rep("x", 200)
local n = 0
request = function()
  n = n + 1
  local i = (n * 7919) %% %d
  local c = "1.1.1/1.1.1/1." .. (1 + math.floor(i / %d)) .. "." .. (1 + i %% %d)
  return wrk.format("POST", "/api/v2/update?p=%s&c=" .. c, {["Authorization"] = "Bearer %s"}, body)
end
"""


def large(scrolls: int) -> bytes:
    """Return a phext of scrolls of 200 bytes, 500 in each section."""
    sections = []
    for start in range(0, scrolls, SECTION):
        texts = (b"%07d " % (start + number) * 25 for number in range(SECTION))
        sections.append(b"\x17".join(texts))
    return b"\x18".join(sections)


SELECT = "/api/v2/select?p=odyssey&c=1.1.1/1.1.1/1.1.2"


@attrs.frozen
class Measured:
    """`rate` in requests a second, `p99` in milliseconds, `cost` of a request in CPU us."""

    rate: float
    p99: float
    cost: float


def median(rounds: list[Measured]) -> str:
    """Show the medians of several rounds."""
    rate, p99, cost = (
        statistics.median(getattr(each, name) for each in rounds)
        for name in ("rate", "p99", "cost")
    )
    return f"{rate:,.0f} (p99 {p99:.1f} ms, {cost:.0f} us CPU)"


def ratio(rounds: list[Measured], others: list[Measured]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(
        mine.rate / other.rate for mine, other in zip(rounds, others, strict=True)
    )


class Table:
    """Rows of what was measured, ours and the real sq's."""

    def __init__(self) -> None:
        self._rows = [("work", "ours", "sq 0.5.5", "to reach", "")]

    def add(self, work: str, ours: str, theirs: str, goal: str, met: bool) -> None:
        """Add a row, and show it at once."""
        row = (work, ours, theirs, goal, "yes" if met else "NO")
        self._rows.append(row)
        print(f"  {work}: {ours} | {theirs} | {goal}: {row[4]}", file=sys.stderr)  # noqa: T201

    def show(self) -> None:
        """Print a Markdown table."""
        rows = [self._rows[0], ("---",) * 5, *self._rows[1:]]
        for row in rows:
            print("| " + " | ".join(row) + " |")  # noqa: T201


class Bench:
    """All measurements; `seconds` for each rate."""

    def __init__(self, base: Path, seconds: int, updates: int) -> None:
        self._base = base
        self._seconds = seconds
        self._updates = updates
        self._number = 0
        self.table = Table()
        self._files = {
            "odyssey": ODYSSEY.read_bytes(),
            "big": large(100_000),
            "small": large(10_000),
        }

    @contextlib.contextmanager
    def _both(self, *names: str) -> Iterator[tuple[Running, Running]]:
        with self._ours(*names) as ours, running_sq(self._data(*names)) as theirs:
            yield ours, theirs

    @contextlib.contextmanager
    def _ours(self, *names: str) -> Iterator[Running]:
        with running_engine(self._data(*names)) as ours:
            yield ours

    def _data(self, *names: str) -> Path:
        self._number += 1
        data = self._base / f"d{self._number}"
        data.mkdir()
        for name in names:
            (data / f"{name}.phext").write_bytes(self._files[name])
        return data

    def _load(self, server: Running, target: str, script: str = "", **options: int) -> load.Result:
        seconds = options.pop("seconds", self._seconds)
        lua = ""
        if script:
            self._number += 1
            path = self._base / f"s{self._number}.lua"
            path.write_text(script)
            lua = str(path)
        url = f"http://127.0.0.1:{server.port}{target}"
        result = load.run(url, seconds=seconds, fields=[BEARER], script=lua, **options)
        if result.bad and "read" not in result.bad:
            print(f"  {target}: {result.bad}", file=sys.stderr)  # noqa: T201
        return result

    def _update(self, server: Running, name: str, count: int, **options: int) -> load.Result:
        script = UPDATES % (count, SECTION, SECTION, name, KEY)
        return self._load(server, "/", script, **options)

    def _in_turn(self, *measures: Callable[[], Measured]) -> list[list[Measured]]:
        """Take each measure after the other, `ROUNDS` times; return each one's rounds."""
        rounds = [[measure() for measure in measures] for _ in range(ROUNDS)]
        return [list(each) for each in zip(*rounds, strict=True)]

    def rates(self) -> None:
        """Updates and selects."""
        with self._both("odyssey", "big") as (ours, theirs):
            # To warm up: each scroll was written at least once.
            for name, count in (("odyssey", 1000), ("big", 100_000), ("big", 100_000)):
                self._update(ours, name, count)
            with theirs.client(reconnect=True) as client:
                client.get("/api/v2/status?p=odyssey")
            mine, big, sq = self._in_turn(
                lambda: self._measured(ours, lambda: self._update(ours, "odyssey", 1000)),
                lambda: self._measured(ours, lambda: self._update(ours, "big", 100_000)),
                lambda: self._measured(theirs, lambda: self._update(theirs, "odyssey", 1000)),
            )
            times = ratio(mine, sq)
            self.table.add(
                "updates/s on The Odyssey, 200 bytes, 16 connections, durable",
                f"{median(mine)}: {times:.0f} x",
                f"{median(sq)}, not synced",
                "20 x sq",
                times >= 20,
            )
            with theirs.client(reconnect=True) as client:
                client.get("/api/v2/status?p=big")
            slow = self._update(theirs, "big", 100_000)
            own = ratio(big, mine)
            times = statistics.median(each.rate for each in big) / slow.rate
            self.table.add(
                "the same on 100,000 scrolls, 20 MB",
                f"{median(big)}: {own:.2f} of the Odyssey's",
                f"{slow.rate:,.0f}",
                "0.85 of our own; 500 x sq",
                own >= 0.85 and times >= 500,
            )
            mine, sq = self._in_turn(
                lambda: self._measured(ours, lambda: self._load(ours, SELECT)),
                lambda: self._measured(theirs, lambda: self._load(theirs, SELECT)),
            )
            times = ratio(mine, sq)
            self.table.add(
                "selects/s, 16 connections",
                f"{median(mine)}: {times:.1f} x",
                median(sq),
                "4 x sq",
                times >= 4,
            )

    @staticmethod
    def _measured(server: Running, run: Callable[[], load.Result]) -> Measured:
        process = psutil.Process(server.process.pid)
        before = process.cpu_times()
        result = run()
        after = process.cpu_times()
        spent = after.user + after.system - before.user - before.system
        return Measured(result.rate, result.p99, 1e6 * spent / max(1, result.requests))

    def readers_beside_writers(self) -> None:
        """Selects while others write and a large phext is saved."""
        with self._ours("big") as ours:
            writers = threading.Thread(
                target=self._update, args=(ours, "big", 100_000), kwargs={"seconds": 6}
            )
            with ours.client() as client:
                client.get("/api/v2/status?p=big")
            writers.start()
            time.sleep(0.5)
            target = "/api/v2/select?p=big&c=1.1.1/1.1.1/1.5.5"
            result = self._load(ours, target, seconds=5, connections=4)
            writers.join()
            self.table.add(
                "select p99 while 16 write to 20 MB and it is saved",
                f"{result.p99:.1f} ms",
                "",
                "10 ms",
                result.p99 < 10,
            )

    def documents(self) -> None:
        """Loading a large phext, reading all of it, and what it takes in memory."""
        times: dict[str, list[float]] = {}
        sizes: list[int] = []
        for name in ("big", "small", "big"):
            with self._both(name) as servers:
                for which, server in zip(("ours", "sq"), servers, strict=True):
                    process = psutil.Process(server.process.pid)
                    before = process.memory_info().rss
                    with server.client(reconnect=which == "sq") as client:
                        spent = self._time(client, f"status?p={name}")
                        times.setdefault(f"{which} {name}", []).append(spent)
                        if name == "big":
                            for view in ("toc", "delta", "checksum", "get"):
                                spent = min(
                                    self._time(client, f"{view}?p={name}") for _ in range(3)
                                )
                                times.setdefault(f"{which} {view}", []).append(spent)
                            sizes.append(process.memory_info().rss - before)
        best = {name: min(spent) for name, spent in times.items()}
        ours, sq, tenth = best["ours big"], best["sq big"], best["ours small"]
        self.table.add(
            "load of 20 MB, 100,000 scrolls",
            f"{1000 * ours:.0f} ms ({ours / tenth:.1f} x that of a tenth)",
            f"{1000 * sq:.0f} ms",
            "0.4 s; 3 x sq; 12 x",
            ours < 0.4 and ours <= 3 * sq and ours <= 12 * tenth,
        )
        for view, limit in (("toc", 0.15), ("delta", 0.1), ("checksum", 0.1), ("get", 0.1)):
            ours, sq = best[f"ours {view}"], best[f"sq {view}"]
            self.table.add(
                f"{view} of it",
                f"{1000 * ours:.0f} ms",
                f"{1000 * sq:.0f} ms",
                f"{limit:g} s; no slower than sq",
                ours <= limit and ours <= sq,
            )
        bound = 1.2 * len(self._files["big"]) + 250 * 100_000
        mine, theirs = min(sizes[0::2]), min(sizes[1::2])
        self.table.add(
            "memory of it",
            f"{mine / 1e6:.0f} MB",
            f"{theirs / 1e6:.0f} MB",
            f"{bound / 1e6:.0f} MB; half of sq's",
            mine <= bound and mine <= theirs / 2,
        )

    @staticmethod
    def _time(client: Client, target: str) -> float:
        start = time.perf_counter()
        assert client.get(f"/api/v2/{target}").status == 200
        return time.perf_counter() - start

    def growth(self) -> None:
        """Memory over many updates."""
        with self._ours("odyssey") as ours:
            process = psutil.Process(ours.process.pid)
            self._update(ours, "odyssey", 1000, seconds=3)
            start = process.memory_info().rss
            done = 0.0
            while done < self._updates:
                done += 5 * self._update(ours, "odyssey", 1000, seconds=5).rate
            grown = process.memory_info().rss - start
        self.table.add(
            f"growth over {done:,.0f} updates of 1,000 coordinates",
            f"{grown / 1e6:.2f} MB",
            "",
            "1 MB",
            grown < 1e6,
        )

    def starts(self) -> None:
        """Start to first answer, and memory of an idle engine, over 20 instances."""
        times, sizes = [], []
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                start = time.perf_counter()
                running = stack.enter_context(running_engine(self._data(), bare=True))
                with running.client() as client:
                    client.get("/api/v2/version")
                times.append(time.perf_counter() - start)
                sizes.append(running.process.pid)
            pss = [psutil.Process(pid).memory_full_info().pss for pid in sizes]
        spent, size = 1000 * statistics.median(times), statistics.median(pss) / 1e6
        self.table.add(
            "spawned: start to first answer; PSS idle (20 instances)",
            f"{spent:.0f} ms; {size:.1f} MB",
            "",
            "45 ms; 7 MB",
            spent <= 45 and size <= 7,
        )


def main() -> int:
    """Measure and print; 0 unless something cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="for each rate")
    parser.add_argument("--updates", type=int, default=1_000_000, help="for the growth of memory")
    parser.add_argument("--only", help="one of rates, readers, documents, growth, starts")
    options = parser.parse_args()
    if not load.available():
        print("bench-engine needs wrk (apt-get install wrk)", file=sys.stderr)  # noqa: T201
        return 1
    with tempfile.TemporaryDirectory(prefix="sqsuper-bench-") as base:
        bench = Bench(Path(base), options.seconds, options.updates)
        parts: dict[str, Callable[[], None]] = {
            "rates": bench.rates,
            "readers": bench.readers_beside_writers,
            "documents": bench.documents,
            "growth": bench.growth,
            "starts": bench.starts,
        }
        for name, part in parts.items():
            if options.only in (None, name):
                part()
        bench.table.show()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench-engine: {error}")
