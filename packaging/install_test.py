"""Time each kind of artifact from "the file is here" to a tenant's first answered request.

`install_test.py [KIND...]`, kinds as in `KINDS`: all without arguments. Each is taken from dist/
and installed in a clean root of its own (`SUITE`, by default what this machine has). What an
installation downloads is downloaded, and counts. Status 1 when one does not work or takes longer
than its goal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from checks import SCROLL, WRITE, Failed, check, eventually, request
from roots import ENVIRONMENT, SUITE, Root, RootError, enter, root
from units import Service, SystemctlStandIn, UnitError

DIST = Path(__file__).resolve().parent.parent / "dist"


class Timed(NamedTuple):
    """How long it took, in seconds: `installed` until it is there, `answered` in all."""

    installed: float
    answered: float


class Kind(NamedTuple):
    """A kind of artifact. `goal`: seconds until the first answer; `there`: what the clean root
    has beside the distribution's smallest set of packages."""

    pattern: str
    goal: float
    there: tuple[str, ...]
    install: Callable[[Root, Path], Timed]


def deb(root: Root, file: Path) -> Timed:
    """The Debian package: apt, which fetches its dependencies; the unit; a tenant; a request."""
    shutil.copy(file, root.path("/srv/sqsuper.deb"))
    service = Service(root, "sqsuper")
    scripts = SystemctlStandIn(root, service)
    try:
        began = time.monotonic()
        root.apt("install", "--no-install-recommends", "/srv/sqsuper.deb")
        installed = time.monotonic()
        check(scripts.failure is None, f"{scripts.failure}")
        added = root.run("sqsuper", "tenant", "add", "alice", "--json", offline=True).stdout
        _first_request(str(json.loads(added)["api_key"]))
        return Timed(installed - began, time.monotonic() - began)
    finally:
        service.kill()


def wheel(root: Root, file: Path) -> Timed:
    """The wheel: a virtual environment, pip, which fetches the dependencies; init; run."""
    shutil.copy(file, root.path("/srv") / file.name)
    environment = _of_pip(root)
    began = time.monotonic()
    root.run("python3", "-m", "venv", "/opt/sqsuper")
    pip = ("/opt/sqsuper/bin/pip", "install", "--quiet", f"/srv/{file.name}")
    root.run(*pip, environment=environment)
    installed = time.monotonic()
    _first_run(root, "/opt/sqsuper/bin/sqsuper")
    return Timed(installed - began, time.monotonic() - began)


def binary(root: Root, file: Path) -> Timed:
    """The single file: made executable; init; run."""
    program = root.path("/srv/sqsuper")
    shutil.copy(file, program)
    began = time.monotonic()
    program.chmod(0o755)
    installed = time.monotonic()
    _first_run(root, "/srv/sqsuper")
    return Timed(installed - began, time.monotonic() - began)


def _of_pip(root: Root) -> dict[str, str]:
    """Return this machine's settings of pip for a root, with the certificates that they name."""
    settings = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    settings.pop("PIP_FIND_LINKS", None)  # nothing of this machine's is to be found
    certificates = settings.get("PIP_CERT")
    if certificates:
        shutil.copy(certificates, root.path("/srv/certificates.pem"))
        settings["PIP_CERT"] = "/srv/certificates.pem"
    return settings


def _first_run(root: Root, program: str) -> None:
    """Do as the quick start says: `init`, `run`, a request with the token that `init` gave."""
    place = "/srv/conf/tenants.yaml"
    made = json.loads(root.run(program, "init", "--json", place, offline=True).stdout)
    with (root.directory.parent / "run.log").open("w+b") as log:
        running = subprocess.Popen(
            [program, "run", "-c", place],
            env=ENVIRONMENT,
            preexec_fn=root.inside(offline=True),  # noqa: PLW1509 - there is no other thread
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _first_request(str(made["api_key"]))
        except Failed as error:
            log.seek(0)
            raise Failed(f"{error}\n{log.read().decode(errors='replace')}") from None
        finally:
            running.terminate()
            running.wait(60)


def _first_request(token: str) -> None:
    def answered() -> bool:
        try:
            return request(WRITE, token)[0] == 200
        except ConnectionError:
            return False

    eventually(answered, "the tenant's first write is answered")
    check(request(SCROLL, token) == (200, b"kept"), "the tenant does not read what it wrote")


KINDS: Mapping[str, Kind] = {
    "binary": Kind("sqsuper-linux-*", 5.0, (), binary),
    "deb": Kind("sqsuper_*_all.deb", 20.0, (), deb),
    "wheel": Kind("sqsuper-*-py3-none-any.whl", 30.0, ("python3-venv",), wheel),
}


def artifact(kind: Kind) -> Path:
    """Return the newest file of a kind in dist/."""
    found = sorted(DIST.glob(kind.pattern), key=lambda file: file.stat().st_mtime)
    check(found, f"no {kind.pattern} in dist/: make it first")
    return found[-1]


def main(names: list[str]) -> int:
    enter()
    late = 0
    for name in names:
        kind = KINDS[name]
        file = artifact(kind)
        with root(SUITE, *kind.there) as clean:
            took = kind.install(clean, file)
        late += took.answered > kind.goal
        told = "over its goal of" if took.answered > kind.goal else "goal"
        beside = f", with {' '.join(kind.there)}" if kind.there else ""
        sys.stdout.write(
            f"{name:8} {took.answered:5.1f} s to the first answer ({told} {kind.goal:.0f} s;"
            f" {took.installed:.1f} s to install): {file.name} in a clean {SUITE}{beside}\n"
        )
        sys.stdout.flush()
    return 1 if late else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or list(KINDS)))
    except (Failed, RootError, UnitError) as error:
        sys.stderr.write(f"install_test: {error}\n")
        sys.exit(1)
