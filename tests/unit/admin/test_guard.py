"""Who may ask the admin listener for what."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock

from sqsuper.admin.errors import (
    AdminError,
    BadRequestError,
    ForbiddenError,
    MisdirectedError,
    TooManyError,
    UnauthorizedError,
)
from sqsuper.admin.guard import FOREIGN_SIGNS, Asked, Guard
from sqsuper.admin.sessions import COOKIE, LASTING, LINK_LASTING, SECURE_COOKIE

TOKEN = "pmb-v1-0123456789abcdef0123456789abcdef"
DIGEST = sha256(TOKEN.encode()).digest()
OWN = "127.0.0.1:1338"


def asked(
    method: str = "GET",
    host: str | None = OWN,
    peer: str = "127.0.0.1",
    local: tuple[str, int] | None = ("127.0.0.1", 1338),
    secure: bool = False,
    **headers: Any,
) -> Asked:
    found = {
        name.replace("_", "-"): [value] if isinstance(value, str) else list(value)
        for name, value in headers.items()
    }
    if host is not None:
        found["host"] = [host]
    return Asked(method, found, peer, local, secure)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> Guard:
    one = Guard(clock.seconds)
    one.apply(DIGEST, ["box.example"], 3)
    return one


class TestHost:
    @pytest.mark.parametrize(
        ("host", "local", "secure"),
        [
            (OWN, ("127.0.0.1", 1338), False),
            ("localhost:1338", ("127.0.0.1", 1338), False),
            ("LocalHost:1338", ("127.0.0.1", 1338), False),
            ("box.example:1338", ("10.0.0.7", 1338), False),
            ("BOX.example:1338", ("10.0.0.7", 1338), False),
            ("10.0.0.7:1338", ("10.0.0.7", 1338), False),
            ("[::1]:1338", ("::1", 1338), False),
            ("[::1]:1338", ("0:0:0:0:0:0:0:1", 1338), False),
            ("127.0.0.1:1338", ("::ffff:127.0.0.1", 1338), False),
            ("localhost", ("127.0.0.1", 80), False),
            ("localhost", ("127.0.0.1", 443), True),
            ("localhost", None, False),
        ],
    )
    def test_our_own(
        self, guard: Guard, host: str, local: tuple[str, int] | None, secure: bool
    ) -> None:
        guard.check_host(asked(host=host, local=local, secure=secure))

    @pytest.mark.parametrize(
        "host",
        [
            None,
            "",
            "evil.example",
            "evil.example:1338",
            "localhost",
            "localhost:1337",
            "127.0.0.1",
            "127.0.0.2:1338",
            "box.example",
            "box.example.:1338",
            "sub.box.example:1338",
            "localhost:1338.evil.example",
            "localhost:01338",
            "127.1:1338",
            "0.0.0.0:1338",
            "user@localhost:1338",
        ],
    )
    def test_another_one(self, guard: Guard, host: str | None) -> None:
        with pytest.raises(MisdirectedError):
            guard.check_host(asked(host=host))

    def test_two(self, guard: Guard) -> None:
        with pytest.raises(BadRequestError):
            guard.check_host(Asked("GET", {"host": [OWN, OWN]}, "", ("127.0.0.1", 1338)))


class TestToken:
    @pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer   {TOKEN}", TOKEN])
    def test_right(self, guard: Guard, value: str) -> None:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            who = guard.identify(asked(method, authorization=value))
            assert (who.kind, who.address, who.session) == ("token", "127.0.0.1", None)

    @pytest.mark.parametrize(
        "value", ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}", f"Basic {TOKEN}"]
    )
    def test_wrong(self, guard: Guard, value: str) -> None:
        with pytest.raises(UnauthorizedError):
            guard.identify(asked(authorization=value))
        assert guard.failed == 1

    def test_twice(self, guard: Guard) -> None:
        with pytest.raises(BadRequestError):
            guard.identify(asked(authorization=[f"Bearer {TOKEN}"] * 2))

    def test_none_does_not_count(self, guard: Guard) -> None:
        for _ in range(10):
            with pytest.raises(UnauthorizedError):
                guard.identify(asked())
        assert guard.failed == 0

    @pytest.mark.parametrize("name", ["x_sq_api_key", "proxy_authorization"])
    def test_no_other_field_carries_it(self, guard: Guard, name: str) -> None:
        headers: dict[str, Any] = {name: TOKEN}
        with pytest.raises(UnauthorizedError):
            guard.identify(asked(**headers))

    def test_too_many_wrong_ones(self, guard: Guard, clock: Clock) -> None:
        def attempt(token: str, peer: str = "10.0.0.1") -> type[AdminError] | None:
            try:
                guard.identify(asked(authorization=token, peer=peer))
            except AdminError as error:
                return type(error)
            return None

        assert [attempt("wrong") for _ in range(4)] == [UnauthorizedError] * 3 + [TooManyError]
        # The right one is served as ever, and others are not held up.
        assert attempt(TOKEN) is None
        assert attempt("wrong", "10.0.0.2") is UnauthorizedError
        clock.advance(61)
        assert attempt("wrong") is UnauthorizedError
        assert guard.failed == 6


def page(method: str, session: str, **headers: str) -> Asked:
    """What a page of ours asks, but for what `headers` say otherwise; an empty one is left out."""
    found: dict[str, Any] = {"cookie": f"a=b; {COOKIE}={session}", "origin": f"http://{OWN}"}
    found |= headers
    return asked(method, **{name: value for name, value in found.items() if value})


class TestSession:
    def test_it_reads_and_changes(self, guard: Guard) -> None:
        session = guard.sign_in(asked("POST"), TOKEN)
        assert guard.identify(asked(cookie=f"{COOKIE}={session.id}")).session is session
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            who = guard.identify(
                page(method, session.id, x_csrf_token=session.csrf, sec_fetch_site="same-origin")
            )
            assert (who.kind, who.session) == ("session", session)

    @pytest.mark.parametrize(
        "other",
        [
            {"x_csrf_token": ""},
            {"x_csrf_token": "x"},
            {"x_csrf_token": "\xe4"},
            {"origin": ""},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1337"},
            {"origin": "http://127.0.0.1"},
            {"origin": f"https://{OWN}"},
            {"origin": f"http://{OWN}/"},
            {"origin": "http://localhost:1338"},
            {"sec_fetch_site": "same-site"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "none"},
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_a_change_needs_all(self, guard: Guard, other: dict[str, str], method: str) -> None:
        session = guard.sign_in(asked("POST"), TOKEN)
        with pytest.raises(ForbiddenError):
            guard.identify(page(method, session.id, **{"x_csrf_token": session.csrf, **other}))

    def test_the_csrf_token_of_another_session_does_not_do(self, guard: Guard) -> None:
        one, other = (guard.sign_in(asked("POST"), TOKEN) for _ in range(2))
        with pytest.raises(ForbiddenError):
            guard.identify(page("POST", one.id, x_csrf_token=other.csrf))

    def test_an_id_that_was_sent_in_is_never_adopted(self, guard: Guard) -> None:
        session = guard.sign_in(asked("POST", cookie=f"{COOKIE}=mine"), TOKEN)
        assert session.id != "mine"
        with pytest.raises(UnauthorizedError):
            guard.identify(asked(cookie=f"{COOKIE}=mine"))
        # One planted beside it does not hide it.
        who = guard.identify(asked(cookie=f"{COOKIE}=mine; {COOKIE}={session.id}"))
        assert who.session is session

    def test_it_ends(self, guard: Guard, clock: Clock) -> None:
        def signed(session: str) -> bool:
            try:
                guard.identify(asked(cookie=f"{COOKIE}={session}"))
            except UnauthorizedError:
                return False
            return True

        one, two, three, four = (guard.sign_in(asked("POST"), TOKEN) for _ in range(4))
        guard.sessions.end(one)
        assert [signed(s.id) for s in (one, two)] == [False, True]
        guard.apply(DIGEST, ["other"], 3)
        assert signed(two.id)
        clock.advance(LASTING - 1)
        assert signed(three.id)
        clock.advance(1)
        assert not signed(four.id)
        five = guard.sign_in(asked("POST"), TOKEN)
        guard.apply(sha256(b"another").digest(), [], 3)
        assert not signed(five.id)

    def test_what_lasts_is_looked_at_again(self, guard: Guard, clock: Clock) -> None:
        session = guard.sign_in(asked("POST"), TOKEN)
        by_session = guard.identify(asked(cookie=f"{COOKIE}={session.id}"))
        by_token = guard.identify(asked(authorization=TOKEN))
        assert guard.still(by_session)
        assert guard.still(by_token)
        clock.advance(LASTING)
        assert (guard.still(by_session), guard.still(by_token)) == (False, True)
        guard.apply(sha256(b"another").digest(), [], 3)
        assert not guard.still(by_token)

    def test_under_tls_only_the_host_cookie_counts(self, guard: Guard) -> None:
        session = guard.sign_in(asked("POST", secure=True), TOKEN)
        with pytest.raises(UnauthorizedError):
            guard.identify(asked(secure=True, cookie=f"{COOKIE}={session.id}"))
        found = guard.identify(asked(secure=True, cookie=f"{SECURE_COOKIE}={session.id}"))
        assert found.session is session

    def test_the_cookie(self, guard: Guard) -> None:
        session = guard.sign_in(asked("POST"), TOKEN)
        plain, secure = session.set_cookie(False), session.set_cookie(True)
        assert plain == f"{COOKIE}={session.id}; Max-Age=43200; Path=/; HttpOnly; SameSite=Strict"
        assert secure == f"__Host-{plain}; Secure"
        assert session.id not in repr(session)
        assert session.csrf not in repr(session)

    @pytest.mark.parametrize("origin", ["http://evil", f"https://{OWN}"])
    def test_another_page_cannot_sign_in(self, guard: Guard, origin: str) -> None:
        with pytest.raises(ForbiddenError):
            guard.sign_in(asked("POST", origin=origin), TOKEN)

    def test_a_wrong_sign_in_counts(self, guard: Guard) -> None:
        for error in (UnauthorizedError,) * 3 + (TooManyError,):
            with pytest.raises(error):
                guard.sign_in(asked("POST"), "wrong")

    def test_links(self, guard: Guard, clock: Clock) -> None:
        one, two, three = (guard.sessions.new_link() for _ in range(3))
        assert guard.sessions.take_link(one)
        assert not guard.sessions.take_link(one)
        assert not guard.sessions.take_link("other")
        clock.advance(LINK_LASTING)
        assert not guard.sessions.take_link(two)
        guard.sessions.end_all()
        assert not guard.sessions.take_link(three)

    def test_a_link_opens_a_session_once_and_wrong_ones_count(self, guard: Guard) -> None:
        secret = guard.sessions.new_link()
        session = guard.sign_in_by_link(asked(), secret)
        assert guard.sessions.is_open(session)
        for error in (UnauthorizedError,) * 3 + (TooManyError,):
            with pytest.raises(error):
                guard.sign_in_by_link(asked(), secret)
        assert guard.failed == 4


class TestReload:
    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
    def test_from_this_machine(self, guard: Guard, peer: str) -> None:
        assert guard.identify_for_reload(asked("POST", peer=peer)).kind == "loopback"

    @pytest.mark.parametrize("peer", ["10.0.0.1", "fe80::1%lo", "", "localhost"])
    def test_from_elsewhere(self, guard: Guard, peer: str) -> None:
        with pytest.raises(UnauthorizedError):
            guard.identify_for_reload(asked("POST", peer=peer))
        who = guard.identify_for_reload(asked("POST", peer=peer, authorization=TOKEN))
        assert who.kind == "token"

    @pytest.mark.parametrize("name", FOREIGN_SIGNS)
    def test_a_browser_or_a_proxy(self, guard: Guard, name: str) -> None:
        headers: dict[str, Any] = {name.replace("-", "_"): ""}
        with pytest.raises(UnauthorizedError):
            guard.identify_for_reload(asked("POST", **headers))

    def test_who_gives_a_token_must_have_the_right_one(self, guard: Guard) -> None:
        with pytest.raises(UnauthorizedError):
            guard.identify_for_reload(asked("POST", authorization="wrong"))

    def test_a_session_needs_what_changes_need(self, guard: Guard) -> None:
        session = guard.sign_in(asked("POST"), TOKEN)
        with pytest.raises(ForbiddenError):
            guard.identify_for_reload(asked("POST", cookie=f"{COOKIE}={session.id}"))


def test_whoever_asks_is_told_in_a_few_words(guard: Guard) -> None:
    who = guard.identify(asked(authorization=TOKEN))
    assert str(who) == "token from 127.0.0.1"
    assert str(attrs.evolve(who, address="")) == "token from a local socket"
