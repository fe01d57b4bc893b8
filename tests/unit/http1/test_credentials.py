"""Tokens of requests (the rules of the credentials part of the security cases)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from sqsuper.http1.credentials import (
    CREDENTIAL_FIELDS,
    MAX_TOKEN_BYTES,
    Grant,
    Rejected,
    authenticate,
    candidates,
    digest,
    is_token,
)
from sqsuper.http1.errors import FramingError
from tests.unit.http1.feeding import outcome, request

T = b"pmb-v1-6f1c"
NOW = 1_000_000.0


def found(*lines: bytes) -> list[bytes]:
    return candidates(outcome(request(*lines)).only.fields)


@pytest.mark.parametrize(
    ("line", "token"),
    [
        (b"Authorization: Bearer T", b"T"),
        (b"authorization: bearer T", b"T"),
        (b"AUTHORIZATION:BEARER T", b"T"),
        (b"Authorization: bEaReR T", b"T"),
        (b"Authorization: Bearer  T", b"T"),
        (b"Authorization: Bearer      T\t ", b"T"),
        (b"Authorization:\t Bearer T", b"T"),
        (b"Authorization: T", b"T"),
        (b"Authorization: BearerT", b"BearerT"),
        (b"Authorization: Bearer", b"Bearer"),
        (b"Authorization: Bearer ", b"Bearer"),
        (b"Authorization: Bearer\tT", b"Bearer\tT"),
        (b"Authorization: Bearer \tT", b"\tT"),
        (b"Authorization: Bearer Bearer T", b"Bearer T"),
        (b"Authorization: Bearer T U", b"T U"),
        (b"Authorization: Bearer T,U", b"T,U"),
        (b"Authorization: Bearer T, Bearer U", b"T, Bearer U"),
        (b"Authorization: Bearer=T", b"Bearer=T"),
        (b'Authorization: Bearer "T"', b'"T"'),
        (b"Authorization: Basic T", b"Basic T"),
        (b"Authorization: Token T", b"Token T"),
        (b"Authorization: Bearer %54", b"%54"),
        (b"Authorization: Bearer t", b"t"),
        (b"X-SQ-API-Key: T", b"T"),
        (b"x-sq-api-key:T ", b"T"),
        (b"X-SQ-API-KEY:\t T", b"T"),
        (b"X-SQ-API-Key: Bearer T", b"Bearer T"),
        (b"X-SQ-API-Key: T,U", b"T,U"),
        (b"X-SQ-API-Key: \xff", b"\xff"),
    ],
)
def test_one_field(line: bytes, token: bytes) -> None:
    assert found(line) == [token]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Authorization:",
        b"Authorization: \t ",
        b"X-SQ-API-Key:",
        b"Proxy-Authorization: Bearer T",
        b"X_SQ_API_Key: T",
        b"X-SQ-APIKey: T",
        b"X-SQ-API-Key2: T",
        b"X-API-Key: T",
        b"Cookie: token=T; Authorization=T",
        b"X-Authorization: Bearer T",
        b"Authorizations: T",
        b"X: Authorization: Bearer T",
    ],
)
def test_nothing_else_carries_a_token(line: bytes) -> None:
    assert found(line) == []


def test_neither_query_nor_body_carries_a_token() -> None:
    data = request(
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: 7",
        start=b"POST /?token=T&key=T&access_token=T&X-SQ-API-Key=T HTTP/1.1",
        body=b"token=T",
    )
    assert candidates(outcome(data).only.fields) == []


def test_both_fields() -> None:
    assert found(b"X-SQ-API-Key: U", b"Authorization: Bearer T") == [b"U", b"T"]
    assert found(b"Authorization:", b"X-SQ-API-Key: U") == [b"U"]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Authorization: Bearer T", b"Authorization: Bearer T"),
        (b"Authorization: Bearer T", b"authorization: T"),
        (b"Authorization: Bearer T", b"X: y", b"AUTHORIZATION:"),
        (b"Authorization:", b"Authorization:"),
        (b"X-SQ-API-Key: T", b"x-sq-api-key: T"),
        (b"X-SQ-API-Key:", b"Authorization: T", b"X-SQ-API-Key: T"),
    ],
)
def test_a_field_twice(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(FramingError) as caught:
        found(*lines)
    assert (caught.value.status, caught.value.code) == (400, "bad_request")


def test_the_fields_that_are_taken_out() -> None:
    assert {b"authorization", b"x-sq-api-key"} == CREDENTIAL_FIELDS


@pytest.mark.parametrize("value", range(256))
def test_every_byte_in_a_token(value: int) -> None:
    byte = bytes((value,))
    visible = 0x21 <= value <= 0x7E
    for token in (byte, byte + b"a", b"a" + byte, b"a" + byte + b"a"):
        assert is_token(token) is visible


def test_length_of_a_token() -> None:
    assert MAX_TOKEN_BYTES == 512
    assert not is_token(b"")
    assert is_token(b"a")
    assert is_token(b"a" * 512)
    assert not is_token(b"a" * 513)


def test_digest() -> None:
    for token in (b"", T, b"a" * 512):
        assert digest(token) == hashlib.sha256(token).digest()


# Admission


def lookup(**grants: Grant) -> Callable[[bytes], Grant | None]:
    table = {hashlib.sha256(token.encode()).digest(): grant for token, grant in grants.items()}
    return table.get


ALICE, BOB = Grant("alice"), Grant("bob")
KNOWN = lookup(a=ALICE, b=BOB, A2=Grant("alice", read_only=True))


def admit(*values: bytes, now: float = NOW) -> Grant | Rejected:
    return authenticate(values, KNOWN, now)


def rejected(*values: bytes) -> bool:
    """Return whether the refusal counts as a wrong token."""
    outcome = admit(*values)
    assert isinstance(outcome, Rejected)
    return outcome.wrong


def test_a_known_token() -> None:
    assert admit(b"a") is ALICE
    assert admit(b"b") is BOB


@pytest.mark.parametrize(
    "value",
    [
        b"c",
        b"A",
        b"aa",
        b"a,b",
        b"a a",
        b"a\0",
        b"a ",
        b" a",
        b"\xff",
        b"%61",
        b"a" * 513,
        b"Bearer",
    ],
)
def test_an_unknown_token(value: bytes) -> None:
    assert rejected(value)


def test_no_token_is_not_a_wrong_one() -> None:
    assert not rejected()


def test_one_known_of_two_is_enough() -> None:
    assert admit(b"x", b"a") is ALICE
    assert admit(b"a", b"x") is ALICE
    assert admit(b"\xff", b"b") is BOB


def test_two_known_of_different_tenants() -> None:
    assert not rejected(b"a", b"b")
    assert not rejected(b"b", b"A2")


def test_two_unknown() -> None:
    assert rejected(b"x", b"y")


def test_of_two_scopes_the_narrower_holds() -> None:
    for values in ((b"a", b"A2"), (b"A2", b"a")):
        grant = admit(*values)
        assert isinstance(grant, Grant)
        assert (grant.tenant, grant.read_only) == ("alice", True)
    assert admit(b"a", b"a") is ALICE


def test_what_cannot_be_a_token_is_never_hashed() -> None:
    asked = []

    def note(known: bytes) -> None:
        asked.append(known)

    authenticate([b"", b"a b", b"\xff", b"a" * 513, b"a\x7f"], note, NOW)
    assert asked == []
    authenticate([b"a" * 512], note, NOW)
    assert asked == [digest(b"a" * 512)]


@pytest.mark.parametrize(
    ("not_before", "expires", "valid"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + 0.001, None, False),
        (NOW - 1, None, True),
        (None, NOW, False),
        (None, NOW + 0.001, True),
        (None, NOW - 1, False),
        (NOW - 1, NOW + 1, True),
        (NOW + 1, NOW + 2, False),
        (NOW - 2, NOW - 1, False),
        (0.0, 0.0, False),
    ],
)
def test_validity(not_before: float | None, expires: float | None, valid: bool) -> None:
    grant = Grant("alice", not_before=not_before, expires=expires)
    assert grant.valid_at(NOW) is valid
    got = authenticate([b"a"], lookup(a=grant), NOW)
    if valid:
        assert got is grant
    else:
        assert isinstance(got, Rejected)
        assert got.wrong


def test_one_that_is_not_valid_does_not_spoil_the_other() -> None:
    old = Grant("bob", expires=NOW)
    assert authenticate([b"o", b"a"], lookup(a=ALICE, o=old), NOW) is ALICE


def test_a_disabled_tenant_is_known() -> None:
    off = Grant("carol", enabled=False)
    assert authenticate([b"c"], lookup(c=off), NOW) is off


def test_what_a_grant_holds() -> None:
    grant = Grant("alice", label="laptop")
    assert (grant.tenant, grant.label, grant.read_only, grant.enabled) == (
        "alice",
        "laptop",
        False,
        True,
    )
