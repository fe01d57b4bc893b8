"""What of a request may stand in a log: no token, no user's text, no byte that deceives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqsuper.http1 import credentials
from sqsuper.http1.credentials import Grant

if TYPE_CHECKING:
    from sqsuper.http1.head import Field

# Parameters whose values tell what was asked. Any other value is shown as its length: `s` and
# `q` hold users' text, and what clients call `token`, `key` and so on may hold a token.
SHOWN = frozenset({b"p", b"c", b"algo", b"limit", b"splice", b"prefix", b"f"})
# A longer name of a parameter that is not in SHOWN is shown as its length.
MAX_NAME = 32
# Segments of a path, and parameters of a query: each costs a look at the known tokens.
MAX_WORDS = 32
# Shorter tokens are found as whole words only: a token `a` must not empty every line.
MIN_PART = 8
# A longer segment or value is shown as its length; SQ knows none that long.
MAX_WORD = 1024

_SAFE = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')
# Nearly every line is of one of these: nothing in them but the name could be a token.
_USUAL = re.compile(
    rb"/api/v2/(?:select|update|insert|delete|toc|get|delta|checksum|status|version|load|where"
    rb"|export|json-export|list|search|batch)"
    rb"(?:\?p=([A-Za-z0-9_.-]{0,200})(?:&c=[0-9./;]{0,64})?)?"
)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_USERINFO = re.compile(rb"//[^/?#@]*@")


def escaped(raw: bytes, limit: int) -> str:
    r"""Return `raw` as printable ASCII of at most `limit` characters (8 or more).

    Control bytes, quotes, backslashes, and bytes of 0x7F and up become `\x` and two hex
    digits, so a backslash always begins one of these. What was cut ends in three dots.
    """
    if len(raw) <= limit and not raw.translate(None, _SAFE):
        return raw.decode("ascii")
    text = _UNSAFE.sub(_hex, raw[: limit + 1].decode("latin-1"))
    if len(text) <= limit:
        return text
    text = text[: limit - 3]
    # No half of an escape stands at the end.
    start = text.rfind("\\", limit - 6)
    return f"{text if start < 0 else text[:start]}..."


def _hex(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def secrets_of(fields: Sequence[Field]) -> tuple[bytes, ...]:
    """Return what stands as a token in a request's credential fields, valid or not."""
    found: list[bytes] = []
    for name, value, _line in fields:
        if name in credentials.CREDENTIAL_FIELDS and value:
            # `Bearer T` and any other scheme's `Basic T`: each word by itself, too.
            found.extend(word for word in value.split() if word.lower() != b"bearer")
    return tuple(found)


class Redaction:
    """Shortens what could give a secret away; `lookup` finds a grant by a token's digest."""

    def __init__(self, lookup: Callable[[bytes], Grant | None]) -> None:
        self._lookup = lookup

    def target(self, target: bytes, secrets: Sequence[bytes], limit: int) -> str:
        """Return a request's target, `escaped`, with lengths like `<12>` for what is not shown.

        That is: the value of `s` (its length is in bytes once decoded) and of every parameter
        but those in `SHOWN`, a piece of the query without `=`, and wherever they stand known
        tokens and `secrets`, those of the request's own fields.
        """
        match = _USUAL.fullmatch(target)
        if match is not None:
            name = match[1]
            if not name or not (_holds(name, secrets) or self._is_token(name)):
                return target.decode("ascii")
        return escaped(self._shortened(target, secrets), limit)

    def _shortened(self, target: bytes, secrets: Sequence[bytes]) -> bytes:
        path, mark, query = target.partition(b"?")
        shown = self._words(path, b"/", secrets, self._word)
        if mark:
            shown += b"?" + self._words(query, b"&", secrets, self._parameter)
        return shown

    def text(self, text: bytes, secrets: Sequence[bytes]) -> bytes:
        """Return a field's value (a user agent, a request id); a token in it is shortened."""
        if _holds(text, secrets) or self._is_token(text):
            return _length(text)
        return text

    def referer(self, value: bytes, secrets: Sequence[bytes]) -> bytes:
        """Return a Referer without user information, and with its query shortened as a target's."""
        start = value.find(b"//") + 2
        path = value.find(b"/", start) if start > 1 else 0
        if path < 0:
            path = value.find(b"?", start)
        if path < 0:
            return self.text(_USERINFO.sub(b"//", value), secrets)
        origin = self.text(_USERINFO.sub(b"//", value[:path]), secrets)
        return origin + self._shortened(value[path:].partition(b"#")[0], secrets)

    def _words(
        self,
        text: bytes,
        separator: bytes,
        secrets: Sequence[bytes],
        shown: Callable[[bytes, Sequence[bytes]], bytes],
    ) -> bytes:
        words = text.split(separator, MAX_WORDS)
        out = [shown(word, secrets) for word in words[:MAX_WORDS]]
        if len(words) > MAX_WORDS:
            out.append(_length(words[MAX_WORDS]))
        return separator.join(out)

    def _parameter(self, piece: bytes, secrets: Sequence[bytes]) -> bytes:
        name, equals, value = piece.partition(b"=")
        if not equals:
            return _length(piece) if piece else b""
        value = self._word(value, secrets) if _decoded(name) in SHOWN else _length(value)
        name = self._word(name, secrets) if len(name) <= MAX_NAME else _length(name)
        return name + b"=" + value

    def _word(self, word: bytes, secrets: Sequence[bytes]) -> bytes:
        """Return a segment, a name or a value, or its length when a token is in it."""
        if not word:
            return word
        if len(word) > MAX_WORD:
            return _length(word)
        plain = _decoded(word)
        if _holds(word, secrets) or self._is_token(word):
            return _length(word)
        if plain != word and (_holds(plain, secrets) or self._is_token(plain)):
            return _length(word)
        return word

    def _is_token(self, word: bytes) -> bool:
        return credentials.is_token(word) and self._lookup(credentials.digest(word)) is not None


def _holds(text: bytes, secrets: Sequence[bytes]) -> bool:
    for secret in secrets:  # noqa: SIM110 - a generator takes four times as long
        if text == secret or (len(secret) >= MIN_PART and secret in text):
            return True
    return False


def _decoded(word: bytes) -> bytes:
    """Return `word` as SQ decodes it: `+` as a blank, `%XX` once."""
    word = word.replace(b"+", b" ")
    if b"%" not in word:
        return word
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), word)


def _length(word: bytes) -> bytes:
    return b"<%d>" % (len(word) - 2 * len(_ESCAPE.findall(word)))
