"""Who may ask the admin listener for what: decided from a request's head alone, no I/O."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv6Address, ip_address

import attrs

from sqsuper import tokens
from sqsuper.admin.errors import (
    BadRequestError,
    ForbiddenError,
    MisdirectedError,
    TooManyError,
    UnauthorizedError,
)
from sqsuper.admin.sessions import Session, Sessions
from sqsuper.gateway.limits import WrongTokens

SAFE = frozenset({"GET", "HEAD"})
# A proxy adds one of these, a browser one of the first two.
FOREIGN_SIGNS = (
    "origin",
    "sec-fetch-site",
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "via",
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Asked:
    """A request's head. `headers`: values by lower-case name; `peer`: the client's address.

    `local`: address and port that the connection came in by, None for a Unix socket.
    """

    method: str
    headers: Mapping[str, Sequence[str]]
    peer: str
    local: tuple[str, int] | None
    secure: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.secure else "http"

    def header(self, name: str) -> str | None:
        """Return a field's value, None if it is missing. Raises BadRequestError for two."""
        values = self.headers.get(name, ())
        if len(values) > 1:
            raise BadRequestError(f"more than one {name} field")
        return values[0].strip(" \t") if values else None


@attrs.frozen
class Who:
    """Who asks. `kind`: `token`, `session` or `loopback` (without either)."""

    kind: str
    address: str
    session: Session | None = None
    generation: int = 0
    """Of the admin token: see `Guard.still`."""

    def __str__(self) -> str:
        return f"{self.kind} from {self.address or 'a local socket'}"


class Guard:
    """Decides. `seconds()`: monotonic seconds."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.sessions = Sessions(seconds)
        self.failed = 0
        """Sign-ins, and requests, with a wrong token so far."""
        self._seconds = seconds
        self._digest = b""
        self._generation = 0
        self._hosts: frozenset[str] = frozenset()
        self._wrong = WrongTokens(20)

    def apply(self, token_sha256: bytes, hosts: Sequence[str], wrong_per_minute: int) -> None:
        """Go on with these; another token ends all sessions. `hosts`: further names, lower case."""
        if self._digest != token_sha256:
            self._generation += 1
            self.sessions.end_all()
        self._digest = token_sha256
        self._hosts = frozenset(hosts)
        self._wrong.resize(wrong_per_minute)

    # Where to

    def check_host(self, asked: Asked) -> None:
        """Raises MisdirectedError unless Host is one of our names, with the port it came in by."""
        host = asked.header("host")
        if host is None or host.lower() not in self._own_hosts(asked):
            raise MisdirectedError(
                "the Host field names no address of the admin listener; add the name to admin.hosts"
            )

    def _own_hosts(self, asked: Asked) -> set[str]:
        names = {"localhost", *self._hosts}
        if asked.local is None:
            return names
        address, port = asked.local
        names.add(_literal(address))
        own = {f"{name}:{port}" for name in names}
        if port == _DEFAULT_PORTS[asked.scheme]:
            own |= names
        return own

    # Who

    def identify(self, asked: Asked) -> Who:
        """Return who asks. Raises UnauthorizedError, TooManyError, and for changes by cookie
        without what those need ForbiddenError.
        """
        authorization = asked.header("authorization")
        if authorization is not None:
            self.check_token(_bearer(authorization), asked.peer)
            return Who("token", asked.peer, generation=self._generation)
        session = self.sessions.find(asked.headers.get("cookie", ()), asked.secure)
        if session is None:
            raise UnauthorizedError("the admin token is needed: Authorization: Bearer TOKEN")
        if asked.method not in SAFE:
            self.check_own_page(asked)
            self._check_csrf(session, asked.header("x-csrf-token"))
        return Who("session", asked.peer, session, self._generation)

    def still(self, who: Who) -> bool:
        """Whether who was identified earlier would be so now: to be asked while an answer lasts."""
        if who.generation != self._generation:
            return False
        return who.session is None or self.sessions.is_open(who.session)

    def identify_for_reload(self, asked: Asked) -> Who:
        """As `identify`; but who is on this machine, and no browser or proxy, needs nothing."""
        signed = asked.header("authorization") is not None or (
            self.sessions.find(asked.headers.get("cookie", ()), asked.secure) is not None
        )
        local = _is_loopback(asked.peer) and not any(
            name in asked.headers for name in FOREIGN_SIGNS
        )
        return Who("loopback", asked.peer) if local and not signed else self.identify(asked)

    def sign_in(self, asked: Asked, token: str) -> Session:
        """Open a session. Raises UnauthorizedError, TooManyError, ForbiddenError."""
        if asked.headers.get("origin") or asked.headers.get("sec-fetch-site"):
            self.check_own_page(asked)
        self.check_token(token, asked.peer)
        return self.sessions.begin(asked.peer)

    def sign_in_by_link(self, asked: Asked, secret: str) -> Session:
        """Open a session by a link that was not used yet. Raises as `sign_in`, of wrong ones."""
        if not self.sessions.take_link(secret):
            self._count_wrong(asked.peer)
            raise UnauthorizedError("this link was used already, or is too old")
        return self.sessions.begin(asked.peer)

    def check_token(self, token: str, peer: str) -> None:
        """Raises UnauthorizedError for a wrong admin token, TooManyError past the limit."""
        known = tokens.is_token(token) and hmac.compare_digest(
            sha256(token.encode("ascii")).digest(), self._digest
        )
        if not known:
            self._count_wrong(peer)
            raise UnauthorizedError("this is not the admin token")

    def _count_wrong(self, peer: str) -> None:
        """Raises TooManyError past the limit."""
        self.failed += 1
        wait = self._wrong.count(peer, self._seconds())
        if wait is not None:
            raise TooManyError(wait)

    def check_own_page(self, asked: Asked) -> None:
        """Raises ForbiddenError unless a page of this very listener asks."""
        origin = asked.header("origin")
        site = asked.header("sec-fetch-site")
        if origin != f"{asked.scheme}://{(asked.header('host') or '').lower()}":
            raise ForbiddenError("a change by cookie needs the Origin of this very page")
        if site not in {None, "same-origin"}:
            raise ForbiddenError("a change by cookie is taken from this very page alone")

    @staticmethod
    def _check_csrf(session: Session, given: str | None) -> None:
        if given is None or not hmac.compare_digest(
            given.encode("utf-8", "replace"), session.csrf.encode()
        ):
            raise ForbiddenError("a change by cookie needs the session's X-CSRF-Token")


def _bearer(value: str) -> str:
    """Return the token of an Authorization value, as the gateway takes it."""
    return value[7:].lstrip(" ") if value[:7].lower() == "bearer " else value


def _literal(address: str) -> str:
    """Return an address as a Host field has it."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else f"[{parsed}]"
    return str(parsed)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback
