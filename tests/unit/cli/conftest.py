"""The command run in this process, and an admin API that only plays one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from sqsuper.cli.finding import TOKEN_VARIABLE
from sqsuper.cli.main import main

TOKEN = "admin-token-of-the-tests"


@attrs.frozen
class Done:
    """How a command ended: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def here(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that names nothing of ours."""
    directory = short_dir / "w"
    directory.mkdir(mode=0o700)
    monkeypatch.chdir(directory)
    for name in ("SQSUPER_CONFIG", TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sqsuper.cli.finding.SEARCHED", ("conf/tenants.yaml",))
    return directory


@pytest.fixture
def command(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `sqsuper` with these arguments to its end."""

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@attrs.define
class Asked:
    """One request that the service got; `body` is None where there was none."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@attrs.define
class Admin:
    """Plays the admin API: `answers` by "METHOD /path", each (status, JSON or bytes)."""

    answers: dict[str, tuple[int, Any]] = attrs.field(factory=dict)
    asked: list[Asked] = attrs.field(factory=list)
    port: int = 0


def handler(admin: Admin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            fields = {name.lower(): value for name, value in self.headers.items()}
            admin.asked.append(
                Asked(self.command, self.path, json.loads(body) if body else None, fields)
            )
            key = f"{self.command} {self.path}"
            status, value = admin.answers.get(
                key, (404, {"error": {"code": "not_found", "message": f"no {self.path}"}})
            )
            if fields.get("authorization") != f"Bearer {TOKEN}":
                status, value = 401, {"error": {"code": "denied", "message": "a token is needed"}}
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def admin(here: Path) -> Iterator[Admin]:
    """A service to ask, with its configuration in `conf/tenants.yaml` and its token in place."""
    playing = Admin()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(playing))
    server.daemon_threads = True
    playing.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    configure(here, playing.port)
    yield playing
    server.shutdown()
    server.server_close()
    thread.join()


def configure(here: Path, port: int, more: str = "") -> Path:
    """Write a configuration whose admin listener is `port`, and the admin token beside it."""
    conf = here / "conf"
    (conf / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    conf.chmod(0o700)
    file = conf / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(f'admin: {{listen: ["tcp:{port}:interface=127.0.0.1"]}}\n{more}')
    token = conf / "run" / "admin.token"
    token.touch(mode=0o600)
    token.write_text(TOKEN + "\n")
    return file
