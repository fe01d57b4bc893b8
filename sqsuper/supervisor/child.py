"""Runs in the spawned process before the instance does: confines it, then becomes it.

    python -I -S child.py OPTIONS -- PROGRAM ARGUMENTS...        (a command engine)
    python -I -S child.py --embedded OPTIONS -- ARGUMENTS...     (our engine, in this process)

Standard library only, and nothing of ours before the engine: this file is started by path.
Descriptor 3 brings one byte when the supervisor has recorded this process (end of file: it
is gone), then the engine's control lines; a line of JSON on 4 tells why a start failed.
With `--standard`, where children get no other descriptors, that is standard input and output.
"""

import json
import os
import signal
import sys
from os import chdir, getppid, read, umask

try:
    import resource
    from os import setsid
except ImportError:  # Windows, where --standard is given
    pass

SETUP_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
PARENT_GONE = 124

CONTROL = 3
REPORT = 4

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LINUX = sys.platform.startswith("linux")

# All imports but the engine's stand before privileges are dropped: the user that it drops to
# need not be able to read the interpreter's library then.
if LINUX:
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl


class RefusalError(Exception):
    """The start ends here: a line for people and an exit status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def options(argv: list[str]) -> tuple[dict[str, str], dict[str, list[str]], list[str]]:
    """Split the arguments: options given once, those given often, what stands after `--`."""
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {"--path": [], "--avoid": []}
    at = 0
    while at < len(argv) and argv[at] != "--":
        if argv[at] in ("--embedded", "--standard"):
            single[argv[at]] = ""
            at += 1
            continue
        if argv[at] in several:
            several[argv[at]].append(argv[at + 1])
        else:
            single[argv[at]] = argv[at + 1]
        at += 2
    return single, several, argv[at + 1 :]


def limit(open_files: int | None, address_space: int | None, nice: int) -> None:
    """Set resource limits, within what the hard limits allow."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for what, most in (
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_AS, address_space),
    ):
        if most is not None:
            try:
                resource.setrlimit(what, (most, most))
            except (ValueError, OverflowError, OSError):  # over the hard limit
                hard = resource.getrlimit(what)[1]
                resource.setrlimit(what, (hard, hard))
    if nice:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except OSError as error:
            say(f"nice {nice} was not set: {error.strerror}")


def become(user: str) -> None:
    """Drop to `user` for good: its groups, then the user."""
    import pwd  # noqa: PLC0415 - not everywhere, and rarely needed

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise RefusalError(SETUP_FAILED, f"there is no user {user!r}") from None
    if os.geteuid() == entry.pw_uid:
        return
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def confine(death_signal: bool) -> None:
    """Give up gaining privileges and, if asked, end with the parent."""
    if not LINUX:
        return
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise RefusalError(SETUP_FAILED, f"no_new_privs: {os.strerror(ctypes.get_errno())}")
    if death_signal and prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise RefusalError(SETUP_FAILED, f"death signal: {os.strerror(ctypes.get_errno())}")


def is_below(home: str, path: str) -> bool:
    """Whether a real path is `home`, which is one too, or leads into it."""
    try:
        return os.path.commonpath([home, path]) == home
    except ValueError:  # on another drive
        return False


def look_up(program: str, avoided: list[str], path: "str | None" = None) -> str:
    """Return the program's path: absolute, or found in PATH, and in none of `avoided`.

    `path`: that PATH, by default of this process. Raises RefusalError.
    """
    if "/" in program:
        candidates = [program]
        if not os.path.isabs(program):
            raise RefusalError(NOT_FOUND, f"{program}: not an absolute path")
    else:
        path = os.environ.get("PATH", os.defpath) if path is None else path
        candidates = [os.path.join(d, program) for d in path.split(os.pathsep) if os.path.isabs(d)]
    if os.name == "nt":
        candidates = [c for name in candidates for c in (name, f"{name}.exe")]
    homes = [os.path.realpath(directory) for directory in avoided]
    status, reason = NOT_FOUND, f"{program}: not found"
    if "/" not in program:
        reason += " in PATH"
    for candidate in candidates:
        real = os.path.realpath(candidate)
        if not os.path.exists(real):
            continue
        if any(is_below(home, real) for home in homes):
            status, reason = NOT_EXECUTABLE, f"{candidate}: is in a tenant's data directory"
        elif not os.path.isfile(real) or not os.access(real, os.X_OK):
            status, reason = NOT_EXECUTABLE, f"{candidate}: not executable"
        else:
            return candidate
    raise RefusalError(status, reason)


def run_command(argv: list[str], avoided: list[str], drop: str) -> None:
    """Become the program; returns never."""
    program = look_up(argv[0], avoided)
    environment = {k: v for k, v in os.environ.items() if k not in drop.split(",")}
    plain_signals()
    os.set_inheritable(REPORT, False)
    os.close(CONTROL)
    try:
        os.execve(program, argv, environment)  # noqa: S606
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RefusalError(NOT_EXECUTABLE, f"{program}: cannot be executed: {why}") from None


def run_embedded(argv: list[str], paths: list[str]) -> int:
    """Run our engine here; raises RefusalError when it cannot be imported."""
    sys.path.extend(p for p in paths if p not in sys.path)
    try:
        from sqsuper.engine.__main__ import main  # noqa: PLC0415
    except (ImportError, OSError) as error:
        # As a rule because another user may not look into the installation, or Python's own.
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "this process"
        raise RefusalError(
            NOT_EXECUTABLE,
            f"{user} cannot import the engine ({error}): it must be able to read"
            f" {os.pathsep.join(paths)} and Python's library below {sys.base_prefix}",
        ) from None
    return main(argv)


def plain_signals() -> None:
    """Undo what this interpreter or our starter made of the signals."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for signum in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGCHLD,
    ):
        signal.signal(signum, signal.SIG_DFL)


def await_record(parent: "int | None", control: int = CONTROL) -> None:
    """Wait until the supervisor has recorded us; raises when it is gone.

    `parent`: its pid, None where another process may stand between us.
    """
    if read(control, 1) == b"" or (parent is not None and getppid() != parent):
        raise RefusalError(PARENT_GONE, "the supervisor is gone")


def say(line: str) -> None:
    try:  # noqa: SIM105
        os.write(2, f"sqsuper: {line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def report(reason: str, fd: int = REPORT) -> None:
    try:  # noqa: SIM105
        os.write(fd, json.dumps({"event": "refused", "reason": reason}).encode() + b"\n")
    except OSError:
        pass


def refused(refusal: RefusalError, fd: int = REPORT) -> int:
    """Say and report why the start ends; return the exit status."""
    say(refusal.reason)
    report(refusal.reason, fd)
    return refusal.status


def begin_standard(
    single: "dict[str, str]", several: "dict[str, list[str]]", rest: "list[str]"
) -> int:
    """Run our engine here, with nothing but the standard streams and no means to confine it."""
    try:
        umask(0o077)
        await_record(None, 0)
        chdir(single["--data-dir"])
        return run_embedded(rest, several["--path"])
    except RefusalError as refusal:
        return refused(refusal, 1)
    except OSError as error:
        say(f"cannot start: {error}")
        report(str(error), 1)
        return SETUP_FAILED


def main(argv: list[str], engine: "Callable[[list[str]], int] | None" = None) -> int:
    """Returns the exit status. `engine`: ours, in a process that has it loaded, and is confined."""
    single, several, rest = options(argv)
    if "--standard" in single:
        return begin_standard(single, several, rest)
    embedded = "--embedded" in single
    data_dir = single["--data-dir"]
    try:
        umask(0o077)
        setsid()
        open_files, address_space = single.get("--open-files"), single.get("--address-space")
        limit(
            None if open_files is None else int(open_files),
            None if address_space is None else int(address_space),
            int(single.get("--nice", "0")),
        )
        if "--user" in single:
            become(single["--user"])
        if engine is None:
            confine(death_signal=not embedded)
        await_record(int(single["--parent"]))
        chdir(data_dir)
        if not embedded:
            run_command(rest, [data_dir, *several["--avoid"]], single.get("--drop", ""))
    except RefusalError as refusal:
        return refused(refusal)
    except OSError as error:
        say(f"cannot start: {error}")
        report(str(error))
        return SETUP_FAILED
    try:
        return run_embedded(rest, several["--path"]) if engine is None else engine(rest)
    except RefusalError as refusal:
        return refused(refusal)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
