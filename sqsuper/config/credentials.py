"""Tokens and digests as a file gives them, into digests: plain ones are hashed and forgotten."""

from __future__ import annotations

from typing import Any

import attrs

from sqsuper import tokens
from sqsuper.config.errors import UnreadableError
from sqsuper.config.located import Mapping, Sequence, Value
from sqsuper.config.model import Scope, Token
from sqsuper.config.permissions import check_secret_file
from sqsuper.config.readers import Place, Reader, choice, is_none, moment, optional, plain_text
from sqsuper.config.source import read_bytes
from sqsuper.config.values import parse_sha256

SHORT = 16
_MAX_TOKEN_FILE = 8192
_token_text = plain_text("a token", secret=True)
_digest_text = plain_text("64 hex digits, the SHA-256 of the token", secret=True)
_DETAILS: dict[str, Reader[Any]] = {
    "label": optional(plain_text("a label")),
    "scope": choice(Scope),
    "not_before": optional(moment, never=True),
    "expires": optional(moment, never=True),
    "created": optional(moment, never=True),
}
ADMIN_TOKENS = ("token_sha256", "token", "token_file")
_ENTRY_KEYS = ("sha256", "token", *_DETAILS)


@attrs.frozen
class Credential:
    """One token of a file: `plain` is its length in bytes where it stands there itself."""

    token: Token
    key: str
    line: int | None
    plain: int | None = None


def read_token(value: Value, at: Place) -> tuple[bytes, int]:
    """Return the digest and the length in bytes of a plain token."""
    text = _token_text(value, at)
    if not tokens.is_token(text):
        raise at.wrong(value.line, "a token is 1 to 512 bytes of 0x21-0x7E (no blanks)")
    return tokens.digest(text), len(text)


def read_digest(value: Value, at: Place) -> bytes:
    text = _digest_text(value, at)
    try:
        return parse_sha256(text)
    except ValueError as error:
        # What stands here instead may well be the token itself.
        raise at.wrong(value.line, f"must be {error}") from None


def read_credentials(value: Value, at: Place, plain: bool) -> tuple[Credential, ...]:
    """Return the entries of a `tokens` (`plain`) or `token_sha256` list."""
    if not isinstance(value, Sequence):
        raise at.not_right(value, "a list of tokens" if plain else "a list of digests", secret=True)
    return tuple(
        _read_entry(item, at.item(number, item.line), plain)
        for number, item in enumerate(value.items)
    )


def _read_entry(value: Value, at: Place, plain: bool) -> Credential:
    if isinstance(value, Mapping):
        return _read_mapping(value, at)
    if plain:
        digest, length = read_token(value, at)
        return Credential(Token(digest), at.path, value.line, length)
    return Credential(Token(read_digest(value, at)), at.path, value.line)


def _read_mapping(value: Mapping, at: Place) -> Credential:
    details: dict[str, Any] = {}
    digest: bytes | None = None
    length: int | None = None
    for key, item in value.entries.items():
        line = value.lines[key]
        if key not in _ENTRY_KEYS:
            raise at.unknown(key, line, _ENTRY_KEYS)
        below = at.child(key, line)
        if key in _DETAILS:
            details[key] = _DETAILS[key](item, below)
        elif digest is not None:
            raise below.wrong(line, "sha256 and token exclude each other", "keep sha256")
        elif key == "token":
            digest, length = read_token(item, below)
        else:
            digest = read_digest(item, below)
    if digest is None:
        raise at.wrong(value.line, "sha256 is missing", "give the SHA-256 of the token")
    token = Token(digest, **details)
    if token.not_before and token.expires and token.expires <= token.not_before:
        raise at.wrong(value.line, "expires is not after not_before", "swap or drop one of them")
    return Credential(token, at.path, value.line, length)


def read_admin_token(value: Mapping, at: Place) -> Credential | None:
    """Return the admin token of `token`, `token_file` or `token_sha256`: at most one is given.

    A token file holds the token and perhaps a line end, and nobody else can read it.
    """
    given: list[str] = []
    found: Credential | None = None
    for key in ADMIN_TOKENS:
        item = value.entries.get(key)
        if item is None or is_none(item):
            continue
        line = value.lines[key]
        below = at.child(key, line)
        if given:
            raise below.wrong(line, f"{given[0]} is given too", "keep one of them")
        given.append(key)
        if key == "token_sha256":
            found = Credential(Token(read_digest(item, below)), below.path, line)
        elif key == "token":
            digest, length = read_token(item, below)
            found = Credential(Token(digest), below.path, line, length)
        else:
            found = _read_token_file(item, below)
    return found


def _read_token_file(value: Value, at: Place) -> Credential:
    file = at.base / plain_text("a path")(value, at)
    try:
        content, status = read_bytes(file, str(file), _MAX_TOKEN_FILE)
    except UnreadableError as error:
        raise at.wrong(value.line, f"{file} {error.problem}", error.remedy) from None
    check_secret_file(status, str(file), "a token", (at.file, value.line), at.path)
    text = content.decode("latin-1").strip("\r\n")
    if not tokens.is_token(text):
        raise at.wrong(
            value.line, f"{file} holds no token", "one line: 1 to 512 bytes of 0x21-0x7E"
        )
    return Credential(Token(tokens.digest(text)), at.path, value.line)
