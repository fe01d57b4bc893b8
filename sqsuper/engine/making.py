"""A connection's answers as they are made: at once, or piece by piece, shown once durable."""

from __future__ import annotations

from sqsuper.engine.answer import Answer, failure
from sqsuper.engine.errors import EngineError, write_error
from sqsuper.engine.request import Request
from sqsuper.engine.texts import LARGE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.service import Service
    from sqsuper.engine.turns import Job
    from sqsuper.http1.head import RequestHead

# Pieces of work that are done at once: most documents need no more.
_FIRST_PIECES = 4


class Making:
    """Makes one answer after the other.

    `number`: of the connection. `give`: called with each answer once all that it shows is
    durable; no other may have been begun before that.
    """

    __slots__ = ("_give", "_job", "_number", "_service", "_waiting")

    def __init__(self, service: Service, number: int, give: Callable[[Answer], None]) -> None:
        self._service = service
        self._number = number
        self._give = give
        self._job: Job[Answer] | None = None
        # The answer that waits until it is durable
        self._waiting: Answer | None = None

    def begin(self, head: RequestHead, pieces: list[bytes]) -> None:
        """Answer a request, whose body is `pieces`."""
        if len(pieces) > 1 and sum(map(len, pieces)) > LARGE_BYTES:
            self._begin_work(self._answer_large(head, pieces))
            return
        try:
            answer = self._ask(head, b"".join(pieces))
        except Exception as error:
            answer = self._fault(error)
        if isinstance(answer, Answer):
            self._made(answer)
        else:
            self._begin_work(answer)

    def drop(self) -> None:
        """Make nothing more: nobody is there to take it."""
        self._waiting = None
        job, self._job = self._job, None
        if job is not None:
            job.close()

    def _ask(self, head: RequestHead, content: bytes) -> Answer | Job[Answer]:
        request = Request(head.method, head.target, content, self._number, head.fields)
        return self._service.api.answer(request)

    def _answer_large(self, head: RequestHead, pieces: list[bytes]) -> Job[Answer]:
        content = yield from self._service.api.store.joined(pieces)
        pieces.clear()
        answer = self._ask(head, content)
        return answer if isinstance(answer, Answer) else (yield from answer)

    def _fault(self, error: Exception) -> Answer:
        # A fault of ours: told to nobody but the log.
        self._service.report(error)
        return failure(EngineError("internal error"))

    def _begin_work(self, job: Job[Answer]) -> None:
        self._job = job
        for _ in range(_FIRST_PIECES):
            if not self._work():
                return
        self._service.turns.add(self._work)

    def _work(self) -> bool:
        """Do a piece of the answer. False: it is made, or waits for something."""
        job = self._job
        if job is None:
            return False
        try:
            gate = next(job)
        except StopIteration as end:
            answer: Answer = end.value
        except Exception as error:
            answer = self._fault(error)
        else:
            if gate is None:
                return True
            gate.wait(self._go_on)
            return False
        self._job = None
        self._made(answer)
        return False

    def _go_on(self) -> None:
        if self._job is not None:
            self._service.turns.add(self._work)

    def _made(self, answer: Answer) -> None:
        if answer.after:
            self._waiting = answer
            self._service.commits.wait(answer.after, self._durable)
        else:
            self._give(answer)

    def _durable(self, error: BaseException | None) -> None:
        answer, self._waiting = self._waiting, None
        if answer is None:
            return
        self._give(answer if error is None else failure(write_error(answer.name, error)))
