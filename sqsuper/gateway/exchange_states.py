"""The states of an exchange, and which may follow which.

It begins in QUEUED; what was a plain request begins in AWAITING (`take_over`).
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    QUEUED = auto()  # for a slot, or for the instance to start
    SPOOLING = auto()  # the chunked body is read to its end
    CONNECTING = auto()  # or about to connect again
    SENDING = auto()  # head and body
    AWAITING = auto()  # all was sent; no whole head of the answer yet
    RELAYING = auto()  # the answer's body
    DONE = auto()

    # By identity: Enum's own is slow, and this is asked for with every step.
    __hash__ = object.__hash__


NEXT: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SPOOLING, State.CONNECTING, State.DONE}),
    State.SPOOLING: frozenset({State.CONNECTING, State.DONE}),
    State.CONNECTING: frozenset({State.QUEUED, State.SENDING, State.DONE}),
    State.SENDING: frozenset({State.AWAITING, State.RELAYING, State.DONE}),
    State.AWAITING: frozenset({State.RELAYING, State.DONE}),
    State.RELAYING: frozenset({State.DONE}),
    State.DONE: frozenset(),
}
