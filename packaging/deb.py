"""Build the Debian package from a clean copy of the sources: `deb.py [DIRECTORY]` (dist).

Needs Debian's build tools and what debian/control names; says how to get what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import commands
from sources import ROOT, changelog_entry, clean_copy

# The distribution's own Python, whatever stands on the caller's PATH.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class BuildError(Exception):
    """The package cannot be built; the text says why, for people."""


def build(into: Path, *, umask: int = 0o022, zone: str = "UTC") -> Path:
    """Build the package, put it into the directory `into` and return its path there.

    `umask` and `zone` (TZ) must make no difference. Raises BuildError.
    """
    environment = {"PATH": PATH, "HOME": "/nonexistent", "TZ": zone, "LC_ALL": "C.UTF-8"}
    _check(environment)
    version, _ = changelog_entry()
    with tempfile.TemporaryDirectory(prefix="sqsuper-deb-") as scratch:
        copy = clean_copy(Path(scratch) / f"sqsuper-{version}")
        command = ["dpkg-buildpackage", "-us", "-uc", "-b"]
        done = commands.run(command, cwd=copy, env=environment, umask=umask)
        if done.returncode:
            raise BuildError(f"{done.stdout}\ndpkg-buildpackage failed: {done.returncode}")
        [made] = Path(scratch).glob("sqsuper_*_all.deb")
        into.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, into / made.name))


def _check(environment: dict[str, str]) -> None:
    for program in ("dpkg-buildpackage", "dpkg-checkbuilddeps", "fakeroot"):
        if shutil.which(program, path=PATH) is None:
            raise BuildError(f"no {program}: apt-get install dpkg-dev fakeroot")
    missing = subprocess.run(
        ["dpkg-checkbuilddeps"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if missing.returncode:
        raise BuildError(f"{missing.stderr.strip()}\nas root: apt-get build-dep {ROOT}")


def lint(package: Path) -> bool:
    """Return whether lintian finds nothing wrong, or is not there, which is told."""
    if shutil.which("lintian", path=PATH) is None:
        sys.stderr.write("lintian is not installed: the package was not looked at\n")
        return True
    command = ["lintian", "--fail-on", "error,warning", "--tag-display-limit", "0"]
    if os.geteuid() == 0:
        command.insert(1, "--allow-root")
    return subprocess.run([*command, str(package)], check=False).returncode == 0


def main(into: Path) -> int:
    try:
        package = build(into)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{package}\n")
    return 0 if lint(package) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
