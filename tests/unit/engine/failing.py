"""A disk of which one call fails."""

from __future__ import annotations

import os
from typing import Any

from sqsuper.engine.disk import Disk


class FailingDisk(Disk):
    """Fails one kind of call, the nth time it is made."""

    def __init__(self, call: str, nth: int, code: int) -> None:
        self.call = call
        self.left = nth
        self.code = code
        self.armed = False
        self.fired = False

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("_") or name in ("call", "left", "code", "armed", "fired"):
            return found

        def called(*arguments: Any) -> Any:
            if self.armed and name == self.call:
                self.left -= 1
                if self.left == 0:
                    self.fired = True
                    raise OSError(self.code, os.strerror(self.code))
            return found(*arguments)

        return called
