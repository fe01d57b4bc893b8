"""The zygote: has the engine loaded and warm, and forks one for each message (Linux).

    python -I -S zygote_main.py --parent PID --room NEW-DIRECTORY [--path DIRECTORY]...

Descriptor 3 is a SEQPACKET socket. A message in is `NUMBER FD,FD,... TEXTS`, with open
descriptors beside it, which the child shall have under these numbers (1, 2, ... without a gap).
TEXTS are joined by zeros: the tenant, how many arguments, these arguments, for `child.main`, then
the variables, `NAME=VALUE`. Out goes `ready` once, then for each message `NUMBER PID` or
`NUMBER error TEXT`. The forked process is nobody's child here: its parent is whoever takes in
our orphans. The end of the socket is our end.

One thread, and no secret of any tenant: children share what is in this process' memory. What
is written to there after a fork, be it a reference count, is copied, and every child alive then
keeps a page more of its own: hence as little as possible is done here for a message, and in
the child before the engine runs.
"""

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.supervisor import child, warmup
else:
    # By path, as this file is: the package need not be importable, and must not be loaded.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import child
    import warmup

    sys.path.pop()

CHANNEL = 3
MAX_MESSAGE = 64 * 1024
MAX_DESCRIPTORS = 8
# Numbers below it are a child's; all of ours that a child may find open are below twice that.
FIRST = 16
CUT = socket.MSG_TRUNC | socket.MSG_CTRUNC

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_MM = 35
PR_SET_MM_MAP = 14
# The system's interface takes words, ctypes would pass half of one.
_ZERO, _MAP, _MAP_SIZE = ctypes.c_ulong(0), ctypes.c_ulong(PR_SET_MM_MAP), ctypes.c_ulong(104)

Descriptors = dict[int, int]


class Shown:
    """What the process table shows of this process, and of those forked from it."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            text = file.read()
        # From the third on; places are as proc(5) counts them.
        fields = [b""] * 3 + text[text.rindex(b")") + 2 :].split()
        places = (26, 27, 45, 46, 47, 28, 48, 49, 50, 51)
        self._layout = [int(fields[place]) for place in places]
        self._arguments = self._layout[6], self._layout[7]
        self._environment = self._layout[8], self._layout[9]
        libc = ctypes.CDLL(None)
        self._prctl = libc.prctl
        self._sbrk = libc.sbrk
        self._sbrk.restype = ctypes.c_void_p
        self._memory_map = struct.Struct("=11QQII")

    def title(self, arguments: str, name: str) -> None:
        """Show `arguments` as far as there is room, and `name` (15 bytes) as the program's."""
        self._prctl(PR_SET_NAME, name.encode()[:15] + b"\0", _ZERO, _ZERO, _ZERO)
        start, end = self._arguments
        size = end - start
        if 2 <= size <= MAX_MESSAGE:
            text = arguments.encode()[: size - 2].ljust(size - 1, b"\0")
            # A last byte that is not zero tells the kernel to end the text at its first zero.
            ctypes.memmove(start, text + b" ", size)

    def environment(self) -> None:
        """Show the variables of `os.environ`, those that there is room for.

        The C library must not have a pointer to the old ones: after `os.environ.clear()`.
        """
        start, end = self._environment
        if not 0 < end - start <= MAX_MESSAGE:
            return
        text = b""
        for name, value in os.environb.items():
            variable = name + b"=" + value + b"\0"
            if len(text) + len(variable) <= end - start:
                text += variable
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
        # Where the kernel cannot be told where it ends now, zeros follow.
        layout = [*self._layout[:5], self._sbrk(_ZERO), *self._layout[5:9], start + len(text)]
        data = self._memory_map.pack(*layout, 0, 0, 0xFFFFFFFF)
        self._prctl(PR_SET_MM, _MAP, data, _MAP_SIZE, _ZERO)

    def die_with_parent(self) -> None:
        """Ask for SIGKILL when the parent ends; a fork does not inherit that."""
        self._prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), _ZERO, _ZERO, _ZERO)


def received(data: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in a message's ancillary data."""
    found: list[int] = []
    for level, kind, content in data:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found += memoryview(content[: len(content) & ~3]).cast("i")
    return found


def arrange(wanted: Descriptors) -> None:
    """Give each descriptor its number, which is below all given ones, and close all others."""
    for new, old in wanted.items():
        os.dup2(old, new, inheritable=False)
    os.closerange(len(wanted) + 1, 2 * FIRST)


def close_others(kept: set[int]) -> None:
    """Close every descriptor that is not `kept`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:  # noqa: SIM105
                os.close(int(name))
            except OSError:  # the one that listed them
                pass


def plain_signals() -> None:
    """As a fresh interpreter has them."""
    child.plain_signals()
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(signum, signal.SIG_IGN)


def run(text: bytes, wanted: Descriptors, shown: Shown) -> int:
    """In the forked process: become the engine; return its exit status."""
    arrange(wanted)
    tenant, count, *texts = text.decode("utf-8", "surrogateescape").split("\0")
    arguments = int(count)
    for variable in texts[arguments:]:
        name, _, value = variable.partition("=")
        os.environ[name] = value
        if name == "TZ":
            time.tzset()
    shown.environment()
    shown.title(f"sqsuper-engine {tenant}", f"sq:{tenant}")
    # `random` seeds itself anew after a fork, and os.urandom has no state here.
    gc.enable()
    return child.main(texts[:arguments])


def _run_guarded(text: bytes, descriptors: Descriptors, shown: Shown) -> int:
    try:
        return run(text, descriptors, shown)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1


def _end(status: int) -> None:
    """End without taking the interpreter down piece by piece, which would touch shared pages."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status & 255)


class Server:
    """Forks for each message until the other side is gone."""

    def __init__(self, channel: socket.socket, shown: Shown) -> None:
        self._channel = channel
        self._shown = shown
        # By which the process in the middle tells the pid.
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)

    def run(self) -> None:
        """Returns when the socket ends; raises OSError as it does."""
        receive, send = self._channel.recvmsg, self._channel.send
        room = socket.CMSG_SPACE(4 * MAX_DESCRIPTORS)
        while True:
            data, ancillary, flags, _ = receive(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
            descriptors = received(ancillary)
            if not data:
                return
            number, numbers, text = data.split(b" ", 2)
            wanted = [int(each) for each in numbers.split(b",")]
            if flags & CUT or wanted != list(range(1, len(descriptors) + 1)):
                answer = b"error it was cut on the way"
            else:
                answer = self._fork(text, dict(zip(wanted, descriptors, strict=True)))
            # At once: while we held them their other ends would never see an end.
            for fd in descriptors:
                os.close(fd)
            send(b"%b %b" % (number, answer))

    def _fork(self, text: bytes, descriptors: Descriptors) -> bytes:
        """Fork a process that is no child of ours; return its pid, or `error ...`."""
        try:
            middle = os.fork()
        except OSError as error:
            return b"error %b" % (error.strerror or "fork").encode()
        if middle == 0:
            self._in_the_middle(text, descriptors)
        _, status = os.waitpid(middle, 0)
        # It is an orphan now. Whoever forked it has ended, so there is no more to come.
        try:
            return os.read(self._reading, 20)
        except BlockingIOError:
            return b"error the second fork failed (status %d)" % status

    def _in_the_middle(self, text: bytes, descriptors: Descriptors) -> None:
        """Fork the engine and end; never returns, or there would be two that serve."""
        status = 1
        try:
            pid = os.fork()
            if pid == 0:
                status = _run_guarded(text, descriptors, self._shown)
            else:
                os.write(self._writing, b"%d" % pid)
                status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            _end(status)


def alone() -> bool:
    """Whether this process has one thread; waits a little for one that is ending."""
    for _ in range(200):
        if len(os.listdir("/proc/self/task")) == 1:
            return True
        time.sleep(0.01)
    return False


def main(argv: list[str]) -> int:
    """Serve; returns the exit status."""
    single, several, _ = child.options([*argv, "--"])
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    # Stopped, it would not see the socket's end.
    shown = Shown()
    shown.die_with_parent()
    if os.getppid() != int(single["--parent"]):
        return child.PARENT_GONE
    shown.title("sqsuper-zygote", "sqsuper-zygote")
    channel = socket.socket(fileno=CHANNEL)
    channel.set_inheritable(False)
    warmup.load(several["--path"])
    warmup.run(single["--room"])
    if not alone():
        child.say("the zygote has a second thread and cannot fork")
        return 1
    gc.collect()  # before descriptors are closed: what is collected may close its own
    gc.disable()
    close_others({0, 1, 2, CHANNEL})
    plain_signals()
    os.environ.clear()
    server = Server(channel, shown)
    while os.dup(0) < FIRST - 1:
        pass  # so that what we are passed has higher numbers than a child gives it
    gc.freeze()
    try:
        channel.send(b"ready")
        server.run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the end, while there was something to say
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
