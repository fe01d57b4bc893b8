"""`make bench-gateway`: the gateway and what it replaces, in one run, as one table.

Rates of one machine move: what is compared is measured back to back in each round, and what
counts is the median of the ratios within the rounds. A peer that is not installed is said.
`sq` closes every connection without a word: wrk counts that as read errors, which are left out
for it.
"""

from __future__ import annotations

import sys

from benchmarks import load, program
from benchmarks.rows import bodies, many, plain, steady, tls

GROUPS: program.Groups = {
    "select": plain.select,
    "update": plain.update,
    "log": plain.access_log,
    "bodies": bodies.bodies,
    "idle": many.idle,
    "configured": many.configured,
    "active": many.active,
    "tls": tls.kept,
    "handshakes": tls.handshakes,
    "flood": tls.latency,
    "real": steady.real,
    "killed": steady.killed,
}


def main() -> int:
    """Measure, print and keep; the exit status is 1 without wrk, else the program's."""
    if not load.available():
        print("bench-gateway: wrk is not installed (apt-get install wrk)", file=sys.stderr)  # noqa: T201
        return 1
    return program.main("bench-gateway", __doc__, GROUPS)


if __name__ == "__main__":
    sys.exit(main())
