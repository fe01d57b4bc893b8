"""Where things are: the configuration, the admin listener, the admin token."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping as ReadOnlyMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sqsuper.cli.errors import BrokenConfigurationError, NoConfigurationError
from sqsuper.config.model import RUN_DIR, SEARCHED, Admin

if TYPE_CHECKING:
    from sqsuper.config.located import Mapping
    from sqsuper.config.permissions import Account

ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105 - in run_dir, made by the service
TOKEN_VARIABLE = "SQSUPER_ADMIN_TOKEN"  # noqa: S105 - its name
_MAX_TOKEN_FILE = 8192
# A wildcard takes connections to the loopback too.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound


@attrs.frozen
class Address:
    """Where the admin API listens. A Unix socket has `path`; TLS has `certificate` (PEM file)."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None
    certificate: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """How a browser reaches it; not of a Unix socket."""
        return f"{'http' if self.certificate is None else 'https'}://{self}"


@attrs.frozen
class Access:
    """How the running service of the configuration `file` is reached."""

    file: Path
    address: Address
    token: str | None = attrs.field(default=None, repr=False)
    missing: str = ""
    """Without `token`: why there is none."""


def service_account(file: Path) -> Account | None:
    """Return who runs the service of the configuration `file`, where root asks for somebody else.

    That is the owner of the tenants' files beside it, which the service writes. None: who asks.
    """
    from sqsuper.config.overlay import TENANTS_DIR  # noqa: PLC0415 - needs a YAML parser
    from sqsuper.config.permissions import Account, is_root  # noqa: PLC0415

    if not is_root():
        return None
    try:
        status = os.stat(file.parent / TENANTS_DIR)
    except OSError:
        return None
    return Account(status.st_uid, status.st_gid) if status.st_uid != 0 else None


def find_configuration(named: Path | None, environ: ReadOnlyMapping[str, str]) -> Path:
    """Return the file that is named, by $SQSUPER_CONFIG else, or the first that is there.

    Raises NoConfigurationError; a file that is named need not exist.
    """
    if named is not None:
        return named
    if environ.get("SQSUPER_CONFIG"):
        return Path(environ["SQSUPER_CONFIG"])
    for searched in SEARCHED:
        if Path(searched).is_file():
            return Path(searched)
    raise NoConfigurationError(
        "no configuration file: give one with -c FILE or in $SQSUPER_CONFIG"
        f" (looked for {' and '.join(SEARCHED)}), or make one with `sqsuper init`"
    )


def access(file: Path, environ: ReadOnlyMapping[str, str]) -> Access:
    """Return how the service of a configuration is reached.

    Only what is needed is read, so that a service can be asked about a file that has since
    become wrong elsewhere. Raises BrokenConfigurationError.
    """
    from sqsuper.config.errors import ConfigError  # noqa: PLC0415
    from sqsuper.config.source import read_document  # noqa: PLC0415

    absolute = Path(os.path.abspath(file))
    try:
        root = read_document(absolute, str(file)).root
    except ConfigError as error:
        raise BrokenConfigurationError(str(error)) from None
    address = _address(root, absolute.parent, str(file))
    token, missing = _token(root, absolute.parent, environ)
    return Access(absolute, address, token, missing)


def _address(root: Mapping, base: Path, shown: str) -> Address:
    from sqsuper.config.endpoints import take_apart  # noqa: PLC0415

    listen = _plain(root, "admin", "listen") or list(Admin().listen)
    for text in listen if isinstance(listen, list) else [listen]:
        try:
            endpoint = take_apart(str(text), base)
        except ValueError:
            continue
        if endpoint.kind == "unix":
            return Address(path=endpoint.arguments.get("address", ""))
        if endpoint.port:
            host = _LOOPBACK.get(endpoint.interface, endpoint.interface)
            if endpoint.kind == "tcp6" and not endpoint.interface:
                host = "::1"
            certificate = None
            if endpoint.kind == "ssl":
                arguments = endpoint.arguments
                certificate = arguments.get("certKey", arguments["privateKey"])
            return Address(host, endpoint.port, certificate=certificate)
    raise BrokenConfigurationError(
        f"{shown}: admin.listen names no port or socket that can be connected to"
    )


def _token(root: Mapping, base: Path, environ: ReadOnlyMapping[str, str]) -> tuple[str | None, str]:
    """Return the admin token, or None and why there is none."""
    if environ.get(TOKEN_VARIABLE):
        return environ[TOKEN_VARIABLE], ""
    plain = _plain(root, "admin", "token")
    if isinstance(plain, str):
        return plain, ""
    if _plain(root, "admin", "token_sha256") is not None:
        return None, f"the configuration has only its digest; give it in ${TOKEN_VARIABLE}"
    named = _plain(root, "admin", "token_file")
    run_dir = _plain(root, "run_dir")
    file = base / (named if isinstance(named, str) else f"{run_dir or RUN_DIR}/{ADMIN_TOKEN_FILE}")
    try:
        with open(file, "rb") as opened:
            text = opened.read(_MAX_TOKEN_FILE).decode("latin-1").strip("\r\n")
    except OSError as error:
        hint = "; the service makes it when it starts" if error.errno == errno.ENOENT else ""
        return None, f"{file}: {error.strerror}{hint}"
    return (text, "") if text else (None, f"{file} is empty")


def _plain(root: Mapping, *keys: str) -> Any:
    """Return a value of the file as plain text or list of texts; None where there is none."""
    value: Any = root
    for key in keys:
        entries = getattr(value, "entries", None)
        if entries is None or key not in entries:
            return None
        value = entries[key]
    items = getattr(value, "items", None)
    if isinstance(items, list):
        return [getattr(item, "value", None) for item in items]
    plain = getattr(value, "value", None)
    return None if plain in ("none", "") else plain
