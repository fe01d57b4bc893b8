"""Which names a phext may have."""

from __future__ import annotations

import os
import re

from sqsuper.engine.errors import ForbiddenNameError

MAX_NAME_BYTES = 200
SUFFIX = ".phext"

# Control characters (Cc), and what separates or leads out of a directory on any system.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]|\.\.")
# Devices of Windows, with or without an extension; superscript digits count there, and
# blanks before the extension do not.
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])"
    r"[ ]*(?:\..*)?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_WINDOWS = os.name == "nt"


def check(name: str) -> None:
    """Raise ForbiddenNameError unless `name` (decoded once) may name a phext."""
    if (
        not name
        or name[0] == "."
        or _FORBIDDEN.search(name) is not None
        or _DEVICE.fullmatch(name) is not None
        or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES
        or (_WINDOWS and (":" in name or name[-1] in ". "))
    ):
        raise ForbiddenNameError


def is_allowed(name: str) -> bool:
    """Whether `name` may name a phext."""
    try:
        check(name)
    except ForbiddenNameError:
        return False
    return True


def of_file(filename: str) -> str | None:
    """Return the name of the phext that a file of the data directory holds, or None."""
    if not filename.endswith(SUFFIX):
        return None
    name = filename[: -len(SUFFIX)]
    return name if is_allowed(name) else None
