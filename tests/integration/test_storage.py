"""What a command engine's tenant stores: measured, shown, and held against its quota."""

from __future__ import annotations

import hashlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartSqsuper
from tests.integration.admin_support import Admin
from tests.running import Answer, Running, eventually

MIB = 1024 * 1024

# Appends what is inserted, to the file that the query names, and deletes the file.
ENGINE = """
    import http.server, pathlib, sys

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_OPTIONS(self):
            self.answer(204)

        def do_POST(self):
            path, _, name = self.path.partition("?p=")
            file = pathlib.Path(name + ".phext")
            if path.endswith("insert"):
                with file.open("ab") as opened:
                    opened.write(self.rfile.read(int(self.headers["Content-Length"])))
            elif path.endswith("delete"):
                file.unlink()
            self.answer(200)

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def ask(one: Running, what: str, body: bytes = b"") -> Answer:
    return one.request("POST", f"/api/v2/{what}", token="tok", body=body)


@pytest.mark.parametrize("workers", [1, 2])
def test_over_the_quota_and_back(
    sqsuper_process: StartSqsuper, short_dir: Path, workers: int
) -> None:
    program = short_dir / "engine.py"
    program.write_text(textwrap.dedent(ENGINE))
    config: dict[str, Any] = {
        "gateway": {"workers": workers},
        "defaults": {"stop_grace": "2s"},
        "tenants": {
            "cmd": {
                "token_sha256": [hashlib.sha256(b"tok").hexdigest()],
                "engine": "command",
                "command": [sys.executable, str(program), "{port}"],
                "quota_mb": 1,
            }
        },
    }
    one = sqsuper_process(config)
    admin = Admin.of(one)

    def stored() -> int | None:
        count: int | None = admin.get("/tenants/cmd/stats")["storage_bytes"]
        return count

    eventually(lambda: stored() == 0, "measured before it ever ran", 30)
    assert ask(one, "insert?p=a", b"x" * MIB).status == 200
    eventually(lambda: stored() == MIB, "measured after a write", 30)
    # Full to the last byte is not over it.
    assert ask(one, "insert?p=b", b"y").status == 200
    eventually(lambda: stored() == MIB + 1, "measured after the next", 30)

    def refused() -> Answer | None:
        # The worker that is asked may hear of it a moment later.
        answer = ask(one, "update?p=a")
        return answer if answer.status == 507 else None

    answer = eventually(refused, "an update is refused", 30)
    assert answer is not None
    said = json.loads(answer.body)
    assert said["code"] == "quota"
    assert f"{MIB + 1} bytes of {MIB}" in said["error"]
    assert (one.directory / "data" / "cmd" / "a.phext").stat().st_size == MIB
    assert ask(one, "select?p=a").status == 200
    metrics = admin.ask("GET", "/metrics").body.decode()
    (line,) = [line for line in metrics.splitlines() if line.startswith("sq_storage_bytes{")]
    assert 'tenant="cmd"' in line
    assert float(line.rpartition(" ")[2]) == MIB + 1
    events = admin.get("/tenants/cmd/events")
    assert "quota" in json.dumps(events)
    assert ask(one, "delete?p=b").status == 200
    eventually(lambda: ask(one, "insert?p=c", b"").status == 200, "there is room again", 30)
