"""Tenants' tokens: making one, and naming one without showing it."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256

PREFIX = "pmb-v1-"
MAX_BYTES = 512
_GRAMMAR = re.compile(r"[!-~]{1,512}")


def make() -> str:
    """Return a new token: `pmb-v1-` and 32 hex digits (128 bits) of the system's randomness."""
    return PREFIX + secrets.token_hex(16)


def is_token(text: str) -> bool:
    """Whether `text` can be a token at all: 1 to 512 bytes of 0x21-0x7E."""
    return _GRAMMAR.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """Return the SHA-256 of the token's bytes, by which it is stored and looked up.

    Raises UnicodeEncodeError for a text that is not ASCII: no token is.
    """
    return sha256(token.encode("ascii")).digest()


def label(digest: bytes) -> str:
    """Return the 8 hex digits of a digest by which logs and errors name its token."""
    return digest.hex()[:8]
