"""Where the admin listener of a running service is: as a configuration says, or the service.

The service says so in `<run_dir>/admin.json` while it runs, for a command that asks it when the
configuration on disk has become unreadable, names another listener, or left the port open.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import attrs

from sqsuper.config.endpoints import Endpoint, take_apart
from sqsuper.regular_file import open_regular

FILE = "admin.json"
_MAX_FILE = 64 * 1024
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


def configured(text: str, base: Path) -> Address | None:
    """Return where an endpoint string lets itself be reached; None where it does not tell."""
    try:
        endpoint = take_apart(text, base)
    except ValueError:
        return None
    if endpoint.kind == "unix":
        return Address(path=endpoint.arguments.get("address", ""))
    if not endpoint.port:
        return None
    host = "::1" if endpoint.kind == "tcp6" and not endpoint.interface else endpoint.interface
    return Address(_reachable(host), endpoint.port, certificate=_certificate(endpoint))


def bound(text: str, host: Any) -> Address | None:
    """Return where what was bound for the endpoint string `text` is reached.

    `host` is the port's own address, as of Twisted's `getHost`. None if it tells of none.
    """
    try:
        endpoint = take_apart(text, Path("/"))
    except ValueError:
        return None
    name = getattr(host, "name", None)
    if name is not None:
        return Address(path=os.fsdecode(name))
    port = getattr(host, "port", None)
    if not port:
        return None
    return Address(_reachable(str(host.host)), int(port), certificate=_certificate(endpoint))


def text_of(addresses: Iterable[Address]) -> str:
    """Return what the service says in its file: where it listens, in order."""
    return json.dumps({"listen": [attrs.asdict(address) for address in addresses]}) + "\n"


def said(run_dir: Path, owners: Collection[int] | None = None) -> Address | None:
    """Return where the service that runs on `run_dir` is reached, as it says itself.

    None if its file is not there, or cannot be read by whoever asks. One that was killed leaves
    it behind, and says as little of who is there now as a configuration would. `owners`: the user
    ids whose file is believed, None for any: the admin token is sent to where it says.
    """
    try:
        content = read_plain(run_dir / FILE, _MAX_FILE, owners)
        return _address(json.loads(content)["listen"][0])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def read_plain(file: Path, most: int, owners: Collection[int] | None = None) -> bytes:
    """Return at most so many bytes of a file that the service wrote into a directory of its own.

    Raises OSError, also for what it does not write: links of either kind, FIFOs and the like, and
    files of others than `owners`. Whoever runs as the service must not have root read for it.
    """
    fd = open_regular(file)
    try:
        status = os.fstat(fd)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it is no file of the service alone", str(file))
        if owners is not None and status.st_uid not in owners:
            raise OSError(errno.EPERM, "it is a file of another user", str(file))
        return os.read(fd, most)
    finally:
        os.close(fd)


def _address(told: Any) -> Address:
    """Return what the file says of one. Raises ValueError, LookupError, TypeError."""
    host, port, path, certificate = (told[key] for key in ("host", "port", "path", "certificate"))
    texts = [host, *(text for text in (path, certificate) if text is not None)]
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise ValueError("a text that is none")
    if type(port) is not int or not 0 <= port < 65536 or (path is None and not port):
        raise ValueError("no port")
    return Address(host, port, path, certificate)


def _reachable(interface: str) -> str:
    return _LOOPBACK.get(interface, interface)


def _certificate(endpoint: Endpoint) -> str | None:
    if endpoint.kind != "ssl":
        return None
    return endpoint.arguments.get("certKey", endpoint.arguments["privateKey"])
