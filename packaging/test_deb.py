"""Install, start, upgrade, remove and purge the real package in a clean root.

`test_deb.py [PACKAGE]`; without one it is built. `SUITE` names the distribution, by
default this machine's. The
dependencies come from the mirror; the service runs by its unit file's own command, with its
socket passed, and maintainer scripts' calls of systemctl are carried out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import deb
from checks import PORT, SCROLL, WRITE, Failed, check, eventually, request, step, steps
from roots import SUITE, Root, RootError, enter, root
from units import Service, SystemctlStandIn, UnitError

# What apt, dpkg and the tools for users note for themselves, and what is no file of the root.
NOTED = {"var/cache", "var/lib/apt", "var/lib/dpkg", "var/log/apt", "var/log/dpkg.log"}
NOTED |= {
    f"etc/{name}{end}" for name in ("passwd", "group", "shadow", "gshadow") for end in ("", "-")
}
NOTED |= {"dev", "proc", "run", "sys"}
EXPOSURE = 20  # of systemd-analyze, in tenths


def newer(package: Path, into: Path) -> Path:
    """Return the same package with a higher version."""
    tree = into / "tree"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    lines = control.read_text().splitlines()
    raised = [f"{line}+newer" if line.startswith("Version: ") else line for line in lines]
    control.write_text("\n".join(raised) + "\n")
    made = into / "sqsuper_newer_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(made)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return made


def units(package: Path, into: Path) -> None:
    """Have systemd look at the unit files, where it is installed."""
    if shutil.which("systemd-analyze") is None:
        step("systemd-analyze is not installed: the units were not looked at")
        return
    tree = into / "units"
    subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True)
    names = ["sqsuper.service", "sqsuper.socket"]
    files = [str(tree / "lib/systemd/system" / name) for name in names]
    for command in (
        ["verify", "--man=no", *files],
        ["security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", files[0]],
    ):
        done = subprocess.run(
            ["systemd-analyze", *command], capture_output=True, text=True, check=False
        )
        # Its command is in the package's root alone, not in this machine's.
        told = [line for line in done.stderr.splitlines() if "twistd3 is not exec" not in line]
        check(not told, "\n".join(told))
        check(command[0] == "verify" or done.returncode == 0, done.stdout[-200:])
    step("systemd takes the units, at an exposure of 2.0 or below")


def files(root: Root) -> Iterator[str]:
    for directory, below, names in os.walk(root.directory):
        here = os.path.relpath(directory, root.directory)
        below[:] = [name for name in below if os.path.normpath(f"{here}/{name}") not in NOTED]
        for name in (*below, *names):
            found = os.path.normpath(f"{here}/{name}")
            if found not in NOTED:
                yield found


def installed(root: Root, package: str, scripts: SystemctlStandIn, service: Service) -> str:
    """Install, look at what is there, and make a tenant; return its token."""
    root.apt("install", "--no-install-recommends", package)
    check(scripts.failure is None, f"the service did not start: {scripts.failure}")
    check(service.running, f"not started by the installation ({scripts.asked})")
    version = root.run("sqsuper", "version").stdout
    check(version.startswith("sqsuper ") and "SQ API 0.5.5" in version, version)
    check("sqsuper" in root.run("twistd3", "--help").stdout, "twistd3 does not know the plugin")
    cache = root.path("/usr/lib/python3/dist-packages/twisted/plugins/dropin.cache")
    check(b"sqsuper_plugin" in cache.read_bytes(), "the plugin is not in Twisted's cache")
    root.run("bash", "-n", "/usr/share/bash-completion/completions/sqsuper")
    completed = root.run(
        "sqsuper",
        environment={
            "_SQSUPER_COMPLETE": "bash_complete",
            "COMP_WORDS": "sqsuper ten",
            "COMP_CWORD": "1",
        },
    ).stdout
    check("tenant" in completed, f"no completion: {completed!r}")
    for directory, mode in (("etc/sqsuper/tenants.d", 0o700), ("var/lib/sqsuper", 0o700)):
        status = root.path(directory).stat()
        check(status.st_mode & 0o777 == mode, f"{directory}: {status.st_mode:o}")
        check(status.st_uid != 0, f"{directory} is root's")
    added = root.run("sqsuper", "tenant", "add", "alice", "--json", offline=True).stdout
    token = str(json.loads(added)["api_key"])
    step(f"{version.strip()}: installed, started by its unit, a tenant added")
    return token


def serves(root: Root, token: str) -> None:
    check(request(WRITE, token)[0] == 200, "the write was not answered")
    check(request(SCROLL, token) == (200, b"kept"), "the scroll was not answered")
    check(request(SCROLL, "wrong")[0] == 401, "a wrong token was taken")
    as_service = ("runuser", "-u", "sqsuper", "--")
    for who in ((), as_service):
        told = root.run(*who, "sqsuper", "check", offline=True).stdout
        check(": right, 1 tenant\n" in told, told)
    path = root.path("/srv/router-config.json")
    path.write_text('{"tenants": [{"token": "as-it-was-of-old", "name": "bob", "port": 7050}]}')
    root.run("sqsuper", "import", "/srv/router-config.json", offline=True)
    eventually(
        lambda: request(WRITE, "as-it-was-of-old")[0] == 200, "bob is served, whom root took"
    )
    line = root.path("/var/log/sqsuper/access.log").read_text()
    check("/api/v2/select" in line and token not in line, "no access log, or a token in it")
    step("the tenant reads what it wrote; strangers do not")


def upgraded(
    root: Root, package: str, token: str, scripts: SystemctlStandIn, service: Service
) -> None:
    conffile = root.path("/etc/sqsuper/tenants.yaml")
    conffile.write_text(conffile.read_text().replace("quota_mb: 1000", "quota_mb: 500"))
    before = conffile.read_text()
    waiting: list[socket.socket] = []

    def connect() -> None:
        check(not service.running, "the old service still runs")
        client = socket.create_connection(("127.0.0.1", PORT), timeout=30)
        head = f"GET {SCROLL} HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n"
        client.sendall(f"{head}Connection: close\r\n\r\n".encode())
        waiting.append(client)

    scripts.asked.clear()
    scripts.before_start = connect
    root.apt("install", "--no-install-recommends", package)
    scripts.before_start = None
    check(scripts.failure is None, f"the service did not restart: {scripts.failure}")
    service_calls = [asked for asked in scripts.asked if asked.endswith(".service")]
    check(service_calls == ["restart sqsuper.service"], str(scripts.asked))
    closed = {"stop sqsuper.socket", "restart sqsuper.socket"} & set(scripts.asked)
    check(not closed, f"the socket was closed: {scripts.asked}")
    [client] = waiting
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    client.close()
    check(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"kept"), repr(answer))
    check(conffile.read_text() == before, "the configuration was not kept")
    check(request(SCROLL, token) == (200, b"kept"), "the data was not kept")
    status = root.run("dpkg-query", "-W", "-f", "${Version}", "sqsuper").stdout
    check(status.endswith("+newer"), status)
    step("upgraded: configuration and data kept, a connection waited in the socket")


def removed(root: Root, scripts: SystemctlStandIn, service: Service) -> None:
    scripts.asked.clear()
    root.apt("remove", "sqsuper")
    check(not service.running, "removal left the service running")
    check(scripts.asked[:1] == ["stop sqsuper.socket"], f"{scripts.asked}")
    kept = ("/etc/sqsuper/tenants.yaml", "/etc/sqsuper/tenants.d/alice.yaml")
    for name in (*kept, "/var/lib/sqsuper/alice/notes.phext"):
        check(root.path(name).exists(), f"removal took {name}")
    told = root.run("twistd3", "--help").stdout
    check("Traceback" not in told and "sqsuper" not in told, "the plugin is still known")
    step("removed: the plugin gone, configuration and data kept")


def purged(root: Root) -> None:
    root.path("/etc/sqsuper/mine").write_text("not the package's\n")
    root.apt("purge", "sqsuper")
    kept = ("/etc/sqsuper/mine", "/etc/sqsuper/tenants.d/alice.yaml", "/var/lib/sqsuper/alice")
    for name in kept:
        check(root.path(name).exists(), f"purging took {name}")
    for name in ("/etc/sqsuper/tenants.yaml", "/var/log/sqsuper", "/etc/logrotate.d/sqsuper"):
        check(not root.path(name).exists(), f"purging left {name}")
    check("sqsuper:" in root.path("/etc/passwd").read_text(), "the data has no owner any more")
    step("purged: what people made is still there, and its owner")


def without_trace(root: Root, package: str, service: Service) -> None:
    """Install and purge where nobody has made anything: nothing is left."""
    for name in ("/etc/sqsuper", "/var/lib/sqsuper"):
        shutil.rmtree(root.path(name))
    root.run("deluser", "--quiet", "--system", "sqsuper")
    before = list(files(root))
    root.apt("install", "--no-install-recommends", package)
    check(service.running, "not started")
    root.apt("purge", "sqsuper")
    left = [name for name in files(root) if name not in set(before)]
    check(not left, f"left behind: {left}")
    check(not service.running, "still running")
    for name in ("passwd", "group"):
        check("sqsuper:" not in root.path(f"/etc/{name}").read_text(), f"left in /etc/{name}")
    step("installed and purged again: nothing left")


def attempt(what: Callable[[], None], service: Service) -> None:
    try:
        what()
    except Exception:
        sys.stderr.write(service.log()[-4000:])
        raise
    finally:
        service.kill()


def main(package: Path | None) -> int:
    enter()
    with tempfile.TemporaryDirectory(prefix="sqsuper-test-deb-") as scratch:
        if package is None:
            package = deb.build(Path(scratch))
        next_one = newer(package, Path(scratch))
        sys.stdout.write(f"{package.name} in a clean {SUITE}\n")
        units(package, Path(scratch))
        with root(SUITE) as clean:
            # Named so that apt takes them for files, where it can read them as _apt, too.
            for name, file in (("first", package), ("next", next_one)):
                shutil.copy(file, clean.path(f"/srv/{name}.deb"))
            service = Service(clean, "sqsuper")
            scripts = SystemctlStandIn(clean, service)

            def everything() -> None:
                token = installed(clean, "/srv/first.deb", scripts, service)
                serves(clean, token)
                upgraded(clean, "/srv/next.deb", token, scripts, service)
                removed(clean, scripts, service)
                purged(clean)
                without_trace(clean, "/srv/first.deb", service)

            attempt(everything, service)
    sys.stdout.write(f"{len(steps)} passed, 0 failed\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None))
    except (Failed, RootError, UnitError, deb.BuildError) as error:
        sys.stderr.write(f"test_deb: {error}\n")
        sys.exit(1)
