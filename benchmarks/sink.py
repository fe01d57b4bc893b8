"""An HTTP server that gives and takes large bodies at once: `python sink.py PORT`.

What stands behind a gateway when the gateway alone is to be measured. GET gives `SIZE` zero
bytes, POST reads its body (Content-Length) and says how long it was, OPTIONS is 204.
Connections are kept, and said to be. Standard library only: a command engine runs it by path.
"""

from __future__ import annotations

import socket
import sys
import threading

SIZE = 64 << 20
PIECE = 1 << 18
HEAD = b"HTTP/1.1 %b\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n"


def serve(connection: socket.socket, body: memoryview) -> None:
    """Answer one connection's requests until it ends."""
    buffer, got = bytearray(PIECE), b""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            while b"\r\n\r\n" not in got:
                piece = connection.recv(65_536)
                if not piece:
                    return
                got += piece
            head, _, got = got.partition(b"\r\n\r\n")
            if head.startswith(b"OPTIONS"):
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n")
            elif head.startswith(b"POST"):
                length = content_length(head)
                left = length - len(got)
                while left > 0:
                    taken = connection.recv_into(buffer, min(left, PIECE))
                    if not taken:
                        return
                    left -= taken
                got = b""
                text = b"%d" % length
                connection.sendall(HEAD % (b"200 OK", len(text)) + text)
            else:
                connection.sendall(HEAD % (b"200 OK", SIZE))
                connection.sendall(body)


def content_length(head: bytes) -> int:
    """Return a request's Content-Length, 0 without one."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def main() -> None:
    """Listen on the loopback port that is named, until a signal comes."""
    body = memoryview(bytes(SIZE))
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, body), daemon=True).start()


if __name__ == "__main__":
    main()
