"""What an exchange needs of the client's connection that it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sqsuper.gateway.failure import Failure
from sqsuper.gateway.limits import Limits
from sqsuper.gateway.spool import Spool
from sqsuper.http1.errors import FramingError

if TYPE_CHECKING:
    from sqsuper.gateway.exchange import Exchange


class Client(Protocol):
    """See the module's text."""

    @property
    def buffer(self) -> bytearray:
        """What was read and belongs to the body, or to what follows it."""

    @property
    def timing(self) -> Limits: ...
    def send(self, data: bytes) -> bool: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...
    def fail(self, exchange: Exchange, failure: Failure) -> None:
        """Answer with an error; the exchange is over and nothing was answered yet."""

    def refuse(self, exchange: Exchange, error: FramingError) -> None:
        """Refuse what is left of the request; the exchange is over."""

    def finished(self, keep: bool) -> None:
        """Go on after a whole answer; `keep`: with the next request."""

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]: ...
    def seconds(self) -> float: ...
    def closing(self) -> bool:
        """Whether this request is the connection's last."""

    def new_spool(self) -> Spool: ...
