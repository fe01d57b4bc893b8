"""`sqsuper backup`, `restore` and `verify`: by the service where it runs, else on its files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sqsuper.cli.asking import client_of, items_of, names, object_of
from sqsuper.cli.errors import UnreachableError
from sqsuper.cli.finding import find_configuration
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import complain, emit, moment, progress, say, show_table, size

_BACKUPS = "/api/v2/admin/backups"


@click.command()
@click.argument("tenants", nargs=-1, shell_complete=names)
@click.option(
    "--to", type=click.Path(path_type=Path), help="The directory it goes to, else `backup.dir`."
)
@click.option("--list", "listing", is_flag=True, help="List the backups there are.")
@common
@pass_invocation
def backup(
    invocation: Invocation, tenants: tuple[str, ...], *, to: Path | None, listing: bool
) -> int:
    """Back up TENANT..., or all of them, into one archive.

    They go on running. Exit status 1: some could not be copied, and the archive is without them.
    """
    if listing:
        _list(invocation)
        return 0
    wanted = list(dict.fromkeys(tenants))
    made = _made(invocation, wanted, to)
    if invocation.json:
        emit(made)
    else:
        _tell_made(made)
    return 1 if made["missing"] else 0


def _made(invocation: Invocation, wanted: Sequence[str], to: Path | None) -> dict[str, Any]:
    from sqsuper.cli import storing  # noqa: PLC0415 - reading a configuration costs

    body = {"tenant_ids": list(wanted)} if wanted else {}
    try:
        made = _followed(invocation, "backup", body, "backing up")
    except UnreachableError as error:
        file = find_configuration(invocation.config, os.environ)
        return storing.backup(file, wanted, to, error, quiet=invocation.json)
    if to is not None:
        made["path"] = str(storing.move(Path(made["path"]), to))
    return made


def _tell_made(made: Mapping[str, Any]) -> None:
    parts = items_of(made, "tenants")
    say(f"{made['path']}: {size(made['bytes'])}, tenants: {len(parts)}")
    for part in parts:
        of_one = "" if part["one_moment"] else ", each file of one moment"
        say(f"  {part['tenant_id']}: {part['files']} files, {size(part['bytes'])}{of_one}")
        for name in part["left_out"]:
            say(f"    left out: {name}")
    for one in items_of(made, "missing"):
        complain(f"{one['tenant_id']} is missing: {one['reason']}")


def _list(invocation: Invocation) -> None:
    from sqsuper.cli import storing  # noqa: PLC0415

    try:
        found = object_of(client_of(invocation).get(_BACKUPS))
    except UnreachableError:
        found = storing.listed(find_configuration(invocation.config, os.environ))
    if invocation.json:
        emit(found)
        return
    rows = [
        (one["file"], moment(one["made"]), size(one["bytes"]), "yes" if one["complete"] else "no")
        for one in items_of(found, "backups")
    ]
    show_table(("FILE", "MADE", "SIZE", "COMPLETE"), rows)
    due = found.get("next")
    when = "none is scheduled (`backup.at`)" if due is None else f"the next one: {moment(due)}"
    say(f"in {found['dir']}; {when}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("tenant", required=False)
@click.option("--as", "rename", help="The name to restore TENANT under.")
@click.option("--replace", is_flag=True, help="Put aside the data that is there.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
@pass_invocation
def restore(
    invocation: Invocation,
    file: Path,
    tenant: str | None,
    *,
    rename: str | None,
    replace: bool,
    yes: bool,
) -> None:
    """Put the data of TENANT, or of all tenants, back as the backup FILE has it.

    FILE is a path, or the name of a backup that `sqsuper backup --list` shows. All of it is
    verified before anything is changed. What was there is put aside, never deleted.
    """
    from sqsuper.cli import storing  # noqa: PLC0415

    if rename is not None and tenant is None:
        raise click.UsageError("--as needs the name that the tenant has in the backup")
    if replace and not yes:
        whose = f"of {rename or tenant!r}" if tenant else "of all tenants in it"
        click.confirm(f"Replace the data {whose}?", abort=True, err=True)
    configuration = find_configuration(invocation.config, os.environ)
    body: dict[str, Any] = {"replace": replace}
    body.update({key: name for key, name in (("tenant_id", tenant), ("as", rename)) if name})
    try:
        shelf = Path(str(object_of(client_of(invocation).get(_BACKUPS)).get("dir")))
        with storing.on_shelf(file, shelf) as name:
            done = _followed(invocation, "restore", {**body, "file": name}, "restoring")
    except UnreachableError as error:
        done = storing.restore(
            configuration, file, (tenant, rename, replace), error, quiet=invocation.json
        )
    if invocation.json:
        emit(done)
        return
    for one in items_of(done, "restored"):
        other = "" if one["from"] == one["tenant_id"] else f" (as {one['from']} was)"
        count = f"{one['files']} files, {size(one['bytes'])}"
        say(f"{one['tenant_id']}: restored{other}, {count}, in {one['data_dir']}")
        if one["aside"]:
            say(f"  what was there before is in {one['aside']}")
        if not one["known"]:
            say(f"  there is no such tenant yet: `sqsuper tenant add {one['tenant_id']}`")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@common
@pass_invocation
def verify(invocation: Invocation, file: Path) -> int:
    """Read the backup FILE and check every checksum in it; change nothing.

    FILE is a path, or the name of a backup in `backup.dir`. Exit status 1: it is damaged, or
    tenants are missing in it.
    """
    from sqsuper.cli import storing  # noqa: PLC0415

    path = file
    if not file.exists():
        shelf = storing.shelf_of(find_configuration(invocation.config, os.environ))
        path = storing.found(file, shelf)
    found = storing.verified(path, quiet=invocation.json)
    if invocation.json:
        emit(found)
    else:
        parts = items_of(found, "tenants")
        say(f"{path}: whole, made {moment(found['made'])}, tenants: {len(parts)}")
        for part in parts:
            say(f"  {part['tenant_id']}: {part['files']} files, {size(part['bytes'])}")
        for one in items_of(found, "missing"):
            complain(f"{one['tenant_id']} is missing: {one['reason']}")
    return 1 if found["missing"] else 0


def _followed(
    invocation: Invocation, path: str, body: Mapping[str, Any], label: str
) -> dict[str, Any]:
    """Ask for what takes long, and show how far it is. Raises CommandError."""
    client = client_of(invocation)
    lines = client.told("POST", f"/api/v2/admin/{path}?follow=1", body)
    return _shown(lines, label, invocation.json)


def _shown(lines: Any, label: str, quiet: bool) -> dict[str, Any]:
    first = next(lines)
    while "result" not in first and first.get("total") is None:
        first = next(lines)
    if "result" in first:
        return object_of(first["result"])
    with progress(label, first["total"], quiet) as bar:
        shown = 0
        for line in lines:
            if "result" in line:
                return object_of(line["result"])
            bar.update(min(line["done"], first["total"]) - shown)
            shown = min(line["done"], first["total"])
    raise AssertionError("the client ends with a result, or raises")
