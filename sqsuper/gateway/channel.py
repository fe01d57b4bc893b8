"""The control channel between the supervisor's process and a worker: JSON in frames.

Each frame is four bytes of length and one JSON array, the message: its kind and its facts.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_FRAME = 64 * 1024 * 1024

log = Logger()

# What is sent, and whom it is for: facts are what JSON can hold.
Handler = Callable[..., None]


@implementer(IFileDescriptorReceiver)
class Channel(Int32StringReceiver):
    """One end. `handlers` take the other end's messages by kind; `lost` learns of the end.

    A message that has no handler, or whose handler raises, is logged and skipped.
    """

    MAX_LENGTH = MAX_FRAME

    def __init__(self, handlers: dict[str, Handler], lost: Callable[[], None]) -> None:
        self._handlers = handlers
        self._lost = lost
        self._open = False
        self._descriptors: deque[int] = deque()

    def connectionMade(self) -> None:
        self._open = True

    @property
    def is_open(self) -> bool:
        return self._open

    def say(self, kind: str, *facts: Any) -> None:
        """Send a message; nothing happens when the other end is gone."""
        if self._open:
            text = json.dumps([kind, *facts], separators=(",", ":"))
            self.sendString(text.encode("ascii"))  # type: ignore[no-untyped-call]

    def hand(self, fd: int) -> None:
        """Send a descriptor, which stays ours; the message that comes next is about it."""
        if self._open:
            self.transport.sendFileDescriptor(fd)  # type: ignore[union-attr]

    def handed(self) -> int:
        """Return the descriptor that was sent first and not taken yet; the caller's from here.

        Raises IndexError when there is none.
        """
        return self._descriptors.popleft()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        self._descriptors.append(descriptor)

    def end(self) -> None:
        """Close once what was said has left."""
        if self._open:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def stringReceived(self, string: bytes) -> None:
        try:
            kind, *facts = json.loads(string)
            self._handlers[kind](*facts)
        except Exception:
            # Not its text: keys are in some messages.
            log.failure("a message on the control channel was not understood")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        self._lost()


class ChannelFactory(Factory):
    """Makes one given channel of a descriptor that the reactor adopts."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: object) -> Channel:
        return self._channel
