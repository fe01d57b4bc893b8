"""The engine as a program: `python -m sqsuper.engine host PORT --key KEY --data-dir DIR`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from _signal import (  # type: ignore[import-not-found]  # what signal wraps into enumerations
    SIG_IGN,
    set_wakeup_fd,
)
from _signal import signal as handle

import sqsuper
from sqsuper.engine import options as command_line
from sqsuper.engine.api import API_VERSION, Api
from sqsuper.engine.checkpoints import Policy
from sqsuper.engine.control import Control, ControlError, Pulse, Report
from sqsuper.engine.coordinates import Reading
from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.errors import DirectoryError, EngineError
from sqsuper.engine.holding import Hold
from sqsuper.engine.keyring import Keyring
from sqsuper.engine.server import Server, log_line, report
from sqsuper.engine.service import Limits
from sqsuper.engine.settling import settle
from sqsuper.engine.storage import Storage
from sqsuper.engine.timed import TimedLoop
from sqsuper.sockets.wakeup import Wakeup

try:
    import resource
except ImportError:  # pragma: no cover  # Windows
    resource = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from sqsuper.engine.options import Options
    from sqsuper.sockets import Loop

BACKLOG = 1024
# On Windows the other one lets a second program take a port that is served.
_EXCLUSIVE: int | None = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
_STOPPING = int(signal.SIGTERM), int(signal.SIGINT)
_IGNORED = [int(getattr(signal, name)) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]


def main(argv: list[str]) -> int:
    """Run the engine until it is told to stop, and return the exit status.

    `argv`: without the program's name. 0: stopped as told; 1: could not start, with one
    line on standard error; 2: wrong usage.
    """
    command = argv[0] if argv else ""
    if command == "host":
        parse, run = command_line.parse, _host
    elif command == "settle":
        parse, run = command_line.parse_settle, _settle
    else:
        return _tell(argv[:1])
    try:
        options = parse(argv[1:])
    except command_line.UsageError as error:
        _complain(f"{error} (see --help)")
        return 2
    os.umask(0o077)
    _ignore_signals()
    return run(options)


def _tell(words: list[str]) -> int:
    if words and words[0] in ("--help", "-h", "help"):
        sys.stdout.write(command_line.USAGE)
        return 0
    if words and words[0] in ("version", "--version"):
        sys.stdout.write(f"sqsuper {sqsuper.__version__} (SQ API {API_VERSION})\n")
        return 0
    _complain("a command is missing: host, settle, version or --help (see --help)")
    return 2


def _host(options: Options) -> int:
    try:
        _check_pipes(options)
        sockets = _sockets(options)
        directory = _directory(options)
    except (DirectoryError, OSError) as error:
        _complain(str(error))
        return 1
    try:
        engine = Engine(options, sockets, directory)
    except (EngineError, OSError) as error:
        _complain(str(error))
        directory.close()
        return 1
    try:
        return engine.run()
    finally:
        directory.close()


def _settle(options: Options) -> int:
    try:
        directory = _directory(options)
    except (DirectoryError, OSError) as error:
        _complain(str(error))
        return 1
    try:
        return 0 if settle(directory, _complain) else 1
    except (EngineError, OSError) as error:
        _complain(str(error))
        return 1
    finally:
        directory.close()


class Engine:
    """One engine: everything wired together, around one loop."""

    def __init__(
        self, options: Options, sockets: list[socket.socket], directory: DataDirectory
    ) -> None:
        """`sockets` listen already, the gateway's port, if any, first; `directory` is locked.

        Raises JournalError or OSError if the journal there cannot be gone on from.
        """
        _set_limits()
        self._loop = TimedLoop()
        self._options = options
        self._sockets = sockets
        self._gateway = sockets.pop(0) if options.gateway_port is not None else None
        self._report = Report(options.report_fd)
        self._status = 0
        self._serving = False
        self._stopping = False
        self._holding: tuple[int, Hold] | None = None
        self._policy = Policy(
            options.checkpoint_idle, options.checkpoint_age, options.checkpoint_journal
        )
        self._storage = Storage(
            self._loop,
            directory,
            clock=time.monotonic,
            log=_complain,
            report=report,
            policy=self._policy,
            max_loaded=options.max_loaded,
            max_phext=options.max_phext,
            quota=options.quota,
        )
        self._api = Api(self._storage.store, Reading(options.lenient), options.name)
        self._server = Server(
            self._loop,
            self._api,
            self._storage.turns,
            self._storage.commits,
            _limits(options),
            wall_clock=time.time,
            max_connections=options.max_connections,
            max_connections_per_address=options.max_connections_per_address,
            wrong_tokens_per_minute=options.wrong_tokens_per_minute,
        )

    def run(self) -> int:
        """Serve until a signal or the control pipe's end, and return the exit status."""
        wakeup = _Signals(self._loop, self._stop)
        if self._options.control_fd is not None:
            Control(
                self._loop,
                self._options.control_fd,
                self._options.name,
                opened=self._serve,
                ended=self._loop.stop,
                failed=self._control_failed,
                pinged=self._pinged,
                adjusted=self._adjust,
                held=self._hold,
                released=self._release,
                stopped=self._stop,
            )
        elif self._options.key is not None:
            self._serve(Keyring(self._options.name, self._options.key))
        try:
            self._loop.run()
        finally:
            self._server.close()
            self._storage.close()
            wakeup.close()
            self._loop.close()
        return self._status

    def _serve(self, keyring: Keyring) -> None:
        self._serving = True
        for sock in self._sockets:
            self._server.serve(sock, keyring)
        if self._options.control_fd is None and self._options.port is not None:
            host, port = self._sockets[0].getsockname()
            sys.stdout.write(f"serving on http://{host}:{port}/api/v2/\n")
            sys.stdout.flush()
        gateway = self._gateway
        if gateway is not None:
            self._server.serve(gateway, keyring, gateway=True)
        self._report.ready(None if gateway is None else gateway.getsockname()[1])

    def _stop(self) -> None:
        if self._stopping or not self._serving:
            self._loop.stop()
            return
        self._stopping = True
        self._server.stop(lambda: self._storage.stop(self._loop.stop), self._options.stop_seconds)

    def _adjust(self, options: Options) -> None:
        """Go on with what may change of `options`; size of journal segments excepted."""
        self._options.stop_seconds = options.stop_seconds
        policy = self._policy
        policy.idle, policy.age = options.checkpoint_idle, options.checkpoint_age
        policy.journal = options.checkpoint_journal
        self._storage.store.adjust(
            max_loaded=options.max_loaded, max_phext=options.max_phext, quota=options.quota
        )
        self._storage.checkpoints.changed()
        self._api.read_as(Reading(options.lenient))
        self._server.adjust(
            _limits(options),
            max_connections=options.max_connections,
            max_connections_per_address=options.max_connections_per_address,
            wrong_tokens_per_minute=options.wrong_tokens_per_minute,
        )

    def _pinged(self, ping: int) -> None:
        server = self._server
        pulse = Pulse(
            lag=self._loop.take_longest(),
            requests=server.own_requests,
            moved=server.own_bytes,
            inflight=server.inflight,
            storage=self._storage.store.quota.usage,
        )
        self._report.pong(ping, pulse)

    def _hold(self, number: int) -> None:
        hold = Hold(lambda lost: self._report.held(number, lost))
        self._holding = (number, hold)
        self._storage.checkpoints.hold(hold)

    def _release(self, number: int) -> None:
        held, hold = self._holding or (None, None)
        if hold is None or held != number:
            self._report.released(number, kept=False)
            return
        self._holding = None
        self._report.released(number, kept=not hold.over)
        hold.release()

    def _control_failed(self, error: ControlError) -> None:
        _complain(str(error))
        if not self._serving:
            self._status = 1
            self._loop.stop()


def _limits(options: Options) -> Limits:
    return Limits(
        max_head_bytes=options.max_head_bytes,
        max_body_bytes=options.max_body_bytes,
        head_timeout=options.head_timeout,
        idle_timeout=options.idle_timeout,
        body_timeout=options.body_timeout,
        body_rate=options.body_rate,
        send_timeout=options.send_timeout,
    )


class _Signals:
    """Turns SIGTERM and SIGINT into a call in the loop."""

    def __init__(self, loop: Loop, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._wakeup = Wakeup(loop, self._came)
        self._old_fd = set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._old: dict[int, object] = {}
        for number in _STOPPING:
            self._old[number] = handle(number, _note)

    def _came(self, numbers: bytes) -> None:
        for number in numbers:
            if number in self._old:
                self._stop()

    def close(self) -> None:
        """Give the signals back."""
        set_wakeup_fd(self._old_fd)
        for number, handler in self._old.items():
            handle(number, handler)
        self._wakeup.close()


def _note(_number: int, _frame: FrameType | None) -> None:
    # Its number is in the wakeup pipe already.
    pass


def _check_pipes(options: Options) -> None:
    pipes = (("--control-fd", options.control_fd), ("--report-fd", options.report_fd))
    for option, fd in pipes:
        if fd is not None:
            try:
                os.fstat(fd)
            except OSError as error:
                raise OSError(f"{option} {fd}: {error.strerror}") from None


def _sockets(options: Options) -> list[socket.socket]:
    found = []
    for port in (options.gateway_port, options.port):
        if port is not None:
            found.append(_listening(port))
    for fd in options.listen_fds:
        found.append(_inherited(fd))
    return found


def _listening(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if _EXCLUSIVE is None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, _EXCLUSIVE, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(f"port {port}: {error.strerror}") from None
    return sock


def _inherited(fd: int) -> socket.socket:
    try:
        sock = socket.socket(-1, -1, -1, fd)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.detach()
            raise OSError(f"--listen-fd {fd}: not a listening socket")
    except OSError as error:
        raise OSError(
            f"--listen-fd {fd}: {error.strerror}" if error.strerror else str(error)
        ) from None
    return sock


def _directory(options: Options) -> DataDirectory:
    try:
        directory = DataDirectory(options.data_dir)
    except DirectoryError:
        try:
            os.makedirs(options.data_dir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise DirectoryError(f"data directory {options.data_dir}: {error.strerror}") from None
        directory = DataDirectory(options.data_dir)
    try:
        directory.lock(options.lock_seconds, waits=Report(options.report_fd).standby)
    except DirectoryError:
        directory.close()
        raise
    return directory


def _ignore_signals() -> None:
    # Python's own habit, whatever the parent left: a lost client is EPIPE, a file past its
    # limit is EFBIG.
    for number in _IGNORED:
        handle(number, SIG_IGN)


def _set_limits() -> None:
    if resource is None:
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A core file would hold key and tokens' digests, and users' texts.
    for limit, values in ((resource.RLIMIT_NOFILE, (hard, hard)), (resource.RLIMIT_CORE, (0, 0))):
        try:
            resource.setrlimit(limit, values)
        except (OSError, ValueError):
            continue


def _complain(line: str) -> None:
    log_line(f"sqsuper.engine: {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
