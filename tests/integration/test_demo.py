"""What `make run` starts: two tenants ready to try, on the first run and on later ones."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.running import ROOT, Running, environment, eventually, free_port, processes_in

LAST_LINE = "Ctrl-C ends everything."
SCROLL = "p=the-odyssey&c=1.1.1/1.1.1/3.1.3"


class Demo:
    """A copy of conf/ whose ports are free ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.conf = directory / "conf"
        self.port = free_port()
        self.ports = {"alice": free_port(), "bob": free_port()}
        (self.conf / "demo").mkdir(parents=True)
        shutil.copy(ROOT / "conf" / "demo" / "the-odyssey.phext", self.conf / "demo")
        script = (ROOT / "conf" / "demo" / "run.py").read_text()
        for name, port in {"alice": 7001, "bob": 7002}.items():
            assert script.count(str(port)) == 1
            script = script.replace(str(port), str(self.ports[name]))
        (self.conf / "demo" / "run.py").write_text(script)
        tenants = (ROOT / "conf" / "tenants.yaml").read_text()
        assert tenants.count("tcp:1337:") == 1
        tenants = tenants.replace("tcp:1337:", f"tcp:{self.port}:")
        assert tenants.count("tcp:1338:") == 1
        self.admin_port = free_port()
        tenants = tenants.replace("tcp:1338:", f"tcp:{self.admin_port}:")
        (self.conf / "tenants.yaml").write_text(tenants)

    def tenant_file(self, name: str) -> Path:
        return self.conf / "tenants.d" / f"{name}.yaml"

    def token(self, name: str) -> str:
        entry = yaml.safe_load(self.tenant_file(name).read_text())["tenants"][name]
        token: str = entry["tokens"][0]
        return token

    def start(self) -> Running:
        with open(self.directory / "output", "wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(self.conf / "demo" / "run.py")],
                cwd="/",
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return Running(process, self.directory, self.port)


@pytest.fixture
def demo(short_dir: Path) -> Demo:
    return Demo(short_dir)


@pytest.fixture
def run(demo: Demo) -> Iterator[Callable[[], Running]]:
    """Runs the demo until it has printed its lines, and ends it after the test."""
    runs: list[Running] = []

    def begin() -> Running:
        runs.append(demo.start())
        eventually(lambda: runs[-1].healthy() and LAST_LINE in runs[-1].output, "its lines", 20)
        return runs[-1]

    yield begin
    for one in runs:
        one.close()


def test_the_printed_lines_do_what_they_say(demo: Demo, run: Callable[[], Running]) -> None:
    running = run()
    printed = running.output[running.output.index("The gateway answers on") :]
    [exports] = re.findall(r"^ *(export .*)$", printed, re.MULTILINE)
    commands = re.findall(r"^ *(curl (?:.*\\\n)?.*)$", printed, re.MULTILINE)
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    answers = [
        subprocess.run(
            ["sh", "-c", f"{exports}\n{command.replace('curl ', 'curl -sS --fail ', 1)}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        for command in commands
    ]
    read, toc, wrote, read_back, bobs = answers
    assert shlex.quote(SCROLL) in printed or SCROLL in printed
    assert "Odyssey" in toc
    assert len(read) > 0
    assert wrote == "Updated 12 bytes"
    assert read_back == "Hello, phext"
    assert bobs == ""


def test_the_printed_link_signs_in_once(demo: Demo, run: Callable[[], Running]) -> None:
    running = run()
    [path] = re.findall(rf"http://127\.0\.0\.1:{demo.admin_port}(/sign-in/\S+)", running.output)
    cookies = []
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", demo.admin_port, timeout=30)
        connection.request("GET", path)
        cookies.append(connection.getresponse().getheader("Set-Cookie"))
        connection.close()
    assert cookies[0] is not None
    assert cookies[1] is None


def test_the_odyssey_is_alices_alone_and_untouched(demo: Demo, run: Callable[[], Running]) -> None:
    running = run()
    alice, bob = demo.token("alice"), demo.token("bob")
    assert alice != bob
    checksum = running.request("GET", "/api/v2/checksum?p=the-odyssey", token=alice)
    assert checksum.body == b"9dd0ca3402f6f9e6ee5ecdee786664f9"
    assert running.request("GET", f"/api/v2/select?{SCROLL}", token=bob).body == b""
    assert running.request("GET", f"/api/v2/select?{SCROLL}").status == 401


def test_secrets_and_data_are_the_users_alone(demo: Demo, run: Callable[[], Running]) -> None:
    run()
    for name in ("alice", "bob"):
        assert demo.tenant_file(name).stat().st_mode & 0o7777 == 0o600
        entry = yaml.safe_load(demo.tenant_file(name).read_text())["tenants"][name]
        assert entry["port"] == demo.ports[name]
        assert re.fullmatch(r"pmb-v1-[0-9a-f]{32}", demo.token(name))
    for directory in ("tenants.d", "data", "data/alice", "run"):
        assert (demo.conf / directory).stat().st_mode & 0o7777 == 0o700


def test_a_later_run_keeps_tokens_and_data(demo: Demo, run: Callable[[], Running]) -> None:
    first = run()
    before = {name: demo.tenant_file(name).read_bytes() for name in ("alice", "bob")}
    first.close()
    odyssey = demo.conf / "data" / "alice" / "the-odyssey.phext"
    assert odyssey.read_bytes() == (ROOT / "conf" / "demo" / "the-odyssey.phext").read_bytes()
    odyssey.unlink()
    run()
    assert {name: demo.tenant_file(name).read_bytes() for name in before} == before
    assert not odyssey.exists()


def test_a_humans_tenants_are_left_alone(demo: Demo, run: Callable[[], Running]) -> None:
    demo.tenant_file("bob").parent.mkdir(mode=0o700)
    human = f'tenants:\n  bob:\n    token_sha256: ["{"ab" * 32}"]\n    data_dir: ../mine\n'
    demo.tenant_file("bob").touch(mode=0o600)
    demo.tenant_file("bob").write_text(human)
    main = demo.conf / "tenants.yaml"
    alice = f'tenants:\n  alice: {{token_sha256: ["{"cd" * 32}"], data_dir: ./hers}}\n'
    main.write_text(main.read_text().replace("tenants: {}\n", alice))
    running = run()
    assert demo.tenant_file("bob").read_text() == human
    assert not demo.tenant_file("alice").exists()
    assert not (demo.conf / "hers" / "the-odyssey.phext").exists()
    assert not (demo.conf / "data" / "alice").exists()
    assert "BOB='<bob" in running.output


def test_a_broken_configuration_is_one_line(demo: Demo) -> None:
    (demo.conf / "tenants.yaml").write_text("gatway: {}\n")
    running = demo.start()
    assert running.process.wait(20) == 1
    [line] = running.output.splitlines()
    assert "tenants.yaml:1: " in line
    assert not (demo.conf / "tenants.d").exists()


def test_a_taken_port_is_named_with_its_holder(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", demo.port)):
        running = demo.start()
        assert running.process.wait(20) == 1
    assert f"127.0.0.1:{demo.port}" in running.output
    assert f"pid {os.getpid()}" in running.output
    assert "Traceback" not in running.output
    assert LAST_LINE not in running.output
    eventually(lambda: processes_in(demo.directory) == [])


def test_ctrl_c_ends_it_all(run: Callable[[], Running], demo: Demo) -> None:
    running = run()
    running.request("GET", "/api/v2/version", token=demo.token("alice"))
    children = running.children()
    assert children
    assert running.stop(signal.SIGINT) in (0, -signal.SIGINT)
    assert [child for child in children if child.is_running()] == []
    assert not (demo.conf / "run" / "twistd.pid").exists()
    assert "Traceback" not in running.output


def test_killed_it_leaves_no_process(run: Callable[[], Running], demo: Demo) -> None:
    running = run()
    running.request("GET", "/api/v2/version", token=demo.token("alice"))
    running.stop(signal.SIGKILL)
    eventually(lambda: processes_in(demo.directory) == [], "no process left", 2)
