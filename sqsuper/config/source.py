"""A configuration file from disk into located values, by the format its name tells."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import attrs

from sqsuper.config.errors import UnreadableError
from sqsuper.config.located import Mapping, Source, Value
from sqsuper.config.source_json import read_json
from sqsuper.config.source_toml import read_toml
from sqsuper.config.source_yaml import read_yaml

MAX_FILE = 8 * 1024 * 1024
# No format needs them raw; in YAML and TOML they are forbidden or move line numbers.
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NO_RAW = "write the character as an escape or leave it out"


@attrs.frozen
class Document:
    """A file's content; `status` is of the very file that was read."""

    source: Source
    root: Mapping
    status: os.stat_result


def read_bytes(path: Path, shown: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file of at most `limit` bytes, and its status.

    Never waits (a FIFO is refused, not opened for good). Raises UnreadableError.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise _cannot_open(shown, error) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise UnreadableError(shown, None, "", f"is {kind}", "name a file")
        content = b""
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise _cannot_open(shown, error) from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise UnreadableError(shown, None, "", f"is larger than {limit} bytes", "make it smaller")
    return content, status


def _cannot_open(shown: str, error: OSError | ValueError) -> UnreadableError:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return UnreadableError(shown, None, "", "no such file", "check the path")
    if number in {errno.EACCES, errno.EPERM}:
        return UnreadableError(
            shown, None, "", "permission denied", "make it readable for this user"
        )
    reason = os.strerror(number) if number else "not a path"
    return UnreadableError(shown, None, "", f"cannot be read: {reason}")


def decode(content: bytes, shown: str) -> str:
    """Return the text of a configuration file. Raises UnreadableError with the line."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError(shown, 1, "", "is UTF-16 text", "save it as UTF-8")
    if content.startswith(b"\xef\xbb\xbf"):
        raise UnreadableError(
            shown, 1, "", "begins with a byte order mark", "save it as UTF-8 without one"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad = content[error.start]
        raise UnreadableError(
            shown, line, "", f"is not UTF-8 text (byte 0x{bad:02x})", "save it as UTF-8"
        ) from None
    if found := _REFUSED.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UnreadableError(
            shown, line, "", f"holds the control character U+{ord(found[0]):04X}", _NO_RAW
        )
    if not text.strip():
        raise UnreadableError(
            shown, None, "", "is empty", "a file without settings holds at least tenants: {}"
        )
    return text


def read_document(path: Path, shown: str) -> Document:
    """Read one file: `.json` and `.toml` by their names, all others as YAML.

    `shown` is how errors name it. Raises UnreadableError, MalformedError.
    """
    content, status = read_bytes(path, shown, MAX_FILE)
    source = Source(shown, path, decode(content, shown))
    root: Value | None
    suffix = path.suffix.lower()
    if suffix == ".json":
        root = read_json(source)
    elif suffix == ".toml":
        root = read_toml(source)
    else:
        root = read_yaml(source)
    if root is None:
        root = Mapping({}, {}, None)
    if not isinstance(root, Mapping):
        raise source.malformed(root.line, "must hold keys and values", 'such as "tenants: {}"')
    return Document(source, root, status)
