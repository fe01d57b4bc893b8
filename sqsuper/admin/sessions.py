"""Sessions of browsers at the admin listener: made at sign-in, found by their cookie."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable

import attrs

from sqsuper.gateway.rewrite import ADMIN_COOKIES

LASTING = 12 * 3600.0
MAX_SESSIONS = 1000
LINK_LASTING = 600.0
SIGN_IN_BY_LINK = "/sign-in/{secret}"
"""The path of a link that signs in once."""

COOKIE, SECURE_COOKIE = (name.decode("ascii") for name in ADMIN_COOKIES)


@attrs.frozen(eq=False)
class Session:
    """One. `id` is the cookie's value, `csrf` what changes by it must bring along.

    `ends`: when it is over by itself, in the seconds of its `Sessions`.
    """

    id: str = attrs.field(repr=False)
    csrf: str = attrs.field(repr=False)
    ends: float
    address: str

    def set_cookie(self, secure: bool) -> str:
        """Return the value of Set-Cookie; `secure`: the request came by TLS."""
        return _cookie(self.id, int(LASTING), secure)


def forget_cookie(secure: bool) -> str:
    """Return the value of Set-Cookie that ends a session in the browser."""
    return _cookie("", 0, secure)


def _cookie(value: str, age: int, secure: bool) -> str:
    name = SECURE_COOKIE if secure else COOKIE
    end = "; Secure" if secure else ""
    return f"{name}={value}; Max-Age={age}; Path=/; HttpOnly; SameSite=Strict{end}"


class Sessions:
    """All that are open, and the one-time links that open one. `seconds()`: monotonic."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._links: OrderedDict[str, float] = OrderedDict()

    def begin(self, address: str) -> Session:
        """Open one with a new random id; past `MAX_SESSIONS` the oldest ends."""
        session = Session(
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(32),
            self._seconds() + LASTING,
            address,
        )
        self._open[session.id] = session
        while len(self._open) > MAX_SESSIONS:
            self._open.popitem(last=False)
        return session

    def find(self, cookies: Iterable[str], secure: bool) -> Session | None:
        """Return the open session that Cookie field values name; None if there is none."""
        wanted = SECURE_COOKIE if secure else COOKIE
        for field in cookies:
            for pair in field.split(";"):
                name, _, value = pair.strip(" \t").partition("=")
                session = self._open.get(value) if name == wanted else None
                if session is not None and self.is_open(session):
                    return session
        return None

    def is_open(self, session: Session) -> bool:
        """Whether it has not ended."""
        if self._open.get(session.id) is not session:
            return False
        if self._seconds() >= session.ends:
            del self._open[session.id]
            return False
        return True

    def end(self, session: Session) -> None:
        """End one. Idempotent."""
        self._open.pop(session.id, None)

    def end_all(self) -> None:
        """End all, and all links."""
        self._open.clear()
        self._links.clear()

    # Links that sign in once

    def new_link(self) -> str:
        """Return a secret that `take_link` takes once, within `LINK_LASTING` seconds."""
        secret = secrets.token_urlsafe(32)
        self._links[secret] = self._seconds() + LINK_LASTING
        while len(self._links) > MAX_SESSIONS:
            self._links.popitem(last=False)
        return secret

    def take_link(self, secret: str) -> bool:
        """Whether `secret` is one of them that has not been taken yet; from now on it has."""
        ends = self._links.pop(secret, None)
        return ends is not None and self._seconds() < ends
