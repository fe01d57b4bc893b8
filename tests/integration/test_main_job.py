"""The main job, end to end: several tenants' SQ behind one authenticated port."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from phext.phext import Phext

from tests.conftest import StartSqsuper
from tests.running import ROOT, Running, eventually, listens, processes_in, sockets_in

ALICE, BOB = "pmb-v1-" + "a1" * 16, "pmb-v1-" + "b2" * 16
SQ = ["sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}"]
ODYSSEY = ROOT / "conf" / "demo" / "the-odyssey.phext"
FIRST = "1.1.1/1.1.1/1.1.1"

engines = pytest.mark.parametrize(
    "engine", ["embedded", pytest.param("sq", marks=pytest.mark.real_sq)]
)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def tenants(kind: str, **more: Any) -> dict[str, Any]:
    """Alice and bob, both on the embedded engine, the real `sq`, or what `more` says."""
    settings: dict[str, Any] = {}
    if kind == "sq":
        settings = {"engine": "command", "command": SQ}
    return {
        "defaults": {**settings, **more},
        "tenants": {
            "alice": {"token_sha256": [digest(ALICE)]},
            "bob": {"token_sha256": [digest(BOB)]},
        },
    }


def place(running: Running, name: str, file: Path) -> None:
    directory = running.directory / "data" / name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy(file, directory / file.name)


def explode(text: str) -> dict[str, str]:
    return {str(where): scroll for where, scroll in Phext().explode(text).items()}


class TestOdyssey:
    @engines
    def test_reads_are_exact_and_the_others_see_nothing(
        self, engine: str, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(tenants(engine))
        place(running, "alice", ODYSSEY)
        scrolls = explode(ODYSSEY.read_bytes().decode())
        where = "1.1.1/1.1.1/3.1.3"

        def get(what: str, token: str = ALICE) -> bytes:
            answer = running.request("GET", f"/api/v2/{what}", token=token)
            assert answer.status == 200, answer
            return answer.body

        assert get(f"select?p=the-odyssey&c={where}") == scrolls[where].encode()
        assert get("checksum?p=the-odyssey") == b"9dd0ca3402f6f9e6ee5ecdee786664f9"
        assert get("get?p=the-odyssey") == ODYSSEY.read_bytes()
        assert explode(get("delta?p=the-odyssey").decode()) == scrolls
        assert len(get("toc?p=the-odyssey").splitlines()) == len(scrolls)
        assert f"Scrolls: {len(scrolls)}" in get("status?p=the-odyssey").decode()

        assert get(f"select?p=the-odyssey&c={where}", BOB) == b""
        written = running.request(
            "POST", f"/api/v2/update?p=the-odyssey&c={where}", token=BOB, body=b"bob was here"
        )
        assert written.status == 200
        assert get(f"select?p=the-odyssey&c={where}") == scrolls[where].encode()
        assert (running.directory / "data" / "alice" / ODYSSEY.name).read_bytes() == (
            ODYSSEY.read_bytes()
        )

    @engines
    def test_writes_are_on_disk_as_a_phext_file(
        self, engine: str, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(tenants(engine))
        place(running, "alice", ODYSSEY)
        expected = explode(ODYSSEY.read_bytes().decode())
        for number in range(1, 6):
            where = f"1.1.1/1.1.1/3.1.{number}"
            expected[where] = f"scroll {number} \u6f22\n"
            answer = running.request(
                "POST",
                f"/api/v2/update?p=the-odyssey&c={where}",
                token=ALICE,
                body=expected[where].encode(),
            )
            assert answer.status == 200
        assert running.stop() in (0, -signal.SIGTERM)
        file = running.directory / "data" / "alice" / "the-odyssey.phext"
        assert explode(file.read_bytes().decode()) == expected


NOTEPAD_TYPE = {"Content-Type": "application/phext; charset=utf-8"}

# An SQ-compatible program that keeps connections alive, says so, and ends them after a pause.
SHORT_LIVED = """
    import http.server, sys

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 0.4
        scrolls = {}

        def answer(self, body, status=200):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "keep-alive")
            self.end_headers()
            self.wfile.write(body)

        def do_OPTIONS(self):
            self.answer(b"", 200)

        def do_GET(self):
            self.answer(self.scrolls.get(self.path.partition("?")[2], b""))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "delta" not in self.path:
                self.scrolls[self.path.partition("?")[2]] = body
            self.answer(b"Updated %d bytes" % len(body))

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class TestPhextNotepad:
    """The desktop client: one keep-alive connection, raw slashes, its own content type."""

    def notepad(self, running: Running, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        authorization = {"Authorization": f"Bearer {ALICE}"}
        socks = set()

        def ask(method: str, target: str, body: bytes | None = None) -> bytes:
            fields = authorization | (NOTEPAD_TYPE if method == "POST" else {})
            connection.request(method, target, body=body, headers=fields)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            assert answer.headers.get_all("Access-Control-Allow-Origin") == ["*"]
            socks.add(connection.sock)
            return content

        try:
            for number in (1, 2):
                text = f"scroll \u00e9 {number}".encode()
                where = "p=notes&c=1.1.1/1.1.1/1.1.2"
                assert ask("POST", f"/api/v2/update?{where}", text) == (
                    b"Updated %d bytes" % len(text)
                )
                assert ask("GET", f"/api/v2/select?{where}") == text
                lines = b"1.1.1/1.1.1/1.1.2: 00000000000000000000000000000000\n"
                ask("POST", f"/api/v2/delta?{where}", lines)
                time.sleep(pause)  # the client is idle: this is the case, not a wait for something
            assert len(socks) == 1
        finally:
            connection.close()

    @engines
    def test_its_sequence_on_one_connection(
        self, engine: str, sqsuper_process: StartSqsuper
    ) -> None:
        self.notepad(sqsuper_process(tenants(engine)), 0.1)

    def test_its_sequence_after_the_upstream_ended_its_idle_connections(
        self, sqsuper_process: StartSqsuper, tmp_path: Path
    ) -> None:
        program = tmp_path / "short_lived.py"
        program.write_text(textwrap.dedent(SHORT_LIVED))
        command = [sys.executable, str(program), "{port}"]
        config = tenants("a program of its own", engine="command", command=command)
        self.notepad(sqsuper_process(config), 0.8)


class TestRealClients:
    @engines
    def test_curl(self, engine: str, sqsuper_process: StartSqsuper, tmp_path: Path) -> None:
        curl = shutil.which("curl") or pytest.skip("no curl")
        running = sqsuper_process(tenants(engine))
        big = tmp_path / "big"
        big.write_bytes(b"0123456789abcde\n" * 90_000)  # over 1 MB: curl expects 100-continue
        api = f"{running.url}/api/v2"
        where = f"p=big&c={FIRST}"

        def run(*arguments: str) -> bytes:
            return subprocess.run(
                [curl, "-sS", "--fail", "-m20", "-H", f"Authorization: Bearer {ALICE}", *arguments],
                capture_output=True,
                check=True,
            ).stdout

        data = f"@{big}"
        assert run("--data-binary", data, f"{api}/update?{where}") == b"Updated 1440000 bytes"
        assert run(f"{api}/select?{where}") == big.read_bytes()
        chunked = ("-H", "Transfer-Encoding: chunked", "--data-binary", data)
        assert run(*chunked, f"{api}/update?{where}") == b"Updated 1440000 bytes"
        assert run(f"{api}/select?{where}") == big.read_bytes()
        encoded = ("-G", "--data-urlencode", "p=small", "--data-urlencode", f"c={FIRST}")
        text = "a b+c/d;e&f=\u6f22%"
        assert run(*encoded, "--data-urlencode", f"s={text}", f"{api}/update") == (
            b"Updated %d bytes" % len(text.encode())
        )
        assert run(*encoded, f"{api}/select") == text.encode()
        assert b"0.5.5" in run("--http1.0", f"{api}/version")

    @engines
    def test_python_requests(self, engine: str, sqsuper_process: StartSqsuper) -> None:
        running = sqsuper_process(tenants(engine))
        with requests.Session() as session:
            session.trust_env = False
            session.headers["X-SQ-API-Key"] = ALICE
            params = {"p": "r", "c": "2.3.4/5.6.7/8.9.10"}
            for number in range(20):
                text = f"text {number} \U0001f600".encode()
                url = f"{running.url}/api/v2/update"
                wrote = session.post(url, params=params, data=text, timeout=20)
                assert wrote.text == f"Updated {len(text)} bytes"
                read = session.get(f"{running.url}/api/v2/select", params=params, timeout=20)
                assert read.content == text
                assert read.headers["Content-Length"] == str(len(text))
            streamed = session.post(
                f"{running.url}/api/v2/update",
                params=params,
                data=iter([b"in ", b"chunks"]),
                timeout=20,
            )
            assert streamed.text == "Updated 9 bytes"

    @engines
    def test_node_fetch(self, engine: str, sqsuper_process: StartSqsuper) -> None:
        node = shutil.which("node") or pytest.skip("no node")
        running = sqsuper_process(tenants(engine))
        script = """
            const [api, token] = process.argv.slice(1);
            const headers = {Authorization: `Bearer ${token}`, "Content-Type": "text/plain"};
            const at = "p=n&c=" + encodeURIComponent("1.1.1/1.1.1/1.1.4");
            const out = [];
            for (let i = 0; i < 5; i++) {
                const text = encodeURIComponent(`caf\\u00e9 ${i}+/;`);
                const wrote = await fetch(`${api}/update?${at}&s=${text}`, {headers});
                const read = await fetch(`${api}/select?${at}`, {headers});
                out.push(wrote.status, await wrote.text(), await read.text());
            }
            const parallel = await Promise.all(
                Array.from({length: 10}, () => fetch(`${api}/toc?p=n`, {headers})));
            out.push(...await Promise.all(parallel.map(r => r.text())));
            const gone = await fetch(`${api}/delete?${at}`, {method: "POST", headers});
            out.push(gone.status);
            const anonymous = await fetch(`${api}/toc?p=n`);
            out.push(anonymous.status, anonymous.headers.get("access-control-allow-origin"));
            console.log(JSON.stringify(out));
        """
        done = subprocess.run(
            [node, "--input-type=module", "-e", script, "--", f"{running.url}/api/v2", ALICE],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        out = json.loads(done.stdout)
        for number in range(5):
            assert out[3 * number : 3 * number + 3] == [
                200,
                "Updated 10 bytes",
                f"caf\u00e9 {number}+/;",
            ]
        assert set(out[15:25]) == {"* 1.1.1/1.1.1/1.1.4: caf\u00e9 4+/;\n"}
        # The real sq knows delete by GET alone.
        assert out[25] == (200 if engine == "embedded" else out[25])
        assert out[26:] == [401, "*"]


class Writers:
    """Threads that update scroll after scroll and keep what was acknowledged."""

    def __init__(self, running: Running, token: str, count: int = 4) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.failures: list[tuple[int, bytes]] = []
        self.broken: list[BaseException] = []
        self._running = running
        self._token = token
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,), daemon=True)
            for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, section: int) -> None:
        scroll = 0
        while not self._stop.is_set() and scroll < 900:
            scroll += 1
            where, text = f"1.1.1/1.1.1/1.{section}.{scroll}", b"text %d.%d" % (section, scroll)
            try:
                answer = self._running.request(
                    "POST", f"/api/v2/update?p=w&c={where}", token=self._token, body=text
                )
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(error)
                continue
            if answer.status == 200:
                self.acknowledged[where] = text
            else:
                self.failures.append((answer.status, answer.body))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def engine_of(running: Running, tenant: str) -> psutil.Process | None:
    """The living process that works in the tenant's data directory."""
    here = str(running.directory / "data" / tenant)
    for process in running.children():
        try:
            if process.cwd() == here and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.Error:
            continue
    return None


class TestDeath:
    @engines
    def test_a_killed_child_is_back_and_nothing_acknowledged_is_missing(
        self, engine: str, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(tenants(engine))
        assert running.request("GET", "/api/v2/version", token=BOB).status == 200
        bobs = engine_of(running, "bob")
        writers = Writers(running, ALICE)
        try:
            for _ in range(3):
                reached = len(writers.acknowledged) + 25
                eventually(lambda n=reached: len(writers.acknowledged) >= n, "writes go on", 20)  # type: ignore[misc]
                victim = engine_of(running, "alice")
                assert victim is not None
                victim.kill()
                killed = time.monotonic()
                answer = running.request("GET", "/api/v2/version", token=ALICE)
                while answer.status != 200:
                    assert answer.status in (502, 503)
                    assert time.monotonic() - killed < 5
                    answer = running.request("GET", "/api/v2/version", token=ALICE)
        finally:
            writers.stop()
        assert writers.broken == []
        assert {status for status, _ in writers.failures} <= {502, 503}
        for status, body in writers.failures:
            assert json.loads(body)["code"]
            assert status == 503 or json.loads(body)["executed"] == "unknown"
        assert engine_of(running, "bob") == bobs
        if engine == "sq":
            return  # it rewrites its file in place and without sync: it keeps no such promise
        for where, text in writers.acknowledged.items():
            answer = running.request("GET", f"/api/v2/select?p=w&c={where}", token=ALICE)
            assert answer.body == text, where

    @engines
    def test_no_child_outlives_a_killed_gateway(
        self, engine: str, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(tenants(engine))
        for token in (ALICE, BOB):
            assert running.request("GET", "/api/v2/version", token=token).status == 200
        children = running.children()
        assert len(children) >= 2
        running.process.kill()
        running.process.wait(10)
        eventually(
            lambda: (
                not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children)
            ),
            "every child is gone",
            2,
        )

    @engines
    def test_sigterm_leaves_nothing(self, engine: str, sqsuper_process: StartSqsuper) -> None:
        config = tenants(engine)
        config["defaults"]["stop_grace"] = "2s"
        running = sqsuper_process(config)
        for token in (ALICE, BOB):
            assert running.request("GET", "/api/v2/version", token=token).status == 200
        begun = time.monotonic()
        assert running.stop() in (0, -signal.SIGTERM)
        assert time.monotonic() - begun < 4
        assert not listens(running.port)
        assert sockets_in(running.directory) == []
        assert not running.pidfile.exists()
        assert processes_in(running.directory) == []

    def test_it_starts_again_after_it_was_killed(self, sqsuper_process: StartSqsuper) -> None:
        running = sqsuper_process(tenants("embedded"))
        target = f"/api/v2/update?p=a&c={FIRST}"
        assert running.request("POST", target, token=ALICE, body=b"kept").status == 200
        running.process.kill()
        running.process.wait(10)
        config = running.directory / "tenants.yaml"
        from tests.running import start

        again = start(running.directory, config, running.port)
        try:
            eventually(again.healthy, "GET /health answers 200", 20)
            answer = again.request("GET", f"/api/v2/select?p=a&c={FIRST}", token=ALICE)
            assert answer.body == b"kept"
        finally:
            again.close()


class TestApart:
    def test_tokens_and_keys_are_in_no_log_argv_or_environment(
        self, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(tenants("embedded"))
        running.request("GET", "/api/v2/version", token=ALICE)
        running.request("GET", "/api/v2/version", token=ALICE + "x")
        [child] = running.children()
        shown = running.output + " ".join(child.cmdline()) + json.dumps(child.environ())
        assert ALICE not in shown
        assert not re.search(r"Bearer", shown)
        own = Path(f"/proc/{child.pid}/environ")
        if own.exists():
            names = set(child.environ())
            assert names <= {"PATH", "LANG", "TZ", "HOME", "SQSUPER_INSTANCE"}

    def test_a_tenants_own_port_takes_its_tokens_alone(
        self, sqsuper_process: StartSqsuper, free_ports: Any
    ) -> None:
        [port] = free_ports(1)
        config = tenants("embedded")
        config["tenants"]["alice"]["port"] = port
        config["tenants"]["alice"]["token_sha256"].append(
            {"sha256": digest("ro-token-" + "0" * 16), "scope": "ro"}
        )
        running = sqsuper_process(config)
        own = Running(running.process, running.directory, port)
        target = f"/api/v2/update?p=a&c={FIRST}"
        assert own.request("POST", target, token=ALICE, body=b"direct").status == 200
        assert own.request("POST", target, token=BOB, body=b"direct").status == 401
        assert own.request("POST", target, token="ro-token-" + "0" * 16, body=b"x").status == 403
        select = f"/api/v2/select?p=a&c={FIRST}"
        assert own.request("GET", select, token="ro-token-" + "0" * 16).body == b"direct"
        assert running.request("GET", select, token=ALICE).body == b"direct"

    def test_a_start_without_tenants_says_the_next_step(
        self, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process({})
        assert "no tenant yet" in running.output
        health = json.loads(running.request("GET", "/health").body)
        assert health["tenants"] == 0

    def test_a_request_in_flight_is_finished_before_a_stop(
        self, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(tenants("embedded"))
        body = b"slowly" * 1000
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(
                f"POST /api/v2/update?p=a&c={FIRST} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {ALICE}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body[:100]
            )
            eventually(lambda: engine_of(running, "alice"), "the instance has started")
            os.kill(running.pid, signal.SIGTERM)
            eventually(lambda: not listens(running.port), "no new connection is taken")
            connection.sendall(body[100:])
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close\r\n" in answer
        assert answer.endswith(b"Updated 6000 bytes")
        assert running.process.wait(20) in (0, -signal.SIGTERM)
