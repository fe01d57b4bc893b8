"""Endpoint strings: checked by Twisted's own parser, their relative paths made absolute."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import attrs

from sqsuper.sockets.capabilities import HERE

MAX_SOCKET_PATH = HERE.socket_path or 107
_PATHS = {
    "ssl": {"privateKey", "certKey", "extraCertChain", "dhParameters"},
    "unix": {"address"},
}
# What each kind of endpoint calls its unnamed arguments, in their order.
_POSITIONS = {
    "ssl": ("port", "privateKey", "certKey"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
}
# A wrapper: what follows it is an endpoint string again.
_WRAPPERS = {"haproxy"}
_PORTED = {"tcp", "tcp6", "ssl"}


@attrs.frozen
class Endpoint:
    """An endpoint string taken apart: `kind` without wrappers, arguments by name.

    `text` is the whole string with absolute paths; `port` is None but for tcp, tcp6 and ssl,
    where 0 is any free port.
    """

    text: str
    kind: str
    arguments: dict[str, str]
    port: int | None

    @property
    def interface(self) -> str:
        """The address it binds; empty for all."""
        return self.arguments.get("interface", "")

    @property
    def loopback_only(self) -> bool:
        """Whether it can be reached from this machine alone."""
        if self.kind not in _PORTED:
            return True
        if self.interface == "localhost":
            return True
        try:
            return ip_address(self.interface.partition("%")[0]).is_loopback
        except ValueError:
            return False

    def shares_port(self, other: Endpoint) -> bool:
        """Whether both cannot be bound at once."""
        if not self.port or self.port != other.port:
            return False
        mine, others = _family(self), _family(other)
        wild = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound
        overlap = self.interface == other.interface or bool(
            {self.interface, other.interface} & wild
        )
        return mine == others and overlap

    def joins(self, other: Endpoint) -> bool:
        """Whether both are certificates of one port, which is one listener of the gateway."""
        same = self.port == other.port and self.interface == other.interface
        return same and self.kind == other.kind == "ssl"


def _family(endpoint: Endpoint) -> int:
    return 6 if endpoint.kind == "tcp6" or ":" in endpoint.interface else 4


def _split(text: str) -> list[tuple[str | None, str]]:
    """Return the parts between colons as (name or None, value), with escapes taken out."""
    parts: list[tuple[str | None, str]] = []
    name: str | None = None
    current = ""
    escaped = False
    for c in text:
        if escaped:
            current += c
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == ":":
            parts.append((name, current))
            name, current = None, ""
        elif c == "=" and name is None:
            name, current = current, ""
        else:
            current += c
    if escaped:
        raise ValueError("an endpoint that does not end with a backslash")
    parts.append((name, current))
    return parts


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:")


def _join(parts: list[tuple[str | None, str]]) -> str:
    return ":".join(
        # In an unnamed argument an equals sign would begin a value.
        _quoted(value).replace("=", "\\=") if name is None else f"{name}={_quoted(value)}"
        for name, value in parts
    )


def take_apart(text: str, base: Path) -> Endpoint:
    """Return a server endpoint string taken apart, relative paths taken from `base`.

    Raises ValueError saying what would be right. Touches nothing; `check_endpoint` does.
    """
    parts = _split(text)
    start = 0
    while start < len(parts) - 1 and parts[start] in {(None, name) for name in _WRAPPERS}:
        start += 1
    unnamed, kind = parts[start]
    if unnamed is not None or not kind:
        raise ValueError('an endpoint such as "tcp:1337:interface=127.0.0.1"')
    arguments: dict[str, str] = {}
    positions = iter(_POSITIONS.get(kind, ()))
    for index in range(start + 1, len(parts)):
        given, value = parts[index]
        name = next(positions, "") if given is None else given
        if name in _PATHS.get(kind, ()):
            value = os.path.join(base, value)
            parts[index] = (given, value)
        arguments[name] = value
    if kind == "ssl" and "privateKey" not in arguments:
        raise ValueError("an endpoint with privateKey= and certKey=")
    port = _port(arguments) if kind in _PORTED else None
    return Endpoint(_join(parts), kind, arguments, port)


def without_tls(endpoint: Endpoint) -> str:
    """Return the string that binds the port of an `ssl:` endpoint for plain TCP."""
    kept = [
        f"{name}={_quoted(endpoint.arguments[name])}"
        for name in ("interface", "backlog")
        if name in endpoint.arguments
    ]
    return ":".join(["tcp", str(endpoint.port), *kept])


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse what Twisted cannot listen on. Raises ValueError saying what would be right.

    Binds nothing; of `ssl:` it reads the certificate, as it must be there at the start. The
    gateway's own `ssl:` is another one: see `certificates.check_tls`.
    """
    if endpoint.kind == "systemd":
        _check_systemd(endpoint.arguments)
        return
    address = endpoint.arguments.get("address", "")
    if endpoint.kind == "unix" and len(os.fsencode(address)) > MAX_SOCKET_PATH:
        raise ValueError(f"a socket's path of at most {MAX_SOCKET_PATH} bytes ({address})")
    _check_by_twisted(endpoint.text)


def _port(arguments: dict[str, str]) -> int:
    digits = arguments.get("port", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535):
        raise ValueError('an endpoint with a port up to 65535, such as "tcp:1337"')
    return int(digits)


def _check_systemd(arguments: dict[str, str]) -> None:
    """Twisted's parser would look for the descriptors, which only the service itself has."""
    domain = arguments.get("domain")
    index = arguments.get("index", "0")
    if domain not in {"INET", "INET6", "UNIX"} or ("index" in arguments) == ("name" in arguments):
        raise ValueError('an endpoint such as "systemd:domain=INET:index=0"')
    if not (index.isascii() and index.isdigit()):
        raise ValueError("a systemd endpoint with index= as a number")


def _check_by_twisted(text: str) -> None:
    # The rest of this module is of use without Twisted, whose import takes long.
    from twisted.internet.endpoints import serverFromString  # noqa: PLC0415

    try:
        # The parsers only keep the reactor for later.
        serverFromString(object(), text)
    except ImportError:
        raise ValueError(
            "an endpoint that this installation has (ssl: needs sqsuper[tls])"
        ) from None
    except OSError as error:
        named = f" {error.filename}" if error.filename else ""
        raise ValueError(
            f"an endpoint whose files can be read ({error.strerror}:{named})"
        ) from None
    except Exception as error:
        if isinstance(error, TypeError):
            raise ValueError("an endpoint whose arguments Twisted knows") from None
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"an endpoint that Twisted takes ({reason})") from None
