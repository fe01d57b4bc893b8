"""Runs a unit file's own command without systemd, as systemd would: for tests in a clean root.

Understood are the keys that the package's units use to say what runs, as whom, with which
directories and sockets; not those that confine it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from roots import Root

FIRST = 3
UNITS = "lib/systemd/system"
STAND_IN = """\
#!/bin/sh
# In the place of systemctl: asks the test, which runs the units.
echo "$*" > /run/units/ask
read -r status text < /run/units/answer
[ -z "$text" ] || echo "$text"
exit "$status"
"""


class UnitError(Exception):
    """A service did not do what its unit file says; the text says what, for people."""


def read_unit(file: Path) -> dict[str, list[str]]:
    """Return what a unit file says: each key's values in order, whatever its section."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), []).append(value.strip())
    return found


class Service:
    """The service `name` of a root and its socket, which stays while the service comes and goes."""

    def __init__(self, root: Root, name: str) -> None:
        self._root = root
        self.name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._told: socket.socket | None = None
        self.output = root.directory.parent / f"{name}.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _unit(self, kind: str) -> dict[str, list[str]]:
        return read_unit(self._root.directory / UNITS / f"{self.name}.{kind}")

    def listen(self) -> None:
        """Open the socket of the socket unit, if it is not open."""
        if self._socket is None:
            [address] = self._unit("socket")["ListenStream"]
            host, _, port = address.rpartition(":")
            self._socket = socket.create_server((host, int(port)), backlog=4096)

    def close(self) -> None:
        """Close that socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def start(self, timeout: float = 60.0) -> None:
        """Run `ExecStart` and return when the service has said that it is ready."""
        if self.running:
            return
        self.listen()
        assert self._socket is not None
        unit = self._unit("service")
        [user], [command], [kind] = unit["User"], unit["ExecStart"], unit["Type"]
        fields = self._account(user)
        uid, gid = int(fields[2]), int(fields[3])
        for key, parent in (
            ("RuntimeDirectory", "run"),
            ("StateDirectory", "var/lib"),
            ("LogsDirectory", "var/log"),
        ):
            directory = self._root.directory / parent / unit[key][0]
            directory.mkdir(exist_ok=True)
            directory.chmod(int(unit[f"{key}Mode"][0], 8))
            os.chown(directory, uid, gid)
        if kind != "notify":
            raise UnitError(f"Type={kind}, where only notify is understood")
        told = self._root.path("/run/notify")
        told.unlink(missing_ok=True)
        inside = self._root.inside(offline=True)
        passed = self._socket.fileno()
        # As systemd: what the machine does not let us raise stays as it is.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        files = min(int(unit["LimitNOFILE"][0]), hard)
        words = shlex.split(command)
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
            "HOME": fields[5],
            "USER": user,
            "LOGNAME": user,
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": self._unit("socket")["FileDescriptorName"][0],
            "NOTIFY_SOCKET": "/run/notify",
            "WATCHDOG_USEC": str(int(float(unit["WatchdogSec"][0].rstrip("s")) * 1e6)),
        }
        umask = int(unit["UMask"][0], 8)

        def prepare() -> None:
            os.dup2(passed, FIRST)
            os.set_inheritable(FIRST, True)
            inside()
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, files))
            os.umask(umask)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            environment["LISTEN_PID"] = str(os.getpid())
            os.execve(words[0], words, environment)

        self._told = ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(str(told))
        told.chmod(0o666)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                preexec_fn=prepare,  # noqa: PLW1509 - the other thread holds no lock then
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                close_fds=False,
                start_new_session=True,
            )
        ready.settimeout(timeout)
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
        except TimeoutError:
            raise UnitError(f"not ready within {timeout} s\n{self.log()}") from None

    def _account(self, user: str) -> list[str]:
        for line in self._root.path("/etc/passwd").read_text().splitlines():
            if line.startswith(f"{user}:"):
                return line.split(":")
        raise UnitError(f"no user {user}")

    def reload(self) -> None:
        """Do what `ExecReload` says."""
        [command] = self._unit("service")["ExecReload"]
        if command != "/bin/kill -HUP $MAINPID" or self._process is None:
            raise UnitError(f"cannot do {command}")
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop it as `KillMode=mixed` does. Raises UnitError unless it ends well and in time."""
        if self._process is None:
            return
        unit = self._unit("service")
        self._process.send_signal(signal.SIGTERM)
        limit = float(unit["TimeoutStopSec"][0].rstrip("s"))
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise UnitError(f"not stopped within {limit} s\n{self.log()}") from None
        self._process = None
        self._hear_no_more()
        if status not in {0, -signal.SIGTERM}:  # twistd ends by the signal that it got
            raise UnitError(f"stopped with status {status}\n{self.log()}")

    def _hear_no_more(self) -> None:
        if self._told is not None:
            self._told.close()
            self._told = None

    def forget(self) -> None:
        """Remove what lives as long as the service, as after a stop that is no restart."""
        [directory] = self._unit("service")["RuntimeDirectory"]
        shutil.rmtree(self._root.path(f"/run/{directory}"), ignore_errors=True)

    def kill(self) -> None:
        """End it at once, at the end of a test that failed."""
        if self.running:
            assert self._process is not None
            self._process.kill()
            self._process.wait()
        self._hear_no_more()
        self.close()

    def log(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""


class SystemctlStandIn:
    """Answers maintainer scripts in a root: what they tell systemctl is done to `service`.

    `asked` is what they have said, such as `restart sqsuper.service`.
    """

    def __init__(self, root: Root, service: Service) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.before_start: Callable[[], None] | None = None
        self._service = service
        directory = root.path("/run/units")
        directory.mkdir()
        self._ask, self._answer = directory / "ask", directory / "answer"
        os.mkfifo(self._ask)
        os.mkfifo(self._answer)
        program = root.path("/usr/bin/systemctl")
        if program.exists():
            raise UnitError("this root has a systemctl of its own")
        program.write_text(STAND_IN)
        program.chmod(0o755)
        # Where it is, systemd runs.
        root.path("/run/systemd/system").mkdir(parents=True)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # then the root has gone
            while True:
                for line in self._ask.read_text().splitlines():
                    self._answer.write_text(self._do(line.split()) + "\n")

    def _do(self, words: list[str]) -> str:
        verb, *units = [word for word in words if not word.startswith("-")]
        if verb == "is-enabled":
            return "0 enabled"
        if verb == "is-active":
            return "0 active" if self._service.running else "3 inactive"
        for unit in units:
            if not unit.startswith(f"{self._service.name}."):
                continue  # of another package
            self.asked.append(f"{verb} {unit}")
            try:
                self._carry_out(verb, unit)
            except Exception as error:
                self.failure = error
                return "1 failed"
        return "0"

    def _carry_out(self, verb: str, unit: str) -> None:
        service = self._service
        if unit.endswith(".socket"):
            if verb in {"stop", "restart"}:
                service.close()
            if verb in {"start", "restart"}:
                service.listen()
            return
        if verb in {"stop", "restart"}:
            service.stop()
        if verb == "stop":
            service.forget()
        if verb in {"start", "restart"}:
            if self.before_start is not None:
                self.before_start()
            service.start()
