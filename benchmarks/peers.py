"""What is measured: real sq, our engine, nginx and haproxy before them, and sqsuper itself.

Everything listens on loopback and lives in a temporary directory; `ended` ends it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from tests.running import ROOT, environment, eventually, free_port, listens, start

KEY = "benchmark-key"
TOKEN = "pmb-v1-0123456789abcdef0123456789abcdef"  # noqa: S105 - lives as long as this run
SQ_TOKEN = "pmb-v1-fedcba9876543210fedcba9876543210"  # noqa: S105
ODYSSEY = ROOT / "conf" / "demo" / "the-odyssey.phext"

NGINX = """\
daemon off;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 100m;
    keepalive_requests 100000000;
    map $http_authorization $backend {{ default ""; "Bearer {token}" "{backend}"; }}
    upstream kept {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            if ($backend = "") {{ return 401; }}
            proxy_http_version 1.1;
            proxy_set_header Authorization "Bearer {key}";
            proxy_set_header Connection "";
            proxy_pass http://{upstream};
        }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{port}
    acl known hdr(authorization) -m str "Bearer {token}"
    http-request deny deny_status 401 unless known
    http-request set-header Authorization "Bearer {key}"
    default_backend back
backend back
    server sq 127.0.0.1:{backend}
"""


@contextlib.contextmanager
def _process(command: list[str], directory: Path, port: int) -> Iterator[psutil.Process]:
    with open(directory / f"{Path(command[0]).name}.output", "ab") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        eventually(lambda: process.poll() is not None or listens(port), f"{command[0]} listens", 20)
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
        yield psutil.Process(process.pid)
    finally:
        # Its workers belong to its session: none of them may stay.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def data_directory(parent: Path, name: str) -> Path:
    """Return a new data directory that holds The Odyssey."""
    directory = parent / name
    directory.mkdir(mode=0o700)
    shutil.copy(ODYSSEY, directory)
    return directory


@contextlib.contextmanager
def real_sq(directory: Path) -> Iterator[int]:
    """Run the real sq without any gateway; gives its port."""
    port = free_port()
    data = data_directory(directory, f"sq-{port}")
    command = [_program("sq"), "host", str(port), "--key", KEY, "--data-dir", str(data)]
    with _process(command, data, port):
        yield port


@contextlib.contextmanager
def engine(directory: Path) -> Iterator[int]:
    """Run our engine by hand; gives its port."""
    port = free_port()
    data = data_directory(directory, f"engine-{port}")
    command = [sys.executable, "-m", "sqsuper.engine", "host", str(port), "--key", KEY]
    with _process([*command, "--data-dir", str(data)], data, port):
        yield port


@contextlib.contextmanager
def nginx(directory: Path, backend: int, *, kept: bool) -> Iterator[int]:
    """Run nginx before a backend's port; `kept`: with kept-alive upstream connections."""
    port = free_port()
    home = directory / f"nginx-{port}"
    home.mkdir(mode=0o700)
    config = home / "nginx.conf"
    config.write_text(
        NGINX.format(
            directory=home,
            token=TOKEN,
            key=KEY,
            backend=backend,
            port=port,
            upstream="kept" if kept else "127.0.0.1:$backend",
        )
    )
    command = [_program("nginx"), "-e", str(home / "start.log"), "-c", str(config), "-p", str(home)]
    # Root's nginx would drop to a user that may not use our directory.
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    with _process([*command, *user], home, port):
        yield port


@contextlib.contextmanager
def haproxy(directory: Path, backend: int) -> Iterator[int]:
    """Run haproxy before a backend's port."""
    port = free_port()
    home = directory / f"haproxy-{port}"
    home.mkdir(mode=0o700)
    config = home / "haproxy.cfg"
    config.write_text(HAPROXY.format(token=TOKEN, key=KEY, backend=backend, port=port))
    with _process([_program("haproxy"), "-db", "-f", str(config)], home, port):
        yield port


@contextlib.contextmanager
def sqsuper(directory: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run sqsuper with a tenant on our engine (`TOKEN`) and one on the real sq (`SQ_TOKEN`).

    Gives its port and the gateway's process.
    """
    home = directory / "sqsuper"
    home.mkdir(mode=0o700)
    port = free_port()
    tenants: dict[str, object] = {
        "embedded": {"tokens": [TOKEN], "data_dir": str(data_directory(directory, "embedded"))}
    }
    if installed("sq"):
        command = ["sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}"]
        tenants["real"] = {
            "tokens": [SQ_TOKEN],
            "engine": "command",
            "command": command,
            "data_dir": str(data_directory(directory, "real")),
        }
    config = home / "tenants.yaml"
    config.touch(mode=0o600)
    config.write_text(
        yaml.safe_dump(
            {
                "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
                "admin": {"listen": ["tcp:0:interface=127.0.0.1"]},
                "tenants": tenants,
            }
        )
    )
    running = start(home, config, port)
    try:
        eventually(running.healthy, "sqsuper answers", 20)
        yield port, psutil.Process(running.pid)
    finally:
        running.close()


def installed(program: str) -> bool:
    """Whether a program is there."""
    return shutil.which(program) is not None


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed")
    return path


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def settle(seconds: float = 0.2) -> None:
    """Let what one run left behind (connections that close) be over before the next."""
    time.sleep(seconds)
