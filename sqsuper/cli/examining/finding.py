"""What was found, and what would mend it."""

from __future__ import annotations

from enum import Enum

import attrs


class Level(Enum):
    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@attrs.frozen
class Finding:
    """`area`: what was looked at, one word; `told`: what is so; `remedy`: what would mend it."""

    area: str
    level: Level
    told: str
    remedy: str = ""


def ok(area: str, told: str) -> Finding:
    return Finding(area, Level.OK, told)


def warning(area: str, told: str, remedy: str) -> Finding:
    return Finding(area, Level.WARNING, told, remedy)


def bad(area: str, told: str, remedy: str) -> Finding:
    return Finding(area, Level.BAD, told, remedy)
