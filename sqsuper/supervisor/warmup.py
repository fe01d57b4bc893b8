"""Loads the engine, starts it and runs its request path a few times: what is forked is warm.

In the zygote only, and started by path with it: standard library, and the engine.
"""

import os
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    Engine = Callable[[list[str]], int]
    Requests = tuple[tuple[bytes, bytes, bytes], ...]
    Watch = Callable[[Callable[[], None]], list[CodeType]]

    from sqsuper.supervisor import child
else:
    import child

ROUNDS = 2
SECONDS = 2

TOKEN = b'{"sha256": "%b", "label": "warm", "scope": "rw", "not_before": null, "expires": null}' % (
    b"00" * 32
)
_AT = b"p=warm&c=1.1.1/1.1.1/1.1."
REQUESTS = (
    (b"POST", b"update?" + _AT + b"1", b"some text"),
    (b"POST", b"insert?" + _AT + b"2", b"more text"),
    (b"GET", b"select?" + _AT + b"1", b""),
    (b"GET", b"toc?p=warm", b""),
    (b"GET", b"delta?p=warm", b""),
    (b"GET", b"checksum?p=warm", b""),
    (b"GET", b"get?p=warm", b""),
    (b"GET", b"delete?" + _AT + b"2", b""),
    (b"GET", b"status?p=warm", b""),
    (b"GET", b"version", b""),
    (b"GET", b"no-such-thing", b""),
)
# As the supervisor asks whether the loop turns.
PING = b'{"ping": 1}\n'
FIRST_REQUESTS = (
    (b"GET", b"version", b""),
    (b"GET", b"select?" + _AT + b"1", b""),
)
# As the supervisor gives them.
OPTIONS = (
    *("--coordinates", "strict", "--max-head-bytes", "65536", "--max-body-bytes", "67108864"),
    *("--max-phext-mb", "480", "--max-loaded", "64", "--checkpoint-idle", "2.0"),
    *("--checkpoint-age", "30.0", "--checkpoint-journal", "4194304", "--stop-seconds", "5.0"),
    # But for this, by which it looks each 50 ms at what takes too long, not each second.
    *("--send-timeout", "0.2"),
)


def load(paths: list[str]) -> None:
    """Import the engine from `paths`, and what it imports only when it needs it."""
    sys.path.extend(path for path in paths if path not in sys.path)
    import fcntl  # noqa: F401, PLC0415
    import json  # noqa: F401, PLC0415
    import pwd  # noqa: F401, PLC0415

    import sqsuper.engine.__main__  # noqa: F401, PLC0415


def engine() -> "Engine":
    """Return the engine as it is loaded now."""
    from sqsuper.engine.__main__ import main  # noqa: PLC0415

    return main


def run(
    directory: str, requests: "Requests", *, rest: float = 0.0, watch: "Watch | None" = None
) -> "list[CodeType]":
    """Start the engine in a new `directory`, serve `requests` of our own, and end it.

    A failure costs only the warmth. `rest`: seconds to be idle, then. `watch`: what runs the
    engine's part of it; what that returned is returned.
    """
    watched: list[CodeType] = []

    def served(argv: list[str]) -> int:
        status = 0

        def serve() -> None:
            nonlocal status
            status = engine()(argv)

        if watch is None:
            serve()
        else:
            watched.extend(watch(serve))
        return status

    try:
        _remove(directory)
        os.mkdir(directory, 0o700)
        _serve(directory, requests, rest, served)
        if os.fork() == 0:
            # Not here, where what is looked up would take the place of what a child looks up.
            try:
                _remove(directory)
            finally:
                os._exit(0)
        os.wait()
    except OSError as error:
        child.say(f"warming up: {error}")
    return watched


def _serve(directory: str, requests: "Requests", rest: float, main: "Engine") -> None:
    key = os.urandom(16).hex()
    path = os.path.join(directory, "s")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen()
    control, told = os.pipe()
    heard, report = os.pipe()
    os.write(told, b'{"key": "%b", "tokens": [%b]}\n' % (key.encode(), TOKEN))
    client = os.fork()
    if client == 0:
        # The end of `told`, which it alone holds, ends the engine.
        _ask(path, key, requests, rest, told)
    os.close(told)
    argv = ["host", "--data-dir", os.path.join(directory, "data"), "--name", "warm"]
    argv += ["--listen-fd", str(listening.detach())]
    argv += ["--control-fd", str(control), "--report-fd", str(report), *OPTIONS]
    try:
        status = main(argv)
    finally:
        os.kill(client, signal.SIGKILL)  # it has ended, unless the engine did first
        os.waitpid(client, 0)
    for fd in (control, heard, report):
        os.close(fd)
    if status != 0:
        child.say(f"warming up: status {status}")


def _ask(path: str, key: str, requests: "Requests", rest: float, told: int) -> None:
    """In a process of its own: make the requests, ping, and end; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        for _ in range(ROUNDS):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(path)
                for request in requests:
                    _exchange(connection, key, *request)
            os.write(told, PING)
        time.sleep(rest)
        status = 0
    finally:
        os._exit(status)


def _exchange(
    connection: socket.socket, key: str, method: bytes, target: bytes, body: bytes
) -> None:
    connection.sendall(
        b"%b /api/v2/%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (method, target, key.encode(), len(body), body)
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _more(connection)
    head, _, rest = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])
    while len(rest) < length:
        rest += _more(connection)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("the engine closed the connection")
    return data


def _remove(directory: str) -> None:
    for place, directories, files in os.walk(directory, topdown=False):
        for name in files:
            os.unlink(os.path.join(place, name))
        for name in directories:
            os.rmdir(os.path.join(place, name))
    if os.path.isdir(directory):
        os.rmdir(directory)
