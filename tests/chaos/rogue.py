"""A command engine that misbehaves when told to: `rogue.py PORT DIRECTORY`.

`OPTIONS` is answered as the real sq does. `GET /hog` takes memory, `/bomb` forks, `/flood` writes
to both outputs without end; each begins after its answer. Everything else is answered with `ok`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOG_BYTES = 1 << 30
HOG_STEP = 32 << 20
BOMB_PROCESSES = 120
FLOOD_SECONDS = 4.0


def hog() -> None:
    held = []
    for _ in range(HOG_BYTES // HOG_STEP):
        held.append(bytearray(os.urandom(4096)) * (HOG_STEP // 4096))
        time.sleep(0.02)
    time.sleep(60)


def bomb() -> None:
    for _ in range(BOMB_PROCESSES):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)


def flood() -> None:
    end = time.monotonic() + FLOOD_SECONDS
    line = b"\x1b[31mnot so fast\x1b[0m \xff" * 20 + b"\n"
    while time.monotonic() < end:
        os.write(1, line * 50)
        os.write(2, line * 50)


DEEDS = {"/hog": hog, "/bomb": bomb, "/flood": flood}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        self._answer(204, b"")

    def do_GET(self) -> None:
        self._answer(200, b"ok")
        deed = DEEDS.get(self.path)
        if deed is not None:
            threading.Thread(target=deed, daemon=True).start()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base names it
        """Says nothing of its requests."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
