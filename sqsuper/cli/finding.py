"""Where things are: the configuration, the admin listener, the admin token."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping as ReadOnlyMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sqsuper.cli.errors import BrokenConfigurationError, NoConfigurationError
from sqsuper.config.located import Mapping
from sqsuper.config.model import RUN_DIR, SEARCHED, Admin
from sqsuper.sockets.capabilities import HERE
from sqsuper.whereabouts import Address, configured, read_plain, said

if TYPE_CHECKING:
    from sqsuper.config.permissions import Account

ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105 - in run_dir, made by the service
TOKEN_VARIABLE = "SQSUPER_ADMIN_TOKEN"  # noqa: S105 - its name
_MAX_TOKEN_FILE = 8192
# In YAML, TOML and JSON, whatever else is wrong there.
_RUN_DIR = re.compile(r"""^[\s{,]*["']?run_dir["']?\s*[:=]\s*["']?([^"'#,}\n]+)""", re.MULTILINE)


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

    Where a service runs, it is asked whatever became of the file since. Raises
    BrokenConfigurationError.
    """
    from sqsuper.config.errors import ConfigError  # noqa: PLC0415
    from sqsuper.config.source import read_document  # noqa: PLC0415

    absolute = Path(os.path.abspath(file))
    base = absolute.parent
    try:
        root = read_document(absolute, str(file)).root
    except ConfigError as error:
        return _running(absolute, environ, BrokenConfigurationError(str(error)))
    run_dir = base / (_plain(root, "run_dir") or RUN_DIR)
    # What is in the file may not be in force yet.
    address = said(run_dir, _believed(absolute)) or _address(root, base, str(file))
    token, missing = _token(root, base, run_dir, environ)
    return Access(absolute, address, token, missing)


def _believed(file: Path) -> frozenset[int] | None:
    """Return whose word counts for where the service of the configuration `file` is."""
    if not HERE.owners:
        return None
    account = service_account(file)
    return frozenset({0, os.geteuid(), *(() if account is None else (account.uid,))})


def _running(
    file: Path, environ: ReadOnlyMapping[str, str], wrong: BrokenConfigurationError
) -> Access:
    """Return how the service is reached that runs on a file which is `wrong` by now.

    Raises that error where none does, or where there is no such file.
    """
    try:
        text = file.read_bytes().decode("utf-8", "replace")
    except OSError:
        raise wrong from None
    named = _RUN_DIR.search(text)
    run_dir = file.parent / (named.group(1).strip() if named else RUN_DIR)
    address = said(run_dir, _believed(file))
    if address is None:
        raise wrong
    token, missing = _token(Mapping({}, {}, None), file.parent, run_dir, environ)
    return Access(file, address, token, missing and f"{missing}; and {wrong}")


def _address(root: Mapping, base: Path, shown: str) -> Address:
    listen = _plain(root, "admin", "listen") or list(Admin().listen)
    for text in listen if isinstance(listen, list) else [listen]:
        address = configured(str(text), base)
        if address is not None:
            return address
    raise BrokenConfigurationError(
        f"{shown}: admin.listen names no port or socket that can be connected to"
    )


def _token(
    root: Mapping, base: Path, run_dir: Path, environ: ReadOnlyMapping[str, str]
) -> tuple[str | None, str]:
    """Return the admin token, or None and why there is none."""
    from sqsuper.tokens import is_token  # noqa: PLC0415 - dear to import

    if environ.get(TOKEN_VARIABLE):
        given = environ[TOKEN_VARIABLE]
        return (given, "") if is_token(given) else (None, f"${TOKEN_VARIABLE} holds no token")
    plain = _plain(root, "admin", "token")
    if isinstance(plain, str):
        return (plain, "") if is_token(plain) else (None, "admin.token in the file is no token")
    if _plain(root, "admin", "token_sha256") is not None:
        return None, f"the configuration has only its digest; give it in ${TOKEN_VARIABLE}"
    named = _plain(root, "admin", "token_file")
    file = base / named if isinstance(named, str) else run_dir / ADMIN_TOKEN_FILE
    try:
        if isinstance(named, str):
            with open(file, "rb") as opened:
                content = opened.read(_MAX_TOKEN_FILE)
        else:
            content = read_plain(file, _MAX_TOKEN_FILE)
    except OSError as error:
        hint = "; the service makes it when it starts" if error.errno == errno.ENOENT else ""
        return None, f"{file}: {error.strerror}{hint}"
    text = content.decode("latin-1").strip("\r\n")
    if not text:
        return None, f"{file} is empty"
    return (text, "") if is_token(text) else (None, f"{file} holds no token")


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
