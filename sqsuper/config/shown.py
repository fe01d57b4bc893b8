"""Values of the configuration as people read them in a plan, without secrets."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from sqsuper.config.errors import hide_tokens, one_line
from sqsuper.config.model import Rate, Token
from sqsuper.tokens import label

# Values may hold a secret: what is told of them is their number, or their names.
_ARGUMENTS = frozenset({"command", "on_event"})


def shown(key: str, value: Any) -> str:
    """Return one line for the value of a key: seconds, bytes, `none`."""
    if value is None:
        return "none"
    if key == "environment":
        return _listed(name for name, _ in value)
    if key in _ARGUMENTS:
        program, *rest = value
        return one_line(hide_tokens(program)) + (f" and {len(rest)} arguments" if rest else "")
    if isinstance(value, bytes):
        return f"sha256 {label(value)}..."
    return one_line(hide_tokens(_plain(value)))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Rate):
        return f"{value.per_second:g} a second, burst {value.burst}"
    if isinstance(value, tuple):
        return _listed(_plain(one) for one in value)
    return str(value)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values) or "none"


def shown_tokens(tokens: Iterable[Token], without: Iterable[Token]) -> str:
    """Return those of `tokens` that are not in `without`, by label or eight digits, in order."""
    others = set(without)
    listed = ", ".join(_token(token) for token in tokens if token not in others)
    return one_line(hide_tokens(listed))


def _token(token: Token) -> str:
    told = f"{token.label or label(token.sha256)} ({token.scope.value}"
    if token.not_before is not None:
        told += f", from {token.not_before.isoformat()}"
    if token.expires is not None:
        told += f", until {token.expires.isoformat()}"
    return f"{told})"
