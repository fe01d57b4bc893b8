"""How files are named by their platform: names.py PROGRAM prints the name here."""

from __future__ import annotations

import os
import platform
import sys

_SYSTEMS = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
_MACHINES = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def platform_name() -> str:
    """Return this platform as files are named by it, such as `linux-x64`."""
    return f"{_SYSTEMS[platform.system()]}-{_MACHINES[platform.machine()]}"


def file_name(program: str) -> str:
    """Return the file's name of `program` on this platform."""
    return f"{program}-{platform_name()}" + (".exe" if os.name == "nt" else "")


if __name__ == "__main__":
    print(file_name(sys.argv[1]))
