"""What the command prints. Nothing that comes from data reaches a terminal as a control sequence.

Everything printed goes through `say`, `complain`, `show_table` or `emit`: what does not print is
escaped there (`\\x1b`), and JSON is ASCII. Colours are added behind that, for terminals alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from sqsuper.config.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# What a state means at a glance; others have no colour.
_COLOURS = {
    "healthy": "green",
    "ok": "green",
    "valid": "green",
    "failed": "red",
    "bad": "red",
    "unhealthy": "red",
    "revoked": "red",
    "expired": "red",
    "warning": "yellow",
    "starting": "yellow",
    "backoff": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "pending": "yellow",
    "disabled": "bright_black",
    "stopped": "bright_black",
}


def say(text: str, colour: str | None = None) -> None:
    """Print one line on standard output."""
    click.secho(one_line(text), fg=colour)


def complain(text: str) -> None:
    """Print one line on standard error."""
    click.echo(one_line(text), err=True)


def emit(value: Any) -> None:
    """Print `value` as one line of JSON, in ASCII."""
    click.echo(json.dumps(value, sort_keys=False))


def colour_of(word: str) -> str | None:
    """Return the colour that tells what `word` means, if it has one."""
    return _COLOURS.get(word)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their columns' names: framed on a terminal, else aligned by blanks."""
    if sys.stdout.isatty():
        console().print(framed(columns, rows))
        return
    table = [[one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[n]) for row in table) for n in range(len(columns))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def framed(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return the rows as a table for a terminal; a cell is never read as markup."""
    from rich import box  # noqa: PLC0415 - dear to import, and only for terminals
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell), style=colour_of(cell) or "") for cell in row))
    return table


def console() -> Console:
    """Return the terminal as rich writes to it, without reading markup into anything."""
    from rich.console import Console  # noqa: PLC0415 - dear to import, and only for terminals

    return Console(markup=False, emoji=False, highlight=False)


@contextmanager
def progress(label: str, length: int | None, quiet: bool) -> Iterator[Any]:
    """Give what shows progress on standard error: call its `update(steps)`.

    Nothing shows when `quiet`, or where standard error is no terminal.
    """
    hidden = quiet or not sys.stderr.isatty()
    if hidden:
        yield _Silent()
        return
    bar: Any = click.progressbar(label=one_line(label), length=length, file=sys.stderr)
    with bar:
        yield bar


class _Silent:
    def update(self, steps: int) -> None:
        """Show nothing."""


def size(count: int | float | None) -> str:
    """Return bytes as people read them: `12.3 MiB`; None is `-`."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def span(seconds: float | None) -> str:
    """Return a time as people read it: `3d 4h`, `5m 2s`; None is `-`."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for large, small, factor in (("d", "h", 86_400), ("h", "m", 3600), ("m", "s", 60)):
        if whole >= factor:
            rest = whole % factor * {"d": 24, "h": 60, "m": 60}[large] // factor
            return f"{whole // factor}{large} {rest}{small}"
    return f"{whole}s"


def moment(at: float) -> str:
    """Return seconds since the epoch as a time: `2026-01-02 03:04:05Z`."""
    try:
        return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at)
