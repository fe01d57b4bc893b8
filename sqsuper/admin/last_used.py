"""When each token was last used, kept over restarts in `<data_root>/.last-used.json`.

There and not in `run_dir`, which service managers empty. The gateway tells of what it admitted
since its start; what is here is of starts before, and of tokens that it no longer knows.
"""

from __future__ import annotations

import heapq
import json
import os
import re
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from sqsuper.admin.files import replace
from sqsuper.config.errors import ConfigError
from sqsuper.config.model import Config
from sqsuper.config.overlay import overlay_of, read_overlay
from sqsuper.regular_file import open_regular
from sqsuper.slices import Slices

FILE = ".last-used.json"
ASIDE = ".last-used.damaged.json"
FORMAT = 1
# Seconds from one look at what the gateway tells to the next; at most one save each.
INTERVAL = 60.0
# The newest so many are kept.
MAX_TOKENS = 100_000
MAX_BYTES = 16 * 1024 * 1024
# Of a time that is told anew: the two clocks it is reckoned by run apart.
_SAME = 1.0
_DIGEST = re.compile(r"[0-9a-f]{64}")

Used = dict[bytes, float]


class DamagedError(Exception):
    """The file is not one of ours, or not whole; the text is for people."""


class LastUsed(Service):
    """Asks `told(digest)`, the gateway, and remembers; times are seconds since the epoch.

    `config()`: what is in force; `data_root`: where the file is. `startService` gives a Deferred
    that fires when the file was read, `stopService` one that fires when it was saved: to be
    stopped after the gateway. Nothing that is wrong with the file fails either.
    """

    _log = Logger()

    def __init__(
        self,
        told: Callable[[bytes], float | None],
        config: Callable[[], Config],
        data_root: Path,
        reactor: Any,
    ) -> None:
        self._told = told
        self._config = config
        self._file = data_root / FILE
        self._reactor = reactor
        self._slices = Slices(reactor)
        self._used: Used = {}
        self._changed = False
        self._fails = False
        self._call: IDelayedCall | None = None
        self._lock = DeferredLock()
        self._revoked = _Revoked()

    def used(self, digest: bytes) -> float | None:
        """Return when a token was last admitted; None: never, as far as is known.

        What is asked for is remembered, also once the gateway has forgotten that token.
        """
        at = self._told(digest)
        if at is None:
            return self._used.get(digest)
        known = self._used.get(digest)
        # A later start's word counts, whatever the clock said before.
        if known is None or abs(at - known) >= _SAME:
            self._used[digest] = at
            self._changed = True
        return at

    # Service

    def startService(self) -> Deferred[None]:
        super().startService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            self._used = await self._threaded(partial(read, self._file))
        except FileNotFoundError:
            pass
        except (DamagedError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            aside = await self._threaded(partial(_put_aside, self._file))
            self._log.error(
                "{file} is not readable ({why}) and {became}: when tokens were used before is not"
                " known",
                file=str(self._file),
                why=why,
                became="stays there" if aside is None else f"was put aside as {aside}",
            )
        if self.running:
            self._call = self._reactor.callLater(INTERVAL, self._look)

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        return Deferred.fromCoroutine(self._save())

    def _look(self) -> None:
        self._call = None
        Deferred.fromCoroutine(self._save()).addBoth(self._saved)

    def _saved(self, _: object) -> None:
        if self.running:
            self._call = self._reactor.callLater(INTERVAL, self._look)

    # What is saved

    async def _save(self) -> None:
        """Save what changed. Raises nothing."""
        await self._lock.acquire()
        try:
            configured, revokes = await self._slices.run(self._collect())
            if self._changed:
                self._changed = False
                overlay = overlay_of(self._config().file) if revokes else None
                write = partial(self._write, dict(self._used), configured, overlay)
                for digest in await self._threaded(write):
                    del self._used[digest]
                self._fails = False
        except OSError as error:
            self._changed = True
            if not self._fails:
                self._fails = True
                self._log.error(
                    "{file} cannot be written ({why}): when tokens were used may be forgotten at"
                    " the next start; it is tried again each minute",
                    file=str(self._file),
                    why=error.strerror or str(error),
                )
        except Exception:
            self._log.failure("when tokens were used could not be saved")
        finally:
            self._lock.release()

    def _collect(self) -> Generator[None, None, tuple[set[bytes], bool]]:
        """Ask of all tokens; return their digests, and whether the overlay revokes any."""
        digests: set[bytes] = set()
        revokes = False
        for tenant in self._config().tenants:
            revokes = revokes or "revoked" in tenant.origin.overlay
            for token in tenant.tokens:
                digests.add(token.sha256)
                self.used(token.sha256)
            yield
        return digests, revokes

    def _write(self, used: Used, configured: set[bytes], overlay: Path | None) -> set[bytes]:
        """Write those of tokens that there are; return those that are nobody's any more."""
        revoked = set() if overlay is None else self._revoked.digests(overlay)
        gone = set() if revoked is None else used.keys() - configured - revoked
        replace(self._file, text_of(newest({d: at for d, at in used.items() if d not in gone})))
        return gone

    def _threaded(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call)
        return done


class _Revoked:
    """The overlay's revoked tokens, read when it changed. For one thread at a time."""

    def __init__(self) -> None:
        self._seen: tuple[int, ...] | None = None
        self._digests: set[bytes] = set()

    def digests(self, overlay: Path) -> set[bytes] | None:
        """Return them; None if the overlay cannot be read now."""
        try:
            status = os.stat(overlay)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                patches = read_overlay(overlay, str(overlay))
                self._digests = {one for patch in patches.values() for one in patch.revoked}
                self._seen = seen
        except FileNotFoundError:
            return set()
        except (OSError, ConfigError):
            return None
        return self._digests


def newest(used: Used, most: int = MAX_TOKENS) -> Used:
    """Return the `most` that were used last."""
    if len(used) <= most:
        return used
    return dict(heapq.nlargest(most, used.items(), key=lambda item: item[1]))


def text_of(used: Mapping[bytes, float]) -> str:
    """Return the file's text, one line a token: made in steps, between which others run."""
    lines = ",\n".join(f' "{digest.hex()}": {at:.3f}' for digest, at in used.items())
    return f'{{"format": {FORMAT}, "tokens": {{\n{lines}\n}}}}\n'


def read(file: Path) -> Used:
    """Return what a file says. Raises DamagedError, OSError."""
    with open(open_regular(file), "rb") as opened:
        text = opened.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise DamagedError(f"it is larger than {MAX_BYTES} bytes")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise DamagedError("it is not JSON") from None
    if not isinstance(told, dict) or not isinstance(told.get("tokens"), dict):
        raise DamagedError("it holds no tokens")
    if told.get("format") != FORMAT:
        raise DamagedError("it is of another format")
    used: Used = {}
    for digest, at in told["tokens"].items():
        if not _DIGEST.fullmatch(digest) or not _is_time(at):
            raise DamagedError("an entry is no digest with a time")
        used[bytes.fromhex(digest)] = float(at)
    return newest(used)


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # Until the year 9999, which is as far as a time can be shown.
    return 0 <= value < 253_402_300_800


def _put_aside(file: Path) -> Path | None:
    """Return where it is then; None: it stays."""
    aside = file.with_name(ASIDE)
    try:
        os.replace(file, aside)
    except OSError:
        return None
    return aside
