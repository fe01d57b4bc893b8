"""Commands whose whole output is wanted in one text, for who reads why they failed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any


def run(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; `stdout` of the result holds both its outputs, in their order.

    It reads nothing, unless `input` is given. `more`: as for `subprocess.run`.
    """
    if "input" not in more:
        more["stdin"] = subprocess.DEVNULL
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **more,
    )
