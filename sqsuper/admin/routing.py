"""Paths of the admin listener and what stands behind them; requests and answers without I/O."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from sqsuper.admin.errors import (
    BadRequestError,
    MethodError,
    NotFoundError,
    UnsupportedMediaError,
)
from sqsuper.admin.guard import Asked, Who

MAX_BODY = 1024 * 1024
JSON_TYPE = "application/json"
NDJSON = "application/x-ndjson"


class Access(Enum):
    """What a route needs."""

    OPEN = "open"
    """Nothing."""
    SIGNED = "signed"
    """The admin token, or a session."""
    LOCAL = "local"
    """As SIGNED, or to come from this machine."""


@attrs.frozen
class Answer:
    """`body` is all of it; or `stream` gives it piece by piece.

    A stream looks itself whether it may go on. While its client takes nothing it cannot: then
    `lasts()` is asked every second, and the connection is cut when it says no.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = attrs.field(factory=dict)
    stream: AsyncGenerator[bytes, None] | None = None
    lasts: Callable[[], bool] | None = None


def as_json(value: object, status: int = 200) -> Answer:
    """Return the answer that holds `value`."""
    return Answer(status, json.dumps(value, allow_nan=False).encode() + b"\n")


@attrs.frozen
class Call:
    """One request. `parts`: what stands in the path's `{}`; `query`: each key's values.

    `who` is None on an OPEN route.
    """

    asked: Asked
    parts: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: bytes = attrs.field(repr=False)
    signed: Who | None

    @property
    def who(self) -> Who:
        assert self.signed is not None, "the route is not OPEN"
        return self.signed

    def json(self) -> dict[str, Any]:
        """Return the body, a JSON object; without a body an empty one.

        Raises BadRequestError, UnsupportedMediaError.
        """
        kind = (self.asked.header("content-type") or "").partition(";")[0].strip().lower()
        if not self.body:
            return {}
        if kind != JSON_TYPE:
            raise UnsupportedMediaError(
                f"a body must be {JSON_TYPE}, not {kind or 'without a type'}"
            )
        try:
            value = json.loads(
                self.body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant
            )
        except BadRequestError:
            raise
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"the body is not valid JSON: {_reason(error)}") from None
        if not isinstance(value, dict):
            raise BadRequestError("the body must be a JSON object, such as {}")
        return value

    def fields(self, known: Sequence[str]) -> dict[str, Any]:
        """Return the body, a JSON object of `known` keys alone. Raises as `json`."""
        given = self.json()
        for key in given:
            if key not in known:
                named = ", ".join(known) or "none"
                raise BadRequestError(f"unknown key {_shown(key)}; the keys here are {named}")
        return given

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number of the query, 0 to `most`. Raises BadRequestError."""
        text = self.one(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
            raise BadRequestError(f"{name} must be a whole number up to {most}")
        return int(text)

    def one(self, name: str) -> str | None:
        """Return a value of the query, None if it is missing. Raises BadRequestError for two."""
        values = self.query.get(name, ())
        if len(values) > 1:
            raise BadRequestError(f"{name} is given twice; give it once")
        return values[0] if values else None

    def flag(self, name: str) -> bool:
        """Return whether the query has `name=1`. Raises BadRequestError."""
        value = self.one(name)
        if value not in {None, "0", "1", "false", "true"}:
            raise BadRequestError(f"{name} must be 0 or 1")
        return value in {"1", "true"}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequestError("the body gives a key twice; give it once")
    return found


def _no_constant(name: str) -> None:
    raise BadRequestError(f"the body is not valid JSON: {name} is no number")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno})"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it is nested too deep" if isinstance(error, RecursionError) else "a number is too long"


def _shown(text: str) -> str:
    return json.dumps(text if len(text) <= 40 else text[:37] + "...")


Handler = Callable[[Call], Awaitable[Answer]]

_PART = re.compile(r"\{([a-z_]+)\}")


class Route:
    """One method of one path, such as `/api/v2/admin/tenants/{tenant}`."""

    def __init__(
        self, method: str, path: str, handler: Handler, access: Access = Access.SIGNED
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.access = access
        pattern = "".join(
            f"(?P<{piece}>[^/]+)" if at % 2 else re.escape(piece)
            for at, piece in enumerate(_PART.split(path))
        )
        self._pattern = re.compile(pattern)

    def match(self, path: str) -> dict[str, str] | None:
        """Return the path's parts, decoded once; None if it is another path."""
        found = self._pattern.fullmatch(path)
        return None if found is None else {k: _decoded(v) for k, v in found.groupdict().items()}


def _decoded(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequestError("the path is not UTF-8") from None


class Router:
    """All routes; the first that matches has it."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route of a request and the path's parts; HEAD is asked as GET.

        Raises NotFoundError, MethodError, BadRequestError.
        """
        allowed: list[str] = []
        for route in self.routes:
            parts = route.match(path)
            if parts is None:
                continue
            if route.method == ("GET" if method == "HEAD" else method):
                return route, parts
            allowed += ["GET", "HEAD"] if route.method == "GET" else [route.method]
        if allowed:
            raise MethodError(tuple(dict.fromkeys(allowed)))
        raise NotFoundError("there is nothing at this path")
