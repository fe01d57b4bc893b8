"""What can be wrong with a configuration, as types; their text is always one line."""

from __future__ import annotations

import re

import attrs

# Tokens turn up where they do not belong (as a key, as a tenant's name): never repeat one.
# Looked for only where a run of letters and digits begins: else it takes the square of its length.
_TOKEN = re.compile(r"pmb-v1-[0-9A-Za-z-]{4,}|(?<![0-9A-Za-z])(?=[A-Za-z]*[0-9])[0-9A-Za-z]{40,}")


def one_line(text: str) -> str:
    """Return `text` with what does not print escaped, so that it is one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")


def hide_tokens(text: str) -> str:
    """Return `text` with everything that looks like a token cut to its first characters."""
    return _TOKEN.sub(lambda found: found[0][:7] + "...", text)


@attrs.define
class ConfigError(Exception):
    """Base of all. `str()` is one line: `FILE:LINE: KEY.PATH: what is wrong; the remedy`.

    `file` is as the user gave it; `line` counts from 1 and is None where it is not known;
    `key` is the key's dotted path, empty for the file as a whole; `remedy` may be empty.
    """

    file: str
    line: int | None
    key: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"{self.problem}; {self.remedy}" if self.remedy else self.problem
        said = f"{self.key}: {what}" if self.key else what
        return f"{one_line(where)}: {one_line(hide_tokens(said))}"


class UnreadableError(ConfigError):
    """The file cannot be read: missing, no regular file, too large, not UTF-8, empty."""


class MalformedError(ConfigError):
    """The text breaks the format's rules, or uses a part of the format that is refused."""


@attrs.define
class UnknownKeyError(ConfigError):
    """A key that does not exist there; `nearest` is the known one most like it, or None."""

    nearest: str | None = None


class WrongValueError(ConfigError):
    """A value of the wrong type, unit or range, or one that is missing."""


@attrs.define
class ClashError(ConfigError):
    """What can belong to one only (token, port, directory, name) is already `owner`'s."""

    owner: str = ""


class ExposedError(ConfigError):
    """A file or directory that others can read, write or own, and must not."""
