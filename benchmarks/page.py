"""`make bench-page`: the status page with 500 tenants under load, in Chromium."""

from __future__ import annotations

import sys

from benchmarks import program
from benchmarks.rows import page

GROUPS: program.Groups = {
    "open": page.open_page,
    "lists": page.lists,
}

if __name__ == "__main__":
    sys.exit(program.main("bench-page", __doc__, GROUPS))
