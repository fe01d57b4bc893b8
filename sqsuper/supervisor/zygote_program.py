"""The zygote: has the engine loaded and warm, and forks one for each message (Linux).

    zygote_main.py --parent PID --room NEW-DIRECTORY [--path DIRECTORY]...

Descriptor 3 is a SEQPACKET socket. A message in is `NUMBER FD,FD,... WORDS VARIABLES`, with open
descriptors beside it, which the child shall have under these numbers (1, 2, ... without a gap).
WORDS are the tenant and the arguments for `child.main`, a zero behind each and none empty; one
more zero ends them. VARIABLES, `NAME=VALUE` with a zero behind each, are only shown: the engine
reads none. Out goes `ready` once, then for each message `NUMBER PID` or `NUMBER error TEXT`. The
forked process is nobody's child here: its parent is whoever takes in our orphans. The end of the
socket is our end.

One thread, and no secret of any tenant: children share what is in this process' memory. What
is written to there after a fork, be it a reference count, is copied, and every child alive then
keeps a page more of its own: hence as little as possible is done here for a message, and in
the child before the engine runs. `compaction` has what is used stand together; names that a
child looks up are this module's own, as each step through an object touches one page more.
"""

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from gc import enable
from os import close, closerange, dup2, fork, read, waitpid, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.supervisor import child, compaction, warmup
    from sqsuper.supervisor.shown import Shown
else:
    import child
    import compaction
    import warmup
    from shown import Shown

confined = child.main

CHANNEL = 3
MAX_MESSAGE = 64 * 1024
MAX_DESCRIPTORS = 8
# Numbers below it are a child's; all of ours that a child may find open are below twice that.
FIRST = 16
ZYGOTE = "sqsuper-zygote", "sqsuper-zygote"
# Plain numbers, which an enumeration's members are not.
CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
CLOSED_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
SOCKET_LEVEL, RIGHTS = int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS)
# What a message says of its descriptors, and how many these are.
COUNTS = {b"1,2,3,4,5,6,7,8"[: 2 * count - 1]: count for count in range(1, MAX_DESCRIPTORS + 1)}
BLANK = b" "

# The first is to be 1, the second 2, and so on.
Descriptors = list[int]
Engine = Callable[[list[str]], int]
# What `run` takes.
Child = tuple[bytes, Descriptors, Shown, Engine]


def received(data: list[tuple[int, int, bytes]]) -> Descriptors:
    """Return the descriptors in a message's ancillary data."""
    found: Descriptors = []
    for level, kind, content in data:
        if level == SOCKET_LEVEL and kind == RIGHTS:
            found += memoryview(content[: len(content) & ~3]).cast("i")
    return found


def arrange(descriptors: Descriptors) -> None:
    """Give them their numbers, which are below all theirs, and close all others."""
    number = 1
    for fd in descriptors:
        dup2(fd, number, False)
        number += 1
    closerange(number, 2 * FIRST)


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


def run(text: bytes, descriptors: Descriptors, shown: Shown, engine: Engine) -> int:
    """In the forked process: become the engine; return its exit status."""
    arrange(descriptors)
    words, _, variables = text.partition(b"\0\0")
    shown.environment(variables)
    tenant, *arguments = words.decode("utf-8", "surrogateescape").split("\0")
    shown.title(f"sqsuper-engine {tenant}", f"sq:{tenant}")
    # `random` seeds itself anew after a fork, and os.urandom has no state here.
    enable()
    return confined(arguments, engine)


def _run_guarded(text: bytes, descriptors: Descriptors, shown: Shown, engine: Engine) -> int:
    try:
        return run(text, descriptors, shown, engine)
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

    def __init__(self, channel: socket.socket, shown: Shown, engine: Engine) -> None:
        self._channel = channel
        self._shown = shown
        self._engine = engine
        # By which the process in the middle tells the pid.
        self.own = os.pipe()
        os.set_blocking(self.own[0], False)

    def run(self) -> None:
        """Returns when the socket ends; raises OSError as it does."""
        receive, send = self._channel.recvmsg_into, self._channel.send
        shown, engine = self._shown, self._engine
        reading, writing = self.own
        room = socket.CMSG_SPACE(4 * MAX_DESCRIPTORS)
        buffer = bytearray(MAX_MESSAGE)
        buffers = [buffer]
        while True:
            size, ancillary, flags, _ = receive(buffers, room, CLOSED_ON_EXEC)
            descriptors = received(ancillary)
            if not size:
                return
            head = buffer.find(BLANK)
            texts = buffer.find(BLANK, head + 1, size)
            numbers = bytes(buffer[head + 1 : texts])
            if flags & CUT or COUNTS.get(numbers) != len(descriptors):
                answer = b"error it was cut on the way"
            else:
                text = bytes(buffer[texts + 1 : size])
                answer = _fork((text, descriptors, shown, engine), reading, writing)
            # At once: while we held them their other ends would never see an end.
            for fd in descriptors:
                close(fd)
            send(b"%b %b" % (bytes(buffer[:head]), answer))


def _fork(child: Child, reading: int, writing: int) -> bytes:
    """Fork a process that is no child of ours; return its pid, or `error ...`."""
    try:
        middle = fork()
    except OSError as error:
        return b"error %b" % (error.strerror or "fork").encode()
    if middle == 0:
        _in_the_middle(child, writing)
    _, status = waitpid(middle, 0)
    # It is an orphan now. Whoever forked it has ended, so there is no more to come.
    try:
        return read(reading, 20)
    except BlockingIOError:
        return b"error the second fork failed (status %d)" % status


def _in_the_middle(child: Child, telling: int) -> None:
    """Fork the engine and end; never returns, or there would be two that serve."""
    status = 1
    try:
        pid = fork()
        if pid == 0:
            status = _run_guarded(*child)
        else:
            write(telling, b"%d" % pid)
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


# What runs for each message: in a child before its engine, and here.
_OURS = (
    *(_in_the_middle, _run_guarded, run, arrange, Shown.environment, Shown.title),
    *(child.main, child.options, child.limit, child.await_record),
    *(Server.run, _fork, received),
)
# An interpreter that adapts its instructions does so after some calls, and adapted ones touch
# fewer of the objects that all children share.
_TIMES = 12
REST = 0.12


def prepare(room: str) -> list[object]:
    """Get warm, and have what a child uses stand together; `room`: for a directory of ours.

    What is returned must be kept.
    """
    codes = [each.__code__ for each in _OURS]
    # What every child does, then what only some do.
    codes += warmup.run(room, warmup.FIRST_REQUESTS, rest=REST, watch=compaction.executed)
    codes += warmup.run(room, warmup.REQUESTS, watch=compaction.executed)
    taken = compaction.gather(codes)
    for _ in range(_TIMES):
        warmup.run(room, warmup.REQUESTS)
    return taken


def rehearse(room: str, shown: Shown) -> None:
    """Do what a child does, once more: what the interpreter remembers of names is that, then."""
    for _ in range(_TIMES):
        child.options(["--parent", "1", "--path", "/", "--embedded", "--", "host"])
        child.limit(None, None, 0)
        shown.environment(b"")
        shown.title(*ZYGOTE)
    warmup.run(room, warmup.FIRST_REQUESTS, rest=REST)


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
    shown.title(*ZYGOTE)
    child.confine(death_signal=False)  # children too, then
    channel = socket.socket(fileno=CHANNEL)
    channel.set_inheritable(False)
    compaction.one_arena()
    warmup.load(several["--path"])
    os.environ.clear()
    taken = prepare(single["--room"])
    gc.collect()  # before descriptors are closed: what is collected may close its own
    close_others({0, 1, 2, CHANNEL})
    plain_signals()
    shown = Shown()  # in the midst of what else a child uses
    server = Server(channel, shown, warmup.engine())
    for fd in set(range(FIRST - 1)) - {0, 1, 2, CHANNEL, *server.own}:
        dup2(0, fd, False)  # so that what we are passed has higher numbers than a child gives it
    rehearse(single["--room"], shown)
    if not alone():
        child.say("the zygote has a second thread and cannot fork")
        return 1
    gc.disable()
    gc.collect()  # and what the interpreter keeps at hand of objects that are gone
    taken += compaction.fill(whole=True)
    gc.freeze()
    dup2(0, FIRST - 1, False)  # the last one: all is done
    try:
        channel.send(b"ready")
        server.run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the end, while there was something to say
    return 0
