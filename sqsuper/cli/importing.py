"""`sqsuper import`: tenants out of other programs' files into files of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sqsuper.cli.errors import BrokenConfigurationError, CommandError
from sqsuper.cli.finding import find_configuration, service_account
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import complain, emit, progress, say

if TYPE_CHECKING:
    from sqsuper.cli.copying import Copied
    from sqsuper.cli.formats.found import Listing
    from sqsuper.cli.takeover import Decision
    from sqsuper.config.model import Config

_PATIENCE = 2.0


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option(
    "--copy", is_flag=True, help="Copy the data below data_root; else it is used in place."
)
@click.option("--skip-clashes", is_flag=True, help="Import the others when some are refused.")
@click.option("--no-ports", is_flag=True, help="Take over no ports: tenants are reached by token.")
@common
@pass_invocation
def import_(
    invocation: Invocation,
    files: tuple[Path, ...],
    *,
    dry_run: bool,
    copy: bool,
    skip_clashes: bool,
    no_ports: bool,
) -> int:
    """Take over tenants from FILE...

    Each may be a router-config.json, a tenants JSON, an sq-gateway.toml, an nginx map of tokens
    to ports, a systemd environment file of sq-tenant@NAME, or a tokens CSV; which one, shows in
    its content. Every tenant becomes a file tenants.d/NAME.yaml with the digest of its token.

    When one is refused nothing is changed, and the status is 1; with --skip-clashes the others
    are imported (the status is 1 all the same).
    """
    from sqsuper.cli.takeover import Verdict, Wish, decide  # noqa: PLC0415 - costs Twisted

    listings = _read(files)
    config = _load(find_configuration(invocation.config, os.environ))
    found = [tenant for _, listing in listings for tenant in listing.tenants]
    decisions = decide(found, config, Wish(copy=copy, ports=not no_ports), _holder)
    refused = any(decision.verdict is Verdict.REFUSE for decision in decisions)
    takes = [decision for decision in decisions if decision.verdict is Verdict.TAKE]
    goes = not dry_run and bool(takes) and (skip_clashes or not refused)
    copied = _write(config, takes, quiet=invocation.json) if goes else {}
    if invocation.json:
        emit(
            {
                "files": [
                    {"file": str(file), "kind": listing.kind, "notes": list(listing.notes)}
                    for file, listing in listings
                ],
                "tenants": [_fact(decision, goes, copied) for decision in decisions],
                "changed": goes,
            }
        )
    else:
        _tell(listings, decisions, goes, copied)
        _conclude(decisions, goes, dry_run)
    return 1 if refused else 0


def _read(files: Sequence[Path]) -> list[tuple[Path, Listing]]:
    from sqsuper.cli.formats.detect import read  # noqa: PLC0415
    from sqsuper.cli.formats.found import FormatError  # noqa: PLC0415

    try:
        return [(file, read(file)) for file in files]
    except FormatError as error:
        raise CommandError(str(error)) from None


def _load(file: Path) -> Config:
    from sqsuper.config.errors import ConfigError  # noqa: PLC0415
    from sqsuper.config.load import load  # noqa: PLC0415

    try:
        return load(file, service=service_account(file))
    except ConfigError as error:
        raise BrokenConfigurationError(str(error)) from None


def _holder(port: int) -> str:
    """Return who takes connections on a port of the loopback; empty: nobody."""
    import socket  # noqa: PLC0415

    from sqsuper.supervisor import holder  # noqa: PLC0415

    try:
        socket.create_connection(("127.0.0.1", port), _PATIENCE).close()
    except OSError:
        return ""
    return str(holder.of_port(port) or "another program")


def _write(config: Config, takes: Sequence[Decision], quiet: bool) -> dict[str, Copied]:
    """Copy what is to be copied, then write the tenants' files; all of it, or nothing."""
    from sqsuper.cli import copying  # noqa: PLC0415
    from sqsuper.cli.entries import render  # noqa: PLC0415
    from sqsuper.cli.files import make_private, write_new  # noqa: PLC0415
    from sqsuper.config.overlay import TENANTS_DIR  # noqa: PLC0415

    copied: dict[str, Copied] = {}
    written: list[Path] = []
    try:
        directory = config.file.parent / TENANTS_DIR
        make_private(directory)
        for decision in takes:
            if decision.copy_from is None or decision.data_dir is None:
                continue
            total = copying.size_of(decision.copy_from)
            with progress(f"copying {decision.name}", total, quiet) as bar:
                copied[decision.name] = copying.copy_directory(
                    decision.copy_from, decision.data_dir, bar.update
                )
        for decision in takes:
            assert decision.tenant is not None
            file = directory / f"{decision.name}.yaml"
            write_new(file, render(decision.tenant, "`sqsuper import`").encode())
            written.append(file)
        _check(config.file, takes)
    except BaseException as error:
        for file in written:
            file.unlink(missing_ok=True)
        _discard(takes, copied)
        if isinstance(error, FileExistsError):
            raise CommandError(f"{error.filename2} is there already; nothing was changed") from None
        if isinstance(error, OSError):
            raise CommandError(f"{error.filename}: {error.strerror}; nothing was changed") from None
        raise
    return copied


def _check(file: Path, takes: Sequence[Decision]) -> None:
    """Make sure that the configuration is right with the new files in it."""
    names = {tenant.name for tenant in _load(file).tenants}
    for decision in takes:
        if decision.name not in names:
            raise BrokenConfigurationError(
                f"{file}: include takes in no tenants.d/{decision.name}.yaml; nothing was changed"
            )


def _discard(takes: Sequence[Decision], copied: dict[str, Copied]) -> None:
    import shutil  # noqa: PLC0415

    for decision in takes:
        if decision.name in copied and decision.data_dir is not None:
            shutil.rmtree(decision.data_dir, ignore_errors=True)


def _word(decision: Decision, goes: bool) -> str:
    from sqsuper.cli.takeover import Verdict  # noqa: PLC0415

    if decision.verdict is Verdict.TAKE and not goes:
        return "importable"
    return decision.verdict.value


def _notes(decision: Decision, copied: dict[str, Copied]) -> list[str]:
    notes = list(decision.notes)
    done = copied.get(decision.name)
    if done is not None:
        notes += [f"{path} is a link or no file, and was not copied" for path in done.left]
        notes += [
            f"{path} was written to while it was copied: copy it again" for path in done.changed
        ]
    return notes


def _fact(decision: Decision, goes: bool, copied: dict[str, Copied]) -> dict[str, Any]:
    tenant = decision.tenant
    return {
        "tenant_id": decision.name,
        "where": decision.found.where,
        "result": _word(decision, goes),
        "reason": decision.reason or None,
        "port": tenant.port if tenant else None,
        "data_dir": str(decision.data_dir) if decision.data_dir else None,
        "copied_from": str(decision.copy_from) if decision.copy_from else None,
        "notes": _notes(decision, copied),
    }


def _tell(
    listings: Sequence[tuple[Path, Listing]],
    decisions: Sequence[Decision],
    goes: bool,
    copied: dict[str, Copied],
) -> None:
    for file, listing in listings:
        say(f"{file}: {listing.kind}, tenants: {len(listing.tenants)}")
        for note in listing.notes:
            say(f"  note: {note}")
    for decision in decisions:
        told = f"{_word(decision, goes)}: {decision.name}"
        if decision.reason:
            told += f" ({decision.found.where}): {decision.reason}"
        elif decision.data_dir is not None:
            port = decision.tenant.port if decision.tenant else None
            told += f", {f'port {port}, ' if port else ''}data in {decision.data_dir}"
            if decision.copy_from is not None:
                told += f", copied from {decision.copy_from}"
        say(told, "red" if decision.reason else None)
        for note in _notes(decision, copied):
            say(f"  note: {note}")


def _conclude(decisions: Sequence[Decision], goes: bool, dry_run: bool) -> None:
    if goes:
        say("their tokens were in those files in plain: give each tenant a new one with")
        say("`sqsuper token rotate TENANT`. A running service takes them in within 5 s.")
    elif any(decision.reason for decision in decisions):
        complain("nothing was changed; mend the clashes, or import the others by --skip-clashes")
    elif dry_run:
        say("nothing was changed (--dry-run)")
