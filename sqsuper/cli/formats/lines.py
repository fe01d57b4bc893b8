"""The formats of lines: an nginx map, a systemd environment file, a list of tokens in CSV."""

from __future__ import annotations

import csv
import io
import re
import shlex
from pathlib import Path

from sqsuper.cli.formats.fields import Fields, not_taken
from sqsuper.cli.formats.found import FormatError, Found, Listing

NGINX = "an nginx map"
SYSTEMD = "a systemd environment file"
CSV = "a list of tokens (CSV)"

# Where the units of sq-tenant@NAME keep NAME's data.
SYSTEMD_DATA = Path("/var/lib/sq/tenants")
MAP = re.compile(r"\bmap\s+\$(?:http_authorization|http_x_sq_api_key)\s+\$\w+\s*\{", re.ASCII)
VARIABLE = re.compile(r"^\s*(?:export\s+)?API_KEY\s*=", re.ASCII | re.MULTILINE)
_PAIR = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s;{}]+)""")
_BEARER = re.compile(r"(?:Bearer\s+)?(\S+)", re.ASCII | re.IGNORECASE)
_TARGET = re.compile(r"(?:.*:)?([0-9]{1,5})", re.ASCII)
# What stands in a map without being a value to be compared.
_DIRECTIVES = frozenset({"default", "hostnames", "volatile", "include"})


def read_nginx(text: str, file: str, base: Path) -> Listing:
    """Return the tenants of every `map` of Authorization (or the API key's field) to a port.

    A map to `127.0.0.1:PORT` counts too. Raises FormatError.
    """
    bare = _without_comments(text)
    found: list[Found] = []
    notes: list[str] = []
    for start in MAP.finditer(bare):
        end = bare.find("}", start.end())
        if end < 0:
            line = bare.count("\n", 0, start.start()) + 1
            raise FormatError(file, line, "the map does not end")
        at = start.end()
        for statement in bare[start.end() : end].split(";"):
            line = bare.count("\n", 0, at + len(statement) - len(statement.lstrip())) + 1
            at += len(statement) + 1
            words = [_unquoted(word) for word in _PAIR.findall(statement)]
            if not words or words[0] in _DIRECTIVES:
                continue
            if len(words) != 2:
                raise FormatError(file, line, "the map's entry must be a token and a port")
            if words[0].startswith("~"):
                notes.append(f"line {line}: a pattern is not taken over; only whole tokens are")
                continue
            found.append(_mapped(words[0], words[1], file, line, base))
    return Listing(NGINX, tuple(found), tuple(notes))


def _mapped(token: str, port: str, file: str, line: int, base: Path) -> Found:
    bearer, target = _BEARER.fullmatch(token), _TARGET.fullmatch(port)
    if bearer is None:
        raise FormatError(file, line, "the map's entry holds no token")
    if target is None:
        raise FormatError(file, line, "the map's entry holds no port")
    fields = Fields({"token": bearer[1], "port": target[1]}, file, line, "the map's entry", base)
    return fields.found()


def _without_comments(text: str) -> str:
    """Return the text with comments blanked; a `#` inside quotes begins none."""
    return re.sub(
        r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|#[^\n]*""",
        lambda found: "" if found[0].startswith("#") else found[0],
        text,
    )


def _unquoted(word: str) -> str:
    if word[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word


def read_systemd(text: str, file: str, base: Path) -> Listing:
    """Return the one tenant of an environment file, named as the file. Raises FormatError.

    Its data is in /var/lib/sq/tenants/NAME, unless DATA_DIR says otherwise.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ").strip()
        if not stripped or stripped[0] in "#;":
            continue
        key, equals, value = stripped.partition("=")
        if not equals:
            raise FormatError(file, number, "is no NAME=VALUE")
        try:
            values[key.strip().lower()] = " ".join(shlex.split(value))
        except ValueError:
            raise FormatError(file, number, "a quote does not end") from None
    name = Path(file).name.removesuffix(".env").removeprefix("sq-tenant@")
    fields = Fields(values, file, None, "the file", base)
    data_dir = fields.path("data_dir", "sq_data_dir") or SYSTEMD_DATA / name
    left = not_taken(key.upper() for key in fields.others("sq_data_dir"))
    return Listing(SYSTEMD, (fields.found(name=name, data_dir=data_dir),), left)


def read_csv(text: str, file: str, base: Path) -> Listing:
    """Return the tenants of a CSV file whose first line names its columns. Raises FormatError.

    A row without a token is a slot that nobody has: it is noted and left out.
    """
    bare = text.lstrip("\r\n")
    above = text.count("\n", 0, len(text) - len(bare))
    delimiter = _delimiter(bare.partition("\n")[0])
    rows = csv.DictReader(
        io.StringIO(bare, newline=""), strict=True, skipinitialspace=True, delimiter=delimiter
    )
    found: list[Found] = []
    notes: list[str] = []
    left: list[str] = []
    try:
        for row in rows:
            line = above + rows.line_num
            if None in row:
                raise FormatError(file, line, "has more fields than the first line names")
            values = {key.strip().lower(): value for key, value in row.items()}
            if not any((value or "").strip() for value in values.values()):
                continue
            fields = Fields(values, file, line, "the row", base)
            if fields.text("token") is None:
                slot = fields.text("slot", "name")
                notes.append(f"line {line}: no token{f' in slot {slot}' if slot else ''}, left out")
                continue
            left += fields.others()
            found.append(fields.found())
    except csv.Error as error:
        raise FormatError(file, above + rows.line_num, f"is not CSV: {error}") from None
    return Listing(CSV, tuple(found), (*notes, *not_taken(left)))


def is_csv(text: str) -> bool:
    """Whether the first line names columns, `token` among them."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    columns = {column.strip(' "').lower() for column in first.split(_delimiter(first))}
    return "token" in columns and len(columns) > 1


def _delimiter(first: str) -> str:
    """Return what stands between columns: spreadsheets of some countries write semicolons."""
    return max(",;\t", key=first.count)
