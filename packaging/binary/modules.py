"""Gathers the compiled modules of a packed interpreter in a few files, see importing.py."""

from __future__ import annotations

import marshal
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMPORTING = "_sqsuper_importing"
INDEX = "modules.index"
PART = "modules.{:02}"
# About how many bytes a part has; fewer than are packed together.
PART_SIZE = 4 << 20
# What comes before the code in a compiled module's file.
HEADER = 16
# Needed before any can be found here; `os` tells the interpreter which directory is its library.
FIRST = (
    "__future__.pyc",
    f"{IMPORTING}.pyc",
    "encodings/__init__.pyc",
    "encodings/aliases.pyc",
    "os.pyc",
)
# Twisted looks for plugins in directories.
PLUGINS = "site-packages/twisted/plugins"


def hook(library: Path) -> None:
    """Let `library`, which is not yet compiled, import what will be gathered."""
    shutil.copy(HERE / "importing.py", library / f"{IMPORTING}.py")
    first = library / "encodings" / "__init__.py"
    first.write_text(f"{first.read_text('utf-8')}\nimport {IMPORTING}\n", "utf-8")


def gather(library: Path) -> None:
    """Gather the compiled modules below `library` in it, and remove their files."""
    gathered: dict[str, dict[str, tuple[str, str, int, int]]] = {}
    parts = [bytearray()]
    for file in sorted(library.rglob("*.pyc")):
        below = file.relative_to(library)
        if file.parent.name == "__pycache__" or below.parent == Path(PLUGINS):
            continue
        code = file.read_bytes()[HEADER:]
        if len(parts[-1]) + len(code) > PART_SIZE:
            parts.append(bytearray())
        place = (PART.format(len(parts) - 1), len(parts[-1]), len(code))
        parts[-1] += code
        if file.stem == "__init__":
            # It is found in the directory above.
            above = gathered.setdefault(_inside(below.parent.parent), {})
            above[below.parent.name] = (str(Path(below.parent.name, below.name)), *place)
        else:
            gathered.setdefault(_inside(below.parent), {})[file.stem] = (below.name, *place)
        if below.as_posix() not in FIRST:
            file.unlink()
    for number, part in enumerate(parts):
        (library / PART.format(number)).write_bytes(part)
    index = {directory: marshal.dumps(entries) for directory, entries in gathered.items()}
    (library / INDEX).write_bytes(marshal.dumps(index))
    for directory in sorted(library.rglob("*"), reverse=True):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def _inside(directory: Path) -> str:
    """Return a directory below the library as the system writes it, the library itself as ''."""
    return "" if directory == Path() else str(directory)
