"""How every process with a program of ours begins: the interpreter that runs this one, isolated.

The single-file program unpacks a whole interpreter and becomes it, so this holds there as well;
see docs/binary.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import sqsuper


def with_file(program: Path) -> list[str]:
    """Return how to run the file `program`: with the standard library, and no other path."""
    return [sys.executable, "-I", "-S", str(program)]


def with_text(program: str) -> list[str]:
    """Return how to run `program`, which is given as text, with the standard library alone."""
    return [sys.executable, "-I", "-S", "-c", program]


def with_ours(program: str) -> list[str]:
    """Return how to run `program`, a text that imports what we can: it begins with `FIND_OURS`."""
    own = str(Path(sqsuper.__file__).resolve().parent.parent)
    paths = dict.fromkeys([*(path for path in sys.path if os.path.isabs(path)), own])
    return [sys.executable, "-I", "-c", program, os.pathsep.join(paths)]


# What a new interpreter does first: it finds packages where its parent found them.
FIND_OURS = "import os, sys;sys.path[:] = sys.argv.pop(1).split(os.pathsep);"
