"""What an engine may load: it is started once a tenant, hundreds of times a machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import xxhash

ROOT = Path(__file__).parents[3]
# Each costs start time and memory in every instance.
FORBIDDEN = {
    "argparse",
    "asyncio",
    "attr",
    "attrs",
    "concurrent",
    "dataclasses",
    "email",
    "hashlib",
    "http",
    "inspect",
    "json",
    "logging",
    "multiprocessing",
    "phext",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
    "twisted",
    "typing",
    "urllib",
    "weakref",
    "yaml",
    "zope",
}


def loaded(work: str) -> set[str]:
    """Return the top-level modules of a fresh, bare interpreter after `work`."""
    child = "import sys; sys.path[:0] = sys.argv[1:]\n" + work + "\nprint(' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", child, str(ROOT), str(Path(xxhash.__file__).parents[1])],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(result.stdout.split())


# Starts a whole engine on a socket pair of ours, asks it, and stops it, in one process.
WORK = """
import os, socket, sys, time
from sqsuper.engine.__main__ import Engine
from sqsuper.engine import options
from sqsuper.engine.directory import DataDirectory
from sqsuper.engine.exchange import Exchange
listening = socket.create_server(('127.0.0.1', 0))
directory = DataDirectory('.')
directory.lock()
chosen = options.parse(['0', '--key', 'K', '--data-dir', '.'])
engine = Engine(chosen, [listening], directory)
sys.stdout.write = lambda text: None
client = socket.create_connection(listening.getsockname())
ask = b'%b HTTP/1.1\\r\\nHost: t\\r\\nX-SQ-API-Key: K\\r\\nContent-Length: %d\\r\\n\\r\\n%b'
client.sendall(ask % (b'POST /api/v2/update?p=t&c=1.1.1/1.1.1/1.1.1', 5, b'hello'))
for target in (b'select', b'toc', b'get', b'checksum', b'delta', b'status', b'load', b'nope'):
    client.sendall(ask % (b'GET /api/v2/' + target + b'?p=t', 0, b''))
client.sendall(ask % (b'GET /api/v2/select?p=..', 0, b''))
engine._loop.after(0.1, engine._stop)
assert engine.run() == 0
answers = client.recv(65536)
assert answers.count(b'HTTP/1.1 200 OK') == 8, answers
del sys.stdout.write
os.unlink('t.phext')
"""


def test_a_serving_engine_loads_nothing_heavy(tmp_path: Path) -> None:
    modules = loaded(f"import os; os.chdir({str(tmp_path)!r})\n" + WORK)
    assert {"sqsuper.engine.server", "xxhash", "socket"} <= modules
    assert {name for name in modules if name.partition(".")[0] in FORBIDDEN} == set()


def test_of_ours_it_loads_http1_and_sockets_alone(tmp_path: Path) -> None:
    modules = loaded("import sqsuper.engine.__main__")
    ours = {name.split(".")[1] for name in modules if name.startswith("sqsuper.")}
    assert ours == {"engine", "http1", "sockets"}
