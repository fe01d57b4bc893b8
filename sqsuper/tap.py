"""`twistd sqsuper`: its options, and the one place that wires everything together."""

from __future__ import annotations

# First, before Twisted's endpoints, which take what it reads out of the environment.
from sqsuper.passed_sockets import PassedSocketError

# isort: split

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

from twisted import copyright as twisted_version
from twisted.application.service import IService, Service
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage

from sqsuper import __version__
from sqsuper.admin.audit import Audited
from sqsuper.admin.control import Control
from sqsuper.admin.figures import Figures
from sqsuper.admin.files import put_aside
from sqsuper.admin.last_used import LastUsed
from sqsuper.admin.metrics import Metrics
from sqsuper.admin.service import AdminService
from sqsuper.backup.service import Backups
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from sqsuper.config.model import SEARCHED, Config
from sqsuper.gateway.crew import WorkerError
from sqsuper.gateway.service import GatewayService
from sqsuper.gateway.shared_ports import UnsharableError
from sqsuper.gateway.workers import WorkersService
from sqsuper.hangup import Hangup
from sqsuper.launch import Launch, Tree
from sqsuper.notify import Announcement, Heartbeat, Manager
from sqsuper.reloading.gates import Gates
from sqsuper.reloading.outcome import Outcome, Result
from sqsuper.reloading.service import Reload
from sqsuper.reopening import Reopening
from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor import holder
from sqsuper.supervisor.errors import SupervisorError
from sqsuper.supervisor.events import Events, Kind
from sqsuper.supervisor.service import Supervisor

log = Logger()

HELP = """\
The configuration is the file given by -c, or else $SQSUPER_CONFIG, or else the
first that exists of ./conf/tenants.yaml and /etc/sqsuper/tenants.yaml. One
tenant in it looks like this:

  tenants:
    alice:
      token_sha256: ["<SHA-256 of alice's token, 64 hex digits>"]

Run it in the foreground, logging to the terminal, until Ctrl-C:

  twistd -n sqsuper -c conf/tenants.yaml

or as a daemon, with a pid file and a log file:

  twistd --pidfile=sq.pid --logfile=sq.log sqsuper -c conf/tenants.yaml
  kill $(cat sq.pid)

twistd's own options stand before the word "sqsuper":
  -n, --nodaemon     stay in the foreground (a service manager wants this)
      --pidfile=     where the process id goes (default ./twistd.pid; empty:
                     nowhere)
  -l, --logfile=     where the log goes (default: the terminal with -n, else
                     ./twistd.log)
`twistd --help` lists the rest. With a broken configuration it ends with status
1 and one line that names the file, the line and the key.
"""


NEXT_STEP = (
    "make a token and its digest with"
    """ `python3 -c 'import hashlib, secrets; t = "pmb-v1-" + secrets.token_hex(16);"""
    " print(t, hashlib.sha256(t.encode()).hexdigest())'`,"
    ' put `tenants: {{alice: {{token_sha256: ["<the digest>"]}}}}` into {file}'
    " or a file in tenants.d/ beside it, and start again"
)


class Options(usage.Options):
    """The command line of `twistd sqsuper`.

    After parsing, `configuration` is the loaded configuration. What is wrong with the command
    line or the file ends in one line on standard error and SystemExit(1): twistd 22.4 would
    print pages and end with status 0 after a UsageError.
    """

    synopsis = "[-c FILE]"
    longdesc = (
        "sqsuper makes a service for several tenants of SQ, the phext database: it runs one"
        " SQ process a tenant, checks each request's token at one port, and relays the bytes"
        " unchanged to that tenant's process."
    )
    optParameters = (["config", "c", None, "The configuration file (YAML, JSON or TOML)."],)
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.yaml")})

    configuration: Config

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def getUsage(self, width: int | None = None) -> str:
        return f"{super().getUsage(width)}\n{HELP}"

    def opt_version(self) -> None:
        """Display the versions of sqsuper and Twisted and exit."""
        print(f"sqsuper {__version__} (Twisted {twisted_version.version})")  # noqa: T201
        raise SystemExit(0)

    def parseOptions(self, options: list[str] | None = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            _refuse(f"sqsuper: {error} (`twistd sqsuper --help` explains)")

    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"unexpected argument {args[0]!r}")

    def postOptions(self) -> None:
        try:
            self.configuration = load(self._file())
        except ConfigError as error:
            _refuse(str(error))

    def _file(self) -> Path:
        named = self["config"] or os.environ.get("SQSUPER_CONFIG")
        if named:
            return Path(named)
        for searched in SEARCHED:
            if Path(searched).is_file():
                return Path(searched)
        raise usage.UsageError(
            "no configuration file: give one with -c FILE or in $SQSUPER_CONFIG"
            f" (looked for {' and '.join(SEARCHED)})"
        )


def makeService(options: Options, reactor: Any = None) -> IService:
    """Wire the whole program for `options.configuration`; nothing is started or bound yet.

    The supervisor starts first and stops last: the gateway finds its instances there, and
    drains before they go. Around both, the service manager learns that we live; within both,
    that we are ready. Without `reactor` the global one is used.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it
    os.umask(0o077)  # before twistd makes its log and pid files
    config = options.configuration
    supervisor = Supervisor(config, reactor=reactor)
    gateway: GatewayService | WorkersService
    if config.gateway.workers > 1 and not HERE.inheritance:
        log.warn("gateway.workers: this system cannot share ports; one process serves them")
    if config.gateway.workers == 1 or not HERE.inheritance:
        gateway = GatewayService(config, instances=supervisor, reactor=reactor)
    else:
        gateway = WorkersService(config, instances=supervisor, reactor=reactor)
    supervisor.drain_by(gateway.quiet)
    supervisor.inflight_by(gateway.inflight)
    supervisor.storage.watchers.append(gateway.filled)
    Reopening([gateway.reopen_logs, supervisor.logs.reopen], reactor=reactor).install()
    manager = Manager.of(os.environ, os.getpid())
    heartbeat = Heartbeat(manager, reactor=reactor)
    announcement = Announcement(manager, [supervisor.summary])
    heartbeat.beats.append(announcement.beat)
    gates = Gates([gateway])
    reload = Reload(config, tenants=supervisor, gateway=gates, reactor=reactor, explain=explain)
    reload.begins.append(announcement.reloading)
    reload.ends += [_publishing(supervisor.events), lambda _: announcement.reloaded()]
    announcement.sayings.append(reload.saying)
    backups = Backups(config, supervisor, reactor=reactor, put_aside=put_aside)
    reload.ends.append(lambda _: backups.apply(reload.config))
    last_used = LastUsed(gateway.token_used, lambda: reload.config, config.data_root, reactor)
    control = Control(
        supervisor=supervisor,
        gateway=gateway,
        reload=reload,
        backups=backups,
        audit=Audited(supervisor.events),
        used=last_used.used,
        reactor=reactor,
    )
    metrics = Metrics(Figures(control), reactor)
    admin = AdminService(config, control, reactor, metrics=metrics.scrape)
    gates.listeners.append(admin)
    for about_to_stop in (admin.about_to_stop, supervisor.about_to_stop):
        reactor.addSystemEventTrigger("before", "shutdown", about_to_stop)
    hangup = Hangup(reload.hangup, reactor.stop, reactor=reactor)
    hangup.install()
    return Tree(
        [
            cast("IService", part)
            for part in (
                heartbeat,
                hangup,
                Notices(config),
                supervisor,
                last_used,
                gateway,
                reload,
                backups,
                admin,
                announcement,
            )
        ],
        launch=Launch(cast("usage.Options", options.parent)),
        explain=explain,
        reactor=reactor,
    )


def _publishing(events: Events) -> Callable[[Outcome], None]:
    """Return who tells `events` of reloads that had an effect, or should have had one."""

    def publish(outcome: Outcome) -> None:
        if outcome.result is not Result.UNCHANGED:
            events.tell(
                Kind.RELOAD,
                None,
                outcome.result.value,
                f"reload ({outcome.trigger}) {outcome.result.value}: {outcome.text}",
                trigger=outcome.trigger,
                errors=list(outcome.errors),
            )

    return publish


class Notices(Service):
    """Logs, at the start, what the operator of `config` should know."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        for warning in self._config.warnings:
            log.warn("{warning}", warning=warning)
        if not self._config.tenants:
            log.info("no tenant yet: {step}", step=NEXT_STEP.format(file=self._config.file))


def explain(error: Exception) -> str | None:
    """Return the operator's line for an error that ends the start, or None for a defect."""
    if isinstance(error, CannotListenError):
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        host = f"[{error.interface}]" if ":" in (error.interface or "") else error.interface
        where = f"{host}:{error.port}" if host else str(error.port)
        taken = getattr(error.socketError, "errno", None) == errno.EADDRINUSE
        return f"cannot listen on {where}: {reason}{_holder(error.port) if taken else ''}"
    if isinstance(error, (SupervisorError, WorkerError, UnsharableError, PassedSocketError)):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None


def _holder(port: int) -> str:
    """Return who listens on a local TCP port, as far as this user may know."""
    who = holder.of_port(port)
    return "" if who is None else f" (held by {who})"


def _refuse(line: str) -> NoReturn:
    print(" ".join(line.splitlines()), file=sys.stderr)  # noqa: T201
    raise SystemExit(1)
