"""A data directory with everything that stands on it, driven without HTTP."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from sqsuper.engine.answer import Answer
from sqsuper.engine.api import Api
from sqsuper.engine.checkpoints import Policy
from sqsuper.engine.coordinates import Reading
from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.disk import Disk
from sqsuper.engine.errors import write_error
from sqsuper.engine.loaded import Phext, Unloaded
from sqsuper.engine.request import Request
from sqsuper.engine.storage import Storage
from sqsuper.sockets import Loop

if TYPE_CHECKING:
    from sqsuper.engine.turns import Job

DEADLINE = 15.0
# Nothing is saved by itself.
NEVER = Policy(idle=1e6, age=1e6, journal=1 << 30)
Result = TypeVar("Result")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail, rather than hang, where something takes time in the square of its input."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"not within {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Opened:
    """A storage on a directory and its loop. Leave it with `close` or `stop`."""

    def __init__(
        self, data: Path, *, disk: Disk | None = None, policy: Policy = NEVER, **options: Any
    ) -> None:
        self.data = data
        self.lines: list[str] = []
        self.errors: list[BaseException] = []
        self.loop = Loop()
        self.directory = DataDirectory(str(data), disk)
        self.directory.lock()
        self.storage = Storage(
            self.loop,
            self.directory,
            clock=time.monotonic,
            log=self.lines.append,
            report=self.errors.append,
            policy=policy,
            **options,
        )
        self.store = self.storage.store
        self.commits = self.storage.commits
        self.closed = False

    def close(self) -> None:
        """End as when the control pipe closes."""
        if not self.closed:
            self.closed = True
            self.storage.close()
            self.directory.close()
            self.loop.close()
        assert self.errors == []

    def stop(self) -> None:
        """End as after SIGTERM."""
        stopped: list[bool] = []
        self.storage.stop(lambda: stopped.append(True))
        self.until(lambda: bool(stopped))
        self.closed = True
        self.directory.close()
        self.loop.close()
        assert self.errors == []

    def until(self, condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Make turns until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited too long"
            self.loop.turn(0.01)

    def run(self, job: Job[Result]) -> Result:
        """Do a whole job; others go on at its pauses."""
        passed: list[bool] = []
        while True:
            try:
                gate = next(job)
            except StopIteration as end:
                result: Result = end.value
                return result
            passed.clear()
            if gate is None:
                self.loop.turn(0)
            else:
                gate.wait(lambda: passed.append(True))
                self.until(lambda: bool(passed))

    def durable(self, group: int) -> BaseException | None:
        """Wait until a group is durable; return why it is not."""
        outcome: list[BaseException | None] = []
        self.commits.wait(group, outcome.append)
        self.until(lambda: bool(outcome))
        return outcome[0]

    def open(self, name: str) -> Phext:
        while True:
            try:
                return self.store.open(name)
            except Unloaded as missing:
                self.run(self.store.loading(missing))

    def get(self, name: str, key: int) -> bytes:
        return self.open(name).document.get(key)

    def apply(self, name: str, changes: dict[int, bytes]) -> None:
        """Write as a request does; raises what it would be answered."""
        phext = self.open(name)
        error = self.durable(self.store.apply(phext, changes))
        if error is not None:
            raise write_error(name, error)

    def settle(self) -> None:
        """Have everything saved that can be."""
        for place in list(self.store.unsaved.places()):
            phext = self.store.phext_at(place) or self.store.open_place(place)
            self.storage.checkpoints.save(phext)
        self.until(lambda: not self.store.unsaved.places() and not self.storage.checkpoints.running)
        self.until(lambda: self.commits.idle)


class Tenant(Opened):
    """An API on a directory."""

    def __init__(self, data: Path, *, lenient: bool = False, **options: Any) -> None:
        super().__init__(data, max_phext=10_000, **options)
        self.api = Api(self.store, Reading(lenient), "alice")

    def answer(
        self,
        method: str,
        target: str | bytes,
        body: bytes = b"",
        **fields: str,
    ) -> Answer:
        """Return the answer once it may be shown. `fields`: of the head, `_` for `-`."""
        raw = target if isinstance(target, bytes) else target.encode("utf-8")
        lines = [
            (name.replace("_", "-").encode(), value.encode("latin-1"), b"")
            for name, value in fields.items()
        ]
        request = Request(method.encode(), b"/api/v2/" + raw, body, 7, lines)
        made = self.api.answer(request)
        answer = made if isinstance(made, Answer) else self.run(made)
        error = self.durable(answer.after)
        if error is not None:
            failed = write_error(answer.name, error)
            return Answer(status=failed.status, error=failed)
        return answer

    def ask(
        self, method: str, target: str | bytes, body: bytes = b"", **fields: str
    ) -> tuple[int, bytes]:
        answer = self.answer(method, target, body, **fields)
        if answer.error is not None:
            return answer.status, str(answer.error).encode()
        content = answer.body
        if answer.pieces is not None:
            content = b"".join(answer.pieces)
        elif answer.file is not None:
            content = answer.file.read_all()
        assert answer.length is None or len(content) == answer.length
        return answer.status, content

    def get_text(self, target: str | bytes) -> bytes:
        status, content = self.ask("GET", target)
        assert status == 200, content
        return content

    def post(self, target: str | bytes, body: bytes = b"") -> bytes:
        status, content = self.ask("POST", target, body)
        assert status == 200, content
        return content

    def put(self, text: bytes, coordinate: str = "1.1.1/1.1.1/1.1.1", name: str = "t") -> None:
        self.post(f"update?p={name}&c={coordinate}", text)

    def files(self) -> dict[str, bytes]:
        """Return all files' contents, once everything is saved."""
        self.settle()
        return tree(self.data)

    def refused(self, method: str, target: str | bytes, body: bytes = b"") -> tuple[int, str]:
        before = self.files()
        answer = self.answer(method, target, body)
        assert answer.error is not None, answer.body
        assert self.files() == before
        assert str(self.data) not in str(answer.error)
        return answer.status, answer.error.code


def tree(data: Path) -> dict[str, bytes]:
    """Return the contents of all files but the journal's and temporary ones."""
    return {
        path.name: path.read_bytes()
        for path in data.iterdir()
        if path.is_file()
        and not path.is_symlink()
        and not path.name.startswith((".journal-", ".sqsuper-"))
    }
