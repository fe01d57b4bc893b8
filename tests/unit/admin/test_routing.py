"""Paths, and what a request's body and query may be."""

from __future__ import annotations

from typing import Any

import pytest

from sqsuper.admin.errors import (
    AdminError,
    BadRequestError,
    MethodError,
    NotFoundError,
    UnsupportedMediaError,
)
from sqsuper.admin.guard import Asked
from sqsuper.admin.routing import Answer, Call, Route, Router


async def nothing(call: Call) -> Answer:
    return Answer(200)


ROUTER = Router(
    [
        Route("GET", "/a", nothing),
        Route("POST", "/a/add", nothing),
        Route("GET", "/a/{name}", nothing),
        Route("DELETE", "/a/{name}", nothing),
        Route("POST", "/a/{name}/b/{other}/c", nothing),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "found", "parts"),
    [
        ("GET", "/a", "/a", {}),
        ("HEAD", "/a", "/a", {}),
        ("POST", "/a/add", "/a/add", {}),
        ("GET", "/a/x", "/a/{name}", {"name": "x"}),
        ("DELETE", "/a/add", "/a/{name}", {"name": "add"}),
        ("POST", "/a/%C3%A4/b/%252e/c", "/a/{name}/b/{other}/c", {"name": "ä", "other": "%2e"}),
        ("GET", "/a/%2F..", "/a/{name}", {"name": "/.."}),
    ],
)
def test_found(method: str, path: str, found: str, parts: dict[str, str]) -> None:
    route, got = ROUTER.find(method, path)
    assert (route.path, got) == (found, parts)


@pytest.mark.parametrize("path", ["/", "", "/a/", "//a", "/A", "/a/x/b", "/a/x/b/y/c/", "/a\n"])
def test_not_found(path: str) -> None:
    with pytest.raises(NotFoundError):
        ROUTER.find("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/a", "GET, HEAD"),
        ("OPTIONS", "/a/x", "GET, HEAD, DELETE"),
        ("get", "/a", "GET, HEAD"),
    ],
)
def test_another_method(method: str, path: str, allowed: str) -> None:
    with pytest.raises(MethodError) as caught:
        ROUTER.find(method, path)
    assert caught.value.headers["Allow"] == allowed


def test_a_path_that_is_not_utf8() -> None:
    with pytest.raises(BadRequestError):
        ROUTER.find("GET", "/a/%FF")


def call(body: bytes = b"", kind: str = "application/json", **query: list[str]) -> Call:
    return Call(Asked("POST", {"content-type": [kind]}, "", None), {}, query, body, None)


def test_json() -> None:
    assert call(b'{"a": [1, null]}').json() == {"a": [1, None]}
    assert call(b"{}", "Application/JSON; charset=utf-8").json() == {}
    assert call(b"", "text/plain").json() == {}
    assert call(b'{"a": 1}').fields(("a", "b")) == {"a": 1}


@pytest.mark.parametrize(
    ("body", "kind", "error", "told"),
    [
        (b"{}", "text/plain", UnsupportedMediaError, "text/plain"),
        (b"{}", "", UnsupportedMediaError, "without a type"),
        (b"{}", "application/x-www-form-urlencoded", UnsupportedMediaError, "application/json"),
        (b"{", "application/json", BadRequestError, "column 2"),
        (b"[]", "application/json", BadRequestError, "an object"),
        (b"null", "application/json", BadRequestError, "an object"),
        (b'{"a": 1, "a": 2}', "application/json", BadRequestError, "twice"),
        (b'{"a": NaN}', "application/json", BadRequestError, "NaN"),
        (b"\xff", "application/json", BadRequestError, "UTF-8"),
        (b"[" * 100_000, "application/json", BadRequestError, "JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "application/json", BadRequestError, "JSON"),
        (b'{"c": 1}', "application/json", BadRequestError, 'unknown key "c"; the keys here are a'),
    ],
)
def test_other_bodies(body: bytes, kind: str, error: type[AdminError], told: str) -> None:
    with pytest.raises(error) as caught:
        call(body, kind).fields(("a",))
    assert told in caught.value.message.replace("a JSON object", "an object")


def test_numbers_and_flags() -> None:
    assert call(last=["7"]).number("last", 1, 10) == 7
    assert call().number("last", 1, 10) == 1
    assert [call(f=[v]).flag("f") for v in ("0", "1", "true", "false")] == [
        False,
        True,
        True,
        False,
    ]
    assert not call().flag("f")


@pytest.mark.parametrize(
    "values", [["11"], ["-1"], ["x"], [""], ["1", "2"], ["1.0"], ["٣"], ["1" * 99]]
)
def test_other_numbers_and_flags(values: list[str]) -> None:
    made: Any = call(v=values)
    with pytest.raises(BadRequestError):
        made.number("v", 1, 10)
    if values != ["1", "2"]:
        with pytest.raises(BadRequestError):
            made.flag("v")
