"""The service is stopped while requests are under way: each client learns what becomes of it."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartSqsuper
from tests.integration.gateway_support import Client, request
from tests.running import Running, eventually, listens

DRAIN = 2.0
STOP_GRACE = 1.0

# Answers as the path says, and does not end before it must.
ENGINE = """
    import pathlib, signal, socket, sys, threading, time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)

    def serve(peer):
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            piece = peer.recv(65536)
            if not piece:
                return
            head += piece
        method, target = head.split(b" ")[:2]
        if method != b"OPTIONS":
            name = target.rpartition(b"=")[2].decode()
            pathlib.Path(f"asked-{name}").touch()
        if b"late" in target:
            while not pathlib.Path("release").exists():
                time.sleep(0.01)
        if b"never" in target:
            time.sleep(600)
        elif b"half" in target:
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhalf")
            time.sleep(600)
        elif b"chunks" in target:
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
            peer.sendall(b"4\\r\\nhalf\\r\\n")
            time.sleep(600)
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nwhole")
        peer.close()

    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def start(sqsuper_process: StartSqsuper, directory: Path, workers: int) -> Running:
    program = directory / "engine.py"
    program.write_text(textwrap.dedent(ENGINE))

    def tenant(token: str, **more: Any) -> dict[str, Any]:
        return {"token_sha256": [hashlib.sha256(token.encode()).hexdigest()], **more}

    return sqsuper_process(
        {
            "gateway": {"workers": workers},
            "defaults": {"drain": DRAIN, "stop_grace": STOP_GRACE, "start": "eager"},
            "tenants": {
                "cmd": tenant(
                    "command-token",
                    engine="command",
                    command=[sys.executable, str(program), "{port}"],
                ),
                "emb": tenant("embedded-token"),
            },
        }
    )


def ask(one: Running, name: str, token: str = "command-token", **more: Any) -> Client:
    client = Client(socket.create_connection(("127.0.0.1", one.port), 30))
    client.send(request(f"/api/v2/select?p={name}", token=token, **more))
    return client


@pytest.mark.parametrize("workers", [1, 2])
def test_each_request_gets_its_answer_or_learns_that_it_does_not(
    sqsuper_process: StartSqsuper, short_dir: Path, workers: int
) -> None:
    one = start(sqsuper_process, short_dir, workers)
    data = one.directory / "data" / "cmd"
    assert one.request("GET", "/api/v2/version", token="embedded-token").status == 200
    names = ("late", "never", "half", "chunks")
    late, never, half, chunks = (ask(one, name) for name in names)
    eventually(lambda: all((data / f"asked-{n}").exists() for n in names), "all under way", 30)
    (engine,) = [c for c in one.children() if c.cwd() == str(one.directory / "data" / "emb")]
    engine.suspend()
    silent = ask(one, "x", "embedded-token")
    began = time.monotonic()
    one.process.send_signal(signal.SIGTERM)
    eventually(lambda: not listens(one.port), "it takes no more connections", 30)
    (data / "release").touch()
    answer = late.answer()
    assert (answer.status, answer.body, answer.one("connection")) == (200, b"whole", "close")
    assert late.rest() == b""
    for client in (never, silent):
        answer = client.answer()
        said = json.loads(answer.body)
        assert (answer.status, said["code"], said["executed"]) == (502, "draining", "unknown")
        assert answer.one("connection") == "close"
        assert client.rest() == b""
    assert half.until_reset().endswith(b"\r\n\r\nhalf")
    assert chunks.until_reset().endswith(b"\r\n4\r\nhalf\r\n")
    assert one.process.wait(30) in (0, -signal.SIGTERM), one.output
    # Generous: the machine may be busy.
    assert time.monotonic() - began < DRAIN + STOP_GRACE + 5
