"""Which format a file is in, by its content; and its tenants."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sqsuper.cli.formats import lines, structured
from sqsuper.cli.formats.found import FormatError, Listing, UnknownFormatError
from sqsuper.config.errors import UnreadableError
from sqsuper.config.source import MAX_FILE, decode, read_bytes

KNOWN = (
    "router-config.json, a tenants JSON, sq-gateway.toml, an nginx map of tokens to ports,"
    " a systemd environment file (PORT=, API_KEY=), a tokens CSV"
)
_TABLE = re.compile(r"^\s*\[\[?\s*(?:gateway|tenants)\s*\]\]?", re.MULTILINE)


def read(file: Path) -> Listing:
    """Return what a file tells of tenants. Raises FormatError."""
    shown = str(file)
    absolute = Path(os.path.abspath(file))
    try:
        content, _status = read_bytes(absolute, shown, MAX_FILE)
        # A byte order mark is what spreadsheets put before a CSV.
        text = decode(content.removeprefix(b"\xef\xbb\xbf"), shown)
    except UnreadableError as error:
        raise FormatError(shown, error.line, error.problem) from None
    return parse(text, shown, absolute.parent)


def parse(text: str, file: str, base: Path) -> Listing:
    """Return what a text tells of tenants; relative paths are taken from `base`.

    Raises FormatError, UnknownFormatError.
    """
    start = text.lstrip()[:1]
    if start == "{" or (start == "[" and not _TABLE.match(text.lstrip())):
        return structured.read_json(text, file, base)
    if lines.MAP.search(text):
        return lines.read_nginx(text, file, base)
    if _TABLE.search(text):
        return structured.read_gateway(text, file, base)
    if lines.VARIABLE.search(text):
        return lines.read_systemd(text, file, base)
    if lines.is_csv(text):
        return lines.read_csv(text, file, base)
    raise UnknownFormatError(file, None, f"is in no format that is known: {KNOWN}")
