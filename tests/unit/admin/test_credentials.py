"""Tokens: how they are found and made."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from sqsuper import tokens
from sqsuper.admin import entries
from sqsuper.admin.changing import Changing
from sqsuper.admin.credentials import Credentials, find, new_token
from sqsuper.admin.errors import AdminError, BadRequestError, ConflictError, NotFoundError
from sqsuper.admin.views import token_of
from sqsuper.config.load import load
from sqsuper.config.model import Config, Origin, Tenant, Token
from sqsuper.config.values import parse_moment
from sqsuper.reloading.outcome import Outcome, Result
from tests.unit.admin.support import configured, tenant

NOW = 1_893_456_000.0  # 2030-01-01
TENANT = Tenant(
    "a",
    (
        Token(bytes.fromhex("ab" * 32), "laptop"),
        Token(bytes.fromhex("cd" * 4 + "00" * 28), "phone"),
        Token(bytes.fromhex("cd" * 4 + "11" * 28), "phone"),
        Token(bytes.fromhex("ef" * 32), "abababab"),
        Token(bytes.fromhex("99" * 32)),
    ),
    Path("/data"),
    Origin(Path("/c"), 1),
)


@pytest.mark.parametrize(
    ("which", "at"),
    [
        ("abababab", 0),  # a digest before a label
        ("ABABABAB", 0),
        ("ab" * 32, 0),
        ("laptop", 0),
        ("cdcdcdcd00", 1),
        ("99999999", 4),
    ],
)
def test_found(which: str, at: int) -> None:
    assert find(TENANT, which) is TENANT.tokens[at]


@pytest.mark.parametrize(
    ("which", "error"),
    [
        ("", NotFoundError),
        ("a", NotFoundError),
        ("abababa", NotFoundError),  # too short for a digest
        ("Laptop", NotFoundError),
        ("ab" * 33, NotFoundError),
        ("phone", ConflictError),
        ("cdcdcdcd", ConflictError),
    ],
)
def test_not_found(which: str, error: type[AdminError]) -> None:
    with pytest.raises(error):
        find(TENANT, which)


def test_several_are_told_apart_by_their_digits() -> None:
    with pytest.raises(ConflictError, match="cdcdcdcd"):
        find(TENANT, "phone")


def test_a_new_one() -> None:
    token, told = new_token({"label": "x", "scope": "ro", "expires": None}, NOW)
    assert re.fullmatch(r"pmb-v1-[0-9a-f]{32}", token)
    assert told == {
        "sha256": tokens.digest(token).hex(),
        "created": "2030-01-01T00:00:00Z",
        "label": "x",
        "scope": "ro",
    }
    assert new_token({}, NOW)[0] != token


@pytest.mark.parametrize(
    ("given", "expires"),
    [
        ("1h", "2030-01-01T01:00:00Z"),
        ("90s", "2030-01-01T00:01:30Z"),
        ("2031-01-01T00:00:00Z", "2031-01-01T00:00:00Z"),
        ("soons", "soons"),  # to be refused when the entry is checked
    ],
)
def test_an_end_may_be_given_from_now_on(given: str, expires: str) -> None:
    assert new_token({"expires": given, "label": "never"}, NOW)[1]["expires"] == expires


@pytest.mark.parametrize("given", ["none", "never", None])
def test_no_end(given: Any) -> None:
    assert "expires" not in new_token({"expires": given}, NOW)[1]


def test_an_unknown_key() -> None:
    with pytest.raises(BadRequestError, match="keys here are label"):
        new_token({"lable": "x"}, NOW)


@pytest.mark.parametrize(
    ("begins", "ends", "state"),
    [
        (None, None, "valid"),
        ("2029-12-31T23:59:59Z", "2030-01-01T00:00:01Z", "valid"),
        ("2030-01-01T00:00:01Z", None, "pending"),
        (None, "2030-01-01T00:00:00Z", "expired"),
    ],
)
def test_what_is_shown_of_one(begins: str | None, ends: str | None, state: str) -> None:
    token = Token(
        b"\xab" * 32,
        "x",
        not_before=parse_moment(begins) if begins else None,
        expires=parse_moment(ends) if ends else None,
        created=parse_moment("2029-12-31T23:59:00Z"),
    )
    shown = token_of(token, 5.0, NOW)
    assert (shown["state"], shown["age"], shown["last_used"]) == (state, 60.0, 5.0)
    assert shown["digest8"] == "abababab"
    assert token.sha256.hex() not in str(shown)


class Racing:
    """A reload that has always read the files by the time that it amends."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def amend(self, amendment: Callable[[Config], Config], trigger: str) -> Deferred[Outcome]:
        self.config = amendment(load(self.config.file))
        return succeed(Outcome(NOW, trigger, Result.APPLIED, ""))


class AtOnce(Changing):
    def in_thread(self, call: Callable[[], Any]) -> Any:
        return succeed(call())


def test_none_is_there_twice_when_a_reload_was_faster(tmp_path: Path) -> None:
    entries.write(configured(tmp_path), "bob", {"token_sha256": [{"sha256": "3" * 64}]})
    reload: Any = Racing(load(tmp_path / "tenants.yaml"))
    nobody: Any = None
    credentials = Credentials(
        AtOnce(reload, None),
        lambda *_: None,
        entry=lambda name: tenant(reload.config, name),
        used=lambda _: None,
        wall=lambda: NOW,
    )

    def done(coroutine: Any) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(coroutine).addCallback(got.append)
        return got[0]

    issued = done(credentials.issue("bob", {"label": "x"}, nobody))
    rotated = done(credentials.rotate("bob", "x", {}, nobody))
    listed = [one["digest8"] for one in credentials.of("bob")]
    assert listed == ["33333333", issued["digest8"], rotated["digest8"]]
    done(credentials.revoke("bob", rotated["digest8"], nobody))
    assert tenant(reload.config, "bob").tokens == tenant(load(reload.config.file), "bob").tokens
