"""What a file of another program tells of a tenant, and why it may not be readable."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen
class Found:
    """One tenant as it stands in a file; None: the file does not say.

    `where`: file and line or entry, for people. `notes`: what is not taken over, or is odd.
    """

    where: str
    token: str | None = attrs.field(default=None, repr=False)
    name: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    enabled: bool = True
    quota_mb: int | None = None
    admin_email: str | None = None
    notes: tuple[str, ...] = ()


@attrs.frozen
class Listing:
    """A file's tenants in its order. `kind`: the format, for people; `notes`: of the whole."""

    kind: str
    tenants: tuple[Found, ...]
    notes: tuple[str, ...] = ()


@attrs.define
class FormatError(Exception):
    """A file that cannot be read as what it seems to be; `str()` is one line."""

    file: str
    line: int | None
    problem: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.problem}"


class UnknownFormatError(FormatError):
    """A file in none of the known formats."""
