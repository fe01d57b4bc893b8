"""The service under chaos: who its tenants are, and what can be done to them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import psutil
from phext import phext as library

from tests import running
from tests.chaos.load import PHEXT, Load
from tests.running import eventually

CALM = ("calm1", "calm2", "calm3", "calm4")
VICTIM = "victim"
HUNGRY = "hungry"
ROGUE = "rogue"
SHOP = "shop"
"""Its command engine has a port of its own that somebody else may take."""

ROGUE_PROGRAM = Path(__file__).with_name("rogue.py")
SMALL_DISK = "3m"

CONFIGURATION = """\
gateway: {{listen: ["tcp:{port}:interface=127.0.0.1"], wrong_tokens_per_minute: 1000}}
admin: {{listen: ["tcp:{admin}:interface=127.0.0.1"]}}
data_root: ./data
run_dir: ./run
log: {{dir: ./logs, max_bytes: 1M, keep: 2}}
defaults:
  start: eager
  restart: {{backoff: 50ms, backoff_max: 500ms, intensity: 100}}
  health: {{interval: 500ms, timeout: 500ms, unhealthy_after: 2, start_timeout: 10s}}
  monitor: {{interval: 500ms, detail: 2s}}
  limits: {{memory_hard: 256M, threads: 64}}
  stop_grace: 1s
  drain: 1s
tenants:
{tenants}"""


def token(tenant: str) -> str:
    return f"token-of-{tenant}"


def _entry(tenant: str, more: str = "") -> str:
    digest = hashlib.sha256(token(tenant).encode()).hexdigest()
    return f'  {tenant}: {{token_sha256: ["{digest}"]{more}}}\n'


def _command(port: str) -> str:
    words = ", ".join(f'"{word}"' for word in (sys.executable, str(ROGUE_PROGRAM), port))
    return f', engine: command, command: [{words}, "{{data_dir}}"]'


@attrs.define(eq=False)
class World:
    """One running service in a directory of its own; `close` ends what there is of it."""

    directory: Path
    service: running.Running
    port: int
    shop_port: int
    small_disk: bool
    _thief: socket.socket | None = None

    @classmethod
    def begin(cls, directory: Path) -> World:
        """Start it, and wait until all tenants answer."""
        port, admin, shop = (running.free_port() for _ in range(3))
        hungry = directory / "data" / HUNGRY
        hungry.mkdir(parents=True, mode=0o700)
        hungry.parent.chmod(0o700)
        small_disk = _mount(hungry)
        tenants = "".join(_entry(name) for name in (*CALM, VICTIM, HUNGRY))
        tenants += _entry(ROGUE, _command("{port}"))
        tenants += _entry(SHOP, _command("{port}") + f", port: {shop}")
        file = directory / "tenants.yaml"
        file.write_text(CONFIGURATION.format(port=port, admin=admin, tenants=tenants))
        file.chmod(0o600)
        service = running.start(directory, file, port)
        world = cls(directory, service, port, shop, small_disk)
        try:
            eventually(service.healthy, "healthy", 30)
            for tenant in (*CALM, VICTIM, HUNGRY, ROGUE, SHOP):
                eventually(partial(world.answers, tenant), tenant, 30)
        except BaseException:
            world.close()
            raise
        return world

    # Looking

    def answers(self, tenant: str) -> bool:
        """Whether the tenant's instance serves."""
        try:
            target = f"/api/v2/select?p={PHEXT}&c=1.1.1/1.1.1/1.1.1"
            answer = self.service.request("GET", target, token=token(tenant), timeout=30)
        except OSError:
            return False
        return answer.status == 200

    def pid(self, tenant: str) -> int | None:
        """Return the pid of the tenant's instance."""
        home = str(self.directory / "data" / tenant)
        for child in psutil.Process(self.service.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.environ().get("HOME") == home or home in child.cmdline():
                    return child.pid
                if child.name() == f"sq:{tenant}":
                    return child.pid
        return None

    def zygote(self) -> int | None:
        """Return the pid of the process that engines are forked from."""
        for child in psutil.Process(self.service.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.name() == "sqsuper-zygote":
                    return child.pid
        return None

    # Doing

    def signal(self, tenant: str, number: int) -> str:
        pid = self.pid(tenant)
        if pid is None:
            return f"{tenant} had no process"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return f"{signal.Signals(number).name} to {tenant}, pid {pid}"

    def tell(self, tenant: str, deed: str) -> str:
        try:
            status = self.service.request("GET", deed, token=token(tenant), timeout=20).status
        except OSError as error:
            return f"{deed} of {tenant}: {error}"
        return f"{deed} of {tenant}: {status}"

    def kill_zygote(self) -> str:
        pid = self.zygote()
        if pid is None:
            return "no zygote to kill"
        os.kill(pid, signal.SIGKILL)
        return f"SIGKILL to the zygote, pid {pid}"

    def break_configuration(self) -> str:
        broken = self.directory / "tenants.d" / "broken.yaml"
        broken.parent.mkdir(mode=0o700, exist_ok=True)
        broken.write_text("tenants: {calm1: {port: 1\n")
        broken.chmod(0o600)
        os.kill(self.service.pid, signal.SIGHUP)
        return "a broken file, and SIGHUP"

    def mend_configuration(self) -> str:
        (self.directory / "tenants.d" / "broken.yaml").unlink(missing_ok=True)
        os.kill(self.service.pid, signal.SIGHUP)
        return "the broken file is gone, and SIGHUP"

    def fill_disk(self) -> str:
        if not self.small_disk:
            return "no small disk here"
        try:
            with open(self._ballast, "wb", buffering=0) as file:
                while file.write(b"\0" * 65536):
                    pass
        except OSError as error:
            return f"{HUNGRY}'s disk: {error.strerror}"
        return f"{HUNGRY}'s disk is not full"

    def free_disk(self) -> str:
        self._ballast.unlink(missing_ok=True)
        return f"{HUNGRY}'s disk has room again"

    @property
    def _ballast(self) -> Path:
        return self.directory / "data" / HUNGRY / ".ballast"

    def steal_port(self) -> str:
        told = self.signal(SHOP, signal.SIGKILL)
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def taken() -> bool:
            try:
                thief.bind(("127.0.0.1", self.shop_port))
                thief.listen()
            except OSError:
                self.signal(SHOP, signal.SIGKILL)
                return False
            return True

        try:
            eventually(taken, "the port", 5)
        except AssertionError:
            thief.close()
            return f"{told}; its port was not to be had"
        self._thief = thief
        return f"{told}; its port is taken"

    def give_port_back(self) -> str:
        thief, self._thief = self._thief, None
        if thief is not None:
            thief.close()
        return f"{SHOP}'s port is free"

    # The end

    def stop(self) -> int:
        """Stop the service in order; return its exit status."""
        return self.service.stop(timeout=30)

    def lost(self, load: Load) -> list[str]:
        """Return what was acknowledged to `load` and is not in the tenant's file now."""
        file = self.directory / "data" / load.tenant / f"{PHEXT}.phext"
        text = file.read_text() if file.exists() else ""
        found = {str(at): held for at, held in library.Phext().explode(text).items()}
        lost = []
        for number, scroll in load.scrolls.items():
            got = found.get(f"1.1.1/1.1.1/1.1.{number}", "")
            if not scroll.may_hold(got):
                lost.append(f"{load.tenant} {number}: {got!r}, not {scroll}")
        return lost

    def close(self) -> None:
        """End what is left and unmount; fails when there was something left."""
        try:
            self.give_port_back()
            self.service.close()
        finally:
            if self.small_disk:
                subprocess.run(["umount", str(self._ballast.parent)], check=False)


def _mount(directory: Path) -> bool:
    """Whether a small file system could be mounted there."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=0700", "tmpfs", str(directory)]
    try:
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


Deed = Callable[[World], str]
