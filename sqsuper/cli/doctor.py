"""`sqsuper doctor`: the installation looked at, and what would mend what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqsuper.cli.client import Client
from sqsuper.cli.errors import BrokenConfigurationError, CommandError, UnreachableError
from sqsuper.cli.finding import access, find_configuration, service_account
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import colour_of, emit, say

if TYPE_CHECKING:
    from sqsuper.cli.examining.finding import Finding

_PATIENCE = 3.0


@click.command()
@common
@pass_invocation
def doctor(invocation: Invocation) -> int:
    """Look at the installation: versions, clock, configuration, permissions, disk, ports,
    programs, certificates, backups, and whether the service answers.

    Each line says what is so, and where it is not as it should be, what would mend it. Exit
    status 1 when something is bad; warnings are none.
    """
    from sqsuper.cli.examining.finding import Level  # noqa: PLC0415

    findings: list[Finding] = []
    for finding in examine(invocation.config):
        findings.append(finding)
        if not invocation.json:
            _tell(finding)
    count = {level: sum(one.level is level for one in findings) for level in Level}
    if invocation.json:
        emit(
            {
                "findings": [
                    {
                        "area": one.area,
                        "level": one.level.value,
                        "message": one.told,
                        "remedy": one.remedy or None,
                    }
                    for one in findings
                ],
                "bad": count[Level.BAD],
                "warnings": count[Level.WARNING],
            }
        )
    else:
        say(f"{count[Level.BAD]} bad, {count[Level.WARNING]} warnings, {count[Level.OK]} ok")
    return 1 if count[Level.BAD] else 0


def _tell(finding: Finding) -> None:
    level = finding.level.value
    say(f"{level:<8} {finding.area}: {finding.told}", colour_of(level))
    if finding.remedy:
        say(f"         -> {finding.remedy}")


def examine(named: Path | None) -> Iterator[Finding]:
    """Give all findings, about this machine first, then about the configuration on it."""
    import psutil  # noqa: PLC0415 - dear to import

    from sqsuper.cli.examining import machine  # noqa: PLC0415
    from sqsuper.cli.examining.configured import utc_now  # noqa: PLC0415
    from sqsuper.cli.examining.finding import bad  # noqa: PLC0415

    yield from machine.versions()
    yield from machine.plugin()
    yield from machine.memory(psutil.virtual_memory().available)
    try:
        file = find_configuration(named, os.environ)
    except CommandError as error:
        yield from machine.clock(utc_now(), None, machine.is_synchronised)
        yield bad("configuration", "there is none", str(error))
        return
    yield from machine.clock(utc_now(), file, machine.is_synchronised)
    yield from _configured(file)


def _configured(file: Path) -> Iterator[Finding]:
    from sqsuper.cli.examining import configured  # noqa: PLC0415
    from sqsuper.cli.examining.backups import Asked, backups  # noqa: PLC0415
    from sqsuper.cli.examining.finding import bad, ok, warning  # noqa: PLC0415
    from sqsuper.cli.survey import survey  # noqa: PLC0415
    from sqsuper.supervisor import holder  # noqa: PLC0415

    result = survey(file)
    for error in result.errors:
        told = str(error).removesuffix(f"; {error.remedy}") if error.remedy else str(error)
        yield bad("configuration", told, error.remedy or "docs: configuration reference")
    config = result.config
    if config is None:
        return
    yield ok("configuration", f"{file} is right, tenants: {len(config.tenants)}")
    for text in config.warnings:
        told, _, remedy = text.partition("; ")
        yield warning("configuration", told, remedy)
    running, service = _service(file)
    yield service
    now = configured.utc_now()
    yield from configured.directories(config)
    yield from configured.disk(config)
    yield from configured.ports(config, running, holder.of_port)
    yield from configured.programs(config)
    yield from configured.descriptors(config)
    yield from configured.certificates(config, now)
    yield from configured.expiring(config, now)
    yield from backups(config, Asked(now.timestamp(), running, service_account(file)))


def _service(file: Path) -> tuple[bool, Finding]:
    """Return whether a service answers, and what is told of it."""
    from sqsuper.cli.client import TENANTS  # noqa: PLC0415
    from sqsuper.cli.examining.finding import bad, ok, warning  # noqa: PLC0415

    try:
        found = access(file, os.environ)
        Client(found, _PATIENCE).get(TENANTS)
    except UnreachableError:
        return False, warning("service", "it does not run", f"sqsuper run -c {file}")
    except BrokenConfigurationError as error:
        return False, warning("service", str(error), "give the admin listener a port")
    except CommandError as error:
        return True, bad("service", f"it cannot be asked: {error}", "see the admin token's file")
    return True, ok("service", f"it answers on {found.address}")
