"""The engine as a process, killed at random moments under load: `-m tests.crash.kills`.

Several clients write numbered texts, alone and in batches over two phexts, while checkpoints go
on. After each kill the next engine must have every acknowledged write, and of a batch that was
on its way all or nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import attrs

from sqsuper.engine import phext
from tests.unit.engine.servers import DEADLINE, Client, running_engine, wait_for

CLIENTS = 6
OPTIONS = ("--checkpoint-idle", "0.02", "--checkpoint-age", "0.1", "--checkpoint-journal", "300000")
PAD = b"." * 300


@attrs.define
class Writer:
    """One client, alone on its scrolls. `sent` and `acknowledged`: the last number."""

    index: int
    port: int = 0
    sent: int = 0
    acknowledged: int = 0

    @property
    def coordinate(self) -> str:
        return f"1.1.1/1.1.1/1.1.{self.index + 1}"

    def run(self) -> None:
        """Write until the server is gone."""
        try:
            with Client(("127.0.0.1", self.port)) as client:
                while True:
                    self.sent = number = self.acknowledged + 1
                    assert self.write(client, number) == 200
                    self.acknowledged = number
        except (OSError, EOFError):
            return

    def write(self, client: Client, number: int) -> int:
        text = b"%d " % number + PAD
        if self.index % 2:
            return client.post(f"/api/v2/update?p=one&c={self.coordinate}", text).status
        operations = [
            {"op": "update", "p": name, "c": self.coordinate, "s": text.decode()}
            for name in ("one", "two")
        ]
        return client.post("/api/v2/batch", json.dumps(operations).encode()).status

    def check(self, client: Client) -> None:
        """Fail unless what was acknowledged is there, and nothing in half."""
        found = self.read(client, "one")
        assert found in (self.acknowledged, self.sent), (self, found)
        if not self.index % 2:
            assert self.read(client, "two") == found
        self.acknowledged = self.sent = found

    def read(self, client: Client, name: str) -> int:
        text = client.get(f"/api/v2/select?p={name}&c={self.coordinate}").body
        if not text:
            return 0
        number, _, pad = text.partition(b" ")
        assert pad == PAD
        return int(number)


def run(data: Path, rounds: int, seed: int) -> int:
    """Kill `rounds` times, then stop cleanly; return how many writes were acknowledged."""
    chance = random.Random(seed)
    writers = [Writer(index) for index in range(CLIENTS)]
    for _ in range(rounds):
        with running_engine(data, *OPTIONS) as engine:
            with engine.client() as client:
                for writer in writers:
                    writer.check(client)
            before = sum(writer.acknowledged for writer in writers)
            threads = []
            for writer in writers:
                writer.port = engine.port
                threads.append(threading.Thread(target=writer.run))
                threads[-1].start()
            wait_for(lambda: sum(writer.acknowledged for writer in writers) > before + 10)  # noqa: B023
            # Anywhere: not at a moment that can be waited for.
            time.sleep(chance.uniform(0, 0.3))
            engine.process.kill()
            engine.process.wait(DEADLINE)
            for thread in threads:
                thread.join(DEADLINE)
                assert not thread.is_alive()
    with running_engine(data, *OPTIONS) as engine:
        with engine.client() as client:
            for writer in writers:
                writer.check(client)
        assert engine.end() == 0
    assert sorted(path.name for path in data.iterdir()) == ["one.phext", "two.phext"]
    scrolls = phext.explode((data / "one.phext").read_bytes())
    assert [int(text.split(b" ")[0]) for _, text in sorted(scrolls.items())] == [
        writer.acknowledged for writer in writers
    ]
    return sum(writer.acknowledged for writer in writers)


def main() -> int:
    """Run; an assertion says what was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.kills")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        count = run(Path(data), options.rounds, options.seed)
    print(f"{options.rounds} kills, {count} writes acknowledged, 0 lost, 0 torn")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
