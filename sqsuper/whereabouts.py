"""Where the admin listener of a running service is: as a configuration says, or the service.

The service says so in `<run_dir>/admin.json` while it runs, for a command that asks it when the
configuration on disk has become unreadable, names another listener, or left the port open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from sqsuper.config.endpoints import Endpoint, take_apart

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


def said(run_dir: Path) -> Address | None:
    """Return where the service that runs on `run_dir` is reached, as it says itself.

    None if its file is not there, or cannot be read by whoever asks. One that was killed leaves
    it behind: nobody answers there then, as nobody would anywhere else.
    """
    try:
        with open(run_dir / FILE, "rb") as opened:
            address = json.loads(opened.read(_MAX_FILE))["listen"][0]
        return Address(
            str(address["host"]), int(address["port"]), address["path"], address["certificate"]
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _reachable(interface: str) -> str:
    return _LOOPBACK.get(interface, interface)


def _certificate(endpoint: Endpoint) -> str | None:
    if endpoint.kind != "ssl":
        return None
    return endpoint.arguments.get("certKey", endpoint.arguments["privateKey"])
