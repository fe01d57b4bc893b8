"""The engine's command line, read without argparse, which costs more than all the rest."""

from __future__ import annotations

USAGE = """\
usage: python -m sqsuper.engine host PORT --key KEY [--data-dir DIR] [options]
       python -m sqsuper.engine settle --data-dir DIR
       python -m sqsuper.engine version | --help

Serves SQ's API on 127.0.0.1:PORT (0: any free port) from the phext files in DIR (default:
the working directory; made if missing). A request needs the key: Authorization: Bearer KEY.
Unlike the real sq, which serves everyone without a key, this needs one: any web page could
otherwise reach it through a browser on this machine. Other users see KEY in the process list.

options:
  --coordinates strict|lenient  how coordinates are read (strict)
  --max-head-bytes N            request line and fields (65536)
  --max-body-bytes N            request body (67108864)
  --max-phext-mb N              no phext grows past this (480)
  --quota-mb N, --quota BYTES   no write grows the data past this (no quota)
  --checkpoint-idle S           a phext file is written so long after its last change (2),
  --checkpoint-age S            after its first unsaved one (30),
  --checkpoint-journal BYTES    or past so much journal (4194304)
  --max-loaded N                phexts kept in memory (64)
  --max-connections N           more get 503 (10000)
  --max-connections-per-address N  likewise, of one address (no limit)
  --wrong-tokens-per-minute N   of one address; more get 429 (20)
  --head-timeout S              seconds for a request's head (10)
  --idle-timeout S              seconds between requests (75)
  --body-timeout S              longest pause in a body (as idle)
  --body-rate N                 bytes a second that a body must average (512)
  --send-timeout S              longest pause of a client that takes its answer (as idle)
  --stop-seconds S              time for requests under way at SIGTERM (5)
  --name NAME                   what status calls the tenant

for a supervisor:
  --listen-fd FD                a listening socket to serve on instead of PORT (repeatable)
  --gateway-port PORT           likewise, a port on 127.0.0.1 for its gateway alone, beside PORT
                                if that is given (0: any free one, which "ready" tells)
  --control-fd FD               JSON lines: first {"key": ..., "tokens": [...]}, later
                                {"tokens": [...]} or {"options": ["--quota-mb", "5", ...]};
                                {"hold": N} has all saved as of one moment, and no file
                                replaced until {"release": N}; {"stop": true} stops it as
                                SIGTERM does; its end ends the engine
  --report-fd FD                JSON lines of ours: {"event": "ready"} and others
  --lock-seconds SECONDS        wait so long for the engine that has the data directory now
                                (5); {"event": "standby"} says that there is one
"""

MIB = 1 << 20


class UsageError(Exception):
    """A command line that cannot be meant so; `str()` says why."""


class Options:
    """A `host` command. Sizes in bytes, times in seconds, None: not given or no limit."""

    __slots__ = (
        "body_rate",
        "body_timeout",
        "checkpoint_age",
        "checkpoint_idle",
        "checkpoint_journal",
        "control_fd",
        "data_dir",
        "gateway_port",
        "head_timeout",
        "idle_timeout",
        "key",
        "lenient",
        "listen_fds",
        "lock_seconds",
        "max_body_bytes",
        "max_connections",
        "max_connections_per_address",
        "max_head_bytes",
        "max_loaded",
        "max_phext",
        "name",
        "port",
        "quota",
        "report_fd",
        "send_timeout",
        "stop_seconds",
        "wrong_tokens_per_minute",
    )

    def __init__(self) -> None:
        self.port: int | None = None
        self.key: str | None = None
        self.data_dir = "."
        self.name = "sqsuper"
        self.lenient = False
        self.listen_fds: list[int] = []
        self.gateway_port: int | None = None
        self.lock_seconds = 5.0
        self.control_fd: int | None = None
        self.report_fd: int | None = None
        self.max_head_bytes = 65_536
        self.max_body_bytes = 64 * MIB
        self.max_phext: int | None = 480 * MIB
        self.quota: int | None = None
        self.checkpoint_idle = 2.0
        self.checkpoint_age = 30.0
        self.checkpoint_journal = 4 * MIB
        self.max_loaded = 64
        self.max_connections = 10_000
        self.max_connections_per_address: int | None = None
        self.wrong_tokens_per_minute = 20
        self.head_timeout = 10.0
        self.idle_timeout = 75.0
        self.body_timeout: float | None = None
        self.body_rate = 512
        self.send_timeout: float | None = None
        self.stop_seconds = 5.0


# Option to attribute and the unit that its number is multiplied by.
_COUNTS = {
    "--max-head-bytes": ("max_head_bytes", 1),
    "--max-body-bytes": ("max_body_bytes", 1),
    "--max-phext-mb": ("max_phext", MIB),
    "--quota-mb": ("quota", MIB),
    "--quota": ("quota", 1),
    "--checkpoint-journal": ("checkpoint_journal", 1),
    "--max-loaded": ("max_loaded", 1),
    "--max-connections": ("max_connections", 1),
    "--max-connections-per-address": ("max_connections_per_address", 1),
    "--wrong-tokens-per-minute": ("wrong_tokens_per_minute", 1),
    "--body-rate": ("body_rate", 1),
    "--control-fd": ("control_fd", 1),
    "--report-fd": ("report_fd", 1),
}
_SECONDS = {
    "--checkpoint-idle": "checkpoint_idle",
    "--checkpoint-age": "checkpoint_age",
    "--head-timeout": "head_timeout",
    "--idle-timeout": "idle_timeout",
    "--body-timeout": "body_timeout",
    "--send-timeout": "send_timeout",
    "--lock-seconds": "lock_seconds",
    "--stop-seconds": "stop_seconds",
}
_TEXTS = {"--key": "key", "--data-dir": "data_dir", "--name": "name"}


def parse(arguments: list[str]) -> Options:
    """Read what follows `host`. Raises UsageError."""
    options = _read(arguments)
    _check(options)
    return options


def parse_settle(arguments: list[str]) -> Options:
    """Read what follows `settle`. Raises UsageError."""
    options = _read(arguments)
    if options.port is not None or options.listen_fds:
        raise UsageError("settle serves no port")
    return options


def _read(arguments: list[str]) -> Options:
    options = Options()
    rest = arguments[::-1]
    while rest:
        argument = rest.pop()
        if not argument.startswith("--"):
            if options.port is not None:
                raise UsageError(f"unexpected argument '{argument}'")
            options.port = _port(argument)
            continue
        option, equals, value = argument.partition("=")
        if not equals:
            if not rest:
                raise UsageError(f"{option} needs a value")
            value = rest.pop()
        _set(options, option, value)
    return options


def parse_live(words: list[str]) -> Options:
    """Read what an engine that runs can be told anew: all of it, what is missing is as ever.

    Looked at are sizes, times, numbers and `--coordinates` alone. Raises UsageError.
    """
    options = Options()
    if len(words) % 2:
        raise UsageError("an option is without its value")
    for option, value in zip(words[::2], words[1::2], strict=True):
        _set(options, option, value)
    _check_counts(options)
    return options


def _set(options: Options, option: str, value: str) -> None:
    if option in _TEXTS:
        setattr(options, _TEXTS[option], value)
    elif option in _COUNTS:
        attribute, unit = _COUNTS[option]
        setattr(options, attribute, _count(option, value) * unit)
    elif option in _SECONDS:
        setattr(options, _SECONDS[option], _time(option, value))
    elif option == "--listen-fd":
        options.listen_fds.append(_count(option, value))
    elif option == "--gateway-port":
        options.gateway_port = _port(value)
    elif option == "--coordinates":
        if value not in ("strict", "lenient"):
            raise UsageError(f"--coordinates is strict or lenient, not '{value}'")
        options.lenient = value == "lenient"
    else:
        raise UsageError(f"unknown option {option}")


def _check(options: Options) -> None:
    if options.port is None and options.gateway_port is None and not options.listen_fds:
        raise UsageError("a port is missing")
    if options.gateway_port is not None and (options.listen_fds or options.control_fd is None):
        raise UsageError("--gateway-port needs --control-fd, and excludes --listen-fd")
    if options.port is not None and options.listen_fds:
        raise UsageError("a port and --listen-fd exclude each other")
    if options.control_fd is None and not options.key:
        raise UsageError("a key is missing: --key KEY")
    if options.key is not None and not (
        len(options.key) <= 512 and all("\x21" <= char <= "\x7e" for char in options.key)
    ):
        raise UsageError("the key must be 1 to 512 visible ASCII characters without blanks")
    _check_counts(options)


def _check_counts(options: Options) -> None:
    if 0 in (options.max_loaded, options.max_connections, options.max_connections_per_address):
        raise UsageError("--max-loaded and --max-connections... must be at least 1")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise UsageError(f"'{text}' is no port: a number from 0 to 65535 is")
    return int(text)


def _count(option: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise UsageError(f"{option} needs a whole number, not '{value}'")
    return int(value)


def _time(option: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    # Also false for what is no number.
    if not 0 < seconds <= 1e9:
        raise UsageError(f"{option} needs a number of seconds above 0, not '{value}'")
    return seconds
