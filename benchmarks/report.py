"""Rows of a run: as one printed table, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from benchmarks.figures import Goal

PASS, MISS, ABSENT, FAILED, INFO = "pass", "MISS", "not measured", "FAILED", ""


@attrs.frozen
class Row:
    """One line of the table. `figures`: what it was made of, for the JSON."""

    work: str
    goal: str
    reached: str
    verdict: str
    note: str = ""
    figures: dict[str, Any] = attrs.field(factory=dict)


def judged(
    work: str, goal: Goal, value: float, *, note: str = "", errors: int = 0, **figures: Any
) -> Row:
    """Return the row of a figure that has a goal; with `errors` of ours it is missed."""
    met = goal.met(value) and not errors
    remarks = [f"{errors} errors"] if errors else []
    if met and goal.stretched(value):
        remarks.append("stretch reached")
    if note:
        remarks.append(note)
    figures = {"value": value, "errors": errors, **figures}
    verdict = PASS if met else MISS
    return Row(work, str(goal), number(value) + goal.unit, verdict, "; ".join(remarks), figures)


def number(value: float) -> str:
    """Return a figure as the table shows it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def absent(work: str, goal: Goal | None, reason: str) -> Row:
    """Return the row of what could not be measured, and why."""
    return Row(work, str(goal or ""), "-", ABSENT, reason)


def failed(work: str, error: Exception) -> Row:
    """Return the row of a measurement that broke."""
    return Row(work, "", "-", FAILED, f"{type(error).__name__}: {error}"[:500])


def shown(work: str, reached: str, *, note: str = "", **figures: Any) -> Row:
    """Return a row without a goal, to read the others by."""
    return Row(work, "", reached, INFO, note, figures)


def table(rows: Sequence[Row]) -> str:
    """Return Markdown, its columns as wide as they must be."""
    lines = [("work", "to reach", "reached", "", "beside it")]
    lines += [(row.work, row.goal, row.reached, row.verdict, row.note) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    lines.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3], "---"))
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=False)] + [line[4]]
        for line in lines
    )
    return "\n".join("| " + " | ".join(cells).rstrip() + " |" for cells in padded)


def document(rows: Sequence[Row], **about: Any) -> str:
    """Return the run as JSON text."""
    return json.dumps({**about, "rows": [attrs.asdict(row) for row in rows]}, indent=1) + "\n"
