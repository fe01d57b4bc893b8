"""A small readiness loop over non-blocking sockets; standard library only."""

from sqsuper.sockets.connection import Connection
from sqsuper.sockets.listener import Listener
from sqsuper.sockets.loop import Loop, Timer

__all__ = ["Connection", "Listener", "Loop", "Timer"]
