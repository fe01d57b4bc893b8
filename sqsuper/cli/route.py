"""`sqsuper route`: a router-config.json served through our gateway, as the real sq would."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sqsuper.cli.errors import BrokenConfigurationError, CommandError
from sqsuper.cli.options import common

if TYPE_CHECKING:
    from sqsuper.cli.formats.found import Found


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("router-config.json"))
@click.argument("port", type=click.IntRange(1, 65535), default=1337)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Where our own files go; by default .sqsuper-PORT beside FILE.",
)
@click.option(
    "--interface", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option("--no-ports", is_flag=True, help="Do not serve tenants on ports of their own.")
@common
def route(file: Path, port: int, *, state_dir: Path | None, interface: str, no_ports: bool) -> None:
    """Serve the tenants of FILE (router-config.json) on PORT (1337) until Ctrl-C.

    One embedded engine a tenant serves its data_dir, and its own port on the loopback. FILE is
    read at the start; it is not written, nor is anything in the data but what tenants write.
    Two entries with one token, port or data_dir are refused.
    """
    from sqsuper.cli.formats.detect import read  # noqa: PLC0415
    from sqsuper.cli.formats.found import FormatError  # noqa: PLC0415

    try:
        listing = read(file)
    except FormatError as error:
        raise CommandError(str(error)) from None
    state = state_dir or Path(os.path.abspath(file)).parent / f".sqsuper-{port}"
    made = configuration(listing.tenants, port, interface, ports=not no_ports)
    _serve(_write(state, made))


def configuration(
    tenants: Sequence[Found], port: int, interface: str, ports: bool
) -> dict[str, Any]:
    """Return our configuration for a router's tenants. Raises CommandError."""
    from sqsuper.cli.takeover import name_of  # noqa: PLC0415

    entries: dict[str, Mapping[str, Any]] = {}
    for tenant in tenants:
        name, _notes = name_of(tenant)
        if name in entries:
            raise CommandError(f"{tenant.where}: the name {name} is there already")
        entries[name] = _entry(tenant, ports)
    shown = interface.replace("\\", "\\\\").replace(":", "\\:")
    return {
        "gateway": {"listen": [f"tcp:{port}:interface={shown}"]},
        "admin": {"listen": ["unix:run/admin.sock:mode=600"]},
        "include": [],
        "tenants": entries,
    }


def _entry(tenant: Found, ports: bool) -> dict[str, Any]:
    from sqsuper import tokens  # noqa: PLC0415

    if tenant.token is None or not tokens.is_token(tenant.token):
        raise CommandError(f"{tenant.where}: it has no token of 1 to 512 bytes of 0x21-0x7E")
    if tenant.data_dir is None:
        raise CommandError(f"{tenant.where}: it has no data_dir")
    entry: dict[str, Any] = {
        "token_sha256": [tokens.digest(tenant.token).hex()],
        "data_dir": str(tenant.data_dir),
        "enabled": tenant.enabled,
    }
    if ports and tenant.port is not None:
        entry["port"] = tenant.port
    return entry


def _write(state: Path, made: Mapping[str, Any]) -> Path:
    from sqsuper.cli.files import make_private, write_new  # noqa: PLC0415

    # Of its own making and kept: what runs there is found again after a crash.
    file = state / "tenants.json"
    draft = state / f"tenants.{os.getpid()}.json"
    try:
        make_private(state)
        write_new(draft, json.dumps(made, indent=2).encode())
        os.replace(draft, file)
    except OSError as error:
        raise CommandError(
            f"{error.filename}: {error.strerror}; --state-dir names another place"
        ) from None
    return file


def _serve(file: Path) -> None:
    from sqsuper.cli.run import serve  # noqa: PLC0415
    from sqsuper.config.errors import ConfigError  # noqa: PLC0415
    from sqsuper.config.load import load  # noqa: PLC0415

    try:
        load(file)
    except ConfigError as error:
        raise BrokenConfigurationError(str(error)) from None
    serve(file)
