"""The installed package under a real systemd, confined as its unit says.

`test_systemd.py [PACKAGE]`; without one it is built. Boots systemd in a clean root and namespaces
of its own; needs Linux with cgroup v2 and leave to mount it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import commands
import deb
from checks import SCROLL, WRITE, Failed, check, eventually, request, step, steps
from roots import SUITE, Root, RootError, enter, root

KEPT_OUT = ("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount")
PACKAGES = ("dbus", "libpam-systemd", "logrotate", "man-db", "procps", "systemd", "systemd-sysv")
TLS_PORT, ADMIN_TLS_PORT = 8443, 1339
BOOT = """\
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t sysfs sysfs "$ROOT/sys"
mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"
mount -t tmpfs tmpfs "$ROOT/run"
mount -t tmpfs tmpfs "$ROOT/tmp"
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$ROOT" /lib/systemd/systemd --system --log-target=console
"""
# One for each way of starting an engine.
TENANTS = {
    "forked": "launcher: zygote",
    "spawned": "launcher: spawn",
    "commanded": "engine: command, command: [/usr/local/bin/engine, '{port}', '{key}',"
    " '{data_dir}']",
}
# A program of somebody else's: as little of SQ as these tests ask for.
ENGINE = """\
#!/usr/bin/python3
import http.server, pathlib, sys, urllib.parse
_, port, key, directory = sys.argv
file = pathlib.Path(directory, "notes.phext")
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_OPTIONS(self):
        self.answer(204, b"")
    def do_GET(self):
        if self.headers["Authorization"] != f"Bearer {key}":
            self.answer(401, b"")
        elif "/update?" in self.path:
            query = urllib.parse.urlsplit(self.path).query
            file.write_text(urllib.parse.parse_qs(query)["s"][0])
            self.answer(200, b"")
        else:
            self.answer(200, file.read_bytes())
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""
CERTIFICATE = """\
import datetime as d
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = d.datetime(2020, 1, 1)
made = x509.CertificateBuilder(name, name, key.public_key(), 7, now, d.datetime(2099, 1, 1))
made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
open("/etc/sqsuper/cert.pem", "wb").write(
    made.sign(key, hashes.SHA256()).public_bytes(s.Encoding.PEM))
open("/etc/sqsuper/key.pem", "wb").write(
    key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
"""


class Machine:
    """A root in which systemd runs, from `boot` to `halt`."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._log = root.directory.parent / "boot.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._first = ""

    def boot(self) -> None:
        namespaces = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup"]
        with self._log.open("wb") as log:
            self._process = process = subprocess.Popen(
                ["unshare", *namespaces, "--kill-child=KILL", "sh", "-e", "-c", BOOT],
                env={**os.environ, "ROOT": str(self.root.directory)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self._first = eventually(lambda: children.read_text().strip(), "systemd's process")
        eventually(self._is_up, "the system is up", 60.0)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RootError(f"systemd does not run here\n{self._log.read_text(errors='replace')}")
        return self.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

    def halt(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def run(self, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command on that machine. With `check` it raises Failed where that fails."""
        entered = ["nsenter", "-t", self._first, "-m", "-p", "-u", "-i", "-C", "-r", "-w"]
        done = commands.run([*entered, *command])
        if check and done.returncode:
            raise Failed(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}")
        return done

    def ask(self, *command: str) -> str:
        return self.run(*command, check=True).stdout.strip()

    def log(self) -> str:
        return self.run("journalctl", "--unit=sqsuper.service", "--no-pager", "--lines=60").stdout


def token_of(name: str) -> str:
    return f"pmb-v1-of-the-tenant-{name}"


def all_answer() -> bool:
    """Whether each tenant reads what it writes, in plain and by TLS."""
    for name in TENANTS:
        token = token_of(name)
        if request(WRITE, token)[0] != 200 or request(SCROLL, token) != (200, b"kept"):
            return False
        if request(SCROLL, token, TLS_PORT, tls=True) != (200, b"kept"):
            return False
    return True


def units_are_right(machine: Machine) -> None:
    for unit in ("sqsuper.service", "sqsuper.socket"):
        check(machine.ask("systemctl", "is-active", unit) == "active", f"{unit}\n{machine.log()}")
        check(machine.ask("systemctl", "is-enabled", unit) == "enabled", unit)
    told = machine.ask("systemd-analyze", "verify", "sqsuper.service", "sqsuper.socket")
    check(not told, told)
    status = machine.ask("systemctl", "show", "--property=StatusText", "sqsuper.service")
    check("tenant" in status, status)
    step("booted: service and socket run, systemd-analyze verify says nothing")


def configure(machine: Machine) -> None:
    """Add a tenant for each way to run an engine, TLS, and two gateway processes."""
    place = machine.root.path("/etc/sqsuper")
    machine.ask("/usr/bin/python3", "-c", CERTIFICATE)
    engine = machine.root.path("/usr/local/bin/engine")
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    lines = ["tenants:"]
    for name, settings in TENANTS.items():
        digest = hashlib.sha256(token_of(name).encode()).hexdigest()
        lines.append(f"  {name}: {{token_sha256: [{digest}], {settings}}}")
    (place / "tenants.d/ways.yaml").write_text("\n".join(lines) + "\n")
    machine.ask("chown", "sqsuper:", "/etc/sqsuper/tenants.d/ways.yaml", "/etc/sqsuper/key.pem")
    machine.ask("chmod", "600", "/etc/sqsuper/tenants.d/ways.yaml", "/etc/sqsuper/key.pem")
    pair = "privateKey=/etc/sqsuper/key.pem:certKey=/etc/sqsuper/cert.pem"
    text = (place / "tenants.yaml").read_text()
    text = text.replace("gateway:\n", "gateway:\n  workers: 2\n", 1)
    text = text.replace(
        '"systemd:domain=INET:name=gateway"',
        f'"systemd:domain=INET:name=gateway"\n    - "ssl:{TLS_PORT}:{pair}"',
        1,
    )
    text = text.replace(
        '["tcp:1338:interface=127.0.0.1"]',
        f'["tcp:1338:interface=127.0.0.1", "ssl:{ADMIN_TLS_PORT}:interface=127.0.0.1:{pair}"]',
        1,
    )
    (place / "tenants.yaml").write_text(text)
    told = machine.ask("sqsuper", "check")
    check("tenants.yaml: right, 3 tenants" in told, told)


def confined(machine: Machine) -> None:
    machine.ask("systemctl", "restart", "sqsuper.service")
    eventually(all_answer, "every tenant answers")
    # Twisted's own TLS calls back from OpenSSL, which needs more of the memory's protection.
    check(request("/", "none", ADMIN_TLS_PORT, tls=True)[0] < 500, "the admin listener's TLS fails")
    processes = machine.ask(
        "cat", "/sys/fs/cgroup/system.slice/sqsuper.service/cgroup.procs"
    ).split()
    check(len(processes) >= 6, f"too few processes for what runs: {processes}")
    for process in processes:
        status = machine.ask("cat", f"/proc/{process}/status")
        for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000"):
            check(line in status, f"{line} is not so of\n{status}")
        check("Uid:\t0\t" not in status, "root's")
    doctor = machine.run("sqsuper", "doctor").stdout
    bad = [line for line in doctor.splitlines() if line.startswith("bad")]
    check(not bad, "\n".join(bad))
    step(f"{len(processes)} processes, all confined: engines of each kind, two workers, TLS")


def rotated(machine: Machine) -> None:
    log = machine.root.path("/var/log/sqsuper/access.log")
    old = log.stat().st_ino
    machine.ask("logrotate", "--force", "/etc/logrotate.d/sqsuper")

    def begun_anew() -> bool:
        request(SCROLL, token_of("forked"))
        return log.exists() and log.stat().st_ino != old and log.stat().st_size > 0

    eventually(begun_anew, "the access log is begun anew")
    check((log.parent / "access.log.1").stat().st_ino == old, "the old log is not kept")
    step("logrotate renames the access log, and the service begins another")


def nothing_refused(machine: Machine) -> None:
    """Restart while clients come, each with a connection of its own."""
    failures: list[str] = []
    served = [0]
    over = threading.Event()

    def come() -> None:
        while not over.is_set():
            try:
                status, _ = request(SCROLL, token_of("forked"))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
            else:
                served[0] += 1
                if status != 200:
                    failures.append(str(status))

    clients = [threading.Thread(target=come) for _ in range(4)]
    for client in clients:
        client.start()
    eventually(lambda: served[0] > 20, "clients are served")
    machine.ask("systemctl", "restart", "sqsuper.service")
    before = served[0]
    eventually(lambda: served[0] > before + 20, "clients are served after the restart")
    over.set()
    for client in clients:
        client.join()
    check(not failures, f"{len(failures)} of {served[0]} failed: {failures[:3]}")
    step(f"restarted under load: none of {served[0]} connections was refused or cut")


def killed(machine: Machine) -> None:
    first = machine.ask("systemctl", "show", "--value", "--property=MainPID", "sqsuper.service")
    machine.ask("kill", "-KILL", first)

    def another() -> bool:
        now = machine.ask("systemctl", "show", "--value", "--property=MainPID", "sqsuper.service")
        return now not in {"0", first}

    eventually(another, "another main process")
    eventually(all_answer, "every tenant answers again")
    step("killed: started again, and every tenant answers")


def stopped(machine: Machine) -> None:
    machine.ask("systemctl", "stop", "sqsuper.service")
    check(not machine.root.path("/run/sqsuper").exists(), "the run directory is still there")
    left = machine.run("pgrep", "--uid", "sqsuper").stdout
    check(not left, f"processes are left: {left}")
    check(request(SCROLL, token_of("forked")) == (200, b"kept"), "no answer through the socket")

    def active() -> bool:
        state = machine.run("systemctl", "is-active", "sqsuper.service").stdout
        return state.strip() == "active"

    eventually(active, "the connection has started the service")
    step("stopped with nothing left; the next connection starts it and is answered")


def removed(machine: Machine) -> None:
    machine.ask("apt-get", "-q", "-y", "remove", "sqsuper")
    check(machine.run("systemctl", "is-active", "sqsuper.socket").returncode, "the socket is open")
    check(not machine.run("pgrep", "--uid", "sqsuper").stdout, "processes are left")
    step("removed: socket closed, nothing runs")


def main(package: Path | None) -> int:
    enter()
    with tempfile.TemporaryDirectory(prefix="sqsuper-test-systemd-") as scratch:
        if package is None:
            package = deb.build(Path(scratch))
        sys.stdout.write(f"{package.name} under systemd in a clean {SUITE}\n")
        with root(SUITE, *PACKAGES) as clean:
            shutil.copy(package, clean.path("/srv/sqsuper.deb"))
            # So that the manual pages that the units name are there to be looked for.
            clean.path("/etc/dpkg/dpkg.cfg.d/docker").unlink(missing_ok=True)
            clean.apt("install", "--no-install-recommends", "/srv/sqsuper.deb")
            # The kernel's table of program formats is the whole machine's, not this root's.
            for unit in KEPT_OUT:
                clean.path(f"/etc/systemd/system/{unit}").symlink_to("/dev/null")
            machine = Machine(clean)
            try:
                machine.boot()
                units_are_right(machine)
                configure(machine)
                confined(machine)
                rotated(machine)
                nothing_refused(machine)
                killed(machine)
                stopped(machine)
                removed(machine)
            except Exception:
                sys.stderr.write(machine.log())
                raise
            finally:
                machine.halt()
    sys.stdout.write(f"{len(steps)} passed, 0 failed\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None))
    except (Failed, RootError, deb.BuildError) as error:
        sys.stderr.write(f"test_systemd: {error}\n")
        sys.exit(1)
