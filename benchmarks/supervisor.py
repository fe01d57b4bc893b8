"""`make bench-supervisor`: what a tenant's process costs, beside supervisord.

Everything runs on loopback and in a temporary directory.
"""

from __future__ import annotations

import sys

from benchmarks import program
from benchmarks.rows import fleet, many, replaced, starts

GROUPS: program.Groups = {
    "starts": starts.alone,
    "cold": starts.cold,
    "eager": fleet.eager,
    "asleep": fleet.asleep,
    "reload": fleet.reloads,
    "killed": replaced.killed,
    "hung": replaced.hung,
    "active": many.active,
}

if __name__ == "__main__":
    sys.exit(program.main("bench-supervisor", __doc__, GROUPS))
