"""Why an instance failed, classed: what clients, events and the restart policy go by."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """One failure's class; details are in the reason that goes with it."""

    CRASH = "crash"
    """It ended by itself, or could not be started, and none of the others is known."""
    OUT_OF_MEMORY = "out of memory"
    """The system killed it for memory, or it could allocate none."""
    MEMORY = "memory limit"
    THREADS = "threads"
    PROBE = "probe"
    """It did not answer any more."""
    START_TIMEOUT = "start timeout"
    PORT_TAKEN = "port taken"
    CANNOT_EXECUTE = "cannot execute"
    """There is no such program, or it may not be run: only another configuration helps."""
