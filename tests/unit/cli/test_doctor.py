"""`sqsuper doctor`: what is wrong with an installation, and what would mend it."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path

import attrs
import pytest

from sqsuper.cli.examining import configured, machine
from sqsuper.cli.examining.finding import Finding, Level
from sqsuper.cli.examining.validity import ends_of
from sqsuper.config.load import load
from sqsuper.config.model import Config, Gateway, Token
from tests.running import free_port
from tests.tls_support import make
from tests.unit.cli.conftest import Admin, Command, configure

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)


@pytest.fixture
def config(here: Path) -> Config:
    file = configure(here, free_port(), free_gateway())
    return load(file)


def free_gateway() -> str:
    return f"gateway: {{listen: ['tcp:{free_port()}']}}\n"


def levels(findings: Iterable[Finding]) -> list[Level]:
    return [one.level for one in findings]


def test_versions() -> None:
    def requires(_name: str) -> list[str]:
        return ["Twisted>=22.4", "attrs (>=22.2)", "rich >=13.3", "x>=1; extra == 'tls'"]

    have = {"Twisted": "22.4.0", "attrs": "9.99", "rich": "13.10.1"}

    def version_of(name: str) -> str:
        if name not in have:
            raise metadata.PackageNotFoundError(name)
        return have[name]

    found = list(machine.versions((3, 11, 2), requires, version_of))
    assert levels(found) == [Level.OK, Level.BAD, Level.OK]
    assert found[1].told == "attrs 9.99 is older than 22.2"
    have["attrs"] = "0.0.0"
    assert levels(machine.versions((3, 11, 2), requires, version_of)) == [Level.OK, Level.OK]
    del have["rich"]
    have["attrs"] = "22.2"
    found = list(machine.versions((3, 9, 0), requires, version_of))
    assert [one.told for one in found if one.level is Level.BAD] == [
        "Python 3.9.0 is too old",
        "rich is missing",
    ]


def test_the_clock(here: Path) -> None:
    file = here / "f"
    file.touch()
    then = datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
    assert levels(machine.clock(then, file, lambda: True)) == [Level.OK]
    assert levels(machine.clock(then, file, lambda: None)) == [Level.OK]
    assert levels(machine.clock(then, file, lambda: False)) == [Level.WARNING]
    assert levels(machine.clock(then - timedelta(days=1), file, lambda: True)) == [Level.BAD]
    assert levels(machine.clock(then, here / "nope", lambda: True)) == [Level.OK]
    assert machine.is_synchronised() in (True, False, None)


def test_a_port_that_is_held(config: Config) -> None:
    assert levels(configured.ports(config, False, lambda _: None)) == [Level.OK]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        held = attrs.evolve(config, gateway=Gateway(listen=(f"tcp:{port}:interface=127.0.0.1",)))
        found = list(configured.ports(held, False, lambda _: "pid 5, x"))
        assert levels(found) == [Level.BAD, Level.OK]
        assert "held by pid 5, x" in found[0].told
        assert levels(configured.ports(held, True, lambda _: None)) == [Level.OK]


def test_disk(config: Config) -> None:
    def usage(free: int) -> list[Level]:
        return levels(configured.disk(config, lambda _: (2**40, 0, free)))

    assert usage(2**39) == [Level.OK]
    assert usage(2**20) == [Level.WARNING]


def test_directories(config: Config, here: Path) -> None:
    assert levels(configured.directories(config)) == [Level.OK]
    (config.run_dir / "admin.token").chmod(0o644)
    assert levels(configured.directories(config)) == [Level.OK, Level.BAD]
    (here / "file").touch()
    odd = attrs.evolve(config, data_root=here / "file/data")
    assert Level.BAD in levels(configured.directories(odd))


def test_programs(here: Path) -> None:
    file = configure(
        here,
        1338,
        "tenants:\n"
        "  a: {engine: command, command: [no-such-program-of-ours, '{port}']}\n"
        "  b: {engine: command, command: [sh, '{port}']}\n",
    )
    found = list(configured.programs(load(file)))
    assert levels(found) == [Level.BAD, Level.OK]
    assert "which a would run" in found[0].told


def test_certificates(here: Path, config: Config) -> None:
    made = make(here, "localhost")
    listen = made.endpoint(1)
    certificate = made.certificate
    served = attrs.evolve(config, gateway=Gateway(listen=(listen,)))
    ends = ends_of(certificate.read_bytes())
    for now, level in (
        (ends - timedelta(days=22), Level.OK),
        (ends - timedelta(days=20), Level.WARNING),
        (ends, Level.BAD),
    ):
        assert levels(configured.certificates(served, now)) == [level]
    certificate.write_text("")
    assert levels(configured.certificates(served, NOW)) == [Level.BAD]


@pytest.mark.parametrize(
    "pem", [b"", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"]
)
def test_no_certificate(pem: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        ends_of(pem)


def test_tokens_that_ended(here: Path) -> None:
    config = load(configure(here, 1338, f"tenants: {{a: {{token_sha256: ['{'0' * 64}']}}}}\n"))
    (tenant,) = config.tenants
    for expires, count in ((None, 0), (NOW, 1), (NOW + timedelta(seconds=1), 0)):
        tokens = (Token(b"x" * 32, expires=NOW), Token(b"y" * 32, expires=expires))
        aged = attrs.evolve(config, tenants=(attrs.evolve(tenant, tokens=tokens),))
        assert len(list(configured.expiring(aged, NOW))) == count


def test_the_command_without_a_configuration(command: Command) -> None:
    done = command("doctor")
    assert done.status == 1
    assert "configuration: there is none" in done.out
    assert "sqsuper init" in done.out


def test_the_command_with_a_broken_one(here: Path, command: Command) -> None:
    configure(here, 1338, "gateway: {workers: 0}\nnope: 1\n")
    done = command("doctor", "--json")
    assert done.status == 1
    told = [one["message"] for one in done.json["findings"] if one["level"] == "bad"]
    assert [text.split(": ")[1] for text in told] == ["gateway.workers", "nope"]


def test_the_command_with_a_service(admin: Admin, here: Path, command: Command) -> None:
    configure(here, admin.port, free_gateway())
    admin.answers["GET /api/v2/admin/tenants"] = (200, {"tenants": []})
    done = command("doctor", "--json")
    assert done.status == 0, done.out
    by_area = {one["area"]: one for one in done.json["findings"]}
    assert by_area["service"]["level"] == "ok"
    assert "the service runs" in by_area["ports"]["message"]


def test_the_command_without_a_service(here: Path, command: Command) -> None:
    configure(here, free_port(), free_gateway())
    done = command("doctor")
    assert done.status == 0, done.out
    assert "warning  service: it does not run" in done.out
    assert "-> sqsuper run -c conf/tenants.yaml" in done.out
