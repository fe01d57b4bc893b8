"""Clean root directories made by debootstrap, to install packages in, and what runs in them.

The mirror is that of the machine's own apt configuration (`SQSUPER_MIRROR` where it has none for
the suite). The base of each suite is kept in build/roots; every test gets a copy of its own.
Needs root, debootstrap and Linux. A program that uses roots calls `enter` first: in namespaces of
its own it leaves no mount and no process behind, however it ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import commands

HERE = Path(__file__).resolve().parent
BASES = HERE.parent / "build" / "roots"


def _own_suite() -> str:
    """Return the release of Debian or Ubuntu that this machine has, or one that is usual."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME") or "bookworm"
    except OSError:
        return "bookworm"


SUITE = os.environ.get("SUITE") or _own_suite()
# Parts of an archive that the package's dependencies may be in; Ubuntu's are in both.
COMPONENTS = ("main", "universe")
ENTERED = "SQSUPER_ROOTS_ENTERED"
DAY = 86_400.0
REACHING = tuple(f"Acquire::{name}" for name in ("http", "https", "Retries", "Check-"))
CLONE_NEWNET = 0x40000000
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
_libc = ctypes.CDLL(None, use_errno=True)
_outer = -1


class RootError(Exception):
    """No root can be made, or a command in it failed; the text says why, for people."""


def enter() -> None:
    """Go on in namespaces of our own for mounts, processes and, from here on, the network.

    What `Root.run` runs is in the machine's own network all the same, unless told otherwise.
    """
    if os.environ.get(ENTERED) is None:
        for program in ("unshare", "debootstrap"):
            if shutil.which(program) is None:
                raise RootError(f"no {program}: apt-get install util-linux debootstrap")
        if os.geteuid() != 0:
            raise RootError("clean roots can be made by root alone")
        os.environ[ENTERED] = "1"
        namespaces = ["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        os.execvp("unshare", ["unshare", *namespaces, sys.executable, *sys.argv])
    del os.environ[ENTERED]
    global _outer  # noqa: PLW0603 - there is one machine
    _outer = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _libc.unshare(CLONE_NEWNET):
        raise RootError(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Root:
    """A root directory in which commands can be run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        offline: bool = False,
        check: bool = True,
        given: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there and return its output. Raises RootError when it fails.

        `offline`: in the test's own network, where the service is. `given` is its input.
        """
        done = commands.run(
            command,
            env={**ENVIRONMENT, **(environment or {})},
            preexec_fn=self.inside(offline=offline),
            input=given or "",
        )
        if check and done.returncode:
            raise RootError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}")
        return done

    def inside(self, *, offline: bool) -> Callable[[], None]:
        """Return what a forked child calls to be in this root."""

        def call() -> None:
            if not offline and _libc.setns(_outer, 0):
                raise OSError(ctypes.get_errno(), "setns")
            os.chroot(self.directory)
            os.chdir("/")

        return call

    def apt(self, *arguments: str) -> str:
        """Run apt-get without questions; conffiles that were changed are kept."""
        return self.run("apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", *arguments).stdout

    def path(self, inside: str) -> Path:
        """Return where the absolute path `inside` is, seen from outside."""
        return self.directory / inside.lstrip("/")


@contextmanager
def root(suite: str = SUITE, *packages: str) -> Iterator[Root]:
    """Give a fresh root of a suite, with these packages of its own; remove it afterwards."""
    BASES.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="root-", dir=BASES))
    directory = scratch / suite
    try:
        with (BASES / "lock").open("w") as lock:  # another test may want the same base
            fcntl.flock(lock, fcntl.LOCK_EX)
            base = _base(suite, packages)
            subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(directory)], check=True)
        with _mounted(directory):
            yield Root(directory)
    finally:
        shutil.rmtree(scratch)


@contextmanager
def _mounted(directory: Path) -> Iterator[None]:
    mounts = [("proc", "proc"), ("tmpfs", "run"), ("tmpfs", "dev/shm")]
    for kind, name in mounts:
        (directory / name).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", kind, kind, str(directory / name)], check=True)
    try:
        yield
    finally:
        for _, name in reversed(mounts):
            subprocess.run(["umount", "--lazy", str(directory / name)], check=True)


def _base(suite: str, packages: Sequence[str]) -> Path:
    """Return the directory of a suite's base, made or brought up to date when it must be."""
    base = BASES / suite
    stamp = BASES / f"{suite}.stamp"
    fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < DAY
    if not (stamp.exists() and base.exists()):
        shutil.rmtree(base, ignore_errors=True)
        _bootstrap(suite, base)
    if not fresh:
        with _mounted(base):
            Root(base).apt("update")
            Root(base).apt("dist-upgrade")
        stamp.touch()
    if not packages:
        return base
    name = "+".join((suite, *packages))
    kept, kept_stamp = BASES / name, BASES / f"{name}.stamp"
    if not kept_stamp.exists() or kept_stamp.stat().st_mtime < stamp.stat().st_mtime:
        shutil.rmtree(kept, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(kept)], check=True)
        with _mounted(kept):
            Root(kept).apt("install", "--no-install-recommends", *packages)
        kept_stamp.touch()
    return kept


def _bootstrap(suite: str, base: Path) -> None:
    known = _sources(suite)
    mirror = next((uri for uri, release, _ in known if release == suite), None)
    mirror = mirror or os.environ.get("SQSUPER_MIRROR")
    if mirror is None:
        raise RootError(f"apt knows no mirror for {suite}: give one in SQSUPER_MIRROR")
    command = ["debootstrap", "--variant=minbase", suite, str(base), mirror]

    def outside() -> None:
        if _libc.setns(_outer, 0):
            raise OSError(ctypes.get_errno(), "setns")

    done = commands.run(command, preexec_fn=outside)
    if done.returncode:
        raise RootError(f"{' '.join(command)}\n{done.stdout}")
    lines = [f"deb {' '.join(source)}\n" for source in known or [(mirror, suite, "main")]]
    (base / "etc/apt/sources.list").write_text("".join(lines))
    settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    # How to reach the mirror; not what suits this machine alone, such as packed lists.
    acquire = [line for line in settings.stdout.splitlines() if line.startswith(REACHING)]
    (base / "etc/apt/apt.conf.d/00machine").write_text("\n".join(acquire) + "\n")
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        shutil.copy(file, base / file.lstrip("/"))


def _sources(suite: str) -> list[tuple[str, str, str]]:
    """Return (address, release, component) of what this machine's apt knows: `suite` first."""
    told = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", told, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    return sources(done.stdout, suite)


def sources(told: str, suite: str) -> list[tuple[str, str, str]]:
    """Return what `told`, in lines, has of `suite` and its updates, each once."""
    known = {(_address(uri), *rest) for uri, *rest in map(str.split, told.splitlines())}
    releases = (suite, f"{suite}-updates", f"{suite}-security")
    return [
        (uri, release, component)
        for wanted in releases
        for uri, release, component in sorted(entry for entry in known if len(entry) == 3)
        if release == wanted and component in COMPONENTS
    ]


def _address(uri: str) -> str:
    """Return the first address of a list of mirrors, which only apt can read; or `uri` itself."""
    kind, _, file = uri.partition(":")
    if kind != "mirror+file":
        return uri
    lines = Path(file.rstrip("/")).read_text("utf-8").splitlines()
    return next(line.split()[0] for line in lines if line.strip() and not line.startswith("#"))
