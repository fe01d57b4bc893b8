"""Ends the process groups that a supervisor was forced to leave: run as a file, see `Warden`.

Standard library only until the supervisor is gone: it waits on descriptor 0 for lines of JSON,
first where to import from, then `{"watch": GROUP}` and `{"forget": MARKER}`, and `{"end": true}`
when there is nothing left to watch. At the end of file the groups still watched are killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 5.0
NAME = "sqsuper-warden"


def main() -> int:
    os.setsid()
    # It goes when the supervisor has gone, whatever ends that, and not before.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    try:
        with open("/proc/self/comm", "w") as name:
            name.write(NAME)
    except OSError:
        pass
    watched: dict[str, dict[str, Any]] = {}
    paths: list[str] = []
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n"):
            break  # cut off: what it would have said was not done either
        message = json.loads(line)
        if "end" in message:
            return 0
        if "watch" in message:
            watched[message["watch"]["marker"]] = message["watch"]
        elif "forget" in message:
            watched.pop(message["forget"], None)
        else:
            paths = message["paths"]
    if watched:
        sys.path.extend(path for path in paths if path not in sys.path)
        from sqsuper.supervisor import groups  # noqa: PLC0415 - large, and rarely needed

        # A leader ends with its supervisor; what began later is not of its group.
        now = groups.now()
        left = [groups.Group(**{**group, "alive_at": now}) for group in watched.values()]
        groups.end_now(left, 0.0, PATIENCE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
