"""Steady requests for one tenant, and what must be on its disk afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

import attrs

PHEXT = "log"
SCROLLS = 40
INTERVAL = 0.05
PATIENCE = 20.0


class FailedError(Exception):
    """A request that was not answered as it should be."""


@attrs.define
class Scroll:
    """What is known of one scroll: the text acknowledged last, and those that may have followed."""

    acknowledged: str = ""
    perhaps: list[str] = attrs.field(factory=list)

    def may_hold(self, text: str) -> bool:
        """Whether nothing acknowledged is lost if it holds `text`."""
        return text == self.acknowledged or text in self.perhaps


@attrs.define
class Stalls:
    """When this very process did not run: what it measured meanwhile is not the service's."""

    since: float = attrs.field(factory=time.monotonic)
    spans: list[tuple[float, float]] = attrs.field(factory=list)

    async def watch(self) -> None:
        """Take note of each time this process was not run when it should have been."""
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            now = time.monotonic()
            if now - due > 0.01:
                self.spans.append((due, now))

    def within(self, start: float, end: float) -> float:
        """Return for how much of a span of time it did not run."""
        return sum(
            max(0.0, min(end, last) - max(start, first)) for first, last in self.spans[-2000:]
        )


@attrs.define(eq=False)
class Load:
    """One tenant's client: a request each `INTERVAL`, in turn a write and a read.

    `seconds`: when each request was due, and how long it took from then on, without what `stalls`
    account for.
    """

    tenant: str
    token: str
    port: int
    stalls: Stalls
    random: random.Random
    scrolls: dict[int, Scroll] = attrs.field(factory=dict)
    seconds: list[tuple[float, float]] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)
    requests: int = 0
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def run(self, until: float) -> None:
        """Make requests until the monotonic time `until`."""
        due = time.monotonic() + self.random.random() * INTERVAL
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                await asyncio.wait_for(self._one(), PATIENCE)
            except (FailedError, OSError, EOFError, asyncio.TimeoutError) as error:
                self.failures.append(f"{self.tenant}: {type(error).__name__} {error}"[:300])
                await self.close()
            end = time.monotonic()
            self.seconds.append((due - self.stalls.since, end - due - self.stalls.within(due, end)))
            due = max(due + INTERVAL, end - 10 * INTERVAL)
        await self.close()

    async def _one(self) -> None:
        self.requests += 1
        number = self.random.randrange(1, SCROLLS)
        scroll = self.scrolls.setdefault(number, Scroll())
        if self.requests % 7 == 0:
            await self.close()
        if self.requests % 2:
            text = f"{self.tenant} {self.requests}"
            scroll.perhaps.append(text)
            await self._ask("update", number, f"&s={text.replace(' ', '%20')}")
            scroll.acknowledged, scroll.perhaps = text, []
        else:
            got = await self._ask("select", number)
            if not scroll.may_hold(got):
                raise FailedError(f"scroll {number} holds {got!r} and not {scroll}")

    async def _ask(self, what: str, number: int, more: str = "") -> str:
        if self._writer is None:
            opened = asyncio.open_connection("127.0.0.1", self.port)
            self._reader, self._writer = await opened
        reader, writer = self._reader, self._writer
        assert reader is not None
        target = f"/api/v2/{what}?p={PHEXT}&c=1.1.1/1.1.1/1.1.{number}{more}"
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {self.token}\r\n\r\n"
        writer.write(head.encode())
        got = await reader.readuntil(b"\r\n\r\n")
        fields = got.decode("latin-1").split("\r\n")
        length = next(int(f[15:]) for f in fields if f.lower().startswith("content-length:"))
        body = (await reader.readexactly(length)).decode()
        if any(field.lower() == "connection: close" for field in fields):
            await self.close()
        if not fields[0].startswith("HTTP/1.1 200"):
            raise FailedError(f"{fields[0]}: {body.strip()}")
        return body

    async def close(self) -> None:
        """Close the connection."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
