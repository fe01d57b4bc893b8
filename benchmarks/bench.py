"""What every row needs: options, a directory, peers that may be missing, and rates."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from benchmarks import load
from benchmarks.peers import SELECT, MissingError, Peer
from benchmarks.report import Row, shown
from benchmarks.rounds import Series, interleave

S = TypeVar("S")
T = TypeVar("T")

# Requests made once, then sent in turn: a generator that composes each is the slower one.
TURNS = """\
local requests, n = {}, 0
init = function()
-- REQUESTS
end
request = function()
  n = n % #requests + 1
  return requests[n]
end
"""
SECTION = 500


@attrs.frozen
class Sample:
    """A load, and the CPU that the proxy used: µs a request, and its share of one core."""

    load: load.Result
    micros: float = 0.0
    busy: float = 0.0


@attrs.define
class Bench:
    """One run. `seconds` of one measurement, `repeats` rounds, `connections` of the load.

    `missing`: what could not be measured in this group, and why. `broken`: whether something in
    the run failed that was there.
    """

    directory: Path
    seconds: int = 2
    repeats: int = 5
    connections: int = 16
    quick: bool = False
    missing: dict[str, str] = attrs.field(factory=dict)
    broken: bool = False
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def begin(
        self, stack: contextlib.ExitStack, name: str, peer: contextlib.AbstractContextManager[T]
    ) -> T | None:
        """Start a peer until `stack` ends; None, and said, when it cannot be had."""
        try:
            return stack.enter_context(peer)
        except Exception as error:
            self.missing[name] = str(error) or type(error).__name__
            kind = "left out"
            if not isinstance(error, MissingError):
                kind, self.broken = "FAILED", True
            print(f"  {name} {kind}: {self.missing[name]}", file=sys.stderr)  # noqa: T201
            return None

    def rate(self, peer: Peer, script: str = "", **options: int) -> Sample:
        """Load a peer once, with selects of 235 bytes unless a wrk `script` makes the requests."""
        options = {"seconds": self.seconds, "connections": self.connections, **options}
        before = peer.cpu_seconds()
        result = load.run(
            peer.url + SELECT,
            fields=[f"Authorization: Bearer {peer.token}"],
            script=script and str(self.script(script)),
            **options,
        )
        spent = peer.cpu_seconds() - before
        if not result.requests or result.errors > result.requests // 2:
            raise RuntimeError(f"no rate: {result.bad or 'no answers'}")
        return Sample(result, spent / result.requests * 1e6, spent / options["seconds"])

    def rates(
        self, peers: Mapping[str, Peer | None], script: str = "", **options: int
    ) -> Series[Sample]:
        """Measure the peers that are there, in rounds."""
        return self.rounds(there(peers), lambda peer: self.rate(peer, script, **options))

    def rounds(
        self,
        subjects: Mapping[str, S],
        measure: Callable[[S], T],
        repeats: int | None = None,
        *,
        warm: bool = True,
    ) -> Series[T]:
        """Measure subjects in rounds, and note who failed."""
        count = self.repeats if repeats is None else repeats
        series = interleave(subjects, measure, count, warm=warm)
        self.missing.update(series.failed)
        self.broken = self.broken or bool(series.failed)
        return series

    def script(self, text: str) -> Path:
        """Return a new file that holds a wrk script."""
        path = self.directory / f"load-{next(self._numbers)}.lua"
        path.write_text(text)
        return path

    def place(self) -> Path:
        """Return a new directory."""
        path = self.directory / f"b{next(self._numbers)}"
        path.mkdir(mode=0o700)
        return path

    def why(self, results: Collection[str], *names: str) -> str:
        """Return why one of these names is not among the results, "" when all are."""
        return next(
            (
                f"{name}: {self.missing.get(name, 'what it needs is not there')}"
                for name in names
                if name not in results
            ),
            "",
        )


def there(peers: Mapping[str, T | None]) -> dict[str, T]:
    """Return the peers that could be started."""
    return {name: peer for name, peer in peers.items() if peer is not None}


def turns(requests: Sequence[str]) -> str:
    """Return a wrk script that sends these requests (Lua expressions) in turn."""
    lines = (f"  requests[{number}] = {text}" for number, text in enumerate(requests, 1))
    return TURNS.replace("-- REQUESTS", "\n".join(lines))


def updates(name: str, coordinates: int) -> str:
    """Return a wrk script of updates of 200 bytes, spread over so many coordinates of a phext."""
    found = []
    for number in range(coordinates):
        place = number * 7919 % coordinates
        at = f"1.1.1/1.1.1/1.{1 + place // SECTION}.{1 + place % SECTION}"
        target = f"/api/v2/update?p={name}&c={at}"
        found.append(f'wrk.format("POST", "{target}", nil, string.rep("x", 200))')
    return turns(found)


def spread(tokens: Sequence[str]) -> str:
    """Return a wrk script of selects by these tokens in turn."""
    return turns(
        [
            f'wrk.format("GET", "{SELECT}", {{["Authorization"] = "Bearer {token}"}})'
            for token in tokens
        ]
    )


def rates_of(samples: Sequence[Sample]) -> list[float]:
    """Return the requests a second of each round."""
    return [sample.load.rate for sample in samples]


def p99_of(samples: Sequence[Sample]) -> list[float]:
    """Return the p99 in milliseconds of each round."""
    return [sample.load.p99 for sample in samples]


def errors_of(samples: Sequence[Sample], *, closes: bool = False) -> int:
    """Return how many requests failed; a connection that ended counts unless that is usual."""
    return sum(s.load.errors + (0 if closes else s.load.cut) for s in samples)


def rows_of(
    series: Series[Sample], peers: Mapping[str, Peer | None], *, cpu: bool = True
) -> list[Row]:
    """Return a row for each peer: what the ratios were made of.

    Without `cpu` where the proxy had more to do than these requests.
    """
    rows = []
    for name, samples in series.results.items():
        peer = peers[name]
        result = load.median([sample.load for sample in samples])
        text = f"{result.rate:,.0f}/s, p99 {result.p99:.2f} ms"
        if cpu and peer is not None and peer.process is not None:
            micros = statistics.median(sample.micros for sample in samples)
            busy = statistics.median(sample.busy for sample in samples)
            text += f", CPU {micros:.1f} us ({busy:.0%} of a core)"
        rows.append(
            shown(
                f"  {name}",
                text,
                note=result.bad,
                rates=rates_of(samples),
                p99=p99_of(samples),
                micros=[sample.micros for sample in samples],
                errors=result.errors,
            )
        )
    return rows
