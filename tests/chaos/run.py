"""One run: calamities of a seeded order befall some tenants while all are under load."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs

from tests.chaos.load import Load, Stalls
from tests.chaos.world import CALM, HUNGRY, ROGUE, SHOP, VICTIM, Deed, World, token
from tests.running import eventually

LIMIT = 0.25
"""Seconds that a request of a tenant may take whom nothing befalls."""
PAUSE = 1.5
STOPPED = (0, -signal.SIGTERM)
"""How twistd ends when it was told to: newer ones then end by the same signal."""
LAST = 5.0
"""Seconds at the end in which nothing befalls anybody."""


@attrs.frozen
class Calamity:
    """`undo` comes some time after `do`."""

    name: str
    do: Deed
    undo: Deed | None = None


CALAMITIES: Sequence[Calamity] = (
    Calamity("kill", lambda world: world.signal(VICTIM, signal.SIGKILL)),
    Calamity("hang", lambda world: world.signal(VICTIM, signal.SIGSTOP)),
    Calamity("memory hog", lambda world: world.tell(ROGUE, "/hog")),
    Calamity("fork bomb", lambda world: world.tell(ROGUE, "/bomb")),
    Calamity("log flood", lambda world: world.tell(ROGUE, "/flood")),
    Calamity("port thief", World.steal_port, World.give_port_back),
    Calamity("full disk", World.fill_disk, World.free_disk),
    Calamity("zygote killed", World.kill_zygote),
    Calamity("broken file", World.break_configuration, World.mend_configuration),
)


@attrs.frozen
class Result:
    """What came of a run; `slow` and `failed` are of tenants whom nothing befell."""

    requests: int
    slowest: float
    slow: list[str]
    failed: list[str]
    lost: list[str]
    status: int
    deeds: list[str]

    @property
    def good(self) -> bool:
        return not (self.slow or self.failed or self.lost) and self.status in STOPPED


async def _chaos(
    world: World, seconds: float, dice: random.Random, say: Callable[[str], None]
) -> list[str]:
    """Let calamities happen, all of them once before any twice; return what was done."""
    began = time.monotonic()
    deeds: list[str] = []
    undone: list[Deed] = []
    waiting: list[Calamity] = []

    async def do(name: str, deed: Deed) -> None:
        told = await asyncio.to_thread(deed, world)
        line = f"{time.monotonic() - began:6.1f} s  {name}: {told}"
        deeds.append(line)
        say(line)

    try:
        while time.monotonic() < began + seconds - LAST:
            if not waiting:
                waiting = list(CALAMITIES)
                dice.shuffle(waiting)
            calamity = waiting.pop()
            await do(calamity.name, calamity.do)
            if calamity.undo is not None:
                undone.append(calamity.undo)
            await asyncio.sleep(PAUSE * (0.5 + dice.random()))
            while undone:
                await do("undone", undone.pop())
    finally:
        while undone:
            await do("undone", undone.pop())
    return deeds


async def _run(
    world: World, seconds: float, seed: int, say: Callable[[str], None]
) -> tuple[list[Load], list[str]]:
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch())
    loads = [
        Load(name, token(name), world.port, stalls, random.Random(f"{seed} {name}"))
        for name in (*CALM, VICTIM, HUNGRY)
    ]
    until = time.monotonic() + seconds
    clients = [asyncio.create_task(load.run(until)) for load in loads]
    deeds = await _chaos(world, seconds, random.Random(seed), say)
    await asyncio.gather(*clients)
    watching.cancel()
    return loads, deeds


def run(
    directory: Path, seconds: float, seed: int, say: Callable[[str], None] = lambda _: None
) -> Result:
    """Run for `seconds`, then stop and look at what is on disk. `say` takes a line each deed."""
    world = World.begin(directory)
    try:
        loads, deeds = asyncio.run(_run(world, seconds, seed, say))
        for tenant in (VICTIM, HUNGRY, ROGUE, SHOP):
            eventually(partial(world.answers, tenant), f"{tenant} mended", 60)
        status = world.stop()
        calm = [load for load in loads if load.tenant in CALM]
        return Result(
            requests=sum(load.requests for load in loads),
            slowest=max(took for load in calm for _, took in load.seconds),
            slow=[
                f"{due:6.1f} s  {load.tenant}: {took:.3f} s"
                for load in calm
                for due, took in load.seconds
                if took > LIMIT
            ],
            failed=[line for load in calm for line in load.failures],
            lost=[line for load in loads for line in world.lost(load)],
            status=status,
            deeds=deeds,
        )
    finally:
        world.close()
