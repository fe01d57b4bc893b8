"""Loads the engine, starts it and runs its request path a few times: what is forked is warm.

In the zygote only, and started by path with it: standard library, and the engine.
"""

import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.supervisor import child
else:
    import child

# An interpreter that adapts its instructions does so after some calls, and adapted ones touch
# fewer of the objects that all children share: a page that is touched is each child's own.
STARTS = 10
ROUNDS = 2
SECONDS = 2

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


def load(paths: list[str]) -> None:
    """Import the engine from `paths`, and what it imports only when it needs it."""
    sys.path.extend(path for path in paths if path not in sys.path)
    import fcntl  # noqa: F401, PLC0415
    import json  # noqa: F401, PLC0415
    import pwd  # noqa: F401, PLC0415
    import traceback  # noqa: F401, PLC0415

    import sqsuper.engine.__main__  # noqa: F401, PLC0415


def run(directory: str) -> None:
    """Serve requests of our own from a new `directory`; a failure costs only the warmth."""
    try:
        for _ in range(STARTS):
            _remove(directory)
            os.mkdir(directory, 0o700)
            _serve(directory)
        _remove(directory)
    except OSError as error:
        child.say(f"warming up: {error}")


def _serve(directory: str) -> None:
    from sqsuper.engine.__main__ import main  # noqa: PLC0415

    key = os.urandom(16).hex()
    path = os.path.join(directory, "s")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen()
    control, told = os.pipe()
    heard, report = os.pipe()
    os.write(told, b'{"key": "%b", "tokens": []}\n' % key.encode())
    client = os.fork()
    if client == 0:
        # The end of `told`, which it alone holds, ends the engine.
        _ask(path, key)
    os.close(told)
    argv = ["host", "--data-dir", os.path.join(directory, "data"), "--name", "warm"]
    argv += ["--listen-fd", str(listening.detach())]
    argv += ["--control-fd", str(control), "--report-fd", str(report)]
    try:
        status = main(argv)
    finally:
        os.kill(client, signal.SIGKILL)  # it has ended, unless the engine did first
        os.waitpid(client, 0)
    for fd in (control, heard, report):
        os.close(fd)
    if status != 0:
        child.say(f"warming up: status {status}")


def _ask(path: str, key: str) -> None:
    """In a process of its own: make the requests and end; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        for _ in range(ROUNDS):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(path)
                for request in REQUESTS:
                    _exchange(connection, key, *request)
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
